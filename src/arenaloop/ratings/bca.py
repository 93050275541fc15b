"""Bootstrap intervals that are not symmetric where the estimate is not: bias-corrected and accelerated (BCa).

Efron 1987, "Better bootstrap confidence intervals"; DiCiccio and Efron 1996, "Bootstrap confidence intervals", section
2. Plain percentiles hold a skewed estimate too rarely, and on one side: they know neither its bias nor that its spread
changes with its value.
"""

from __future__ import annotations

from math import nan
from statistics import NormalDist

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray

__all__ = ["bca_interval", "left_out"]

_NORMAL = NormalDist()
_GROUPS = 200


def bca_interval(draws: FloatArray, value: float, jackknife: FloatArray, level: float = 0.95) -> tuple[float, float]:
    """The quantiles of resamples at levels that are moved by their bias and by the acceleration.

    With z0 = Phi^-1 (share of draws below the estimate, equal ones half) and a = sum d^3 / (6 (sum d^2)^1.5), d being
    the mean of the leave-out estimates less each of them, the level alpha becomes
    Phi (z0 + (z0 + z_alpha) / (1 - a (z0 + z_alpha))).

    Args:
        draws: estimates of the resamples, shape (S,); NaN where a resample has none.
        value: the estimate itself.
        jackknife: estimates with each unit (or group of units) left out, shape (G,); NaN where there is none.
        level: of the interval.

    Returns:
        Lower and upper end; NaN twice where no resample has an estimate.
    """
    found = draws[~np.isnan(draws)]
    if not len(found):
        return nan, nan
    below = float(np.count_nonzero(found < value) + 0.5 * np.count_nonzero(found == value)) / len(found)
    z0 = _NORMAL.inv_cdf(min(max(below, 0.5 / len(found)), 1.0 - 0.5 / len(found)))
    influence = jackknife[~np.isnan(jackknife)]
    influence = influence.mean() - influence if len(influence) else influence
    # in units of the largest: cubes of small numbers vanish
    influence = influence / max(float(np.abs(influence).max(initial=0.0)), 1e-300)
    spread = float((influence**2).sum())
    a = float((influence**3).sum()) / (6.0 * spread**1.5) if spread > 0.0 else 0.0
    ends = []
    for alpha in (0.5 - level / 2.0, 0.5 + level / 2.0):
        z = z0 + _NORMAL.inv_cdf(alpha)
        # beyond 1 / a there is no quantile: the outermost draw is the end
        moved = _NORMAL.cdf(z0 + z / (1.0 - a * z)) if a * z < 1.0 else float(z > 0.0)
        ends.append(float(np.quantile(found, moved)))
    return ends[0], ends[1]


def left_out(units: int, seed: int = 0) -> FloatArray:
    """Weights of the units with each group left out in turn, shape (groups, units).

    Up to 200 units each is a group by itself, the plain jackknife; more are dealt into 200 groups, which is enough to
    tell how skewed the estimate is.
    """
    groups = min(units, _GROUPS)
    group: IntArray = np.arange(units) % max(groups, 1)
    if units > groups:
        np.random.default_rng(seed).shuffle(group)
    return (group[None, :] != np.arange(groups)[:, None]).astype(np.float64)
