"""What stands under a leaderboard: how the models were rated, and how each fared against each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arenaloop.report.documents import number
from arenaloop.report.shown_battles import Picks
from arenaloop.report.texts import one_line
from arenaloop.terminal import counted

__all__ = ["Cell", "caption", "pairs_of"]


class Cell(NamedTuple):
    """One model's battles against another."""

    won: int
    tied: int
    lost: int

    @property
    def rate(self) -> float | None:
        """The win rate, a tie being half a win; None if they never met."""
        return (self.won + self.tied / 2) / sum(self) if any(self) else None

    @property
    def shade(self) -> int:
        """From -10 (always lost) to 10 (always won), for the colour."""
        return 0 if self.rate is None else round(20 * (self.rate - 0.5))


def pairs_of(names: Sequence[str], picks: Picks) -> list[list[Cell | None]]:
    """Each model of the rows against each of the columns; None against itself."""
    return [[None if one == other else Cell(*picks.record(one, other)) for other in names] for one in names]


def caption(board: Mapping[str, Any]) -> str:
    """How the models were rated, in one line."""
    method = {"bt": "Bradley–Terry by maximum likelihood", "elo": "Elo, averaged over orders"}.get(
        board["method"], one_line(board["method"], 40)
    )
    cluster = one_line(board["cluster"], 40)
    clustered = "every battle on its own" if cluster == "battle" else f"clustered by {cluster}"
    level = number(board.get("level"))
    intervals = f"{100 * level:g} % intervals" if level is not None else "intervals"
    skipped = f", {board['skipped']:,} skipped" if board.get("skipped") else ""
    judges, votes = board.get("judges"), number(board.get("votes"))
    if isinstance(judges, list) and judges and votes is not None:
        method += f" with {votes:,.0f} votes of {counted(len(judges), 'fitted judge')}"
    return (
        f"{counted(board['battles'], 'battle')}, {counted(board['ties'], 'tie')}{skipped} · {method} · "
        f"{intervals} ({one_line(board['interval'], 40)}, {clustered})"
    )
