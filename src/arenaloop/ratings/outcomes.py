"""What the cells of a file say: winners, scores, preferences, weights. One rule for all readers.

A value that is known is read. One that means "there is none" (null, blank, a failed call's mark) leaves its row without
an outcome. One that nobody knows is counted and shown with examples; rows that hold such values are left out while they
are few, and stop the reading where they are more than `UNKNOWN_SHARE`: no board of what happened to match.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "ONE_HOT",
    "UNKNOWN_SHARE",
    "WINNER_SCORES",
    "LeftOut",
    "Outcomes",
    "is_missing",
    "name_twins",
    "one_hot_winners",
    "read_games",
    "read_outcomes",
    "read_preferences",
    "read_scores",
    "read_weights",
    "to_number",
]

UNKNOWN_SHARE = 0.05
"""More rows than this with values that are not known are no slips of a pen: the file means something else."""

WINNER_SCORES: Mapping[str, float] = {
    "model_a": 1.0,
    "model_b": 0.0,
    "tie": 0.5,
    "tie (bothbad)": 0.5,
    "both_bad": 0.5,
}
"""What `model_a` scores for each outcome that Chatbot Arena's files use."""
# (beside `types.Winner.score`: ratings import nothing of the package)

ONE_HOT = ("winner_model_a", "winner_model_b", "winner_tie")
"""Columns of a file that has one for each outcome, 1 in the one that is true."""

Place = Callable[[int], str]
"""Where row i (from 0) of a column stands, such as ``line 7``; without one it is ``row 7``."""

_SHOWN = 5  # examples in one line
_KNOWN = (
    "model_a, model_b, tie (both bad, both good, draw), A and B, left and right, the names of the row's models, "
    "1 and 0 beside 0.5, 1 and 2"
)


def _at(place: Place | None, index: int) -> str:
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

    def add(self, value: str, place: str) -> None:
        """Count one row that holds `value`; the first of its places is kept."""
        self._counts[value] = self._counts.get(value, 0) + 1
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
        shown = ", ".join(f"{v} ({self._counts[v]:,}, first {self._first[v]})" for v in common[:_SHOWN])
        more = f" and {len(common) - _SHOWN:,} others" if len(common) > _SHOWN else ""
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


_NOUN = "(?:the )?(?:model|assistant|response|answer|output|option|system|candidate|conversation|player|seat)"
_SIDE = re.compile(
    rf"(?:{_NOUN}? ?(?P<letter>[ab])|{_NOUN} ?(?P<number>[12])"
    r"|(?P<word>left|right|first|second)(?: (?:model|response|answer|output|one))?)"
    r"(?: (?:wins?|won|is )?(?:better)?)?"
)
_TIE = re.compile(
    r"(?:tie[ds]?|draws?|drawn|equal|even|same|neither)?(?:both(?:are)?(?:equally)?(?:bad|good)?|bad|good)?"
)
_FIRST = frozenset({"a", "1", "left", "first"})
_FAILED = frozenset({"error", "$error$", "failed", "unparsed", "refused", "truncated", "empty"})
"""What our own verdicts and FastChat's call a judgment without an outcome."""
_MISSING = frozenset({"", "nan", "null", "na", "n/a"})


def _plain(value: object) -> str:
    """A word in one spelling: case, blanks, underscores, hyphens, brackets and what one cannot see do not matter."""
    text = "".join(c for c in unicodedata.normalize("NFKC", str(value)) if unicodedata.category(c) != "Cf").casefold()
    return re.sub(r"[\s_\-]+", " ", text).strip(" \"'.*[]")


def _says_nothing(value: object) -> bool:
    return str(value).strip().casefold() in _MISSING


def _side(word: str) -> float | None:
    """What the first model scores where `word` names a side or a tie, None for any other word."""
    found = _SIDE.fullmatch(word)
    if found:
        return float((found["letter"] or found["number"] or found["word"]) in _FIRST)
    bare = re.sub(r"[\W_]+", "", word)
    return 0.5 if bare and bare not in ("bad", "good") and _TIE.fullmatch(bare) else None


def _numbers(values: Iterable[object]) -> dict[object, float]:
    """Scores of winners that are numbers, as far as all of them together leave no doubt what they mean.

    1, 0 and 0.5 are what the first model scored; 1 and 2, with 1.5 between them, count the sides. 0 and 1 alone, or
    with 2, may be either side's index: nothing is read from them.
    """
    found = {value: number for value in values if (number := to_number(value)) is not None}
    seen = set(found.values())
    if 0.5 in seen and seen <= {0.0, 0.5, 1.0}:
        return found
    if 2.0 in seen and seen <= {1.0, 1.5, 2.0}:
        return {value: 2.0 - number for value, number in found.items()}
    return {}


