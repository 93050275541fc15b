"""Who won, as a file tells it: the words for winners, read by the convention that a whole column follows.

What is known, what says that there is nothing and what nobody knows is told apart by the rule of `cells`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.cells import (
    FAILED,
    SHOWN,
    LeftOut,
    Outcomes,
    Place,
    at,
    is_missing,
    says_nothing,
    shown,
    spelling,
    to_number,
)

__all__ = ["ONE_HOT", "WINNER_SCORES", "one_hot_winners", "read_outcomes"]

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

_KNOWN = (
    "model_a, model_b, tie (both bad, both good, draw), A and B, left and right, the names of the row's models, "
    "1 and 0 beside 0.5, 1 and 2"
)


_GAMES = frozenset({"model_1", "model_2"})
_DOCUMENTED: Mapping[str, frozenset[str]] = {"g1_winner": _GAMES, "g2_winner": _GAMES}
"""What else FastChat's columns hold, so that a note on it would tell nobody anything."""


_NOUN = "(?:the )?(?:model|assistant|response|answer|output|option|system|candidate|conversation|player|seat)"
_SIDE = re.compile(
    rf"(?:{_NOUN}? ?(?P<letter>[ab])|{_NOUN} ?(?P<number>[12])"
    r"|(?P<word>left|right|first|second)(?: (?:model|response|answer|output|one))?)"
    r"(?: (?:wins?|won|is )?(?:better)?)?"
)
_TIE = re.compile(
    r"(?:tie[ds]?|draws?|drawn|equal|even|same|neither)?(?:both(?:are)?(?:equally)?(?:bad|good)?|bad|good)?|tieinconsistent"
)
_FIRST = frozenset({"a", "1", "left", "first"})


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
    words = [spelling(value) for value in distinct]
    missing = np.array([value is None or says_nothing(value) for value in distinct], bool)
    failed = np.array([word in FAILED for word in words], bool)
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
        unknown.add(shown(distinct[code[row]]), at(place, int(row)))
    notes = unknown.notes(len(cells), _KNOWN)
    if len(code) and (failed[code]).any():
        marks = ", ".join(f"{shown(distinct[i])} {int((code == i).sum()):,}" for i in np.flatnonzero(failed))
        notes.append(f"column {column}: {int(failed[code].sum()):,} of {len(cells):,} rows failed ({marks})")
    if len(code) and (count := int(missing[code].sum())):
        notes.append(f"column {column}: {count:,} of {len(cells):,} rows empty")
    if undocumented and (count := int(named.sum())):
        notes.append(f"column {column} names the winning model in {count:,} of {len(cells):,} rows")
    told_of = _DOCUMENTED.get(column, frozenset())
    by_word = [i for i in undocumented if not np.isnan(of_value[i]) and distinct[i] not in told_of]
    if by_word:
        sides = {1.0: "model_a", 0.5: "tie", 0.0: "model_b"}
        read = {side: [shown(distinct[i]) for i in by_word if of_value[i] == value] for value, side in sides.items()}
        told = "; ".join(f"{side} is {', '.join(words[:SHOWN])}" for side, words in read.items() if words)
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
