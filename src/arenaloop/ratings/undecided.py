"""What undecided battles could change: each model's rating under the worst and the best outcome of its own.

Battles without an outcome are not missing at random, so no interval covers what they leave out. What can be said is a
bound without any assumption on why they are missing (Manski 1989, "Anatomy of the selection problem"; Horowitz & Manski
2000, JASA 95): all of a model's undecided battles lost, and all of them won. Those of others stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.battles import Battles, BoolArray, FloatArray, IntArray
from arenaloop.ratings.bradley_terry import count_wins, fit_wins
from arenaloop.ratings.win_rate import Annotations, WinRate

__all__ = ["OutcomeBounds", "RateBounds", "outcome_bounds", "rate_bounds"]

_MOST = 100
"""models whose bounds are worked out, those with most undecided battles first: each takes two fits"""
_SAME = 1e-6
"""Elo points; ratings as near as this share a place"""


@dataclass(frozen=True, slots=True)
class OutcomeBounds:
    """Bounds of K models; NaN, or place 0, for those without a rating or without an undecided battle.

    Attributes:
        models: names.
        undecided: undecided battles of each, shape (K,).
        worst, best: how many Elo points the rating would move had the model lost, or won, all of them, shape (K,).
        place, worst_place, best_place: its place among the rated models as it is, and in either case, shape (K,).
    """

    models: tuple[str, ...]
    undecided: IntArray
    worst: FloatArray
    best: FloatArray
    place: IntArray
    worst_place: IntArray
    best_place: IntArray

    @property
    def moving(self) -> list[int]:
        """Codes of the models whose place hangs on their undecided battles, most of them first."""
        moved = (self.worst_place != self.place) | (self.best_place != self.place)
        return sorted(np.flatnonzero(moved).tolist(), key=lambda code: (-self.undecided[code], code))


def outcome_bounds(
    battles: Battles, *, anchor: tuple[str, float] | None = None, origin: BoolArray | None = None
) -> OutcomeBounds | None:
    """Bounds by Bradley–Terry fits in which a model's undecided battles were all lost, or all won.

    An undecided battle weighs what a decided one does in the mean. At most 100 models are bounded.

    Args:
        battles: with the battles of unknown outcome that its reader left out.
        anchor, origin: as of `BradleyTerry.ratings`; an anchor must have a decided battle.

    Returns:
        None where nothing is undecided.
    """
    open_ = battles.undecided
    if open_ is None or not open_.any():
        return None
    size, names = len(battles.models), battles.models
    counts = open_.sum(axis=1)
    wins = count_wins(battles)
    each = 1.0 if battles.weight is None or not len(battles) else float(battles.weight.mean())

    def rated(matrix: FloatArray) -> FloatArray:
        return fit_wins(matrix, names).ratings(anchor=anchor, origin=origin) if matrix.any() else np.full(size, np.nan)

    now = rated(wins)
    worst, best = np.full(size, np.nan), np.full(size, np.nan)
    place, worst_place, best_place = (np.zeros(size, dtype=np.int64) for _ in range(3))
    for code in np.argsort(-counts, kind="stable")[:_MOST]:
        if not counts[code]:
            break
        place[code] = _place(now, code)
        for step, (shift, places) in enumerate(((worst, worst_place), (best, best_place))):
            matrix = wins.copy()
            if step:
                matrix[code, :] += each * open_[code]
            else:
                matrix[:, code] += each * open_[code]
            ratings = rated(matrix)
            shift[code] = ratings[code] - now[code]
            places[code] = _place(ratings, code)
    return OutcomeBounds(names, counts, worst, best, place, worst_place, best_place)


def _place(ratings: FloatArray, code: int) -> int:
    """1 is best; 0 without a rating."""
    return 0 if np.isnan(ratings[code]) else 1 + int(np.count_nonzero(ratings > ratings[code] + _SAME))


# ---------------------------------------------------------------------- win rates


@dataclass(frozen=True, slots=True)
class RateBounds:
    """What undecided annotations could change of one model's win rate against the baseline.

    Attributes:
        undecided: annotations without an outcome; `share`: of all that were wanted, a fraction, None without any.
        worst, best: the win rate in percent had the model lost, or won, all of them; None without any.
        place, worst_place, best_place: among all models and the baseline at its even 50 %; 0 without a rate.
        own_failures: how many of its losses are failures of its own, without a verdict.
    """

    undecided: int
    share: float | None
    worst: float | None
    best: float | None
    place: int
    worst_place: int
    best_place: int
    own_failures: int

    @property
    def moves(self) -> bool:
        """Whether the model's place hangs on its undecided annotations."""
        return len({self.place, self.worst_place, self.best_place}) > 1


def rate_bounds(annotations: Annotations, rows: Sequence[WinRate]) -> dict[str, RateBounds]:
    """Bounds of win rates by model; the rates of all others stay as they are."""
    rates = {row.model: row.win_rate for row in rows} | {annotations.baseline: 50.0}
    failed = np.isnan(annotations.preference)
    own = np.zeros(len(failed), dtype=bool) if annotations.own_failure is None else annotations.own_failure

    def place(model: str, rate: float | None) -> int:
        others = (other for name, other in rates.items() if name != model and other is not None)
        return 0 if rate is None else 1 + sum(other > rate + _SAME for other in others)

    bounds = {}
    for row in rows:
        mine = annotations.model == annotations.models.index(row.model)
        missing = int(np.count_nonzero(failed & mine)) + annotations.undecided.get(row.model, 0)
        wanted = row.n_total + missing
        won = (row.win_rate or 0.0) * row.n_total
        worst, best = (won / wanted, (won + 100.0 * missing) / wanted) if missing else (None, None)
        lost = int(np.count_nonzero(own & mine & (annotations.preference == 1.0)))
        share = missing / wanted if wanted else None
        now = place(row.model, row.win_rate)
        lowest, highest = (place(row.model, worst), place(row.model, best)) if missing else (now, now)
        bounds[row.model] = RateBounds(missing, share, worst, best, now, lowest, highest, lost)
    return bounds
