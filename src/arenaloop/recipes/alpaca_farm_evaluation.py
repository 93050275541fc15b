"""AlpacaFarm's evaluation: every policy against the baseline, by a judge or by a pool of annotators.

Either way it ends in the battles of one plan. The pairs with their labels are also written as label files, to audit the
evaluator with, and for people to label: ``data/evaluation.jsonl`` holds what the evaluator said, ``data/truth.jsonl``,
where the truth is known, what it says of the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from arenaloop.arena.matchmaking import target_pairs
from arenaloop.arena.pairings import battles_by_prompt
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import Tournament, run_tournament, write_results
from arenaloop.calls.answers import Contestant
from arenaloop.calls.progress import Tally
from arenaloop.data.formats.pairs import pair_row
from arenaloop.jsonl import write_jsonl
from arenaloop.judges.pooled import PooledLabels
from arenaloop.recipes.alpaca_farm_pool import label_all, read_by_pool
from arenaloop.recipes.parts import Arena, Utility, answer
from arenaloop.recipes.under_way import LEADERBOARD, begin_battles, begin_part
from arenaloop.store import Store
from arenaloop.types import Prompt, Response

__all__ = ["evaluate", "true_score", "write_labels"]


def evaluate(
    arena: Arena, fighters: Sequence[Contestant], baseline: str, prompts: Sequence[Prompt], out: Path
) -> tuple[BattlePlan, Tournament]:
    """Ask for every battle of the fighters with the baseline, and write the leaderboard.

    Raises:
        StoppedError: the budget is spent, a server is down or the disk is full; what was stored stays.
    """
    plan = arena.plan(fighters, [p.id for p in prompts], target_pairs([one.name for one in fighters], baseline))
    begin_part(arena.store, LEADERBOARD, LEADERBOARD)
    if not isinstance(arena.judge, PooledLabels):
        begin_battles(arena.store, plan)
        return plan, run_tournament(plan, arena.store, out, on_progress=arena.observer.tally, budget=arena.budget)
    plan = read_by_pool(plan)
    begin_battles(arena.store, plan)
    for one in fighters:
        answer(arena, one, prompts)
    label_all(arena, plan)
    return plan, write_results(plan, arena.store, out, Tally())


def true_score(utility: Utility, prompt: Prompt, mine: Response, against: Response) -> float | None:
    """What the truth gives the first of two answers: 1, 0, or 0.5 of equal ones; None where it is unknown."""
    one, other = utility(prompt, mine), utility(prompt, against)
    if one is None or other is None:
        return None
    lead = one - other
    return 0.5 if abs(lead) < 1e-9 else float(lead > 0)


def write_labels(plan: BattlePlan, store: Store, baseline: str, utility: Utility | None, out: Path) -> None:
    """Write the pairs of the evaluation as label files: by the evaluator, and by the truth."""
    write_jsonl(out / "evaluation.jsonl", (row for row, _ in _rows(plan, store, baseline, None)))
    if utility is not None:
        write_jsonl(out / "truth.jsonl", (row for _, row in _rows(plan, store, baseline, utility) if row))


def _rows(
    plan: BattlePlan, store: Store, baseline: str, utility: Utility | None
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Of each pair of answers the row with the evaluator's preference, and the one with the truth's."""
    for prompt, responses, pairings in battles_by_prompt(plan, store):
        against = responses.get(baseline)
        for pairing in pairings:
            name = pairing.model_b if pairing.model_a == baseline else pairing.model_a
            mine = responses.get(name)
            if mine is None or against is None or not (mine.battles and against.battles):
                continue
            pair = pair_row(prompt, replace(mine, model=name), replace(against, model=baseline))
            won = [battle.winner.score for battle in pairing.battles]
            share = sum(won) / len(won) if won else None
            if share is not None and pairing.model_a == baseline:
                share = 1.0 - share
            preference = None if share is None else 2.0 - share
            true = None if utility is None else true_score(utility, prompt, mine, against)
            yield pair | _said(plan.judge.name, preference), {} if true is None else pair | _said("truth", 2.0 - true)


def _said(annotator: str, preference: float | None) -> dict[str, Any]:
    return {"annotator": annotator, "preference": preference}
