"""Columns of a user's file that its reader does not take: each is named once, none passes in silence.

A reader says which columns it takes; `Columns` looks at the others, row by row, and tells these kinds apart:

* **carried along** (`CARRIED`, what ends in an id, a hash, a date or an address, and what the reader adds): where a row
  comes from, when and at what price. Known to say nothing about what it means, and not named.
* **known to change a row**, by their name (`duty_of`): `Duty.TURNS` (swapped, flipped, is_reversed: the sides stand the
  other way round), `Duty.MANY` (count, n, freq, votes: a row stands for many), `Duty.OUT` and `Duty.IN` (skip,
  excluded, spam; valid, keep: whether a row counts). A row that its own mark takes out is left out and counted. The
  others stop the reading where one row is turned, or rows stand for unequally many: nothing in the file tells whether
  that was done already.
* **may change a row** (`Duty.MAY`: probabilities, confidences, turns, rounds, splits, whatever is called ``is_…``):
  named as such.
* **all else**: named.

A row whose cells are the names of its columns is a header that was copied with its table: left out and counted.

Names are compared by their words, so `isSwapped`, `is-swapped` and ``was the order swapped?`` are one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["BLANK", "CARRIED", "WAS_TURNED", "Columns", "Duty", "duty_of", "words_of"]


class Duty(Enum):
    """What a column is to its row, as far as its name tells."""

    TURNS = "turns"
    MANY = "many"
    OUT = "out"
    IN = "in"
    MAY = "may"
    NONE = "none"


def _set_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


CARRIED = _set_of(
    # which row it is
    "id ids uid uuid guid idx index row_index instruction_index evaluation_order index_level_0 unnamed_0 "
    # when, and at what price
    "timestamp tstamp time date datetime created created_at updated_at submitted_at latency seconds duration price "
    "cost usd cost_usd price_per_example time_per_example preference_price_per_example preference_time_per_example "
    # where from, and in which language
    "source url license dataset datasplit subset category categories topic domain language lang locale country version "
    "preference_version preference_date seed metadata meta "
    # who judged it, and in which words
    "judge judges annotator annotator_index rater reviewer user author raw_completion preference_raw_completion "
    "reasoning rationale explanation justification judgment comment comments note notes"
)
"""Names (their words joined by underscores) of columns that say where a row comes from, and nothing of its meaning."""

_CARRIED_ENDS = _set_of("id ids uid uuid guid hash sha sha256 md5 url uri timestamp tstamp date datetime")
_LITTLE = _set_of("a an and are as be been by for from has have in is it of on or the this to was were will")
_ABOUT = _set_of(
    "row rows vote votes battle battles pair pairs record sample example label item entry response responses answer "
    "answers output outputs order position positions seat seats side sides model models mark marked reason data "
    "training train eval evaluation"
)
_TURNED = re.compile(r"(?:swap|flip|revers|switch|invert|invers|mirror|transpos)\w{0,4}")
WAS_TURNED = _set_of("swapped flipped reversed switched inverted mirrored transposed")
_WEIGHT = _set_of("weight weights wt")
_COUNT = _set_of(
    "count counts cnt n freq freqs frequency frequencies multiplicity repeats repetitions occurrences copies "
    "replicates observations obs votes tally tallies multiplier multiple w"
)
_COUNTED = _set_of("vote row rows battle battles pair pairs sample samples example examples num number nr no")
_OUT = _set_of(
    "skip skipped exclude excluded exclusion ignore ignored delete deleted remove removed discard discarded drop "
    "dropped spam invalid void voided retracted withdrawn banned unusable disqualified"
)
_IN = _set_of("valid include included keep kept usable")
_NOT = _set_of("not non no")
_MAY = _WEIGHT | _COUNT | _OUT | _IN
_MAY |= _set_of(
    "is has was prob probs probability probabilities logprob logprobs confidence conf certainty sure importance turn "
    "turns round rounds split fold tie ties tied margin strength order position seat side flag flagged status test "
    "gold duplicate duplicates dup attention quality sign direction score scores rating ratings rank reward points "
    "grade grades vote verdict label labels preference preferred winner win wins won loser loss choice chosen better "
    "best worse outcome result correct agree agreement number num total times level negate opposite filtered hidden "
    "corrupt rejected accepted approved used active enabled ok"
)
_YES = _set_of("true yes y t 1 1.0 x")
_NO = _set_of("false no n f 0 0.0")
BLANK = frozenset({"", "nan", "null", "none", "na", "n/a"})
_NAMED = 12  # columns in one line
_LONG = 40  # characters of an example


def duty_of(name: str) -> Duty:
    """What a column's name says of its rows; `Duty.NONE` where it says nothing that is known."""
    words = [word.rstrip("0123456789") or word for word in words_of(name)]
    own = [word for word in words if word not in _LITTLE]
    rest = [word for word in own if word not in _ABOUT and word not in _NOT]
    if not WAS_TURNED.isdisjoint(own) or (rest and all(_TURNED.fullmatch(word) for word in rest)):
        return Duty.TURNS
    if rest and set(rest) <= _OUT | _IN:
        out = not _OUT.isdisjoint(rest)
        return Duty.OUT if out is _NOT.isdisjoint(words) else Duty.IN
    if not _WEIGHT.isdisjoint(own) or (own and not _COUNT.isdisjoint(own) and set(own) <= _COUNT | _COUNTED):
        return Duty.MANY
    return Duty.MAY if any(word in _MAY or _TURNED.fullmatch(word) for word in words) else Duty.NONE


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: `isSwapped` and `is-swapped` are two each."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return re.findall(r"[^\W_]+", text.casefold())


