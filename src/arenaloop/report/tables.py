"""Tables of ``summary.json`` as the page shows them: cells as words, whatever stands in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arenaloop.report.texts import one_line

__all__ = ["Table", "counts_of", "table"]

_ROWS, _COLUMNS = 200, 16
_COUNTS = 12
"""names that a table of counts shows, the most frequent ones"""


class Table(NamedTuple):
    """A table. Cells are texts, or numbers as they stand; None where there is none."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float | None]]
    rows_left_out: int
    note: str


def table(value: Mapping[str, Any]) -> Table:
    """A table of ``summary.json``: ``title``, ``columns``, ``rows`` and perhaps a ``note``."""
    columns, rows = (some if isinstance(some := value.get(key), list) else [] for key in ("columns", "rows"))
    cells = [[_cell(cell) for cell in row[:_COLUMNS]] for row in rows[:_ROWS] if isinstance(row, list)]
    return Table(
        title=one_line(value.get("title", ""), 200),
        columns=[one_line(name) for name in columns[:_COLUMNS]],
        rows=cells,
        rows_left_out=max(0, len(rows) - _ROWS),
        note=one_line(value.get("note") or "", 2_000),
    )


def _cell(value: Any) -> str | int | float | None:
    plain = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return value if plain else one_line(value, 200)


def counts_of(value: Table) -> list[tuple[str, int, float]]:
    """(name, count, share of all) of a table that holds nothing but names and counts; else nothing."""
    rows = [(row[0], row[1]) for row in value.rows if len(row) == 2]
    counts = [(name, n) for name, n in rows if isinstance(name, str) and isinstance(n, int) and n >= 0]
    if len(counts) < len(value.rows):
        return []
    total = sum(n for _, n in counts) or 1
    return [(name, n, n / total) for name, n in counts[:_COUNTS]]
