"""Battles that stand in a file more than once: a file of ours that was put behind itself counts once.

Our own rows name the verdicts behind them, which no two battles of two models share. A battle lost by own failure has
as many rows as the file has of a decided one. Votes of people have no such names, and equal ones are honest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from arenaloop.ratings.arrays import BoolArray
from arenaloop.ratings.cells import LeftOut, Place

if TYPE_CHECKING:
    import polars as pl

__all__ = ["OWN_COLUMNS", "once", "own_frame"]

OWN_COLUMNS = ("model_a", "model_b", "winner", "prompt_id", "verdicts", "own_failure")
"""What tells one battle of ours from another."""

_PAIR = ("prompt_id", "model_a", "model_b")
_ODD = "rows of one battle that name different winners"


def own_frame(cells: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """A frame for `once` of a file's rows, column by column; those that are missing are null."""
    import polars as pl

    count = len(cells["model_a"])
    columns = {name: [_text(cell) for cell in cells.get(name, [None] * count)] for name in OWN_COLUMNS}
    return pl.DataFrame(columns, schema=dict.fromkeys(OWN_COLUMNS, pl.String))


def _text(cell: object) -> str | None:
    """A cell as polars takes it, which holds no lone surrogates."""
    if cell is None:
        return None
    return json.dumps(cell) if isinstance(cell, list) else str(cell).encode("utf-8", "backslashreplace").decode()


def once(frame: pl.DataFrame, place: Place) -> tuple[BoolArray | None, list[str]]:
    """Which of our own rows count: each battle once, and none of which two rows name different winners.

    Args:
        frame: N rows with `OWN_COLUMNS`, all texts; a row's verdicts as JSON writes them (a list takes longer to read).
        place: where row i (from 0) stands.

    Returns:
        Shape (N,), None where all count; and what is to be said.

    Raises:
        ValueError: more than `UNKNOWN_SHARE` of the rows are in doubt.
    """
    import polars as pl

    if frame["own_failure"].null_count() == frame.height == frame["verdicts"].n_unique():
        return None, []  # nearly always
    rows = frame.with_row_index("row")
    lost = rows.filter(pl.col("own_failure").is_not_null())
    named = rows.filter(pl.col("own_failure").is_null() & ~pl.col("verdicts").fill_null("[]").is_in(["[]", ""]))
    battle = [*_PAIR, "verdicts"]
    first = named.unique(battle, keep="first")
    games = first.group_by(_PAIR).len()["len"].max()  # two where each seat's verdict is a battle of its own
    again = [named.join(first, on="row", how="anti")]
    if isinstance(games, int):
        again.append(lost.filter(pl.col("row").cum_count().over(*_PAIR, "own_failure") > games))
    odd = pl.concat([_at_odds(named, battle), _at_odds(lost, _PAIR)])
    repeated = pl.concat(again).join(odd, on="row", how="anti")
    doubt = LeftOut("one outcome")
    for number, row in enumerate(odd["row"].sort()):
        doubt.add(_ODD, "" if number else place(row))  # a place may be looked for in the whole file
    notes = doubt.notes(frame.height)
    if count := repeated.height:
        notes.append(f"{count:,} {'row repeats' if count == 1 else 'rows repeat'} a battle of this file and count once")
    if not notes:
        return None, []
    gone = pl.concat([odd["row"], repeated["row"]])
    return ~rows["row"].is_in(gone.implode()).to_numpy(), notes


def _at_odds(rows: pl.DataFrame, battle: Sequence[str]) -> pl.DataFrame:
    """The rows of battles with more than one winner."""
    import polars as pl

    return rows.filter(pl.col("winner").n_unique().over(*battle) > 1)
