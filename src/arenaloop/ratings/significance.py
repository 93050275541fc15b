"""What a test can say: its p-value, the smallest effect that it could have shown, and many of them at once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.student import t_quantile

__all__ = ["benjamini_hochberg", "smallest_effect", "two_sided"]

_STEPS = 500


def two_sided(t: float, dof: float) -> float:
    """P(|T| >= |t|) for Student's t of `dof` degrees of freedom.

    By the regularised incomplete beta function, I_x(dof / 2, 1 / 2) at x = dof / (dof + t^2) (Abramowitz & Stegun
    26.5.27), whose continued fraction is 26.5.8.

    Raises:
        ValueError: `dof` is below 1.
    """
    if not dof >= 1.0:
        raise ValueError(f"dof must be at least 1, not {dof}")
    if math.isinf(dof) or dof > 1e7:
        return math.erfc(abs(t) / math.sqrt(2.0))
    if math.isinf(t):
        return 0.0
    return _beta(dof / (dof + t * t), dof / 2.0, 0.5)


def smallest_effect(standard_error: float, dof: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """The effect that a two-sided test at `level` finds with probability `power`: (t_level + t_power) standard errors.

    Args:
        standard_error: of the estimate where there is no effect.
        dof: degrees of freedom of that, at least 1.
        level: 1 less the test's size. power: above 0.5.
    """
    return standard_error * (t_quantile(level, dof) + t_quantile(2.0 * power - 1.0, dof))


def benjamini_hochberg(p: npt.ArrayLike) -> FloatArray:
    """Adjusted p-values, of the shape of `p`: rejecting those up to alpha keeps the false discovery rate within alpha.

    Sorted upwards, q_(i) = min over j >= i of m p_(j) / j, at most 1 (Benjamini & Hochberg 1995), for tests that are
    independent or depend on each other positively (Benjamini & Yekutieli 2001). NaN where there is no test, which does
    not count.
    """
    values = np.asarray(p, dtype=np.float64)
    out = np.full(values.shape, np.nan)
    there = np.flatnonzero(~np.isnan(values))
    order = there[np.argsort(values[there], kind="stable")]
    m = len(order)
    raised = values[order] * m / np.arange(1, m + 1)
    out[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return out


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast below it
        return 1.0 - front * _fraction(1.0 - x, b, a) / b
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of I_x(a, b), by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1.0 / max(1.0 - (a + b) * x / (a + 1.0), tiny)
    value = d
    for m in range(1, _STEPS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 / (1.0 + term * d or tiny)
            c = 1.0 + term / c or tiny
            value *= d * c
        if abs(d * c - 1.0) < 1e-14:
            break
    return value
