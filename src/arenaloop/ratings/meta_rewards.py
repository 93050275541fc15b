"""Rewards of judgements: what a meta-judge's verdicts on pairs of them come to (arXiv 2407.19594, section 2.3).

Every judgement of one answer meets others in both orders. A win is weighed against the meta-judge's preference for a
seat, and Bradley-Terry strengths over the weighed wins are the judgements' rewards. Pure functions over many answers at
once: P answers of N judgements each, those of answers that have fewer padded with judgements that met nobody.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray
from arenaloop.ratings.bradley_terry import fit_batch

__all__ = [
    "MetaRewards",
    "SeatWeights",
    "WeightScope",
    "battle_matrix",
    "meta_pairs",
    "meta_rewards",
    "most_varied",
    "seat_weights",
    "swiss_round",
    "swiss_rounds",
]

WeightScope = Literal["global", "response"]
"""Over what the seat weights are taken: all verdicts of an iteration, or those on one answer."""

_TOLERANCE = 1e-9


class SeatWeights(NamedTuple):
    """What a win counts, by the seat that it was won from.

    Attributes:
        first, second: the weights, which sum to 1; of shape (), or (P,) where each answer has its own.
        won_first, won_second: verdicts for either seat that they are made of, of the same shape.
    """

    first: FloatArray
    second: FloatArray
    won_first: IntArray
    won_second: IntArray


class MetaRewards(NamedTuple):
    """Attributes:
    rewards: strengths in nats, shape (P, N); each answer's sum to 0, and a judgement that met nobody has 0.
    met: which judgements have met another one with an outcome, shape (P, N).
    weights: of the seats.
    """

    rewards: FloatArray
    met: BoolArray
    weights: SeatWeights


def _outcomes(outcomes: npt.ArrayLike) -> npt.NDArray[np.int8]:
    r = np.array(outcomes)
    if r.ndim != 3 or r.shape[1] != r.shape[2]:
        raise ValueError(f"outcomes must have shape (P, N, N), not {r.shape}")
    if not np.isin(r, (-1, 0, 1)).all():
        raise ValueError("outcomes are 1 (the first seat won), -1 (the second) or 0 (neither, or no verdict)")
    codes = r.astype(np.int8)
    codes[:, np.arange(r.shape[1]), np.arange(r.shape[1])] = 0
    return codes


def seat_weights(outcomes: npt.ArrayLike, scope: WeightScope = "global", floor: float = 0.0) -> SeatWeights:
    """Weights that take the seat's advantage out: ``w1 = wins second / all wins``, ``w2 = wins first / all wins``.

    Args:
        outcomes: r[p, m, n], where judgement m sat first and n second: 1 where m won, -1 where n did, 0 where there is
            no winner; shape (P, N, N), diagonals ignored.
        scope: over what wins are counted.
        floor: no weight is less than this, at most one half; with 0 a seat that never wins leaves the other one's wins
            without weight.

    Raises:
        ValueError: outcomes of another shape or with other values, or a floor outside [0, 0.5].
    """
    if not 0 <= floor <= 0.5:
        raise ValueError(f"the floor of a weight lies between 0 and 0.5, not at {floor}")
    r = _outcomes(outcomes)
    axes = (1, 2) if scope == "response" else None
    first, second = (np.asarray((r == code).sum(axis=axes), dtype=np.int64) for code in (1, -1))
    total = first + second
    share = np.where(total > 0, second / np.maximum(total, 1), 0.5)
    weight = np.clip(share, floor, 1 - floor)
    return SeatWeights(weight, 1 - weight, first, second)


def battle_matrix(outcomes: npt.ArrayLike, weights: SeatWeights) -> FloatArray:
    """Weighed wins ``B[m, n] = w1 [r_mn = 1] + w2 [r_nm = -1]``: m won from the first seat, and from the second.

    Nothing is subtracted and B is not symmetric; a judgement that beat another one in both orders has 1.

    Returns:
        Shape (P, N, N), zero diagonals.
    """
    r = _outcomes(outcomes)
    first, second = (np.broadcast_to(each, len(r))[:, None, None] for each in (weights.first, weights.second))
    return first * (r == 1) + second * (r == -1).transpose(0, 2, 1)


def meta_rewards(
    outcomes: npt.ArrayLike, *, scope: WeightScope = "global", floor: float = 0.0, l2: float = 0.01
) -> MetaRewards:
    """The rewards of all judgements: ``argmax sum B_mn ln sigma(e_m - e_n) - l2/2 |e|^2`` over each answer's.

    Args:
        outcomes, scope, floor: as of `seat_weights`.
        l2: the ridge, more than 0: it keeps a judgement finite that never lost, or never won.

    Raises:
        ValueError: as of `seat_weights`, or a ridge of 0.
    """
    r = _outcomes(outcomes)
    weights = seat_weights(r, scope, floor)
    decided = r != 0
    met = (decided | decided.transpose(0, 2, 1)).any(axis=2)
    # the ridge makes each answer's rewards sum to 0 by itself, so judgements that met nobody move no others
    return MetaRewards(fit_batch(battle_matrix(r, weights), l2=l2), met, weights)


def most_varied(scores: npt.ArrayLike, draws: npt.ArrayLike) -> int | None:
    """Which answer's scores vary most, of one prompt's; None where none varies.

    Args:
        scores: shape (K, N), NaN where there is no score; the variance is over those that are there.
        draws: shape (K,), lots of the answers: of several that vary most, the one with the lowest is taken.
    """
    s = np.asarray(scores, dtype=np.float64)
    there = np.isfinite(s)
    n = np.maximum(there.sum(axis=1), 1)
    mean = np.where(there, s, 0.0).sum(axis=1) / n
    variance = (np.where(there, s - mean[:, None], 0.0) ** 2).sum(axis=1) / n
    if not len(variance) or variance.max() <= _TOLERANCE:
        return None
    most = np.flatnonzero(variance >= variance.max() - _TOLERANCE)
    return int(most[np.argmin(np.asarray(draws)[most])])


def meta_pairs(n: int, pairs: Literal["all"] | int, seed: int) -> Iterator[tuple[int, int]]:
    """Which of an answer's judgements meet; each pair is then asked about in both orders.

    Args:
        n: how many judgements there are.
        pairs: ``"all"``, n (n - 1) / 2 of them; or k, so that each judgement meets k others around a drawn circle (one
            of them k - 1, where k and n are odd; all meet where k >= n - 1).
        seed: of the drawn order.
    """
    if pairs == "all" or pairs >= n - 1:
        yield from combinations(range(n), 2)
        return
    order = np.random.default_rng(seed).permutation(n).tolist()
    met = [(i, i + step) for step in range(1, pairs // 2 + 1) for i in range(n)]
    if pairs % 2:  # across the circle
        met += [(i, i + n // 2) for i in range(n // 2)]
    placed = [(order[i % n], order[j % n]) for i, j in met]
    yield from sorted({(min(pair), max(pair)) for pair in placed})


def swiss_rounds(n: int) -> int:
    """After how many rounds of a Swiss tournament one of n has won them all, and one none."""
    return max(1, math.ceil(math.log2(n))) if n > 1 else 0


def swiss_round(points: Sequence[float], met: Collection[tuple[int, int]], seed: int) -> list[tuple[int, int]]:
    """The next round of a Swiss tournament: whoever stands close to each other and has not met yet meets.

    Args:
        points: of each judgement so far; equal ones are ordered by lot.
        met: pairs (smaller index first) of earlier rounds.
        seed: of the lots of this round.
    """
    lots = np.random.default_rng(seed).permutation(len(points))
    waiting = sorted(range(len(points)), key=lambda i: (-points[i], lots[i]))
    pairs = []
    while waiting:
        one = waiting.pop(0)
        fresh = [other for other in waiting if (min(one, other), max(one, other)) not in met]
        if fresh:  # who has met all that are left rests
            waiting.remove(fresh[0])
            pairs.append((min(one, fresh[0]), max(one, fresh[0])))
    return sorted(pairs)
