"""How many more prompts until two models separate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from arenaloop.ratings.bradley_terry import ELO_PER_NAT, anchor_code
from arenaloop.ratings.intervals import Intervals

__all__ = ["Power", "prompts_to_separate"]


@dataclass(frozen=True, slots=True)
class Power:
    """What it takes to tell two models apart.

    Attributes:
        difference: their present difference in Elo points.
        standard_error: of that difference, in Elo points.
        units: prompts (or battles) so far.
        needed: in all, for the interval of the difference to leave out 0 with the wanted probability; None where the
            difference is 0.
        more: what is missing, at least 0; None where `needed` is.
    """

    difference: float
    standard_error: float
    units: int
    needed: int | None
    more: int | None


def prompts_to_separate(
    intervals: Intervals, first: str, second: str, *, level: float = 0.95, power: float = 0.8
) -> Power:
    """Prompts after which the difference between two models would leave its interval, if it is what it seems now.

    ``n = n_now (se / |d|)^2 (z_level + z_power)^2``: the usual sample size of a two-sided test, with the standard error
    of the sandwich and further prompts that are like those so far. A guide, as d itself is uncertain.

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
    i, j = (anchor_code(intervals.fit.models, (name, 0.0)) for name in (first, second))
    error = ELO_PER_NAT * intervals.standard_error(i, j)
    z = NormalDist().inv_cdf((1.0 + level) / 2.0) + NormalDist().inv_cdf(power)
    if difference == 0.0:
        return Power(difference, error, intervals.clusters, None, None)
    needed = math.ceil(intervals.clusters * (error * z / abs(difference)) ** 2)
    return Power(difference, error, intervals.clusters, needed, max(needed - intervals.clusters, 0))
