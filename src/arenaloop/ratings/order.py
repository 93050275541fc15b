"""What a board's order is worth: differences between neighbours, tiers, and the ranks that a model may have.

* **Neighbours.** The difference between a model and the next one on the board, with its own interval and with one that
  holds for all neighbours at once (`simultaneous`). They are separated where the latter leaves out 0. Intervals of two
  ratings may overlap while that of their difference leaves out 0: what is asked is the difference.
* **Who made them neighbours.** The same battles did, and so these differences seem smaller than they are: the worst of
  one group and the best of the next stand side by side. The interval of one pair by itself holds for pairs that were
  named beforehand. That of all at once allows for it: its end towards 0, which such a choice moves to the safe side, is
  the quantile over neighbours; its end away from 0 is that over all pairs, which holds whichever are chosen (Berk,
  Brown, Buja, Zhang & Zhao 2013, "Valid post-selection inference").
* **Tiers.** A new tier begins where neighbours are separated.
* **Ranks.** A model is at least as many ranks down as models are above it for certain, and as many up as are below it
  (Goldstein & Spiegelhalter 1996; Mogstad, Romano, Shaikh & Wilhelm 2024, "Inference for ranks", section 3, single
  step). For certain means in intervals of all pairs that hold at once, so that all ranks do. Of three models the first
  is above the third where it is above the second, and that above the third.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray
from arenaloop.ratings.bootstrap import Bootstrap
from arenaloop.ratings.bradley_terry import ELO_PER_NAT
from arenaloop.ratings.intervals import Intervals
from arenaloop.ratings.pair_errors import PairErrors, pair_errors, pieces
from arenaloop.ratings.power import units_to_separate
from arenaloop.ratings.simultaneous import joint_level
from arenaloop.ratings.skewness import half_widths, signed_root
from arenaloop.ratings.student import t_quantiles

__all__ = ["Neighbours", "Order", "board_order", "closure"]

_DIVIDED = 200
"""Pairs across a divide that are asked, the nearest first; of more, those that follow from these."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Two models that follow each other on a board.

    Attributes:
        above, below: codes of the two.
        difference: of their ratings, in Elo points, at least 0 unless the board is sorted by something else.
        error: standard error of it in Elo points; infinite where there is none.
        lower, upper: its interval; infinite where an end is open, both where there is none.
        joint_lower, joint_upper: the interval that holds for all neighbours at once, whichever the battles made so.
        more: further prompts (or what is independent) that would separate them with a probability of 80 %, if the
            difference is what it seems; None where they are separated, and where nothing can be said.
    """

    above: int
    below: int
    difference: float
    error: float
    lower: float
    upper: float
    joint_lower: float
    joint_upper: float
    more: int | None

    @property
    def separated(self) -> bool:
        """Whether the simultaneous interval leaves out 0."""
        return self.joint_lower > 0.0 or self.joint_upper < 0.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a board's order is worth.

    Attributes:
        lower, upper: best and worst rank that each model may have, shape (K,); 0 of models without a rating.
        tier: of each model, from 1, shape (K,); each component counts its own. 0 without a rating.
        neighbours: from the top, component by component.
        above: whether the row is above the column for certain, shape (K, K).
        level: of all intervals together. `neighbour_level`, `pair_level`: that each one of neighbours, and of pairs,
            needs for that.
    """

    lower: IntArray
    upper: IntArray
    tier: IntArray
    neighbours: tuple[Neighbours, ...]
    above: BoolArray
    level: float
    neighbour_level: float
    pair_level: float


def board_order(
    spread: Intervals | Bootstrap, order: Sequence[int], units: int, *, level: float = 0.95, power: float = 0.8
) -> Order:
    """What the order of a board is worth.

    Args:
        spread: of the ratings.
        order: codes of the models, best first; those without a rating are passed over.
        units: how many independent prompts, battles or voters there are.
        level: of all intervals together.
        power: probability by which `Neighbours.more` would separate.
    """
    theta = spread.fit.theta
    size = len(theta)
    errors = pair_errors(spread)
    of_piece = np.full(size, -1)
    for number, piece in enumerate(pieces(spread)):
        of_piece[piece] = number
    in_order = [
        [code for code in order if of_piece[code] == number] for number in range(int(of_piece.max(initial=-1)) + 1)
    ]
    steps = [(a, b) for codes in in_order for a, b in itertools.pairwise(codes)]
    chosen = np.zeros((size, size), dtype=bool)
    for a, b in steps:
        chosen[a, b] = True
    neighbour_level = joint_level(errors, chosen, level)
    comparable = (of_piece[:, None] == of_piece[None, :]) & (of_piece[:, None] >= 0)
    pair_level = joint_level(errors, comparable, level)
    neighbours = _neighbours(spread, errors, steps, units, level, neighbour_level, pair_level, power)
    above = _above(spread, errors, comparable, pair_level)
    rated = ~np.isnan(theta)
    lower = np.where(rated, 1 + above.sum(axis=0), 0)
    upper = np.where(rated, int(rated.sum()) - above.sum(axis=1), 0)
    tier = np.where(rated, 1, 0)
    for neighbour in neighbours:
        tier[neighbour.below] = tier[neighbour.above] + neighbour.separated
    return Order(lower, upper, tier, neighbours, above, level, neighbour_level, pair_level)


