"""Rock, paper, scissors: triads of models that beat each other in a circle, beside what the fit predicts.

One strength per model knows no circles; a few come about by chance, the more the closer models are and the fewer
battles they fought. A triad is decided where each of its three pairs has a majority, and cyclic where these run in a
circle (Kendall & Babington Smith 1940). Under the fit the majority of a pair of n battles is that of its expected score
for `i` with probability Phi(n (p - 1/2) / sqrt(n v)), v = p (1 - p) less a quarter of the share of ties (a half-point
is nearer to the mean), and pairs are independent, so that the expected number of circles is tr(P^3) / 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray
from arenaloop.ratings.bradley_terry import BradleyTerry
from arenaloop.ratings.intervals import outcome_squares, win_probabilities
from arenaloop.ratings.sums import BattleSums

__all__ = ["Cycles", "count_cycles", "cycles"]

_SEED = 20_241_018
_DRAWS, _FEWEST_DRAWS, _WORK = 1000, 120, 300_000_000
"""Draws of all majorities under the fit, fewer for many models; multiplications that they may take."""
_MANY = 400
"""Models from which on nothing is drawn: the expectation alone is told."""
_WRONG = 0.01
"""Probability of a circle of three wins on some board of one strength per model, at most."""


@dataclass(frozen=True, slots=True)
class Cycles:
    """Cyclic triads of a board.

    Attributes:
        triads: that are decided. `cyclic`: how many of these are cyclic.
        expected: how many the fit predicts.
        lower, upper: what 95 % of the boards have that the fit predicts; None where nothing was drawn.
        chance: share of these boards with as many circles or more; None without draws.
        certain: codes of the three models of the clearest circle, each of which beats the next beyond doubt; None where
            no circle is beyond doubt.
    """

    triads: int
    cyclic: int
    expected: float
    lower: float | None
    upper: float | None
    chance: float | None
    certain: tuple[int, int, int] | None


def count_cycles(beats: BoolArray) -> tuple[int, int]:
    """Decided triads, and cyclic ones, of a board where the row beats the column, shape (K, K)."""
    A = beats.astype(np.float64)
    E = A + A.T
    return round(float(((E @ E) * E).sum()) / 6.0), round(float(((A @ A) * A.T).sum()) / 3.0)


def cycles(battles: BattleSums, fit: BradleyTerry, *, inflation: float = 1.0) -> Cycles | None:
    """Count the cyclic triads of the majorities, and compare them with the fit; None with fewer than three models.

    Args:
        battles: the battles that `fit` was made from.
        fit: the ratings.
        inflation: by how much the variance of a pair's score exceeds that of independent battles, at least 1.
    """
    size = len(fit.models)
    if (~np.isnan(fit.theta)).sum() < 3:
        return None
    n = battles.power_sums(1)
    heavy = battles.power_sums(2) if battles.weighted else n
    margin = fit.wins - n / 2.0
    decided = (n > 0) & (np.abs(margin) > 1e-9 * np.maximum(n, 1.0))
    triads, cyclic = count_cycles(decided & (margin > 0))
    if not triads:
        return Cycles(0, 0, 0.0, None, None, None, None)
    tied = battles.by_pair(lambda rows, _: (rows.score_a == 0.5).astype(np.float64))
    count = battles.power_sums(0)
    share = (tied + tied.T) / np.maximum(count, 1.0)
    p = win_probabilities(fit)
    spread = np.maximum(p * (1.0 - p) - share / 4.0, 1e-3) * heavy * max(inflation, 1.0)
    P = np.where(decided, _phi(n * (p - 0.5) / np.sqrt(np.where(decided, spread, 1.0))), 0.0)
    expected = float(((P @ P) * P.T).sum()) / 3.0
    # of the battles themselves: mean square about each pair's own mean
    squares = outcome_squares(battles) / np.maximum(count, 1.0)
    mean = np.where(n > 0, fit.wins / np.where(n > 0, n, 1.0), 0.5)
    own = np.maximum(squares - (mean - 0.5) ** 2, 1e-3) * heavy * max(inflation, 1.0)
    z = np.where(decided, margin / np.sqrt(np.where(decided, own, 1.0)), 0.0)
    certain = _clearest(z, NormalDist().inv_cdf(1.0 - _WRONG / max(int(decided.sum()) // 2, 1)))
    if size > _MANY:
        return Cycles(triads, cyclic, expected, None, None, None, certain)
    drawn = _drawn(P, decided)
    lower, upper = np.quantile(drawn, [0.025, 0.975])
    chance = float((1 + (drawn >= cyclic).sum()) / (1 + len(drawn)))
    return Cycles(triads, cyclic, expected, float(lower), float(upper), chance, certain)


def _drawn(P: FloatArray, decided: BoolArray) -> FloatArray:
    """Numbers of circles on boards whose decided pairs go to the row with probability P, shape (R,)."""
    size = len(P)
    many = int(np.clip(_WORK // max(size**3, 1), _FEWEST_DRAWS, _DRAWS))
    rng = np.random.default_rng(_SEED)
    i, j = np.nonzero(np.triu(decided, 1))
    found = np.empty(many)
    block = max(1, min(many, 4_000_000 // size**2))
    for first in range(0, many, block):
        won = rng.random((min(block, many - first), len(i)), dtype=np.float32) < P[i, j]
        A = np.zeros((len(won), size, size), dtype=np.float32)
        A[:, i, j], A[:, j, i] = won, ~won
        found[first : first + len(won)] = ((A @ A) * A.transpose(0, 2, 1)).sum(axis=(1, 2)) / 3.0
    return np.round(found)


def _clearest(z: FloatArray, least: float) -> tuple[int, int, int] | None:
    """The circle i over j over k over i whose weakest win is the clearest; None where that is no more than `least`."""
    beats = np.where(z > least, z, 0.0)
    best, found = least, None
    for i in map(int, np.flatnonzero(beats.any(axis=0) & beats.any(axis=1))):
        weakest = np.minimum(np.minimum(beats[i][:, None], beats[:, i][None, :]), beats)
        at = int(weakest.argmax())
        if weakest.flat[at] > best:
            best, found = float(weakest.flat[at]), (i, *divmod(at, len(z)))
    return found


def _phi(x: FloatArray) -> FloatArray:
    """The normal distribution function."""
    scaled = (x / math.sqrt(2.0)).ravel().tolist()
    return np.array([0.5 + 0.5 * math.erf(value) for value in scaled]).reshape(x.shape)