@dataclass(slots=True)
class _Seen:
    """What one column held so far.

    Attributes:
        duty: of its name.
        valued: rows with a value. `example`: the first of them.
        marked: rows that it turns, or takes out; `first`: the place of the first.
        amounts: of a column of amounts, up to two of them, each with its first place.
        last, runs: the amount before, and whether they run on from 0 or 1, one by one.
        unclear: a value that says neither yes nor no, and its place.
    """

    duty: Duty
    valued: int = 0
    example: str = ""
    marked: int = 0
    first: str = ""
    amounts: dict[float, str] = field(default_factory=dict)
    last: float | None = None
    runs: bool = True
    unclear: tuple[str, str] | None = None


class Columns:
    """The columns of one file that its reader does not take.

    Args:
        read: names that the reader takes, as the file spells them.
        carried: names that carry no meaning for it, beside `CARRIED`; case and separators do not matter.
        explained: names whose duty is known from the files that have them, and why it is no concern; said once where a
            row has a yes in it.
    """

    def __init__(
        self, read: Iterable[str], carried: Iterable[str] = (), explained: Mapping[str, str] | None = None
    ) -> None:
        self._passed = set(read)
        self._explained = dict(explained or {})
        self._carried = CARRIED | {"_".join(words_of(name)) for name in carried}
        self._seen: dict[str, _Seen] = {}
        self._rows = 0
        self._headers = 0
        self._left_out = 0

    @property
    def left_out(self) -> int:
        """How many rows their own marks took out, headers among them."""
        return self._left_out

    def knows(self, name: str) -> bool:
        """Whether a column is read, or carried along: nothing is to be said of it."""
        return name in self._passed or self._first_of(name) is None

    def counting(self) -> list[str]:
        """The columns seen so far that say for how many a row stands."""
        return [name for name, seen in self._seen.items() if seen.duty is Duty.MANY]

    def amounts(self) -> list[str]:
        """The columns by which rows stand for unequally many."""
        return [name for name, seen in self._seen.items() if self._unequal(name, seen)]

    def take(self, name: str) -> None:
        """Count a column among those that the reader takes: it applied it."""
        self._passed.add(name)
        self._seen.pop(name, None)

    def takes(self, row: Mapping[str, Any], place: int | str) -> bool:
        """Look at one row; False where it says itself that it does not count.

        Args:
            row: cells by column.
            place: the line it stands on, or another word for where it stands.

        Raises:
            ValueError: the row is the header of another table: the same columns in another order.
        """
        self._rows += 1
        if _is_header(row, place):
            self._headers += 1
            self._left_out += 1
            return False
        counts = True
        for name, value in row.items():
            if name in self._passed:
                continue
            seen = self._seen.get(name) or self._first_of(name)
            if seen is None:
                continue
            if value is None or value != value or (isinstance(value, str) and value.strip().casefold() in BLANK):
                continue
            seen.valued += 1
            where = place if isinstance(place, str) else f"line {place}"
            if not seen.example:
                seen.example = _shown(value)
            if seen.duty is Duty.MANY:
                _amount(seen, value, where)
            elif _marks(seen, value, where):
                seen.first = seen.first or where
                seen.marked += 1
                counts = counts and seen.duty not in (Duty.OUT, Duty.IN)
        self._left_out += not counts
        return counts

    def _first_of(self, name: str) -> _Seen | None:
        words = words_of(name)
        if "_".join(words) in self._carried or (words and words[-1] in _CARRIED_ENDS):
            self._passed.add(name)
            return None
        return self._seen.setdefault(name, _Seen(duty_of(name)))

    def notes(self) -> list[str]:
        """What is to be said of the columns, a line for each kind.

        Raises:
            ValueError: a column turns rows or multiplies them, or does not tell whether a row counts.
        """
        notes, may, other = [], [], []
        if self._headers:
            notes.append(f"{self._headers:,} of {self._rows:,} rows repeat the header and were left out")
        for name, seen in self._seen.items():
            if not seen.valued:
                continue
            if name in self._explained:
                if seen.marked:
                    count = f"true in {seen.marked:,} of {self._rows:,} rows"
                    notes.append(f"column {name}, {count}, is not applied: {self._explained[name]}")
                continue
            self._refuse(name, seen)
            if seen.duty in (Duty.OUT, Duty.IN):
                if seen.marked:
                    notes.append(f"{seen.marked:,} of {self._rows:,} rows left out by their column {name}")
            elif seen.duty is Duty.NONE:
                other.append(name)
            elif seen.unclear or (seen.duty is not Duty.TURNS and list(seen.amounts) != [1.0]):
                may.append(f"{name} ({seen.example})")
        if may:
            notes.append(f"columns not used, though they may change what a row means: {_listed(may)}")
        if other:
            notes.append(f"columns not used: {_listed(other)}")
        return notes

    def _refuse(self, name: str, seen: _Seen) -> None:
        if seen.duty in (Duty.OUT, Duty.IN) and seen.unclear:
            where, value = seen.unclear
            raise ValueError(f"{where}: column {name}: {value}, where true or false tells whether a row counts")
        if seen.marked and seen.duty not in (Duty.OUT, Duty.IN):
            raise ValueError(
                f"{seen.first}: column {name}: in {seen.marked:,} of {self._rows:,} rows it says that the sides are "
                "turned, and nothing tells whether they were turned back: write each row as it is meant, and take the "
                "column out"
            )
        if self._unequal(name, seen):
            (one, _), (other, where) = list(seen.amounts.items())[:2]
            raise ValueError(
                f"{where}: column {name}: {other:g}, after {one:g}: its rows stand for unequally many and would count "
                "alike: write each as often as it counts, and take the column out"
            )

    def _unequal(self, name: str, seen: _Seen) -> bool:
        if seen.amounts and seen.valued < self._rows - self._headers:  # a row without an amount stands for itself
            seen.amounts.setdefault(1.0, "a row without it")
        return len(seen.amounts) > 1 and not (seen.runs and "n" in words_of(name))  # n may number the rows


