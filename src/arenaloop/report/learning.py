"""What a recipe's stages learned from: which rows were selected, what was dropped, and a few rows to read."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from arenaloop.errors import InputError
from arenaloop.jsonl import read_rows
from arenaloop.report.charts import Bars, bars
from arenaloop.report.documents import Documents, number
from arenaloop.report.texts import Clip, clip, one_line
from arenaloop.store import Store
from arenaloop.types import derive_seed

__all__ = ["Example", "Learned", "learned"]

_EXAMPLES = 3
_DRAWN_FROM = 200
"""rows from which the examples are drawn: files may be large"""
_TURNS = 8
_TEXT = 1_500
_STAGES = 40
"""stages that are shown in full"""


@dataclass(frozen=True, slots=True)
class Example:
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


@dataclass(frozen=True, slots=True)
class Learned:
    """One stage's accounting. `counts` are tables of (what, rows), by title."""

    name: str
    start: str | None
    trained_on: int | None
    selected: int | None
    steps: int | None
    counts: Sequence[tuple[str, Sequence[tuple[str, int, float]]]]
    gaps: Bars | None
    metrics: Sequence[tuple[str, float]]
    examples: Sequence[Example]


def learned(documents: Documents, store: Store) -> list[Learned]:
    """The accounting of every stage of a recipe, in order."""
    results: dict[str, list[dict[str, Any]]] = {}
    for name, result in store.stages():
        results.setdefault(name, []).append(result)
    files = {path.stem: path for path in sorted((documents.directory / "data").glob("*.jsonl"))}
    return [
        _stage(str(row["name"]), _result(row, results.get(str(row["name"]), [])), files.get(str(row["name"])))
        for row in documents.stages[:_STAGES]
    ]


def _result(row: Mapping[str, Any], found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The stored result that `summary.json` was written from: settings may have changed and changed back."""
    same = [r for r in found if r.get("seconds") == row.get("seconds") and r.get("rows") == row.get("rows")]
    return (same or list(found) or [{}])[-1]


def _stage(name: str, result: Mapping[str, Any], path: Path | None) -> Learned:
    selection = result.get("selection") or {}
    titles = (
        ("Learned from", "chosen_by"),
        ("Rejected", "rejected_by"),
        ("Prompts dropped", "dropped"),
        ("Rows not fit for training", None),
    )
    counts = []
    for title, key in titles:
        table = selection.get(key) if key else result.get("rows_dropped")
        if table:
            counts.append((title, _shares(table)))
    gaps = {int(gap): int(n) for gap, n in (selection.get("gap_histogram") or {}).items()}
    histogram = None
    if gaps and len(range(min(gaps), max(gaps) + 1)) <= 60:
        bins = range(min(gaps), max(gaps) + 1)
        histogram = bars([str(b) for b in bins], [[gaps.get(b, 0) for b in bins]], height=90)
    metrics = [
        (one_line(key, 40), value)
        for key, raw in list((result.get("metrics") or {}).items())[:16]
        if (value := number(raw)) is not None
    ]
    return Learned(
        name=one_line(name, 80),
        start=one_line(result["start"], 80) if result.get("start") else None,
        trained_on=result.get("rows"),
        selected=selection.get("rows"),
        steps=result.get("steps"),
        counts=counts,
        gaps=histogram,
        metrics=metrics,
        examples=_examples(path) if path else (),
    )


def _shares(table: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    rows = sorted(((one_line(name, 80), int(n)) for name, n in table.items()), key=lambda row: (-row[1], row[0]))
    total = sum(n for _, n in rows) or 1
    return [(name, n, n / total) for name, n in rows[:12]]


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