def read_outcomes(
    winners: Sequence[Any],
    names_a: Sequence[Any],
    names_b: Sequence[Any],
    *,
    column: str = "winner",
    place: Place | None = None,
) -> Outcomes:
    """Read a column of winners by the convention that the whole of it follows.

    Known are the words of Chatbot Arena, other names of the two sides (A and B, left and right, response_1 …) and of a
    tie, the names of the row's own models, and numbers as far as they are unmistakable (see `_numbers`). Null, blank
    and a failed judgment's mark (``error``) are no outcome.

    Args:
        winners: N cells.
        names_a, names_b: the models of each row, N each.
        column: what it is called, for errors.
        place: where a row stands, for errors.

    Raises:
        ValueError: more than `UNKNOWN_SHARE` of the rows hold a winner that is not known.
    """
    cells = [
        cell if isinstance(cell, str | int | float | None) else f"a {type(cell).__name__}: {cell}" for cell in winners
    ]
    # (True and 1 are one key of a mapping: the text tells them apart)
    cells = (
        [str(cell) if isinstance(cell, bool) else cell for cell in cells] if bool in set(map(type, cells)) else cells
    )
    distinct = list(dict.fromkeys(cells))
    index = {value: i for i, value in enumerate(distinct)}
    code = np.fromiter(map(index.__getitem__, cells), dtype=np.int64, count=len(cells))
    words = [_plain(value) for value in distinct]
    missing = np.array([value is None or _says_nothing(value) for value in distinct], bool)
    failed = np.array([word in _FAILED for word in words], bool)
    numbers = _numbers(v for v, gone in zip(distinct, missing, strict=True) if not gone)
    of_value = np.full(len(distinct) + 1, np.nan)  # one more, so that no rows are no special case
    for i, value in enumerate(distinct):
        said = WINNER_SCORES.get(value) if isinstance(value, str) else None
        said = numbers.get(value) if said is None else said
        said = _side(words[i]) if said is None and not missing[i] else said
        of_value[i] = np.nan if said is None else said
    if "c" in words and {"a", "b"} <= set(words):  # the third letter of MT-Bench's judges
        of_value[[i for i, word in enumerate(words) if word == "c"]] = 0.5
    score = of_value[code]

    undocumented = [i for i, v in enumerate(distinct) if v not in WINNER_SCORES and not missing[i]]
    if undocumented:
        own = _by_name(distinct, undocumented, code, names_a, names_b)
        named = ~np.isnan(own)
        # a word that is a model's name and a side's: read where both readings are one
        at_odds = named & ~np.isnan(score) & (own != score)
        score = np.where(named, own, score)
        score[at_odds] = np.nan
        failed[np.unique(code[named])] = False
        named &= ~at_odds & np.isnan(of_value[code])
    unknown = LeftOut("a known winner", column)
    for row in np.flatnonzero(np.isnan(score) & ~(missing | failed)[code]) if len(code) else ():
        unknown.add(_shown(distinct[code[row]]), _at(place, int(row)))
    notes = unknown.notes(len(cells), _KNOWN)
    if len(code) and (failed[code]).any():
        marks = ", ".join(f"{_shown(distinct[i])} {int((code == i).sum()):,}" for i in np.flatnonzero(failed))
        notes.append(f"column {column}: {int(failed[code].sum()):,} of {len(cells):,} rows failed ({marks})")
    if len(code) and (count := int(missing[code].sum())):
        notes.append(f"column {column}: {count:,} of {len(cells):,} rows empty")
    if undocumented and (count := int(named.sum())):
        notes.append(f"column {column} names the winning model in {count:,} of {len(cells):,} rows")
    by_word = [i for i in undocumented if not np.isnan(of_value[i])]
    if by_word:
        sides = {1.0: "model_a", 0.5: "tie", 0.0: "model_b"}
        read = {side: [_shown(distinct[i]) for i in by_word if of_value[i] == value] for value, side in sides.items()}
        told = "; ".join(f"{side} is {', '.join(words[:_SHOWN])}" for side, words in read.items() if words)
        notes.append(f"column {column} read as: {told}")
    return Outcomes(score, tuple(notes))


def one_hot_winners(first: Iterable[Any], second: Iterable[Any], tie: Iterable[Any]) -> list[str | None]:
    """Winners as words from the three columns of `ONE_HOT`; what has not exactly one 1 in it is no known word."""
    words = {(1.0, 0.0, 0.0): "model_a", (0.0, 1.0, 0.0): "model_b", (0.0, 0.0, 1.0): "tie"}
    flags = {True: 1.0, False: 0.0, "True": 1.0, "False": 0.0, "true": 1.0, "false": 0.0}
    out: list[str | None] = []
    for cells in zip(first, second, tie, strict=True):
        read = tuple(
            flags[cell] if isinstance(cell, bool | str) and cell in flags else to_number(cell) for cell in cells
        )
        gone = all(is_missing(cell) for cell in cells)
        out.append(None if gone else words.get(read, f"{cells[0]}, {cells[1]}, {cells[2]}"))  # type: ignore[arg-type]
    return out


