"""Battles that stand in a file more than once: a file of ours that was put behind itself counts once.

Our own rows name the verdicts behind them, which no two battles of two models share; votes of people have no such
names, and equal ones are honest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow
from arenaloop.text_files import row_error

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Once", "once"]

_WHY = "two outcomes of one battle (the same verdicts), of which one was changed"


class Once:
    """Rows of ``battles.jsonl`` without their repetitions; `repeated` counts them.

    Args:
        source: the file, for errors.
    """

    def __init__(self, source: str) -> None:
        self.source, self.repeated = source, 0

    def rows(self, rows: Iterable[tuple[int, JsonRow]]) -> Iterator[tuple[int, JsonRow]]:
        """The rows that stand for themselves; raises InputError where two of one battle differ."""
        seen: dict[tuple[Any, ...], Any] = {}
        for line, row in rows:
            verdicts = row.get("verdicts")
            if isinstance(verdicts, list) and verdicts:
                battle = (row.get("model_a"), row.get("model_b"), *map(str, verdicts))
                if battle in seen:
                    if seen[battle] != row.get("winner"):
                        raise row_error(self.source, line, _WHY)
                    self.repeated += 1
                    continue
                seen[battle] = row.get("winner")
            yield line, row

    @property
    def notes(self) -> list[str]:
        """What a reader of the ratings should know."""
        return [repeated_note(self.repeated)] if self.repeated else []


def repeated_note(count: int) -> str:
    """How many rows were left out because they stand in the file already."""
    return f"{count:,} rows repeat a battle that the file holds already (the same verdicts) and count once"


def once(frame: pl.DataFrame, source: str) -> tuple[pl.DataFrame, list[str]]:
    """A frame with the column `verdicts` without repetitions, and what is to be said; errors as of `Once.rows`."""
    import polars as pl

    battle = pl.concat_str(
        [pl.col("model_a"), pl.col("model_b"), pl.col("verdicts").list.join("\n")], separator="\n", ignore_nulls=True
    ).alias("battle")
    known = frame.select(battle, pl.col("verdicts").list.len().fill_null(0).alias("named"), "winner").with_columns(
        again=~pl.col("battle").is_first_distinct() & (pl.col("named") > 0)
    )
    count = int(known["again"].sum())
    if not count:
        return frame, []
    named = known.filter(pl.col("named") > 0)
    if named.select("battle", "winner").n_unique() > named["battle"].n_unique():
        raise InputError(f"{source}: {_WHY}")
    return frame.filter(~known["again"]), [repeated_note(count)]
