"""Online Elo: for trajectories, and averaged over orders for those who want Elo and not its dependence on order.

    r_a += k (s_a - 1 / (1 + 10^((r_b - r_a) / 400)))        (Elo 1978)

Bradley–Terry by maximum likelihood is the better estimate of a fixed strength; Elo follows a strength that moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.battles import Battles

__all__ = ["EloOrders", "battles_to_settle", "elo", "elo_orders", "trajectory"]

_BLOCK = 1 << 25
"""Entries of the orders x battles matrix that are held at once."""
_K, _START, _SCALE = 4.0, 1000.0, 400.0
"""Points of a battle at most, the rating that all begin with, and the points of odds of ten to one: Chatbot Arena's."""


def elo(battles: Battles) -> FloatArray:
    """Ratings after all battles in their own order, shape (K,). Weights multiply K, the points of a battle."""
    return trajectory(battles, every=max(len(battles), 1))[-1]


def trajectory(battles: Battles, *, every: int = 100) -> FloatArray:
    """Ratings at the start, after each `every` battles, and at the end; shape (1 + ceil(N / every), K).

    Raises:
        ValueError: `every` is below 1.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, not {every}")
    rating = [_START] * len(battles.models)
    out = [list(rating)]
    weight = [1.0] * len(battles) if battles.mass is None else battles.mass.tolist()
    factor = np.log(10.0) / _SCALE
    exp = np.exp
    # one battle at a time by nature; plain floats are faster here than arrays of one
    rows = zip(battles.a.tolist(), battles.b.tolist(), battles.score_a.tolist(), weight, strict=True)
    for count, (a, b, score, w) in enumerate(rows, start=1):
        change = _K * w * (score - 1.0 / (1.0 + float(exp(factor * (rating[b] - rating[a])))))
        rating[a] += change
        rating[b] -= change
        if count % every == 0:
            out.append(list(rating))
    if len(battles) % every:
        out.append(list(rating))
    return np.array(out)


def battles_to_settle(*, k: float = _K, left: float = 0.05) -> int:
    """Battles that a model needs against settled, equal opponents until a share `left` of its way remains.

    A battle moves the mean rating by k p' of what is missing, p' = ln 10 / 1,600 the slope of the expected score at
    even odds. At uneven odds it is more.
    """
    return int(np.ceil(np.log(left) / np.log1p(-k * np.log(10.0) / (4.0 * _SCALE))))


@dataclass(frozen=True, slots=True)
class EloOrders:
    """Online Elo over many orders.

    Attributes:
        rating: mean final rating over shuffled orders of the data itself, shape (K,).
        draws: final ratings over shuffled orders of resampled data, shape (S, K).
        seed: of the orders.
    """

    rating: FloatArray
    draws: FloatArray
    seed: int


def elo_orders(battles: Battles, *, orders: int = 100, seed: int = 0, cluster: str = "prompt") -> EloOrders:
    """Online Elo in `orders` random orders, and in as many of resampled clusters for its interval.

    Args:
        battles: what happened.
        orders: at least 2.
        seed: equal seeds give equal orders.
        cluster: ``"prompt"`` or ``"battle"``: what is resampled.

    Raises:
        ValueError: fewer than 2 orders, or no prompt ids to cluster by.
    """
    if orders < 2:
        raise ValueError(f"orders must be at least 2, not {orders}")
    if cluster == "prompt" and battles.cluster is None:
        raise ValueError("no prompt ids to cluster by: use cluster='battle'")
    count = len(battles)
    rng = np.random.default_rng(seed)
    plain: list[FloatArray] = []
    drawn: list[FloatArray] = []
    block = int(np.clip(_BLOCK // max(count, 1), 1, orders))
    for first in range(0, orders, block):
        many = min(block, orders - first)
        plain.append(_play(battles, [rng.permutation(count) for _ in range(many)]))
        drawn.append(_play(battles, _resampled(battles, rng, many, cluster)))
    return EloOrders(np.concatenate(plain).mean(axis=0), np.concatenate(drawn), seed)


def _resampled(battles: Battles, rng: np.random.Generator, many: int, cluster: str) -> list[IntArray]:
    """Shuffled rows of `many` resamples."""
    count = len(battles)
    if cluster == "battle" or battles.cluster is None:
        return [rng.integers(0, count, count) if count else np.zeros(0, dtype=np.int64) for _ in range(many)]
    by_cluster = np.argsort(battles.cluster, kind="stable")
    size = np.bincount(battles.cluster, minlength=battles.clusters)
    start = np.cumsum(size) - size
    out: list[IntArray] = []
    for _ in range(many):
        picked = rng.integers(0, battles.clusters, battles.clusters)
        length = size[picked]
        offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        out.append(rng.permutation(by_cluster[np.repeat(start[picked], length) + offset]))
    return out


def _play(battles: Battles, rows: list[IntArray]) -> FloatArray:
    """Final ratings of several orders at once, shape (orders, K); shorter orders end earlier."""
    many, longest = len(rows), max((len(row) for row in rows), default=0)
    rating = np.full((many, len(battles.models)), _START)
    table = np.full((longest, many), -1, dtype=np.int32)
    for column, row in enumerate(rows):
        table[: len(row), column] = row
    flat = rating.reshape(-1)
    base = np.arange(many) * len(battles.models)
    weight, factor = np.ones(len(battles)) if battles.mass is None else battles.mass, np.log(10.0) / _SCALE
    for row in table:
        at_a, at_b = base + battles.a[row], base + battles.b[row]
        expected = 1.0 / (1.0 + np.exp(factor * (flat[at_b] - flat[at_a])))
        change = _K * np.where(row >= 0, weight[row], 0.0) * (battles.score_a[row] - expected)
        flat[at_a] += change
        flat[at_b] -= change
    return rating