def _by_name(
    values: Sequence[Any],
    chosen: Sequence[int],
    code: npt.NDArray[np.int64],
    names_a: Sequence[Any],
    names_b: Sequence[Any],
) -> npt.NDArray[np.float64]:
    """Scores of rows whose winner is the name of one of their models, shape (N,), NaN elsewhere."""
    names = [str(name) for name in dict.fromkeys([*names_a, *names_b]) if name is not None]
    exact = {name: i for i, name in enumerate(names)}
    loose: dict[str, list[int]] = {}
    for name, i in exact.items():
        loose.setdefault(_loose(name), []).append(i)
    model = np.full(len(values) + 1, -1)
    for i in chosen:
        text = str(values[i])
        alike = loose.get(_loose(text), [])
        model[i] = exact.get(text, alike[0] if len(alike) == 1 else -1)
    if not len(code) or (model < 0).all():
        return np.full(len(code), np.nan)
    a, b = (np.array([exact.get(str(name), -2) for name in side]) for side in (names_a, names_b))
    winner = model[code]
    return np.where(winner == a, 1.0, np.where(winner == b, 0.0, np.nan))


def _loose(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _shown(value: object) -> str:
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
        or (isinstance(value, str) and (_says_nothing(value) or _plain(value) in _FAILED))
    )


Cells = Sequence[Any] | npt.NDArray[Any]
"""A column of a file."""


def _numeric(values: Cells) -> npt.NDArray[np.float64]:
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
            unknown.add(_shown(values[row]), _at(place, row))
    notes = unknown.notes(len(values))
    return [*notes, f"column {column}: {empty:,} of {len(values):,} rows empty or failed"] if empty else notes


def read_scores(values: Cells, *, column: str = "score_a", place: Place | None = None) -> Outcomes:
    """What `model_a` scored, in [0, 1]; texts that spell a number are read.

    Raises:
        ValueError: more than `UNKNOWN_SHARE` of the rows hold something else.
    """
    number = _numeric(values)
    score = np.where((number >= 0.0) & (number <= 1.0), number, np.nan)
    unknown = LeftOut("a score between 0 and 1", column)
    return Outcomes(score, tuple(_gaps(score, values, column, unknown, place)))


_LABEL = re.compile(r"([ab])(<<|>>|<|>|=)([ab])")
_STRONG = 3.0
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
        word = _plain(value)
        label = _LABEL.fullmatch(word.replace(" ", "").replace("≫", ">>").replace("≪", "<<"))
        if label and label[1] != label[3]:
            sign = label[2]
            score[row] = 0.5 if sign == "=" else float((label[1] == "a") == (">" in sign))
            weight[row] = _STRONG if len(sign) == 2 else 1.0
        elif is_missing(value):
            empty += 1
        else:
            unknown.add(_shown(value), _at(place, row))
    notes = unknown.notes(len(values), "A>>B, A>B, A=B, B>A, B>>A and the same with <")
    if empty:
        notes.append(f"column {column}: {empty:,} of {len(values):,} games without a label")
    return Outcomes(score, tuple(notes)), weight


def read_preferences(values: Cells, *, column: str = "preference", place: Place | None = None) -> Outcomes:
    """AlpacaEval's preferences, 1 (the first output) to 2 (the second): `score` is the preference, a draw's 0 as 1.5.

    Raises:
        ValueError: more than `UNKNOWN_SHARE` of the rows hold something else.
    """
    number = _numeric(values)
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
    weight = _numeric(values)
    for row in map(int, np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))[:1]):
        raise ValueError(
            f"{_at(place, row)}: column {column}: {_shown(values[row])}, where weights are finite and not negative"
        )
    if len(weight) and not weight.any():
        raise ValueError(f"column {column}: all weights are 0")
    return weight


def name_twins(names: Iterable[str]) -> list[str]:
    """A note for each group of names that differ in nothing one sees: Unicode form, blanks, invisible characters."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_visible(name), []).append(name)
    return [
        f"{' and '.join(map(ascii, group))} look the same (blanks, Unicode form or invisible characters) and are rated "
        "as different models"
        for group in groups.values()
        if len(group) > 1
    ]


def _visible(name: str) -> str:
    seen = "".join(
        c for c in unicodedata.normalize("NFC", name) if c.isspace() or unicodedata.category(c) not in _UNSEEN
    )
    return " ".join(seen.split())


_UNSEEN = ("Cf", "Cc")  # joiners, marks of direction, soft hyphens; control characters
