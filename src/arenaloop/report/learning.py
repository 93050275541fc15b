"""What a recipe's stages learned from: which rows were selected, what was dropped, and a few rows to read."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.errors import InputError
from arenaloop.jsonl import read_rows
from arenaloop.report.charts import Bars, Chart, chart, histogram
from arenaloop.report.documents import Documents, number
from arenaloop.report.tables import Table, counts_of, table
from arenaloop.report.texts import Clip, clip, one_line
from arenaloop.types import derive_seed

__all__ = ["Learned", "learned"]

_EXAMPLES = 3
_DRAWN_FROM = 200
"""rows from which the examples are drawn: files may be large"""
_TURNS = 8
_TEXT = 1_500
_STAGES = 40
"""stages that are shown in full"""


class Example(NamedTuple):
    """One training row.

    Attributes:
        turns: the conversation, as (role, text).
        columns: answers side by side, as (heading, turns); one for SFT, chosen and rejected for preferences.
        margin: the score gap that selected it.
        prompt_id: of the battles behind it.
    """

    turns: Sequence[tuple[str, Clip]]
    columns: Sequence[tuple[str, Sequence[tuple[str, Clip]]]]
    margin: float | None
    prompt_id: str


class Learned(NamedTuple):
    """One stage's accounting: what is said of it, its tables, its curves, and rows of its data.

    Tables of counts are apart (`shares`): their rows are those of `counts_of`.
    """

    name: str
    notes: Sequence[str]
    shares: Sequence[Table]
    tables: Sequence[Table]
    histograms: Sequence[tuple[str, Bars]]
    charts: Sequence[Chart]
    examples: Sequence[Example]


def learned(documents: Documents) -> list[Learned]:
    """The accounting of every stage of a recipe, in order."""
    files = {path.stem: path for path in sorted((documents.directory / "data").glob("*.jsonl"))}
    return [_stage(documents, row, files.get(str(row["name"]))) for row in documents.stages[:_STAGES]]


def _stage(documents: Documents, row: Mapping[str, Any], path: Path | None) -> Learned:
    name = str(row["name"])
    told, drawn = documents.figures("tables", name), documents.figures("curves", name)
    tables = [table(one) for one in told]
    counts = [counts_of(one) for one in tables]
    notes = [one.note for one in tables if one.note]
    if not told and row["rows"] is not None:  # a directory of the first version
        notes = [f"trained on {row['rows']:,} rows."]
    return Learned(
        name=one_line(name),
        notes=notes,
        shares=[one._replace(rows=rows) for one, rows in zip(tables, counts, strict=True) if rows],
        tables=[one for one, rows in zip(tables, counts, strict=True) if one.rows and not rows],
        histograms=[(one_line(one["title"], 200), histogram(one)) for one in drawn if one.get("bars") is True],
        charts=[chart(one) for one in drawn if one.get("bars") is not True],
        examples=_examples(path) if path else (),
    )


def _examples(path: Path) -> list[Example]:
    try:
        rows = [row for _, row in islice(read_rows(path), _DRAWN_FROM)]
    except InputError:
        return []
    rng = random.Random(derive_seed("examples", path.stem))
    drawn = sorted(rng.sample(range(len(rows)), min(_EXAMPLES, len(rows))))
    return [_example(rows[i]) for i in drawn]


def _example(row: Mapping[str, Any]) -> Example:
    margin, prompt_id = number(row.get("margin")), one_line(row.get("prompt_id") or "", 40)
    if "chosen" in row and "rejected" in row:
        columns = [
            (f"{what}: {one_line(row.get(f'{what}_model') or 'unknown', 60)}", _turns(row[what]))
            for what in ("chosen", "rejected")
        ]
        return Example(_turns(row.get("prompt")), columns, margin, prompt_id)
    learned = f"learned from: {one_line(row.get('model') or 'unknown', 60)}"
    if "completion" in row:
        return Example(_turns(row.get("prompt")), [(learned, _turns(row["completion"]))], margin, prompt_id)
    turns = _turns(row.get("messages"))
    return Example(turns[:-1], [(learned, turns[-1:])], margin, prompt_id)


def _turns(messages: Any) -> list[tuple[str, Clip]]:
    """Role and text of the last turns; a bare text counts as one turn."""
    if isinstance(messages, str):
        return [("user", clip(messages, _TEXT))]
    if not isinstance(messages, list):
        return []
    return [
        (one_line(m.get("role", ""), 20), clip(m.get("content", ""), _TEXT))
        for m in messages[-_TURNS:]
        if isinstance(m, dict)
    ]
