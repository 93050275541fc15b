"""What the cells of a file say: scores, preferences, labels, weights, covariates. One rule for all readers.

A value that is known is read. One that means "there is none" (null, blank, a failed call's mark) leaves its row without
an outcome. One that nobody knows is counted and shown with examples; rows that hold such values are left out while they
are few, and stop the reading where they are more than `UNKNOWN_SHARE`: no board of what happened to match.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.style_features import PROCEDURES, style_differences

__all__ = [
    "FAILED",
    "SHOWN",
    "STRONG_WEIGHT",
    "UNKNOWN_SHARE",
    "LeftOut",
    "Outcomes",
    "Place",
    "at",
    "is_missing",
    "numeric",
    "read_controls",
    "read_games",
    "read_preferences",
    "read_scores",
    "read_weights",
    "says_nothing",
    "shown",
    "spelling",
    "to_number",
]

UNKNOWN_SHARE = 0.05
"""More rows than this with values that are not known are no slips of a pen: the file means something else."""

Place = Callable[[int], str]
"""Where row i (from 0) of a column stands, such as ``line 7``; without one it is ``row 7``."""

SHOWN = 5  # examples in one line
FAILED = frozenset({"error", "$error$", "failed", "unparsed", "refused", "truncated", "empty"})
"""What our own verdicts and FastChat's call a judgment without an outcome."""
MISSING = frozenset({"", "nan", "null", "na", "n/a"})


def spelling(value: object) -> str:
    """A word in one spelling: case, blanks, underscores, hyphens, brackets and what one cannot see do not matter."""
    text = "".join(c for c in unicodedata.normalize("NFKC", str(value)) if unicodedata.category(c) != "Cf").casefold()
    return re.sub(r"[\s_\-]+", " ", text).strip(" \"'.*[]")


def says_nothing(value: object) -> bool:
    """Whether a text is blank or a spelling of null."""
    return str(value).strip().casefold() in MISSING


def at(place: Place | None, index: int) -> str:
    """Where row `index` stands, in words."""
    return f"row {index + 1}" if place is None else place(index)


class LeftOut:
    """Rows whose values are not known: how many, with examples.

    Args:
        what: what they lack, for a reader of the counts, such as ``a known winner``.
        column: in which column, empty where the values tell.
    """

    def __init__(self, what: str, column: str = "") -> None:
        self._what = what
        self._column = f"column {column}: " if column else ""
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def __len__(self) -> int:
        return sum(self._counts.values())

    def add(self, value: str, place: str, rows: int = 1) -> None:
        """Count rows that hold `value`; the first of its places is kept."""
        self._counts[value] = self._counts.get(value, 0) + rows
        self._first.setdefault(value, place)

    def notes(self, rows: int, known: str = "") -> list[str]:
        """One line that counts and shows them, none where there are none.

        Args:
            rows: how many rows were read.
            known: what would have been understood.

        Raises:
            ValueError: they are more than `UNKNOWN_SHARE` of the rows.
        """
        count = len(self)
        if not count:
            return []
        common = sorted(self._counts, key=lambda value: -self._counts[value])
        shown = ", ".join(f"{v} ({self._counts[v]:,}, first {self._first[v]})" for v in common[:SHOWN])
        more = f" and {len(common) - SHOWN:,} others" if len(common) > SHOWN else ""
        if count > UNKNOWN_SHARE * rows:
            first, value = self._first[common[0]], common[0]
            rest = "" if len(common) == 1 else f"; all: {shown}{more}"
            raise ValueError(
                f"{first}: {self._column}{value}: {count:,} of {rows:,} rows lack {self._what}, and more than "
                f"{UNKNOWN_SHARE * 100:g} % are not left out{rest}{known and f'; known: {known}'}"
            )
        return [f"{count:,} of {rows:,} rows without {self._what} left out: {self._column}{shown}{more}"]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a column of winners says.

    Attributes:
        score: what `model_a` scored, shape (N,), NaN where there is no outcome.
        notes: how words of other conventions were read, and which rows were left out, in plain words.
    """

    score: npt.NDArray[np.float64]
    notes: tuple[str, ...] = ()


def shown(value: object) -> str:
    """A value as an example in a message, not too long."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def to_number(value: object) -> float | None:
    """A finite number from a cell, a text that spells one included (``0,5`` has a decimal comma); None for all else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | np.number):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d*,\d{1,2}\s*", value):
        value = value.replace(",", ".")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def is_missing(value: object) -> bool:
    """Whether a cell says that there is nothing: null, NaN, blank, or a failed call's mark."""
    return (
        value is None
        or value != value
        or (isinstance(value, str) and (says_nothing(value) or spelling(value) in FAILED))
    )


Cells = Sequence[Any] | npt.NDArray[Any]
"""A column of a file."""


