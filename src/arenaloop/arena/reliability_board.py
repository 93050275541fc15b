"""The leaderboard of a jury whose members weigh what a joint fit finds them worth."""

from __future__ import annotations

from dataclasses import replace

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.leaderboard import best_first, ranked
from arenaloop.arena.worth import worth_of
from arenaloop.data.judged_votes import JudgedVotes
from arenaloop.errors import ConfigError
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.reliability import fit_reliability

__all__ = ["reliability_board"]


def reliability_board(
    votes: JudgedVotes,
    battles: Battles | None = None,
    *,
    cluster: str | None = None,
    anchor: tuple[str, float] | None = None,
    level: float = 0.95,
) -> Leaderboard:
    """Rate models and judges jointly; see `ratings.reliability`.

    Args:
        votes: of several judges.
        battles: what the votes came to, for the counts and win rates on the board; the votes themselves by default.
        cluster, anchor, level: as of `leaderboard`.

    Raises:
        ConfigError: a setting that cannot be.
    """
    table = votes.battles
    counted = table if battles is None else battles
    notes = [*counted.notes, *(note for note in table.notes if note not in counted.notes), *table.weight_notes()]
    if cluster not in (None, "prompt", "battle"):
        raise ConfigError(f"cluster must be prompt or battle, not {cluster!r}")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie strictly between 0 and 1, not {level}")
    if cluster is None:
        cluster = "battle" if table.cluster is None else "prompt"
        if cluster == "battle":
            notes.append("no prompt_id: intervals take every vote as independent, of several judges on one battle too")
    try:
        found = fit_reliability(table, votes.judge, votes.judges, cluster=cluster, level=level, equal=votes.equal)
        spread = found.intervals
        origin = spread.settled()
        rating = spread.fit.ratings(anchor=anchor, origin=origin)
        lower, upper = spread.bounds(anchor=anchor, level=level, origin=origin)
        notes += [*found.notes, *spread.notes(anchor=anchor, origin=origin)]
    except ValueError as error:
        raise ConfigError(str(error)) from None
    worth = worth_of(
        table,
        spread,
        best_first(rating),
        cluster=cluster,
        level=level,
        plain=False,
        games=votes.games,
    )
    rows = ranked(table, rating, lower, upper, None, None, worth)
    if battles is not None:
        fought, won = battles.per_model()
        own = {name: (int(fought[code]), float(won[code])) for code, name in enumerate(battles.models)}
        rows = tuple(
            replace(row, battles=own[row.model][0], win_rate=own[row.model][1] if own[row.model][0] else None)
            for row in rows
        )
    return Leaderboard(
        method="bt",
        interval="sandwich",
        level=level,
        cluster=cluster,
        battles=len(counted),
        ties=counted.ties,
        skipped=counted.skipped,
        notes=tuple(notes),
        rows=rows,
        worth=worth,
        judges=found.judges,
        votes=len(table),
    )
