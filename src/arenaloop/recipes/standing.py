"""A recipe as it stands in its arena file before it is through: everything that it would write at its end, so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.pairings import Pairing, Summary, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.standing import so_far
from arenaloop.arena.tournament import write_results, write_summary
from arenaloop.calls.progress import Tally
from arenaloop.jsonl import write_json
from arenaloop.judges.jury import Decider
from arenaloop.judges.pooled import PooledLabels
from arenaloop.recipes.account import account
from arenaloop.recipes.alpaca_farm_pool import take_stored
from arenaloop.recipes.held_out_judge import WATCHING
from arenaloop.recipes.kept import kept_table
from arenaloop.recipes.ledger import Ledger
from arenaloop.recipes.self_rewarding_tables import drift_curves, drift_tables
from arenaloop.recipes.stage import StageResult, run_seconds
from arenaloop.recipes.under_way import LEADERBOARD, Begun, begun, plan_of
from arenaloop.store import Store
from arenaloop.terminal import counted

__all__ = ["Standing", "write_standing"]

_SAMPLES = "#"  # of a contestant's name: one of its own answers among several


class Standing(NamedTuple):
    """A recipe that is not through: its leaderboard, ``summary.json``, and how far it is, in words."""

    leaderboard: Leaderboard
    summary: Mapping[str, Any]
    told: str


def write_standing(
    store: Store,
    out: Path,
    judges: Sequence[Decider],
    why: str,
    *,
    anchor: tuple[str, float] | None = None,
    rating: Mapping[str, Any] | None = None,
) -> Standing | None:
    """Write ``battles.jsonl``, ``leaderboard.json`` and ``summary.json`` of a recipe that is not through.

    The leaderboard is that of the test set as soon as a battle there is decided; before, it rates the battles that
    stages have learned from and were watched by, as far as they are decided. Nothing is asked, and the arena file is
    only read.

    Args:
        judges: of the recipe, who decides the leaderboard first.
        why: it is not through, in words, such as ``the budget is spent``.
        anchor, rating: how the leaderboard rates.

    Returns:
        What was written; None where no invocation has noted what it does: one of an earlier version, say.
    """
    at = begun(store)
    if at is None:
        return None
    results = {
        part.name: StageResult.of(stored)
        for part in at.parts
        if part.finished and (stored := store.stage(part.name, part.key)) is not None
    }
    by_print = {judge.fingerprint: judge for judge in judges}
    plans = {part: _plans(store, part.plans, by_print) for part in at.parts}
    judged = _counts(store, plans, results)
    judged.wanted = max(judged.wanted, at.battles)
    rated, what = _rated(store, plans, judges[0])
    told = f"{_how_far(at, results)}, {so_far(judged.decided, judged.wanted)}"
    empty = BattlePlan(contestants=(), judge=judges[0], prompt_ids=(), schedule=Schedule(()))
    found = write_results(
        rated[0] if rated else empty,
        store,
        out,
        Tally(),
        anchor=anchor,
        rating=rating,
        under_way=True,
        beside=rated[1:],
    )
    board = found.leaderboard
    awaits = "" if board.battles else _awaits(at)
    if awaits:
        what = (*what, awaits)
    board = replace(board, notes=(*board.notes, *what, f"not finished: {told} ({why})"))
    write_json(out / "leaderboard.json", board.to_dict())
    ledger = Ledger(store)
    paid = {name: spent for name in (*at.stages, WATCHING, LEADERBOARD) if (spent := ledger.paid(name)) is not None}
    paid |= ledger.rest(paid)
    more = account(results, board, 0, lambda one, other: (0, 0, 0), paid)
    more |= {"awaits": awaits} if awaits else {}
    more["prose"] = [_prose(at, results, what)]
    more["tables"].insert(0, _table(at, results, plans, store))
    if any("judging" in (result.selection or {}) for result in results.values()):
        more["tables"] += drift_tables(results)
        more["curves"] += drift_curves(results)
    more["tables"] += kept_table(store.path.parent)
    summary = write_summary(out, store, judged, 0, stopped=why, progress=told, seconds=run_seconds(store), **more)
    return Standing(board, summary, told)


def _plans(store: Store, keys: Sequence[str], judges: Mapping[str, Decider]) -> list[BattlePlan]:
    found = [plan for key in keys if (plan := plan_of(store, key, judges)) is not None]
    for plan in found:
        if isinstance(plan.judge, PooledLabels):
            take_stored(plan, store)
    return found


def _asked(plan: BattlePlan, store: Store) -> list[Pairing]:
    """The battles of a plan about which anything was asked."""
    return [one for one in pairings(plan, store) if one.attribution is None or not one.attribution.unasked]


def _counts(store: Store, plans: Mapping[Any, list[BattlePlan]], results: Mapping[str, StageResult]) -> Summary:
    """Counts over all battles so far: a finished stage has its own, of the others they are read."""
    judged = Summary()
    for part, some in plans.items():
        if part.name in results:
            judged.merge(results[part.name].judged)
            continue
        for plan in some:
            unasked = plan.battles
            for one in _asked(plan, store):
                judged.add(one)
                unasked -= 1
            judged.wanted += unasked
    return judged


def _rated(
    store: Store, plans: Mapping[Any, list[BattlePlan]], judge: Decider
) -> tuple[list[BattlePlan], tuple[str, ...]]:
    """The plans whose battles are rated, and what is to be said of that."""
    own = {
        part.name: [one for one in some if one.judge.fingerprint == judge.fingerprint] for part, some in plans.items()
    }
    last = own.pop(LEADERBOARD, [])
    if any(one.battles for plan in last for one in pairings(plan, store)):
        return last, ()
    before = [plan for some in own.values() for plan in some if not any(_SAMPLES in c.name for c in plan.contestants)]
    if not before:
        return last, ()
    return before, ("these are battles on the way, in training and validation: on the test set none is decided yet",)


def _how_far(at: Begun, results: Mapping[str, StageResult]) -> str:
    done = sum(name in results for name in at.stages)
    return f"{done} of {counted(len(at.stages), 'stage')} through"


def _awaits(at: Begun) -> str:
    """Where the battles come from that rate a recipe of which none is decided."""
    if any(part.name == LEADERBOARD for part in at.parts):
        return f"no battle is decided yet; the {at.battles:,} of the leaderboard have begun"
    return (
        f"no battle is decided yet; the leaderboard's, on held-out prompts, come after the last stage, {at.stages[-1]}"
    )


def _prose(at: Begun, results: Mapping[str, StageResult], what: Sequence[str]) -> str:
    """A paragraph on what is through and what is not."""
    done = [name for name in at.stages if name in results]
    going = at.open
    left = [name for name in at.stages if name not in results and (going is None or name != going.name)]
    told = f"Of {counted(len(at.stages), 'stage')} {', '.join(done) if done else 'none'} {_is(done)} through"
    if going is not None:
        told += f"; {going.name} was begun"
    if left:
        told += f"; {', '.join(left)} {_is(left)} to come"
    return told + "." + "".join(f" Ratings: {line}." for line in what)


def _is(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _table(
    at: Begun, results: Mapping[str, StageResult], plans: Mapping[Any, list[BattlePlan]], store: Store
) -> dict[str, Any]:
    """What is through, what was begun, and what is to come, with the battles of each."""
    rows: list[list[Any]] = []
    for part, some in plans.items():
        if part.name in results:
            judged = results[part.name].judged
            decided, wanted = judged.decided, judged.wanted
        else:
            decided = sum(bool(one.battles) for plan in some for one in pairings(plan, store))
            wanted = sum(plan.battles for plan in some)
        rows.append([part.name, "through" if part.finished else "begun", decided, wanted])
    known = {part.name for part in at.parts}
    rows += [[name, "to come", None, None] for name in (*at.stages, LEADERBOARD) if name not in known]
    return {
        "title": "How far it is",
        "columns": ["stage", "", "battles decided", "of"],
        "rows": rows,
        "note": "The command that began the run goes on: nothing is trained or asked twice.",
    }