def numeric(values: Cells) -> npt.NDArray[np.float64]:
    """All cells as numbers, NaN for those that are none; texts may spell them."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        return values.astype(np.float64)
    if set(map(type, values)) <= {float, int, NoneType}:  # (True, too, is a number to numpy)
        try:
            return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        except OverflowError:  # a whole number of hundreds of digits
            pass
    return np.array([np.nan if (number := to_number(value)) is None else number for value in values], dtype=np.float64)


def _gaps(
    number: npt.NDArray[np.float64], values: Cells, column: str, unknown: LeftOut, place: Place | None
) -> list[str]:
    """Notes on the rows without a number: those that say so, and those that hold something else."""
    empty = 0
    for row in map(int, np.flatnonzero(np.isnan(number))):
        if is_missing(values[row]):
            empty += 1
        else:
            unknown.add(shown(values[row]), at(place, row))
    notes = unknown.notes(len(values))
    return [*notes, f"column {column}: {empty:,} of {len(values):,} rows empty or failed"] if empty else notes


def read_scores(values: Cells, *, column: str = "score_a", place: Place | None = None) -> Outcomes:
    """What `model_a` scored, in [0, 1]; texts that spell a number are read.

    Raises:
        ValueError: more than `UNKNOWN_SHARE` of the rows hold something else.
    """
    number = numeric(values)
    score = np.where((number >= 0.0) & (number <= 1.0), number, np.nan)
    unknown = LeftOut("a score between 0 and 1", column)
    return Outcomes(score, tuple(_gaps(score, values, column, unknown, place)))


_LABEL = re.compile(r"([ab])(<<|>>|<|>|=)([ab])")
STRONG_WEIGHT = 3.0
"""What ``A>>B`` weighs beside ``A>B``, as in Arena-Hard's own fit."""


def read_games(
    values: Sequence[Any], *, column: str = "score", place: Place | None = None
) -> tuple[Outcomes, npt.NDArray[np.float64]]:
    """Arena-Hard's labels from either end (``B<<A`` is ``A>>B``): what the first seat scored, and the labels' weights.

    Raises:
        ValueError: more than `UNKNOWN_SHARE` of the games hold something else.
    """
    score, weight = np.full(len(values), np.nan), np.ones(len(values))
    unknown, empty = LeftOut("a known label", column), 0
    for row, value in enumerate(values):
        word = spelling(value)
        label = _LABEL.fullmatch(word.replace(" ", "").replace("≫", ">>").replace("≪", "<<"))
        if label and label[1] != label[3]:
            sign = label[2]
            score[row] = 0.5 if sign == "=" else float((label[1] == "a") == (">" in sign))
            weight[row] = STRONG_WEIGHT if len(sign) == 2 else 1.0
        elif is_missing(value):
            empty += 1
        else:
            unknown.add(shown(value), at(place, row))
    notes = unknown.notes(len(values), "A>>B, A>B, A=B, B>A, B>>A and the same with <")
    if empty:
        notes.append(f"column {column}: {empty:,} of {len(values):,} games without a label")
    return Outcomes(score, tuple(notes)), weight


def read_preferences(values: Cells, *, column: str = "preference", place: Place | None = None) -> Outcomes:
    """AlpacaEval's preferences, 1 (the first output) to 2 (the second): `score` is the preference, a draw's 0 as 1.5.

    Raises:
        ValueError: more than `UNKNOWN_SHARE` of the rows hold something else.
    """
    number = numeric(values)
    preference = np.where((number >= 1.0) & (number <= 2.0), number, np.where(number == 0.0, 1.5, np.nan))
    unknown = LeftOut("a preference (1, 2, 1.5, anything between, or 0 for a draw)", column)
    notes = _gaps(preference, values, column, unknown, place)
    if (number == 0.0).any() and not (preference > 1.5).any():
        notes.append(
            f"column {column}: no preference above 1.5, so the second output never wins: 0 is read as a draw and 1 as "
            "the first output; where 0 and 1 are the two sides, write 1 and 2"
        )
    elif len(values) and not np.isnan(preference).all() and not (preference > 1.5).any():
        notes.append(f"column {column}: no preference above 1.5, so the second output never wins")
    return Outcomes(preference, tuple(notes))


def read_weights(values: Cells, *, column: str = "weight", place: Place | None = None) -> npt.NDArray[np.float64]:
    """How much each row counts, shape (N,).

    Raises:
        ValueError: one is no finite number, or negative; or all are 0.
    """
    weight = numeric(values)
    for row in map(int, np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))[:1]):
        raise ValueError(
            f"{at(place, row)}: column {column}: {shown(values[row])}, where weights are finite and not negative"
        )
    if len(weight) and not weight.any():
        raise ValueError(f"column {column}: all weights are 0")
    return weight


def read_controls(
    names: Sequence[str], column: Callable[[str], npt.NDArray[np.float64]], *, place: Place | None = None
) -> tuple[dict[str, npt.NDArray[np.float64]], list[str]]:
    """By how much a is ahead of b in each covariate, shape (N,), by name, and what is to be said of it.

    That is (a - b) / (a + b): the share rather than the difference, as Chatbot Arena's style control has it, so that
    long and short conversations weigh alike; 0 where both are zero, NaN where one is missing. A covariate with negative
    numbers has no such share: its plain difference is taken, which a note says.

    Args:
        names: of the covariates; those of style stand for several (see `style_features`).
        column: gives one of the columns NAME_a and NAME_b, NaN where a cell is empty.
        place: where a row stands.

    Raises:
        ValueError: a length is negative.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    notes = []
    for name in names:
        if name in PROCEDURES:
            found |= style_differences(name, column)
            continue
        first, second = column(f"{name}_a"), column(f"{name}_b")
        negative = np.flatnonzero((first < 0) | (second < 0))
        if not len(negative):
            total = first + second
            found[name] = np.where(total == 0, 0.0, (first - second) / np.where(total == 0, 1.0, total))
            continue
        row = int(negative[0])
        side, value = ("_a", first[row]) if first[row] < 0 else ("_b", second[row])
        if name == "length":
            raise ValueError(
                f"{at(place, row)}: column {name}{side}: {value:g}, where no length is negative: leave the cell empty "
                "where it is not known"
            )
        found[name] = first - second
        notes.append(
            f"{name} is negative in {len(negative):,} of {len(first):,} rows (first {at(place, row)}: {value:g}): its "
            "plain difference is taken, not its share"
        )
    return found, notes
