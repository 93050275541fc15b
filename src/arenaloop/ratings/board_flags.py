"""What may be wrong with a board as a whole, each with the bar that it has to pass.

| flag | planted by | bar |
|---|---|---|
| ``disconnected`` | pools that never met | ratings of two groups stand on one board and cannot be compared |
| ``thin`` | too few battles | half of the neighbours would not separate at `THIN` points apart |
| ``seat`` | a judge that favours a seat | the effect lies three standard errors beyond `SEAT` nats |
| ``ties`` | a model that draws most | models that are apart for certain change places by another rule for ties |
| ``cycles`` | rock, paper, scissors | a circle beyond doubt, or `CIRCLES` more than 99 % of boards by the fit have |
| ``power_voters`` | a few people with many votes | standard errors by voter are `VOTERS` times those by battle |

What chance does on a board where nothing is wrong, or what is there and too small to matter, passes none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.bradley_terry import BradleyTerry
from arenaloop.ratings.crossings import listed
from arenaloop.ratings.cycles import Cycles
from arenaloop.ratings.order import Order
from arenaloop.ratings.seat_effect import SeatEffect
from arenaloop.ratings.tie_rules import turned

__all__ = ["CIRCLES", "SEAT", "THIN", "VOTERS", "Flag", "board_flags", "smallest_gap"]

THIN = 100.0
"""Elo points, 64 wins of 100, that the median pair of neighbours should be able to show with a probability of 80 %."""
SEAT = 0.05
"""Nats: 1.2 points of the win rate of equals."""
CIRCLES = 0.02
"""Share of the decided triads that run in a circle beyond what the fit predicts."""
VOTERS = 1.15
_RARE = 0.01
_SHOWN = 3
_CALLED = {
    "half": "ties count as half wins",
    "drop": "ties are left out",
    "davidson": "ties follow Davidson's model",
    "rao_kupper": "ties follow Rao and Kupper's model",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """Attributes: name: one of the table above. text: what was found, in plain words with the figures."""

    name: str
    text: str


def smallest_gap(order: Order, power: float = 0.8) -> float | None:
    """Elo points at which the median pair of neighbours separates with this probability.

    Each pair by itself, at the level of one interval; separated ones need no more. None where no pair has one.
    """
    known = [neighbour for neighbour in order.neighbours if np.isfinite(neighbour.error)]
    # those that are told apart are far enough from each other already
    error = [0.0 if neighbour.separated else neighbour.error for neighbour in known]
    if not error:
        return None
    normal = NormalDist()
    return float(np.median(error)) * (normal.inv_cdf((1.0 + order.level) / 2.0) + normal.inv_cdf(power))


def board_flags(
    fit: BradleyTerry,
    order: Order,
    *,
    seat: SeatEffect | None = None,
    rules: Mapping[str, FloatArray] | None = None,
    rule: str = "half",
    circles: Cycles | None = None,
    voters: tuple[float, float] | None = None,
) -> list[Flag]:
    """The flags of a board.

    Args:
        fit: its ratings.
        order: what their order is worth.
        seat: what the first seat is worth.
        rules: strengths by each rule for ties, of which `rule` is the board's.
        circles: its cyclic triads.
        voters: standard errors by voter over those by battle, and the share of the battles that the busiest hundredth
            of the voters decided.
    """
    names = fit.models
    flags = []
    rated = ~np.isnan(fit.theta)
    groups = [np.flatnonzero(rated & (fit.component == c)) for c in np.unique(fit.component[rated])]
    if len(groups) > 1:
        told = " | ".join(listed([names[i] for i in group]) for group in groups)
        flags.append(
            Flag("disconnected", f"{len(groups)} groups never met; ranks and ratings compare within each: {told}")
        )
    gap = smallest_gap(order)
    if gap is not None and gap > THIN:
        text = f"too few battles: half of the neighbours would have to be {gap:,.0f} points apart, or more, to be told"
        flags.append(Flag("thin", f"{text} apart"))
    if seat is not None and seat.value is not None and _beyond(seat.value, seat.error, SEAT):
        swapped = turned(order.above, seat.theta)
        text = f"the {'first' if seat.value > 0 else 'second'} seat is worth {abs(seat.value):.2f} nats"
        flags.append(Flag("seat", text + (f"; without it {_pairs(names, swapped)}" if swapped else "")))
    if by_rules := _by_rules(names, order, rules or {}, rule):
        flags.append(Flag("ties", "the order depends on them: " + "; ".join(by_rules)))
    if circles is not None and (text := _circles(names, circles)):
        flags.append(Flag("cycles", text))
    if voters is not None and voters[0] >= VOTERS:
        flags.append(
            Flag(
                "power_voters",
                f"standard errors by voter are {voters[0]:.2f} times those of independent battles; the busiest 1 % of "
                f"the voters decided {voters[1]:.1%} of them",
            )
        )
    return flags


def _beyond(value: float, error: float | None, band: float) -> bool:
    """Whether a value lies three standard errors beyond a band around 0: chance does so on one board of 700."""
    return error is not None and abs(value) - 3.0 * error > band


def _by_rules(names: Sequence[str], order: Order, rules: Mapping[str, FloatArray], rule: str) -> list[str]:
    certain = order.above.copy()
    for neighbour in order.neighbours:
        certain[neighbour.above, neighbour.below] |= neighbour.joint_lower > 0.0
    found = []
    for name, theta in rules.items():
        if name != rule and (swapped := turned(certain, theta)):
            found.append(f"where {_CALLED[name]}, {_pairs(names, swapped)}")
    return found


def _pairs(names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> str:
    """Pairs (upper, lower) that change places, in words."""
    told = [f"{names[j]} is above {names[i]}" for i, j in pairs[:_SHOWN]]
    more = f" (and {len(pairs) - _SHOWN} pairs more)" if len(pairs) > _SHOWN else ""
    return ", ".join(told) + more


def _circles(names: Sequence[str], circles: Cycles) -> str:
    """What is odd about the circles of a board; empty where nothing is."""
    text = ""
    excess = circles.cyclic - circles.expected
    if circles.chance is not None and circles.chance <= _RARE and excess > CIRCLES * circles.triads:
        text = (
            f"{circles.cyclic:,} of {circles.triads:,} triads run in a circle where the fit predicts "
            f"{circles.expected:,.1f}: one strength a model does not tell who beats whom"
        )
    if circles.certain is not None:
        a, b, c = (names[i] for i in circles.certain)
        text += f"{'; ' if text else ''}{a} beats {b}, {b} beats {c} and {c} beats {a}, beyond doubt"
    return text
