"""Would a bias have been found? Known ones are planted into a judge's own votes, and the audit's test looks for them.

The votes are first made fair without losing what they are like: of seats, every prompt's votes are mirrored or not by a
coin; of length, the differences in length are dealt anew among the pairs. Then each vote against the favourite (the
first seat, or the longer output) is turned into one for it with probability 2 d, which raises its share from one half
to 0.5 + d. Ties are turned like votes against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.evaluator import Panel, Votes
from arenaloop.ratings.judge_tests import length_columns, share_test
from arenaloop.ratings.length_preference import length_slope
from arenaloop.ratings.significance import two_sided

__all__ = ["Planted", "plant_length", "plant_seat"]

FOUND_ENOUGH = 0.8


@dataclass(frozen=True, slots=True)
class Planted:
    """How often a planted bias was found in one judge.

    Attributes:
        judge, bias: which; ``seat`` or ``length``.
        size: by how much the favourite's share was raised above one half.
        plantings: how many times that was done; 0 where the votes do not allow it.
        found: in how many of them the figure stood. `false`: in how many without any bias.
    """

    judge: str
    bias: str
    size: float
    plantings: int
    found: int
    false: int

    @property
    def enough(self) -> bool:
        """Whether it is found at least four times of five."""
        return self.plantings > 0 and self.found >= FOUND_ENOUGH * self.plantings


def plant_seat(
    name: str, panel: Panel, votes: Votes, size: float, stands: Callable[[float], bool], *, plantings: int, seed: int
) -> Planted:
    """Plant a preference for the first seat.

    Args:
        name, panel, votes: the judge's.
        size: of the bias, 0 to 0.5.
        stands: whether a p-value of this figure would stand in the audit's table.
        plantings, seed: how often, and of what chance.
    """
    cells = [(panel.cluster[i], value) for i, pair in enumerate(votes.first_seat) for value in pair]
    if len({cluster for cluster, _ in cells}) < 2:
        return Planted(name, "seat", size, 0, 0, 0)
    _, cluster = np.unique([cluster for cluster, _ in cells], return_inverse=True)
    value, ones = np.array([value for _, value in cells]), np.ones(len(cells))
    rng = np.random.default_rng([seed, 1])
    found = false = 0
    for _ in range(plantings):
        mirrored = rng.random(int(cluster.max()) + 1)[cluster] < 0.5
        fair = np.where(mirrored, 1.0 - value, value)
        biased = np.where((fair < 1.0) & (rng.random(len(fair)) < 2.0 * size), 1.0, fair)
        false += stands(share_test(fair, ones, cluster))
        found += stands(share_test(biased, ones, cluster))
    return Planted(name, "seat", size, plantings, found, false)


def plant_length(
    name: str, panel: Panel, votes: Votes, size: float, stands: Callable[[float], bool], *, plantings: int, seed: int
) -> Planted:
    """Plant a preference for the longer output; arguments as of `plant_seat`."""
    preference, difference, quality = length_columns(panel, votes)
    kept = ~(np.isnan(preference) | np.isnan(difference) | np.isnan(quality))
    preference, difference, quality = preference[kept], difference[kept], quality[kept]
    cluster = panel.cluster[kept]

    def p_of(y: FloatArray, delta: FloatArray) -> float:
        slope = length_slope(y, delta, quality, cluster)
        return 1.0 if slope is None or slope[1] <= 0.0 else two_sided(slope[0] / slope[1], slope[2] - 1.0)

    if length_slope(preference, difference, quality, cluster) is None:
        return Planted(name, "length", size, 0, 0, 0)
    rng = np.random.default_rng([seed, 2])
    found = false = 0
    for _ in range(plantings):
        dealt = rng.permutation(difference)
        longer = np.where(dealt > 0.0, 1.0, 0.0)
        turned = (preference != longer) & (dealt != 0.0) & (rng.random(len(dealt)) < 2.0 * size)
        false += stands(p_of(preference, dealt))
        found += stands(p_of(np.where(turned, longer, preference), dealt))
    return Planted(name, "length", size, plantings, found, false)