def _is_header(row: Mapping[str, Any], place: int | str) -> bool:
    """Whether a row's cells are the names of its columns, as where two tables were put one after the other."""
    cell = next(iter(row.values()), None)
    if not isinstance(cell, str) or cell.strip() not in row or len(row) < 2:
        return False
    cells = [value.strip() if isinstance(value, str) else value for value in row.values()]
    if cells == list(row):
        return True
    if all(isinstance(value, str) for value in cells) and sorted(cells) == sorted(row):
        where = place if isinstance(place, str) else f"line {place}"
        raise ValueError(f"{where}: the header of another table, its columns in another order: {_listed(cells)}")
    return False


def _marks(seen: _Seen, value: object, where: str) -> bool:
    """Whether a value turns its row, or takes it out."""
    word = str(value).strip().casefold() if isinstance(value, str | int | float) else ""
    if seen.duty in (Duty.MAY, Duty.NONE):  # `order` may say "swapped"
        return word in WAS_TURNED
    if word in _YES or (seen.duty is Duty.TURNS and _TURNED.fullmatch(word)):
        return seen.duty is not Duty.IN
    if word in _NO:
        return seen.duty is Duty.IN
    seen.unclear = seen.unclear or (where, _shown(value))
    return False


def _amount(seen: _Seen, value: object, where: str) -> None:
    try:
        amount = float(value) if not isinstance(value, bool) and isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        amount = None
    if amount is None:  # a word, such as the side that a voter chose
        return
    seen.runs = seen.runs and (amount in (0.0, 1.0) if seen.last is None else amount == seen.last + 1.0)
    seen.last = amount
    if len(seen.amounts) < 2:
        seen.amounts.setdefault(amount, where)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} others" if more > 0 else "")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
