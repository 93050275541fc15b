"""Judgements of answers compared with each other by the model that gave them, and what that comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from arenaloop.config import MetaSettings
from arenaloop.data.selection import Selection
from arenaloop.data.self_pairs import Compared
from arenaloop.judges.meta import MetaJudge, seated
from arenaloop.ratings.judge_drift import MetaDrift, meta_drift
from arenaloop.ratings.meta_rewards import MetaRewards, meta_pairs, meta_rewards, swiss_round, swiss_rounds
from arenaloop.recipes.parts import Arena, Question
from arenaloop.recipes.parts import compared as verdicts_on
from arenaloop.types import Outcome, derive_seed

__all__ = ["Comparison", "compare"]

Pairs = list[tuple[int, int]]


class Comparison(NamedTuple):
    """Rows of judgements, and how the meta-judge drifts."""

    selection: Selection
    drift: MetaDrift


def compare(
    arena: Arena, judge: MetaJudge, settings: MetaSettings, items: Sequence[Compared]
) -> tuple[list[Compared], MetaRewards, MetaDrift]:
    """Ask which judgements of each answer are the better ones, each pair in both orders.

    Returns:
        The items with the keys of their verdicts, the judgements' rewards, and the meta-judge's figures.
    """
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
    return [one._replace(verdicts=keys[p]) for p, one in enumerate(items)], rewards, drift


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
