"""How far the ends of an interval lie from an estimate that rare upsets make: not alike on both sides.

Of 79 wins in 80 the log-odds are 4.4 with a standard error of 1.0, and nothing that is symmetric about them holds what
it promises: an upset more or less moves the estimate by a standard error down, without end up (Hauck & Donner 1977).
The log of a Poisson count x is the pattern of it: its score has the skewness 1 / sqrt(x), and only by that does its
likelihood differ from a normal one. So a contrast of skewness g gets the interval that a count of 1 / g^2 has, in
standard errors, by the modified signed root of the likelihood ratio (Barndorff-Nielsen 1986):

    r = sign(s) sqrt(2 (exp(g s) - 1 - g s)) / g,    r* = r + ln(s / r) / r,

where s is the distance from the estimate in standard errors. With g = 0 r* is s. For a count r* agrees with the mid-P
limits of the exact test (Pierce & Peters 1992), which is also where the likelihood's end lies for a record without any
upset (`separation.py`): an interval does not jump when the first upset comes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import FloatArray

__all__ = ["half_widths", "signed_root"]

_MOST = 2.0
"""Skewness of a quarter of an upset; of less there is no interval."""
_STRAIGHT = 1e-4
"""Values of g s below which r is a series."""
_FARTHEST = 1e3
"""Standard errors beyond which no end is sought."""


def signed_root(distance: npt.ArrayLike, skew: npt.ArrayLike) -> FloatArray:
    """r*, to be compared with normal quantiles, at `distance` standard errors above an estimate, more than 0.

    Args:
        distance, skew: of shapes that go together; `skew` is that of the estimate's score.
    """
    s = np.maximum(np.asarray(distance, dtype=np.float64), 1e-9)
    g = np.clip(np.asarray(skew, dtype=np.float64), -_MOST, _MOST)
    x = g * s
    straight = np.abs(x) < _STRAIGHT
    safe = np.where(straight, 1.0, np.minimum(x, 500.0))
    # r / s, and its logarithm
    ratio = np.where(straight, 1.0 + x / 6.0, np.sqrt(2.0 * (np.expm1(safe) - safe)) / np.abs(safe))
    r = s * ratio
    return np.asarray(r - np.log(ratio) / r)


def half_widths(quantile: npt.ArrayLike, skew: npt.ArrayLike) -> FloatArray:
    """How many standard errors the upper end lies above an estimate of this skewness; the lower one below for -skew.

    Args:
        quantile: of a normal (or Student's) distribution, as for an estimate that is not skewed.
        skew: of the estimate's score.
    """
    z, g = np.broadcast_arrays(np.asarray(quantile, dtype=np.float64), np.asarray(skew, dtype=np.float64))
    out = np.array(z)
    bent = np.isfinite(z) & (np.abs(g) > 1e-6)
    if not bent.any():
        return out
    z, g = z[bent], g[bent]
    low, high = np.zeros_like(z), np.maximum(4.0 * z, 4.0)
    while (short := (signed_root(high, g) < z) & (high < _FARTHEST)).any():
        high = np.where(short, 2.0 * high, high)
    for _ in range(48):
        middle = 0.5 * (low + high)
        below = signed_root(middle, g) < z
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    out[bent] = high
    return out
