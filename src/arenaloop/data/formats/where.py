"""Which rows of a table of battles count: those that some columns say, as Chatbot Arena's boards leave out votes.

A column of objects is read by a dotted path: ``category_tag.math_v0.1.math`` is the key ``math`` of the key
``math_v0.1`` of the column `category_tag`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from arenaloop.data.formats.style_columns import structure
from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.arrays import BoolArray
from arenaloop.terminal import counted

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ABSENT", "Chosen", "Where", "holds_objects", "parse_where", "value_at"]

ABSENT = object()
"""What stands at a path that a row does not have."""

_SHOWN, _TALLIED = 6, 200
_NOTHING = ("", "null", "none", "nan")
_ANONYMOUS, _SAMPLED = "anony", "dedup_tag.sampled"
"""Chatbot Arena's columns: whether a vote was cast before the names were shown; whether a prompt that was asked very
often keeps this vote."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which rows count.

    Attributes:
        texts: as they were given, ``COLUMN=VALUE`` or ``COLUMN!=VALUE``.
        wanted: of each column, by its path, the words of which one has to stand there.
        unwanted: those that must not.
    """

    texts: tuple[str, ...]
    wanted: Mapping[str, frozenset[str]]
    unwanted: Mapping[str, frozenset[str]]

    @property
    def paths(self) -> list[str]:
        """The columns that are looked at."""
        return list(dict.fromkeys([*self.wanted, *self.unwanted]))

    def allows(self, path: str, word: str) -> bool:
        """Whether a row that says a word at a path may count."""
        return word in self.wanted.get(path, (word,)) and word not in self.unwanted.get(path, ())


def parse_where(texts: Sequence[str]) -> Where | None:
    """Conditions as they are given on the command line; None where none is.

    Of several values for one column each will do; conditions on different columns hold together.

    Raises:
        ConfigError: one is not of the form ``COLUMN=VALUE`` or ``COLUMN!=VALUE``.
    """
    wanted: dict[str, frozenset[str]] = {}
    unwanted: dict[str, frozenset[str]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        of = unwanted if path.endswith("!") else wanted
        path = path.removesuffix("!").strip()
        if not (equals and path):
            raise ConfigError(f"--where wants COLUMN=VALUE or COLUMN!=VALUE, such as anony=true, not {text!r}")
        of[path] = of.get(path, frozenset()) | {_word(value)}
    return Where(tuple(texts), wanted, unwanted) if texts else None


def value_at(row: Any, path: str) -> Any:
    """What stands at a dotted path; a name with dots in it comes before a path. `ABSENT` where there is nothing."""
    if not isinstance(row, Mapping) and not isinstance(row := structure(row), Mapping):
        return ABSENT
    if path in row:
        return row[path]
    for dot in re.finditer(r"\.", path):
        if (head := path[: dot.start()]) in row:
            found = value_at(row[head], path[dot.end() :])
            if found is not ABSENT:
                return found
    return ABSENT


def holds_objects(column: str, cell: object) -> str:
    """That a column holds objects, with their keys and how one is named, in words; empty where it holds none."""
    found = structure(cell)
    if not isinstance(found, Mapping):
        return ""
    keys = list(map(str, found))
    first = next((key for key, value in found.items() if not isinstance(value, Mapping)), keys[0] if keys else "KEY")
    inner = found.get(first)
    inside = f"{column}.{first}{f'.{next(iter(inner))}' if isinstance(inner, Mapping) and inner else ''}"
    more = " …" if len(keys) > _SHOWN else ""
    return f"column {column} holds objects (keys {', '.join(keys[:_SHOWN]) or 'none'}{more}): name a value, as {inside}"


@dataclass
class Chosen:
    """The rows of one table that count, and what is to be said about those that do not.

    Attributes:
        where: which rows count; None where all do.
        source: what to call the table.
        of, kept: how many rows there are, and how many count.
    """

    where: Where | None
    source: str
    of: int = 0
    kept: int = 0
    _passed: Counter[str] = field(default_factory=Counter)
    _there: Counter[str] = field(default_factory=Counter)
    _said: dict[str, Counter[str]] = field(default_factory=dict)
    _columns: dict[str, None] = field(default_factory=dict)
    _left_out_elsewhere: Counter[str] = field(default_factory=Counter)

    def rows(self, rows: Iterable[tuple[Any, JsonRow]]) -> Iterator[tuple[Any, JsonRow]]:
        """Those of some rows that count, in their order and with their places.

        Raises:
            InputError: at the end, where there were rows and none counts; or a condition is about objects.
        """
        for line, row in rows:
            self.of += 1
            if self.of <= 100:
                self._columns.update(dict.fromkeys(row))
            if self.where is None or self._counts(row):
                self.kept += 1
                # true in nearly all rows, and then seen without a walk along its path
                if row.get(_ANONYMOUS, True) is not True and _word(row[_ANONYMOUS]) == "false":
                    self._left_out_elsewhere[_ANONYMOUS] += 1
                if (tag := row.get("dedup_tag")) is not None and not (type(tag) is dict and tag.get("sampled") is True):
                    self._left_out_elsewhere[_SAMPLED] += _word(value_at(row, _SAMPLED)) == "false"
                yield line, row
        self.refuse_none()

    def _counts(self, row: JsonRow) -> bool:
        assert self.where is not None
        allowed = True
        for path in self.where.paths:
            cell = value_at(row, path)
            allowed &= self._note(path, cell, 1)
        return allowed

    def _note(self, path: str, cell: object, rows: int) -> bool:
        """Count what some rows say at a path; whether they may count."""
        assert self.where is not None
        if cell is not ABSENT:
            self._there[path] += rows
            if objects := holds_objects(path, cell):
                raise InputError(f"{self.source}: --where {path}: {objects}=VALUE")
        word = _word(cell)
        said = self._said.setdefault(path, Counter())
        if word in said or len(said) < _TALLIED:
            said[word] += rows
        allowed = self.where.allows(path, word)
        self._passed[path] += rows * allowed
        return allowed

    def columns(self, found: Sequence[str]) -> list[str]:
        """Those of a table's columns that are looked at."""
        self._columns.update(dict.fromkeys(found))
        paths = [*(self.where.paths if self.where is not None else ()), _ANONYMOUS, _SAMPLED]
        heads = {path[: dot.start()] for path in paths for dot in re.finditer(r"\.|$", path)}
        return [name for name in found if name in heads]

    def mask(self, frame: pl.DataFrame) -> BoolArray | None:
        """Which rows of a frame with the `columns` count, shape (n,); None where all do.

        Raises:
            InputError: a condition is about objects.
        """
        self.of += frame.height
        kept = None
        for path in self.where.paths if self.where is not None else ():
            allowed = self._by_value(frame, path, note=True)
            kept = allowed if kept is None else kept & allowed
        self.kept += frame.height if kept is None else int(np.count_nonzero(kept))
        for path in (_ANONYMOUS, _SAMPLED):
            if path.partition(".")[0] in frame.columns:
                left_out = self._by_value(frame, path, note=False)
                self._left_out_elsewhere[path] += int(np.count_nonzero(left_out if kept is None else left_out & kept))
        return kept

    def _by_value(self, frame: pl.DataFrame, path: str, *, note: bool) -> BoolArray:
        """Which rows a condition allows; without `note`, those that say false. Equal cells are looked at once."""
        import polars as pl

        found = _leaf(frame, path)
        if found is None:
            return np.full(frame.height, self._note(path, ABSENT, frame.height) if note else False)
        column, rest = found
        if isinstance(column.dtype, pl.Struct | pl.List | pl.Object):
            cells = [(cell, 1) for cell in column.to_list()]
            return np.array([self._tells(cell, rest, path, times, note) for cell, times in cells], dtype=bool)
        counts = column.alias("cell").value_counts(name="rows")
        told = [self._tells(cell, rest, path, times, note) for cell, times in counts.iter_rows()]
        allowed = [cell for (cell, _), fine in zip(counts.iter_rows(), told, strict=True) if fine]
        fine = column.is_in([cell for cell in allowed if cell is not None]).fill_null(value=False)
        return (fine | column.is_null() if None in allowed else fine).to_numpy()

    def _tells(self, cell: object, rest: str, path: str, rows: int, note: bool) -> bool:
        value = cell if not rest else value_at(cell, rest)
        return self._note(path, value, rows) if note else _word(value) == "false"

    def refuse_none(self) -> None:
        """Raise InputError where there were rows and none counts: it names the column or its values."""
        if self.where is None or self.kept or not self.of:
            return
        given = " ".join(f"--where {text}" for text in self.where.texts)
        for path in self.where.paths:
            if not self._there[path]:
                names = list(self._columns)
                hint = nearest(path.partition(".")[0], names)
                found = hint or f" (found: {', '.join(names[:20]) or 'none'})"
                raise InputError(f"{self.source}: {given}: no row has a column {path}{found}")
            if not self._passed[path]:
                said = self._said[path].most_common()
                some = ", ".join(f"{word} ({rows:,})" for word, rows in said[:_SHOWN])
                raise InputError(
                    f"{self.source}: {given}: no row of {self.of:,}; {path} is {some}{' …' if said[_SHOWN:] else ''}"
                )
        raise InputError(f"{self.source}: {given}: no row of {self.of:,} meets all of them")

    def notes(self) -> list[str]:
        """How many rows count, and which of them published boards leave out."""
        told = []
        if self.where is not None:
            given = " ".join(f"--where {text}" for text in self.where.texts)
            told.append(f"{given}: {self.kept:,} of {counted(self.of, 'row')}")
        what = {_ANONYMOUS: "cast with the models' names in sight", _SAMPLED: "surplus votes on a frequent prompt"}
        if odd := [path for path in what if self._left_out_elsewhere[path]]:
            some = ", ".join(f"{self._left_out_elsewhere[path]:,} {what[path]} ({path} is false)" for path in odd)
            flags = " ".join(f"--where {path}=true" for path in odd)
            told.append(
                f"of {counted(self.kept, 'row')} {some} count here; Chatbot Arena's boards leave them out: {flags}"
            )
        return told


def _leaf(frame: pl.DataFrame, path: str) -> tuple[pl.Series, str] | None:
    """The column at a path, and what of the path leads on into its cells; None where there is none."""
    import polars as pl

    for dot in re.finditer(r"\.|$", path):
        if (head := path[: dot.start()]) in frame.columns:
            column, rest = frame[head], path[dot.end() :]
            if rest and isinstance(column.dtype, pl.Struct):
                return _leaf(column.struct.unnest(), rest)
            return column, rest
    return None


def _word(cell: object) -> str:
    """A cell as it is compared: true, false and null in any case, whole numbers without a fraction."""
    if cell is ABSENT or cell is None or cell != cell:
        return "null"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell).strip()
    low = text.lower()
    if low in _NOTHING:
        return "null"
    if low in ("true", "false"):
        return low
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text)
