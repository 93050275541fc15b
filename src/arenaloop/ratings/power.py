"""How many more prompts until two models separate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from arenaloop.ratings.bradley_terry import ELO_PER_NAT
from arenaloop.ratings.intervals import Intervals
from arenaloop.ratings.student import t_quantile

__all__ = ["Power", "prompts_to_separate", "units_to_separate"]


@dataclass(frozen=True, slots=True)
class Power:
    """What it takes to tell two models apart.

    Attributes:
        difference: their present difference in Elo points.
        standard_error: of that difference, in Elo points; None where it has no interval, or one with an open end.
        units: prompts (or battles) so far.
        needed: in all, for the interval of the difference to leave out 0 with the wanted probability; None where the
            difference is 0, and without a standard error.
        more: what is missing, at least 0; None where `needed` is.
        fewest, most: what would be needed if the difference stood at the far and at the near end of its 50 % interval,
            as it is as likely to lie between them as not; None where that difference is 0 or has the other sign.
    """

    difference: float
    standard_error: float | None
    units: int
    needed: int | None
    more: int | None
    fewest: int | None = None
    most: int | None = None


def prompts_to_separate(
    intervals: Intervals, first: str, second: str, *, level: float = 0.95, power: float = 0.8
) -> Power:
    """Prompts after which the difference between two models would leave its interval, if it is what it seems now.

    ``n = n_now (se / |d|)^2 (t_level + t_power)^2``: the usual sample size of a two-sided test, with the standard error
    of the sandwich, Student's quantiles at n - 1 degrees of freedom, and further prompts that are like those so far. A
    guide, as d itself is uncertain: hence the range.

    Args:
        intervals: of a fit (its clusters are the unit that is counted).
        first, second: names of two models.
        level: of the interval.
        power: probability of separating them.

    Raises:
        ValueError: a name is not in the data, the two cannot be compared, or `power` is not in (0, 1).
    """
    if not 0.0 < power < 1.0:
        raise ValueError(f"power must lie strictly between 0 and 1, not {power}")
    difference, _, _ = intervals.difference(first, second, level=level)
    i, j = intervals.fit.pair(first, second)
    error = ELO_PER_NAT * intervals.standard_error(i, j)
    units = intervals.clusters
    if not math.isfinite(error):
        return Power(difference, None, units, None, None)
    if difference == 0.0:
        return Power(difference, error, units, None, None)
    one = units * (error / difference) ** 2
    needed = _units(one, level, power)
    half = error * t_quantile(0.5, max(units - 1.0, 1.0))
    far, near = ((abs(difference) + sign * half) / abs(difference) for sign in (1.0, -1.0))
    fewest = _units(one / far**2, level, power)
    most = _units(one / near**2, level, power) if near > 0.0 else None
    return Power(difference, error, units, needed, max(needed - units, 0), fewest, most)


def units_to_separate(difference: float, error: float, units: int, *, level: float = 0.95, power: float = 0.8) -> int:
    """The sample size of `prompts_to_separate`, of a difference other than 0 with this standard error after `units`."""
    return _units(units * (error / difference) ** 2, level, power)


def _units(one: float, level: float, power: float) -> int:
    """The least n with ``n >= one (t_level + t_power)^2``, at n - 1 degrees of freedom; at least 2."""
    ahead = abs(2.0 * power - 1.0)

    def wanted(dof: float) -> float:
        tail = math.copysign(t_quantile(ahead, dof), power - 0.5) if power != 0.5 else 0.0
        return one * max(t_quantile(level, dof) + tail, 0.0) ** 2

    # the right side falls with n, so the first n that satisfies it is found by halving, from below what it falls to
    low = max(1, math.ceil(wanted(math.inf)) - 1)
    step = 2
    while wanted(max(low + step - 1.0, 1.0)) > low + step:
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if wanted(max(middle - 1.0, 1.0)) <= middle else (middle, high)
    return high
