"""The difference of two shares of the same things, with an interval that holds at the edges."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.rates import Rate, clustered_rate

__all__ = ["clustered_difference"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def clustered_difference(
    one: FloatArray,
    one_whole: FloatArray,
    two: FloatArray,
    two_whole: FloatArray,
    cluster: IntArray,
    *,
    level: float = 0.95,
) -> Rate:
    """One share less another of the same rows, with an interval that takes rows of one cluster together.

    Newcombe's tenth method ("Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17, 1998): the score intervals of both shares, their distances from the shares
    squared and added, less what the shares' correlation explains, itself taken towards zero by his correction for
    continuity. So a difference of 1 over a few rows, or none in any row, has an interval of some width, where a normal
    one has none. Over clusters the score intervals are those of `clustered_rate`, the correlation is that of the
    clusters' residuals, and their number stands for that of the rows.

    Args:
        one, one_whole, two, two_whole: of each row, shape (N,), as of `clustered_rate`.
        cluster: code of each row's cluster, shape (N,).
        level: of the interval.

    Returns:
        The difference; without an interval where either share has none. It lies in [-1, 1].
    """
    first = clustered_rate(one, one_whole, cluster, level=level)
    second = clustered_rate(two, two_whole, cluster, level=level)
    used = int(((one_whole > 0) | (two_whole > 0)).sum())
    if first.value is None or second.value is None:
        return Rate(None, n=used)
    p, q = first.value, second.value
    difference = p - q
    if first.lower is None or first.upper is None or second.lower is None or second.upper is None:
        return Rate(difference, n=used)
    _, codes = np.unique(cluster, return_inverse=True)
    parts = np.bincount(codes, one - p * one_whole) / one_whole.sum()
    others = np.bincount(codes, two - q * two_whole) / two_whole.sum()
    clusters = len(parts)
    phi = _correlation(parts, others, p, q)
    below, above = p - first.lower, first.upper - p
    under, over = q - second.lower, second.upper - q
    lower = difference - sqrt(max(0.0, below**2 - 2 * phi * below * over + over**2))
    upper = difference + sqrt(max(0.0, above**2 - 2 * phi * above * under + under**2))
    error = sqrt(float(((parts - others) ** 2).sum()) * clusters / (clusters - 1.0))
    return Rate(difference, max(-1.0, lower), min(1.0, upper), error, used)


def _correlation(parts: FloatArray, others: FloatArray, p: float, q: float) -> float:
    """Of the clusters' parts of both errors; 0 where either has none."""
    norm = sqrt(float(parts @ parts) * float(others @ others))
    spread = sqrt(max(0.0, p * (1 - p) * q * (1 - q)))
    if norm < 1e-15 or spread < 1e-12:
        return 0.0
    found = min(1.0, float(parts @ others) / norm)
    return max(0.0, found - 1 / (2 * len(parts) * spread)) if found > 0 else max(-1.0, found)