def closure(above: BoolArray) -> BoolArray:
    """`above` with all that follows from it: what is above something is above all below that."""
    reach = above
    while True:
        further = reach | ((reach.astype(np.float32) @ reach.astype(np.float32)) > 0)
        if (further == reach).all():
            return np.asarray(reach)
        reach = further


def _neighbours(
    spread: Intervals | Bootstrap,
    errors: PairErrors,
    steps: list[tuple[int, int]],
    units: int,
    level: float,
    joint: float,
    every: float,
    power: float,
) -> tuple[Neighbours, ...]:
    if not steps:
        return ()
    a, b = np.array(steps).T
    theta = spread.fit.theta
    apart, error = theta[a] - theta[b], errors.error[a, b]
    skew = 0.0 if errors.skew is None else errors.skew[a, b]
    (one, one_up), (near, near_up), (far, far_up) = (
        [error * half_widths(t_quantiles(at, errors.dof[a, b]), of) for of in (-skew, skew)]
        for at in (level, joint, every)
    )
    found = []
    for k, (i, j) in enumerate(steps):
        lower, upper = apart[k] - one[k], apart[k] + one_up[k]
        down = apart[k] < 0.0  # the board is sorted by something else
        joint_lower = apart[k] - (far[k] if down else near[k])
        joint_upper = apart[k] + (near_up[k] if down else far_up[k])
        if errors.open[i, j]:
            lower, upper = _ends(spread, i, j, level)
            joint_lower = _ends(spread, i, j, every if down else joint)[0]
            joint_upper = _ends(spread, i, j, joint if down else every)[1]
        elif errors.draws is not None and math.isfinite(error[k]):
            lower, upper = _ends(spread, i, j, level)  # percentiles
        separated = joint_lower > 0.0 or joint_upper < 0.0
        more = None
        if not separated and math.isfinite(error[k]) and apart[k] != 0.0:
            needed = units_to_separate(float(apart[k]), float(error[k]), units, level=joint, power=power)
            # few clusters, or upsets, widen an interval by more than the sample size knows
            wide = float(near_up[k] if down else near[k]) / abs(float(apart[k]))
            more = max(needed, math.ceil(units * wide**2) + 1) - units
        found.append(
            Neighbours(
                above=i,
                below=j,
                difference=ELO_PER_NAT * float(apart[k]),
                error=ELO_PER_NAT * float(error[k]),
                lower=ELO_PER_NAT * float(lower),
                upper=ELO_PER_NAT * float(upper),
                joint_lower=ELO_PER_NAT * float(joint_lower),
                joint_upper=ELO_PER_NAT * float(joint_upper),
                more=more,
            )
        )
    return tuple(found)


def _ends(spread: Intervals | Bootstrap, i: int, j: int, level: float) -> tuple[float, float]:
    """The interval of theta[i] - theta[j] in nats."""
    names = spread.fit.models
    _, lower, upper = spread.difference(names[i], names[j], level=level)
    return lower / ELO_PER_NAT, upper / ELO_PER_NAT


def _above(spread: Intervals | Bootstrap, errors: PairErrors, comparable: BoolArray, level: float) -> BoolArray:
    theta = np.nan_to_num(spread.fit.theta)
    apart: FloatArray = theta[:, None] - theta[None, :]
    known = np.isfinite(errors.error) & comparable
    distance = np.where(known & (apart > 0.0), apart, 0.0) / np.where(known, errors.error, 1.0)
    root = distance if errors.skew is None else signed_root(distance, -errors.skew)
    above = closure(known & (apart > 0.0) & (root > t_quantiles(level, errors.dof)))
    if spread.divide is None:
        return above
    pairs = np.argwhere(errors.open & comparable & (apart > 0.0))
    nearest = pairs[np.argsort(apart[pairs[:, 0], pairs[:, 1]], kind="stable")]
    asked = 0
    for i, j in nearest.tolist():
        if above[i, j] or asked == _DIVIDED:
            continue
        asked += 1
        if spread.divide.separates(i, j, np.flatnonzero(comparable[i]), level):
            above[i, j] = True
            above = closure(above)
    return above
