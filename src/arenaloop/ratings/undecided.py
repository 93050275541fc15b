"""What undecided battles could change: each model's rating under the worst and the best outcome of its own.

Battles without an outcome are not missing at random, so no interval covers what they leave out. What can be said is a
bound without any assumption on why they are missing (Manski 1989, "Anatomy of the selection problem"; Horowitz & Manski
2000, JASA 95): all of a model's undecided battles lost, and all of them won. Those of others stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray
from arenaloop.ratings.bradley_terry import (
    ELO_PER_NAT,
    anchor_code,
    count_wins,
    fit_wins,
    newton_batch,
)
from arenaloop.ratings.crossings import WHOLE, components, crossings
from arenaloop.ratings.sums import BattleSums
from arenaloop.ratings.win_rate import Annotations, WinRate

__all__ = ["OutcomeBounds", "RateBounds", "failure_notes", "outcome_bounds", "rate_bounds"]

_MOST = 100
"""models whose bounds are worked out, those with most undecided battles first: each takes two fits"""
_MOST_APART = 10_000
"""the same, times all models, where some won or lost everything: then each fit looks for groups anew"""
_TOGETHER = 2_000_000
"""entries of the win matrices that are fitted at once"""
_NAMED = 5
"""models that a note names one by one"""
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
        left_out: models with undecided battles whose bounds were not worked out, as others have more of them.
    """

    models: tuple[str, ...]
    undecided: IntArray
    worst: FloatArray
    best: FloatArray
    place: IntArray
    worst_place: IntArray
    best_place: IntArray
    left_out: int

    @property
    def moving(self) -> list[int]:
        """Codes of the models whose place hangs on their undecided battles, most of them first."""
        moved = (self.worst_place != self.place) | (self.best_place != self.place)
        return sorted(np.flatnonzero(moved).tolist(), key=lambda code: (-self.undecided[code], code))

    @property
    def notes(self) -> list[str]:
        """In plain words, for whom the order hangs on undecided battles."""
        told = []
        for code in self.moving[:_NAMED]:
            places = (self.place[code], self.worst_place[code], self.best_place[code])
            now, worst, best = (f"#{place}" if place else "not rated" for place in places)
            told.append(f"{self.models[code]} is {now}, {worst} with its {self.undecided[code]:,} lost, {best} if won")
        more = f"; and {len(self.moving) - _NAMED} models more" if len(self.moving) > _NAMED else ""
        notes = [f"the order depends on undecided battles: {'; '.join(told)}{more}"] if told else []
        if self.left_out:
            notes.append(f"what {self.left_out} models with fewer undecided battles hang on is not worked out")
        return notes


def failure_notes(battles: BattleSums) -> list[str]:
    """In plain words, who lost how many battles by own failure, most first."""
    if battles.own_failures is None:
        return []
    fought, _ = battles.per_model()
    lost = battles.own_failures.tolist()
    order = sorted((code for code, n in enumerate(lost) if n), key=lambda code: (-lost[code], code))
    told = [f"{battles.models[code]} {lost[code]:,} of its {fought[code]:,} battles" for code in order[:_NAMED]]
    more = f" and {len(order) - _NAMED} models more" if len(order) > _NAMED else ""
    return [f"lost by own failure, without a verdict: {', '.join(told)}{more} (own_failure: drop leaves them out)"]


def outcome_bounds(
    battles: BattleSums, *, anchor: tuple[str, float] | None = None, origin: BoolArray | None = None
) -> OutcomeBounds | None:
    """Bounds by Bradley–Terry fits in which a model's undecided battles were all lost, or all won.

    An undecided battle weighs what a decided one does in the mean. At most 100 models are bounded, those with most
    undecided battles.

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
    if anchor is not None:
        anchor_code(names, anchor)
    counts = open_.sum(axis=1)
    wins = count_wins(battles)
    each = battles.mean_mass

    def written_out(code: int, *, won: bool) -> FloatArray:
        matrix = wins.copy()
        if won:
            matrix[code, :] += each * open_[code]
        else:
            matrix[:, code] += each * open_[code]
        return matrix

    unit = battles.whole_battles()
    # somebody won or lost (nearly) everything, or met nobody
    apart = not len(battles) or bool((crossings(wins, unit) < WHOLE).any())
    met = components(wins)[0]
    fitted = _by_one(names, anchor, origin, unit) if apart else _by_many(names, anchor, origin, met)
    (now,) = fitted([wins])
    worst, best = np.full(size, np.nan), np.full(size, np.nan)
    place, worst_place, best_place = (np.zeros(size, dtype=np.int64) for _ in range(3))
    concerned = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code]]
    bounded = concerned[: min(_MOST, max(10, _MOST_APART // size)) if apart else _MOST]
    for shift, places, won in ((worst, worst_place, False), (best, best_place, True)):
        ratings = fitted(written_out(code, won=won) for code in bounded)
        for code, rating in zip(bounded, ratings, strict=True):
            place[code] = _place(now, code)
            shift[code] = rating[code] - now[code]
            places[code] = _place(rating, code)
    left_out = len(concerned) - len(bounded)
    return OutcomeBounds(names, counts, worst, best, place, worst_place, best_place, left_out)


Fitted = Callable[[Iterable[FloatArray]], Iterator[FloatArray]]
"""Ratings by each of many win matrices, shape (K,)."""


def _by_one(
    names: Sequence[str], anchor: tuple[str, float] | None, origin: BoolArray | None, unit: FloatArray
) -> Fitted:
    def fitted(matrices: Iterable[FloatArray]) -> Iterator[FloatArray]:
        for matrix in matrices:
            if matrix.any():
                yield fit_wins(matrix, names, unit=unit).ratings(anchor=anchor, origin=origin)
            else:
                yield np.full(len(names), np.nan)

    return fitted


def _by_many(
    names: Sequence[str], anchor: tuple[str, float] | None, origin: BoolArray | None, component: IntArray
) -> Fitted:
    """For matrices that add wins to one whose maximum exists: so do theirs, and many are fitted at once."""

    def fitted(matrices: Iterable[FloatArray]) -> Iterator[FloatArray]:
        left = iter(matrices)
        while some := list(islice(left, max(1, _TOGETHER // len(names) ** 2))):
            theta = newton_batch(np.stack(some), 0.0, component)
            centre = theta if origin is None or not origin.any() else theta[:, origin]
            rating = ELO_PER_NAT * (theta - centre.mean(axis=1, keepdims=True)) + 1000.0
            if anchor is not None:
                rating += anchor[1] - rating[:, [anchor_code(names, anchor)]]
            yield from rating

    return fitted


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
