"""Who won, from every column that tells it: they are compared, and none goes before another in silence.

A row may tell its outcome by `winner`, by the three columns of a one-hot winner, by `preference`, and by `score_a` with
or without `score_b`. Rows in which two of them name different winners are in doubt: left out and counted while they are
few, and refused otherwise (`ratings.cells.UNKNOWN_SHARE`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray
from arenaloop.ratings.cells import (
    LeftOut,
    Outcomes,
    Place,
    at,
    is_missing,
    numeric,
    read_preferences,
    read_scores,
    shown,
    to_number,
)
from arenaloop.ratings.outcomes import ONE_HOT, one_hot_winners, read_outcomes

__all__ = ["OUTCOME_COLUMNS", "read_told"]

OUTCOME_COLUMNS = ("winner", *ONE_HOT, "preference", "score_a", "score_b")
"""Columns that tell who won."""

_ROUNDED = 0.011
"""Two shares of one battle make 1, but for their rounding to two places."""


@dataclass(frozen=True, slots=True)
class _Telling:
    """What one column, or a few that belong together, say of each row.

    Attributes:
        name: of the column. `cells`: what is shown of a row.
        score: of the first side, NaN without an outcome.
        silent: where it holds nothing at all, so that another may tell.
        notes: of its reader.
        exact: it knows 1, 0.5 and 0 alone, so that a tie contradicts a win.
    """

    name: str
    cells: Sequence[Any]
    score: FloatArray
    silent: BoolArray
    notes: tuple[str, ...]
    exact: bool


def read_told(
    cells: Mapping[str, Sequence[Any]],
    names: tuple[Sequence[Any], Sequence[Any]],
    *,
    order: Sequence[str] = OUTCOME_COLUMNS,
    place: Place | None = None,
) -> Outcomes:
    """What the first side scored in each row, by all columns that tell.

    Args:
        cells: the columns of `OUTCOME_COLUMNS` that the file has, N cells each.
        names: the models of each row.
        order: which column's reader is to be heard first; what a later one cannot read is a note, not an error.
        place: where a row stands, for errors.

    Raises:
        ValueError: the first column holds too many values that are not known, or too many rows contradict themselves.
    """
    tellings: list[_Telling] = []
    notes: list[str] = []
    for name in order:
        if (
            name not in cells
            or name in ("score_b", *ONE_HOT[1:])
            or (name in ONE_HOT and not set(ONE_HOT) <= set(cells))
        ):
            continue
        try:
            tellings.append(_telling(name, cells, names, place))
        except ValueError as error:
            if not tellings:
                raise
            notes.append(f"column {name} is not compared with {tellings[0].name}: {error}")
    first, *others = tellings
    score, open_ = first.score.copy(), first.silent.copy()
    doubt = np.zeros(len(score), dtype=bool)
    unlike = LeftOut("columns that agree on who won")
    for other in others:
        at_odds = _at_odds(first, other) & ~doubt
        for row in map(int, np.flatnonzero(at_odds)):
            told = f"{first.name} {shown(first.cells[row])} against {other.name} {shown(other.cells[row])}"
            unlike.add(told, at(place, row))
        doubt |= at_odds
        score = np.where(open_, other.score, score)
        open_ &= other.silent
    score[doubt] = np.nan
    return Outcomes(score, (*unlike.notes(len(score)), *first.notes, *notes))


def _at_odds(first: _Telling, other: _Telling) -> BoolArray:
    """Rows of which one column says that the first side won, and the other that it lost (or drew, where both know)."""
    one, two = np.sign(first.score - 0.5), np.sign(other.score - 0.5)
    with np.errstate(invalid="ignore"):
        opposed: BoolArray = one * two < 0
    if first.exact and other.exact:
        known = ~(np.isnan(one) | np.isnan(two))
        opposed = known & (one != two)
    return opposed


def _telling(
    name: str, cells: Mapping[str, Sequence[Any]], names: tuple[Sequence[Any], Sequence[Any]], place: Place | None
) -> _Telling:
    column: Sequence[Any] = cells[name]
    if name == "score_a":
        outcomes, column = _scores(column, cells.get("score_b"), place)
    elif name in ONE_HOT:
        name, column = "winner_…", one_hot_winners(*(cells[one] for one in ONE_HOT))
        outcomes = read_outcomes(column, *names, column="winner_model_a, winner_model_b, winner_tie", place=place)
    elif name == "winner" or _words(column):
        outcomes = read_outcomes(column, *names, column=name, place=place)
    else:
        outcomes = read_preferences(column, column=name, place=place)
        outcomes = Outcomes(2.0 - outcomes.score, outcomes.notes)
    score = outcomes.score
    return _Telling(
        name,
        column,
        score,
        np.array([cell is None or cell == "" or cell != cell for cell in column], dtype=bool),
        outcomes.notes,
        bool(np.isin(score[~np.isnan(score)], (0.0, 0.5, 1.0)).all()) and (name != "score_a" or "score_b" not in cells),
    )


def _words(values: Sequence[Any]) -> bool:
    """Whether a column of preferences names sides rather than numbers them."""
    words = sum(isinstance(value, str) and to_number(value) is None and not is_missing(value) for value in values)
    return words > sum(to_number(value) is not None for value in values)


def _scores(first: Sequence[Any], second: Sequence[Any] | None, place: Place | None) -> tuple[Outcomes, Sequence[Any]]:
    """`score_a` as what the first side scored, or with `score_b` beside it as two grades; and the cells to show."""
    one, two = numeric(first), numeric(second or ())
    if second is None or np.isnan(two).all():
        return read_scores(first, place=place), first
    shares = np.isnan(two) | (np.abs(one + two - 1.0) <= _ROUNDED) & (one >= 0.0) & (two >= 0.0)
    pairs = [f"{a} : {b}" for a, b in zip(first, second, strict=True)]
    if (shares | np.isnan(one)).all():
        return read_scores(first, place=place), pairs
    unknown = LeftOut("two scores that are numbers", "score_a, score_b")
    for row in map(int, np.flatnonzero(np.isnan(one) | np.isnan(two))):
        if not (is_missing(first[row]) or is_missing(second[row])):
            unknown.add(pairs[row], at(place, row))
    score = np.where(np.isnan(one) | np.isnan(two), np.nan, 0.5 + 0.5 * np.sign(one - two))
    empty = int(np.isnan(score).sum()) - len(unknown)
    notes = unknown.notes(len(score))
    notes += [f"columns score_a, score_b: {empty:,} of {len(score):,} rows empty or failed"] if empty else []
    notes.append("score_a and score_b do not make 1 together, so they are two grades: the higher one wins")
    return Outcomes(score, tuple(notes)), pairs
