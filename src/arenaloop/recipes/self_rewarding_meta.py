"""Judgements of answers compared with each other by the model that gave them, and what that comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arenaloop.config import MetaSettings
from arenaloop.data.selection import Selection
from arenaloop.data.self_pairs import Compared, Scored, distinct, judge_rows
from arenaloop.judges.meta import MetaJudge, seated
from arenaloop.ratings.judge_drift import MetaDrift, meta_drift
from arenaloop.ratings.meta_rewards import (
    MetaRewards,
    meta_pairs,
    meta_rewards,
    most_varied,
    swiss_round,
    swiss_rounds,
)
from arenaloop.recipes.parts import Arena, Question
from arenaloop.recipes.parts import compared as verdicts_on
from arenaloop.recipes.self_rewarding_plan import meta_of, of_iteration
from arenaloop.recipes.self_rewarding_run import Run
from arenaloop.recipes.self_rewarding_scores import Judged
from arenaloop.types import Outcome, Prompt, derive_seed

__all__ = ["Met", "compare", "meta_rows", "own_judgements", "to_compare"]

Pairs = list[tuple[int, int]]


class Met(NamedTuple):
    """Judgements that met each other.

    Attributes:
        items: the answers and their judgements, with the keys of the verdicts on them.
        outcomes: shape (P, N, N), as of `meta_rewards.seat_weights`. `scores`: of the judgements, shape (P, N), NaN
            where there is none.
        rewards: of the judgements. `drift`: how the meta-judge drifts.
    """

    items: list[Compared]
    outcomes: npt.NDArray[np.int8]
    scores: npt.NDArray[np.float64]
    rewards: MetaRewards
    drift: MetaDrift


def to_compare(r: Run, before: str, prompt: Prompt, one: Scored) -> Compared:
    """An answer's judgements by the model before, no two with the same words, as they are to meet."""
    said = distinct(judgement for judgement in map(r.arena.store.judgement, one.keys) if judgement is not None)
    rubric = r.recipe.rubric(before, r.path(before))
    return Compared(
        prompt, one.response, rubric.request(prompt, one.response, secret=r.shown, seed=0).messages, said, ()
    )


def own_judgements(r: Run, before: str, scored: Judged) -> tuple[list[Compared], int]:
    """The judgements of each prompt's most varied answer, and how many prompts have none whose scores vary."""
    s, items, unvaried = r.recipe.settings, list[Compared](), 0
    votes = s.self_judge.votes
    for prompt, some in scored:
        unique = list({one.response.text_hash: one for one in some}.values())
        padded = [[*one.scores, *[float("nan")] * (votes - len(one.scores))] for one in unique]
        lots = [derive_seed("varied", s.seed, prompt.id, one.response.text_hash) for one in unique]
        at = most_varied(padded, lots) if unique else None
        if at is None:
            unvaried += 1
        else:
            items.append(to_compare(r, before, prompt, unique[at]))
    return items, unvaried


def meta_rows(r: Run, number: int, before: str, met: Met, unvaried: int) -> Selection:
    """The pairs of judgements that an iteration, from 1, would learn from."""
    meta = meta_of(r.recipe.settings)
    assert meta is not None
    selection = judge_rows(
        met.items,
        met.rewards,
        model=before,
        max_chosen=of_iteration(meta.max_chosen, number),
        require_score_diff=meta.require_score_diff,
    )
    if unvaried:
        selection.dropped["scores do not vary"] += unvaried
    return selection


def compare(arena: Arena, judge: MetaJudge, settings: MetaSettings, items: Sequence[Compared]) -> Met:
    """Ask which judgements of each answer are the better ones, each pair in both orders."""
    size = max((len(one.judgements) for one in items), default=0)
    outcomes = np.zeros((len(items), size, size), dtype=np.int8)
    keys: list[list[str]] = [[] for _ in items]
    asked = 0

    def ask(pairs: Sequence[Pairs]) -> None:
        nonlocal asked
        seatings = [(p, *seats) for p, some in enumerate(pairs) for m, n in some for seats in ((m, n), (n, m))]
        found = verdicts_on(arena, judge, [_question(items[p], m, n) for p, m, n in seatings], settings.reask)
        asked += len(seatings)
        for (p, m, n), verdict in zip(seatings, found, strict=True):
            if verdict is not None and verdict.outcome is not None:
                outcomes[p, m, n] = {Outcome.A: 1, Outcome.B: -1}.get(verdict.outcome, 0)
                keys[p].append(verdict.key)

    seed = arena.settings.seed
    if settings.pairs == "tournament":
        _tournament(items, outcomes, seed, ask)
    else:
        ask([list(meta_pairs(len(one.judgements), settings.pairs, _seed(seed, one, 0))) for one in items])
    rewards = meta_rewards(outcomes, scope=settings.weight_scope, floor=settings.weight_floor, l2=settings.l2)
    scores = np.full(outcomes.shape[:2], np.nan)
    for p, one in enumerate(items):
        scores[p, : len(one.judgements)] = [judgement.score for judgement in one.judgements]
    drift = meta_drift(outcomes, scores, asked, rewards.weights)
    return Met([one._replace(verdicts=keys[p]) for p, one in enumerate(items)], outcomes, scores, rewards, drift)


def _question(one: Compared, m: int, n: int) -> Question:
    return one.prompt, one.response, seated(one.judgements[m]), seated(one.judgements[n])


def _seed(seed: int, one: Compared, round_: int) -> int:
    return derive_seed("meta pairs", seed, one.prompt.id, one.response.text_hash, round_)


def _tournament(items: Sequence[Compared], outcomes: np.ndarray, seed: int, ask: object) -> None:
    """Rounds of a Swiss tournament, all answers' at once; each depends on what the one before came to."""
    assert callable(ask)
    met: list[set[tuple[int, int]]] = [set() for _ in items]
    rounds = [swiss_rounds(len(one.judgements)) for one in items]
    for round_ in range(max(rounds, default=0)):
        pairs: list[Pairs] = []
        for p, one in enumerate(items):
            n = len(one.judgements)
            won = outcomes[p, :n, :n]
            points = (won == 1).sum(axis=1) + (won == -1).sum(axis=0)
            drawn = swiss_round(points.tolist(), met[p], _seed(seed, one, round_)) if round_ < rounds[p] else []
            met[p] |= {*drawn}
            pairs.append(drawn)
        ask(pairs)
