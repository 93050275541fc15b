"""One level for many intervals, so that all of them hold at once: the maximum of their studentised errors.

With K models there are K - 1 gaps between neighbours and K (K - 1) / 2 pairs. If each interval held with 95 %, some
would not on nearly every board. The quantile of the largest studentised error of all (max-t: Westfall & Young 1993,
single step) makes them hold together, and knows how they depend on each other, which Bonferroni does not: shared
models, shared prompts.

The quantile c is that of normal (or resampled) errors. It is told as the level ``2 Phi(c) - 1`` that each interval by
itself is to have, so that an interval with few degrees of freedom is widened by Student's quantile at that level.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray
from arenaloop.ratings.pair_errors import PairErrors

__all__ = ["joint_level", "level_of_all", "normal_draws"]

_SEED = 20_240_911
_DRAWS, _FEWEST_DRAWS = 10_000, 4_000
"""Draws of all errors; fewer for many pairs. With 4,000 the share beyond c is 5 % within 0.4 points."""
_WORK = 40_000_000
"""Errors that are drawn at most, about a quarter of a second's work."""


def joint_level(errors: PairErrors, chosen: BoolArray, level: float = 0.95) -> float:
    """The level that each interval of the `chosen` differences needs for all to hold with probability `level`.

    Args:
        errors: of all pairs.
        chosen: which of them, shape (K, K); i, j and j, i are one difference.
        level: of all intervals together.

    Returns:
        `level` where at most one difference is chosen; more otherwise.
    """
    among = np.triu(chosen | chosen.T, 1)
    usable = among & np.isfinite(errors.error)
    count = int(among.sum())
    if count < 2:
        return level
    free = count - int(usable.sum())
    # differences across a divide are bounded by likelihoods of their own; a model's are nearly one question
    across = min(free, int((among & ~usable).any(axis=0).sum() + (among & ~usable).any(axis=1).sum()))
    each = level ** (1.0 / (1 + across))
    if not usable.any():
        return each
    largest = _largest(errors, usable)
    critical = float(np.quantile(largest, each))
    return max(level, 2.0 * NormalDist().cdf(critical) - 1.0) if math.isfinite(critical) else each


def level_of_all(covariance: FloatArray, level: float = 0.95) -> float:
    """The level that the interval of each estimate needs for all to hold with probability `level`.

    Args:
        covariance: of the estimates, shape (n, n); those without variance count for nothing.
        level: of all intervals together.
    """
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    known = np.flatnonzero(error > 1e-9)
    if len(known) < 2:
        return level
    drawn = np.abs(normal_draws(covariance[np.ix_(known, known)], _DRAWS)) / error[known]
    critical = float(np.quantile(drawn.max(axis=1), level))
    return max(level, 2.0 * NormalDist().cdf(critical) - 1.0)


def _largest(errors: PairErrors, usable: BoolArray) -> FloatArray:
    """The largest studentised error of the usable pairs in each draw, shape (S,)."""
    models = np.flatnonzero(usable.any(axis=0) | usable.any(axis=1))
    usable = usable[np.ix_(models, models)]
    covariance = np.nan_to_num(errors.covariance[np.ix_(models, models)])
    own = np.diag(covariance)
    variance = own[:, None] + own[None, :] - 2.0 * covariance
    usable = usable & (variance > 1e-12 * max(float(own.max(initial=0.0)), 1e-300))
    if errors.draws is not None:
        drawn = errors.draws[:, models]
        drawn = drawn - np.median(drawn, axis=0)
    else:
        many = int(np.clip(_WORK // max(int(usable.sum()), 1), _FEWEST_DRAWS, _DRAWS))
        drawn = normal_draws(covariance, many)
    error = np.ascontiguousarray(drawn.T, dtype=np.float32)  # (k, S)
    scale = np.where(usable, 1.0 / np.sqrt(np.where(usable, variance, 1.0)), 0.0).astype(np.float32)
    largest = np.zeros(error.shape[1], dtype=np.float32)
    for i in range(len(models)):
        others = np.flatnonzero(usable[i])
        if len(others):
            apart = error[others] - error[i]
            np.abs(apart, out=apart)
            apart *= scale[i, others, None]
            np.maximum(largest, apart.max(axis=0), out=largest)
    return largest.astype(np.float64)


def normal_draws(covariance: FloatArray, many: int) -> FloatArray:
    """Draws with this covariance, shape (S, k); the same at every call.

    Of all roots the symmetric one is taken: it does not turn with rounding where eigenvalues are equal.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    rng = np.random.default_rng(_SEED)
    return np.asarray(rng.standard_normal((many, len(covariance)), dtype=np.float32) @ root.T.astype(np.float32))
