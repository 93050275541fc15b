"""What the first seat is worth: Bradley–Terry with one term more, and its interval.

    P(the model in the first seat wins) = sigma(theta_first - theta_second + gamma)

(Davidson & Beaver 1977, the multiplicative order effect; gamma is the log-odds that a first seat adds between equals.)
`Battles.a` is the first seat, which is so in files of votes and of single games. Where each pair of models stands in
one order nearly always, nothing tells the seat from the models, and there is no figure. A game between equal texts is
one of a player with itself: what its seats win tells of gamma alone.

Where each pair of answers was judged from both seats (`paired`) a judge that sees through the seat says the same twice,
and what the two games tell of the seat cancels out: that is no lack of evidence but what is measured. All of it comes
from verdicts that turned with the seats, so that degrees of freedom are counted by the clusters that hold one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, sigmoid, tally
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import BradleyTerry
from arenaloop.ratings.student import t_quantile
from arenaloop.ratings.sums import BattleSums

__all__ = ["SeatEffect", "between_equals", "repeats", "seat_effect"]

_WITHIN = 0.1
"""Share of the battles' seats that must vary within pairs of models: 2 % of a pair's battles in the rare order are
0.08, and speak of how the file was written."""
_FARTHEST = 12.0
"""Nats from which on an effect has no end."""
_CANCELLED = 0.01
"""Share of the variance of independent battles below which those on each prompt cancel out, and show no variance."""
_FEWEST = 3.0
"""Clusters, by what they are worth, below which there is no interval."""


@dataclass(frozen=True, slots=True)
class SeatEffect:
    """What the first seat is worth.

    Attributes:
        value: gamma in nats; None where nothing tells it.
        lower, upper: its interval; None where there is none. error: its standard error.
        theta: strengths without it, in nats, shape (K,), centred within each component; NaN for the unrated.
        reason: why there is no figure, or no interval, in plain words; empty where there is one.
    """

    value: float | None
    lower: float | None
    upper: float | None
    theta: FloatArray
    reason: str = ""
    error: float | None = None


def seat_effect(
    battles: BattleSums, fit: BradleyTerry, *, clustered: bool, paired: bool = False, level: float = 0.95
) -> SeatEffect:
    """Fit the effect by Newton's method, with a sandwich interval.

    Args:
        battles: the battles that `fit` was made from, or the games behind them, the first seat as model a.
        fit: the ratings without the effect.
        clustered: whether `battles.cluster` is what is independent; else every battle is.
        paired: whether the same answers were judged from both seats, within one cluster; with `clustered` alone.
        level: of the interval.
    """
    size = len(fit.models)
    N = battles.by_pair(lambda rows, _: rows.mass)
    S = battles.by_pair(lambda rows, _: rows.score_a if rows.mass is None else rows.score_a * rows.mass)
    both = N + N.T
    varied = np.where(both > 0, 2.0 * N * N.T / np.where(both > 0, both, 1.0), 0.0).sum()
    if not both.any() or varied < 0.5 * _WITHIN * N.sum():
        return SeatEffect(None, None, None, fit.theta, "each pair of models stands in one order nearly always")
    found = _fitted(N, S, fit)
    if found is None:
        return SeatEffect(None, None, None, fit.theta, "it has no finite estimate, as one seat won next to all battles")
    theta, gamma, inverse = found
    p = sigmoid(theta[:, None] - theta[None, :] + gamma)
    h = inverse[size]
    reach = h[:size, None] - h[None, :size] + h[size]
    units, worth, alone = float(len(battles)), float(len(battles)), 0.0
    of_cluster, counts = np.zeros((2, battles.clusters if clustered else 0))
    for rows in battles.parts() if clustered else battles.kinds():
        cell = rows.cells(size)
        influence = (rows.score_a - p.ravel()[cell]) * reach.ravel()[cell]
        if rows.mass is not None:
            influence *= rows.mass
        alone += float(influence @ (influence if rows.times is None else influence * rows.times))
        if clustered:
            assert rows.cluster is not None
            of_cluster += tally(rows.cluster, battles.clusters, influence)
            counts += tally(rows.cluster, battles.clusters)
    summed = alone
    if clustered:
        units, worth = float(battles.clusters), float(counts.sum() ** 2 / (counts @ counts))
        summed = float(of_cluster @ of_cluster)
    rated = ~np.isnan(fit.theta)
    strengths = np.where(rated, theta, np.nan)
    if worth < _FEWEST or units < 2:
        return SeatEffect(gamma, None, None, strengths, "fewer than three prompts carry the battles")
    if paired:
        squares = of_cluster * of_cluster
        worth = min(worth, float(squares.sum() ** 2 / max(float(squares @ squares), 1e-300)))
        if worth < _FEWEST or squares.sum() <= 1e-12 * alone:
            gamma = round(gamma, 12) + 0.0  # without any it is 0
            return SeatEffect(gamma, None, None, strengths, "verdicts turn with the seats on fewer than three prompts")
    elif summed <= _CANCELLED * alone:
        reason = "the battles on each prompt cancel out, and do not show how sure it is"
        return SeatEffect(gamma, None, None, strengths, reason)
    error = float(np.sqrt(summed * units / (units - 1.0)))
    half = error * t_quantile(level, max(worth - 1.0, 1.0))
    return SeatEffect(gamma, gamma - half, gamma + half, strengths, error=error)


def between_equals(votes: Battles, equal: BoolArray) -> tuple[Battles, BoolArray]:
    """Votes as games that tell of the seat, and which of them do, shape (N,).

    Between equal texts a game is one of a player with itself: where a seat wins, the seat alone is the cause. A tie
    there tells nothing, as no seat could tip it, and as half a win of either it would draw the effect to 0; left out,
    it takes nothing with it, as it favours no seat.

    Args:
        votes: the first seat in column a.
        equal: between equal texts, shape (N,).
    """
    games = replace(votes, b=np.where(equal, votes.a, votes.b)) if equal.any() else votes
    return games, ~(equal & (votes.score_a == 0.5))


def repeats(games: Battles) -> tuple[bool, bool]:
    """Whether some pair was judged more than once on one prompt, and whether from both seats there."""
    if games.cluster is None:
        return False, False
    size = len(games.models)
    prompt = games.cluster.astype(np.int64) * size
    met = _distinct((prompt + np.minimum(games.a, games.b)) * size + np.maximum(games.a, games.b))
    return met < len(games), met < _distinct((prompt + games.a) * size + games.b)


def _distinct(codes: IntArray) -> int:
    return int(np.count_nonzero(np.diff(np.sort(codes), prepend=-1)))  # several times as fast as np.unique


def _fitted(N: FloatArray, S: FloatArray, fit: BradleyTerry) -> tuple[FloatArray, float, FloatArray] | None:
    """Strengths, shape (K,), gamma, and the inverse of their information, (K + 1, K + 1); None where gamma runs away.

    Args:
        N: weight of the battles with the row in the first seat against the column, shape (K, K).
        S: what the row scored in them.
        fit: where to begin; its pseudo-wins stay in, as battles without seats.
    """
    size = len(N)
    theta, gamma = np.nan_to_num(fit.theta), 0.0
    same = (fit.component[:, None] == fit.component[None, :]).astype(np.float64)
    extra = fit.pseudo + fit.pseudo.T
    at = np.arange(size)
    for _ in range(100):
        p = sigmoid(theta[:, None] - theta[None, :] + gamma)
        plain = sigmoid(theta[:, None] - theta[None, :])
        r, q = S - N * p, N * p * (1.0 - p)
        beside = fit.pseudo - extra * plain  # of the row, as a column it is what the row has too much
        gradient = np.append(r.sum(axis=1) - r.sum(axis=0) + beside.sum(axis=1), r.sum())
        Q = q + q.T + extra * plain * plain.T
        H = np.zeros((size + 1, size + 1))
        H[:size, :size] = -Q
        H[at, at] += Q.sum(axis=1)
        H[:size, :size] += same * (max(float(Q.sum()), 1e-300) / size**2)
        H[:size, size] = H[size, :size] = q.sum(axis=1) - q.sum(axis=0)
        H[size, size] = q.sum()
        lonely = np.flatnonzero(np.diag(H) <= 0)
        H[lonely, lonely] = 1.0
        if abs(gamma) > _FARTHEST or H[size, size] < 1e-9:
            return None
        try:
            step = np.linalg.solve(H, gradient)
        except np.linalg.LinAlgError:
            return None
        span = float(np.ptp(step[:size])) + abs(float(step[size]))
        scale = np.log1p(span) / span if span > 0 else 1.0
        theta, gamma = theta + scale * step[:size], gamma + scale * float(step[size])
        if span < 1e-9:
            break
    for c in np.unique(fit.component):
        piece = fit.component == c
        theta[piece] -= theta[piece].mean()
    return theta, gamma, np.asarray(np.linalg.inv(H), dtype=np.float64)
