"""A battle run as it stands in the arena file before it is through: everything that it would write at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from arenaloop.arena.adaptive import chosen_battles
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import Tournament, write_results, write_summary
from arenaloop.calls.progress import Tally
from arenaloop.jsonl import write_json
from arenaloop.store import Store
from arenaloop.terminal import counted

__all__ = ["decided_before", "so_far", "write_standing"]

_COUNTED = 50_000  # battles that are read for a line at the head of a run: a second or two


def so_far(decided: int, wanted: int) -> str:
    """``150 of 805 battles decided``."""
    return f"{decided:,} of {counted(wanted, 'battle')} decided"


def decided_before(plan: BattlePlan, store: Store | None) -> str:
    """How many battles a plan has, for the head of a run, and how many of them are decided where any is.

    Of a plan of very many battles only how many there are.
    """
    wanted = counted(plan.battles, "battle")
    if store is None or plan.battles > _COUNTED or not store.sizes()["verdicts"]:
        return wanted
    if plan.schedule.wanted is not None:
        plan = replace(plan, schedule=chosen_battles(plan, store))
    decided = sum(bool(one.winners) for one in pairings(plan, store))
    if not decided:
        return wanted
    return f"all {wanted} decided" if f"{decided:,}" == wanted.split()[0] else f"{wanted}, {decided:,} of them decided"


def write_standing(
    plan: BattlePlan,
    store: Store,
    out: Path,
    why: str,
    *,
    anchor: tuple[str, float] | None = None,
    **more: Any,
) -> tuple[Tournament, dict[str, Any]]:
    """Write ``battles.jsonl``, ``leaderboard.json`` and ``summary.json`` of a run that is not through.

    Battles that nobody was asked for yet are neither failures nor undecided; leaderboard and summary say how many there
    are to come, and why. Nothing is asked, and the arena file is only read.

    Args:
        why: it is not through, in words, such as ``the budget is spent``.
        anchor: as of `write_results`.
        more: further fields of the summary.
    """
    wanted = plan.battles
    if plan.schedule.wanted is not None:
        plan = replace(plan, schedule=chosen_battles(plan, store))
    found = write_results(plan, store, out, Tally(), anchor=anchor, under_way=True)
    found.summary.wanted = wanted
    note = f"not finished: {so_far(found.summary.decided, wanted)} ({why})"
    board = replace(found.leaderboard, notes=(*found.leaderboard.notes, note))
    write_json(out / "leaderboard.json", board.to_dict())
    summary = write_summary(out, store, found.summary, 0, stopped=why, **more)
    return replace(found, leaderboard=board), summary
