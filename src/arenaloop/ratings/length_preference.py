"""Whether a judge prefers length itself: among outputs that people hold to be equally good."""

from __future__ import annotations

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.rates import UNKNOWN, Rate, resampled

__all__ = ["FEWEST_PAIRS", "length_slope", "longer_at_matched_quality"]

_RIDGE = 1e-2
"""Keeps a judge that always takes the longer output at a finite coefficient."""
FEWEST_PAIRS = 10


def longer_at_matched_quality(
    preference: FloatArray,
    difference: FloatArray,
    quality: FloatArray,
    cluster: IntArray,
    *,
    level: float = 0.95,
    samples: int = 300,
    seed: int = 0,
) -> Rate:
    """How likely the judge takes the longer of two outputs that people rate alike.

    A logistic regression of the judge's preference p for the second output, with people's preference as covariate:

        logit p = c + b_len z + b_people q,   z = tanh(difference / std(difference))

    where q is people's mean label minus 1.5 and z is AlpacaEval's standardised length (arXiv 2404.04475, section 3).
    Returned is sigma(b_len tanh 1): the probability for an output that is one standard deviation longer, with q = 0
    and without the column's own effect c. 0.5 is fair.

    Args:
        preference: the judge's, 0 (first) to 1 (second), NaN where it did not decide, shape (P,).
        difference: characters of the second output minus those of the first, shape (P,).
        quality: people's mean label minus 1.5, NaN where there is none, shape (P,).
        cluster: code of each pair's prompt, shape (P,).
        level, samples, seed: of the interval, by resampling prompts and fitting again.

    Returns:
        None inside where lengths do not vary or fewer than ten pairs are left.
    """
    kept = ~(np.isnan(preference) | np.isnan(quality) | np.isnan(difference))
    y = preference[kept]
    X = _design(difference[kept], quality[kept])
    if X is None:
        return UNKNOWN
    whole = _fit(X, y, np.ones(len(y)), np.zeros(3))
    value = _probability(whole)
    _, codes = np.unique(cluster[kept], return_inverse=True)
    clusters = int(codes.max()) + 1
    if clusters < 2:
        return Rate(value, n=len(y))
    rng = np.random.default_rng(seed)
    times = (resampled(rng, clusters, 1)[0][codes] for _ in range(samples))
    drawn = np.array([_probability(_fit(X, y, weight, whole)) for weight in times])
    lower, upper = (float(x) for x in np.quantile(drawn, [0.5 - level / 2.0, 0.5 + level / 2.0]))
    return Rate(value, lower, upper, float(drawn.std(ddof=1)), len(y))


def length_slope(
    preference: FloatArray, difference: FloatArray, quality: FloatArray, cluster: IntArray
) -> tuple[float, float, int] | None:
    """b_len of that regression, its sandwich standard error over clusters (divisor G - 1), and their number G.

    What a test of "no preference for length" needs, at the cost of one fit. Arguments as of
    `longer_at_matched_quality`; None where that says nothing, and with fewer than two clusters.
    """
    kept = ~(np.isnan(preference) | np.isnan(quality) | np.isnan(difference))
    y = preference[kept]
    X = _design(difference[kept], quality[kept])
    _, codes = np.unique(cluster[kept], return_inverse=True)
    clusters = int(codes.max(initial=-1)) + 1
    if X is None or clusters < 2:
        return None
    b = _fit(X, y, np.ones(len(y)), np.zeros(3))
    p = 1.0 / (1.0 + np.exp(-(X @ b)))
    bread = np.linalg.inv((X * (p * (1.0 - p))[:, None]).T @ X + _RIDGE * np.eye(3))
    scores = np.zeros((clusters, 3))
    np.add.at(scores, codes, X * (y - p)[:, None])
    covariance = bread @ scores.T @ scores @ bread * (clusters / (clusters - 1.0))
    return float(b[1]), float(np.sqrt(covariance[1, 1])), clusters


def _design(difference: FloatArray, quality: FloatArray) -> FloatArray | None:
    """Columns of the regression, shape (N, 3); None with too few rows or without any difference in length."""
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    if len(difference) < FEWEST_PAIRS or spread == 0.0:
        return None
    return np.column_stack([np.ones(len(difference)), np.tanh(difference / spread), quality])


def _probability(coefficients: FloatArray) -> float:
    return float(1.0 / (1.0 + np.exp(-coefficients[1] * np.tanh(1.0))))


def _fit(X: FloatArray, y: FloatArray, weight: FloatArray, start: FloatArray) -> FloatArray:
    """Ridge logistic regression with soft targets, by Newton's method with halved steps."""
    b = start
    value = _loss(X, y, weight, b)
    for _ in range(60):
        p = 1.0 / (1.0 + np.exp(-(X @ b)))
        gradient = X.T @ (weight * (y - p)) - _RIDGE * b
        hessian = (X * (weight * p * (1.0 - p))[:, None]).T @ X + _RIDGE * np.eye(len(b))
        step = np.linalg.solve(hessian, gradient)
        while (tried := _loss(X, y, weight, b + step)) > value + 1e-12 and np.abs(step).max() > 1e-10:
            step = step / 2.0
        b, value = b + step, tried
        if np.abs(step).max() < 1e-6:
            break
    return b


def _loss(X: FloatArray, y: FloatArray, weight: FloatArray, b: FloatArray) -> float:
    score = X @ b
    return float((weight * (np.logaddexp(0.0, score) - y * score)).sum() + 0.5 * _RIDGE * (b @ b))
