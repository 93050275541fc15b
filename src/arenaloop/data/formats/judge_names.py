"""Whose judgments the rows of a file are: one of several judges is chosen, and several that are pooled are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from arenaloop.data.formats.judgment_kinds import KINDS, annotated
from arenaloop.data.formats.whole_judgments import is_single_score
from arenaloop.errors import nearest
from arenaloop.jsonl import JsonRow

__all__ = ["judge_of", "of_judges"]

_SHOWN = 8  # judges in one line


def judge_of(row: Mapping[str, Any]) -> str | None:
    """The judge that a row names, of FastChat's pair of judge and prompt the former; None where it names none."""
    cell = row.get("judge", row.get("annotator"))
    if isinstance(cell, list) and cell:
        cell = cell[0]
    name = str(cell).strip() if isinstance(cell, str | int) else ""
    return name or None


def of_judges(
    rows: Iterable[tuple[int | str, JsonRow]], judges: Sequence[str], notes: list[str]
) -> Iterator[tuple[int | str, JsonRow]]:
    """The rows of some judges, all rows where none is named.

    Args:
        rows: (line, row).
        judges: names.
        notes: gets, once all rows have been drawn, a line on judgments of several models that are taken together.
            People, whose names are numbers or who vote in plain tables, and simulated annotators are no such judges.

    Raises:
        ValueError: a judge of that name is not there, or the rows name none.
    """
    there: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    singles: Counter[str] = Counter()
    for line, row in rows:
        if (name := judge_of(row)) is not None:
            there[name] += 1
        if judges and name not in judges:
            continue
        if name is not None and not name.isdigit():
            if is_single_score(row):
                singles[name] += 1
            elif not annotated(row) and any(set(kind.keys) <= row.keys() for kind in KINDS):
                pairs[name] += 1
        yield line, row
    if missing := next((name for name in judges if name not in there), None):
        if not there:
            raise ValueError(f"no judge {missing!r}: its rows name no judge")
        raise ValueError(f"no judge {missing!r}{nearest(missing, list(there))} (there are {_named(there)})")
    pooled = pairs or singles
    if len(pooled) > 1:
        notes.append(
            f"judgments of {len(pooled):,} judges are pooled: {_named(pooled)}; --judge NAME takes one, --by judge "
            "shows each"
        )


def _named(judges: Counter[str]) -> str:
    more = f" and {len(judges) - _SHOWN:,} more" if len(judges) > _SHOWN else ""
    return ", ".join(f"{name} ({count:,} rows)" for name, count in judges.most_common(_SHOWN)) + more
