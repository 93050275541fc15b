"""What a leaderboard's order is worth, as a document: `ratings.order` and its neighbours put together for one board."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arenaloop.ratings import bradley_terry
from arenaloop.ratings.arrays import IntArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.board_flags import Flag, board_flags
from arenaloop.ratings.bootstrap import Bootstrap
from arenaloop.ratings.cycles import Cycles, cycles
from arenaloop.ratings.drawn_ranks import drawn_ranks
from arenaloop.ratings.intervals import Intervals
from arenaloop.ratings.order import Neighbours, Order, board_order
from arenaloop.ratings.seat_effect import SeatEffect, repeats, seat_effect
from arenaloop.ratings.sums import BattleSums
from arenaloop.ratings.tie_rules import orders_by_rule

__all__ = ["Worth", "worth_of"]


@dataclass(frozen=True, slots=True)
class Worth:
    """What a board's order is worth.

    Attributes:
        models: K names.
        order: ranks, tiers and differences between neighbours, by code.
        unit: what is independent: ``"prompt"``, ``"battle"`` or ``"voter"``.
        seat: what the first seat is worth.
        circles: cyclic triads; None with fewer than three models.
        flags: what may be wrong with the board as a whole.
        drawn: lowest and highest rank by percentiles of each model by itself; see `ratings.drawn_ranks`.
    """

    models: tuple[str, ...]
    order: Order
    unit: str
    seat: SeatEffect
    circles: Cycles | None
    flags: tuple[Flag, ...]
    drawn: tuple[IntArray, IntArray]

    @property
    def tiers(self) -> int:
        """How many tiers there are, counted over all groups that never met."""
        return sum(n.separated for n in self.order.neighbours) + len(self.firsts)

    @property
    def firsts(self) -> set[int]:
        """Codes of the models that begin a group, with its first tier."""
        below = {neighbour.below for neighbour in self.order.neighbours}
        return {code for code, tier in enumerate(self.order.tier.tolist()) if tier == 1 and code not in below}

    def row(self, code: int) -> dict[str, int | None]:
        """Rank interval and tier of a model, None without a rating."""
        tier = int(self.order.tier[code])
        values = self.order.lower[code], self.order.upper[code], tier
        names = ("rank_lower", "rank_upper", "tier")
        return {name: int(value) if tier else None for name, value in zip(names, values, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """What it adds to ``leaderboard.json``."""
        return {
            "tiers": self.tiers,
            "differences": [self._difference(neighbour) for neighbour in self.order.neighbours],
            "seat": {
                "value": self.seat.value,
                "lower": self.seat.lower,
                "upper": self.seat.upper,
                **({"reason": self.seat.reason} if self.seat.reason else {}),
            },
            "cycles": None if self.circles is None else self._circles(self.circles),
            "rank_percentiles": {
                name: [lower, upper] if lower else None
                for name, lower, upper in zip(self.models, *(ends.tolist() for ends in self.drawn), strict=True)
            },
            "flags": [{"flag": flag.name, "text": flag.text} for flag in self.flags],
        }

    def _difference(self, of: Neighbours) -> dict[str, Any]:
        return {
            "above": self.models[of.above],
            "below": self.models[of.below],
            "difference": of.difference,
            "lower": _finite(of.lower),
            "upper": _finite(of.upper),
            "simultaneous_lower": _finite(of.joint_lower),
            "simultaneous_upper": _finite(of.joint_upper),
            "separated": of.separated,
            f"more_{self.unit}s": of.more,
        }

    def _circles(self, of: Cycles) -> dict[str, Any]:
        certain = None if of.certain is None else [self.models[code] for code in of.certain]
        return {
            "triads": of.triads,
            "cyclic": of.cyclic,
            "expected": of.expected,
            "lower": of.lower,
            "upper": of.upper,
            "chance": of.chance,
            "certain": certain,
        }


def worth_of(
    battles: BattleSums,
    spread: Intervals | Bootstrap,
    order: Sequence[int],
    *,
    cluster: str,
    level: float,
    ties: str = "half",
    of_all: BattleSums | None = None,
    voters: tuple[float, float] | None = None,
    plain: bool = True,
    games: Battles | None = None,
) -> Worth:
    """What a board's order is worth.

    Args:
        battles: that it was made from, their clusters those of `cluster`.
        spread: of its ratings.
        order: codes of the models, best first.
        cluster: ``"prompt"``, ``"battle"`` or ``"voter"``: what is independent.
        level: of the intervals, one by one and all together.
        ties: the rule for them that the board was made by.
        of_all: the battles with their ties, where `battles` lacks them.
        voters: see `board_flags`.
        plain: whether ratings hold nothing equal: what they would be by another rule for ties, and how many circles
            they predict, is asked of the battles alone.
        games: the verdicts behind the battles, the first seat in column a. All of one pair on one prompt are one
            observation, and paired where they are from both seats.
    """
    clustered = cluster != "battle"
    fit = spread.fit
    found = board_order(spread, order, battles.clusters if clustered else len(battles), level=level)
    if games is None:
        seat = seat_effect(battles, fit, clustered=clustered, level=level)
    else:
        repeated, paired = repeats(games)
        by_prompt = repeated or (clustered and games.cluster is not None)
        seat = seat_effect(games, fit, clustered=by_prompt, paired=paired, level=level)
    every = battles if of_all is None else of_all
    rules, circles = {}, None
    if plain:
        half = fit if ties == "half" else bradley_terry.fit(every)
        circles = cycles(battles, half if ties != "drop" else fit, inflation=1.0 if voters is None else voters[0] ** 2)
        rules = orders_by_rule(every, half) if every.ties else {}
    flags = board_flags(fit, found, seat=seat, rules=rules, rule=ties, circles=circles, voters=voters)
    return Worth(fit.models, found, cluster, seat, circles, tuple(flags), drawn_ranks(spread, level))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
