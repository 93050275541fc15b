"""Leaderboards from files: our ``leaderboard.json``, a CSV of ratings, AlpacaEval's, or the table of `winrate`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from arenaloop.data.result_files import board_of
from arenaloop.errors import InputError
from arenaloop.ratings.agreement import Scored, spearman
from arenaloop.ratings.cells import to_number
from arenaloop.tables import content_kind, table_rows
from arenaloop.terminal import counted
from arenaloop.text_files import row_error, utf8_file

__all__ = ["Board", "RateKind", "board_of_rows", "read_leaderboard"]

_COLUMNS = ("model", "rating", "lower", "upper")
_NAMES = ("model", "", "name")
"""Columns of AlpacaEval's that name the model: what pandas writes of an index has no name."""
_RATES = ("win_rate", "lower", "upper")
_CONTROLLED = ("lc_win_rate", "lc_lower", "lc_upper")
"""Columns of `winrate`'s table: rates in percent with their intervals, raw and length-controlled."""
RateKind = Literal["raw", "controlled"]
"""Of lists that have both: the win rate as it is, or length-controlled."""
_Z = 1.96
_SHOWN = 5  # models in one note
_ALPACA_LC, _ALPACA_LC_ERROR = "length_controlled_winrate", "lc_standard_error"


class Board(dict[str, Scored]):
    """Ratings and intervals by model.

    Attributes:
        notes: what was left out and what is doubtful, in plain words.
        column: the one that is the rating, where the reader was told which.
    """

    def __init__(self, rows: Mapping[str, Scored], notes: Sequence[str] = (), column: str | None = None) -> None:
        super().__init__(rows)
        self.notes = tuple(notes)
        self.column = column


def read_leaderboard(path: str | Path, rate: RateKind | None = None, rating: str | None = None) -> Board:
    """Ratings and intervals by model; rows without a rating or an interval are left out, and one missing end is open.

    Where no row has an interval, all with a rating are read, and both their ends are open.

    Args:
        path: JSON (our document, or a list of its rows) or CSV, plain or gzip, or a run directory. AlpacaEval's
            ``leaderboard.csv`` has `win_rate` and `standard_error` in the place of a rating and its ends, and names no
            column for the model. Of what ``winrate --json`` prints, the length-controlled rate is the rating where any
            model but the baseline has one, else the win rate.
        rate: of these two, which rate is the rating instead. AlpacaEval's length-controlled rate has its own standard
            error, or where the file tells none that of the win rate.
        rating: the column that is the rating, without an interval, where the file has it.

    Raises:
        InputError: the file cannot be read, lacks a column, holds something that is no number, a model twice, or an
            interval that does not hold its rating.
    """
    path = board_of(Path(path))
    return board_of_rows(path, _rows(path), rate=rate, rating=rating)


def board_of_rows(
    path: Path,
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    notes: Sequence[str] = (),
    *,
    rate: RateKind | None = None,
    rating: str | None = None,
) -> Board:
    """A leaderboard of its rows, each after where it stands; as of `read_leaderboard`.

    Args:
        path: where they are from, for errors and notes.
        rows: the rows.
        notes: what else is to be known of them.
        rate, rating: as of `read_leaderboard`.
    """
    board: dict[str, Scored] = {}
    bare: dict[str, Scored] = {}  # without an interval
    unrated: list[str] = []
    places: list[tuple[float, float]] = []
    by_rate, lent = False, 0
    rows = list(rows)
    column = rating if rating is not None and any(rating in row for _, row in rows) else None
    columns, told = (None, ()) if column else _of_winrate([row for _, row in rows], rate)
    for place, row in rows:
        by_rate = by_rate or (not columns and not column and _is_alpaca_eval(row))
        if column:
            row = {"model": _name(path, place, row), "rating": row.get(column)}
        elif columns:
            row = {"model": row["model"]} | {name: row.get(of) for name, of in zip(_COLUMNS[1:], columns, strict=True)}
        elif by_rate:
            lent += rate == "controlled" and _lacks_own_error(row)
            row = _rated_by_win(path, place, row, rate)
        missing = [name for name in _COLUMNS if name not in row]
        if missing and missing != ["lower", "upper"]:
            keys = ", ".join(map(str, row)) or "no columns"
            raise InputError(f"{path}, {place}: missing column {', '.join(missing)} (found: {keys})")
        value, lower, upper = (_number(path, place, name, row.get(name)) for name in _COLUMNS[1:])
        model = str(row["model"])
        if value is None:
            unrated.append(model)
            continue
        if model in board or model in bare:
            raise InputError(f"{path}, {place}: model {model!r} for the second time")
        if lower is upper is None:
            bare[model] = Scored(value, -math.inf, math.inf)
            continue
        board[model] = Scored(value, -math.inf if lower is None else lower, math.inf if upper is None else upper)
        if problem := _misfit(board[model]):
            raise InputError(f"{path}, {place}: model {model!r}: {problem}")
        if (rank := to_number(row.get("rank"))) is not None:
            places.append((rank, value))
    if board:
        unrated += bare
    elif not bare:
        raise InputError(f"{path}: no row with a rating")
    notes = [*notes, *(f"{path}: {note}" for note in told)]
    if by_rate and rate == "controlled":
        notes.append(f"{path}: AlpacaEval's: {_ALPACA_LC}, and 1.96 {_ALPACA_LC_ERROR} to either side")
        if lent:
            notes.append(f"{path}: {counted(lent, 'model')} without {_ALPACA_LC_ERROR}: standard_error stands for it")
    elif by_rate:
        notes.append(
            f"{path}: AlpacaEval's: win_rate, and 1.96 standard_error to either side, not the length-controlled, "
            "which --rate controlled takes"
        )
    if column:
        notes.append(f"{path}: {column} is the rating, without intervals")
    elif not board:
        notes.append(f"{path}: no row has an interval")
    if unrated:
        what = "a rating or an interval" if board else "a rating"
        notes.append(f"{path}: without {what}, left out: {_listed(unrated)}")
    if places and (spearman(*zip(*places, strict=True)) or 0.0) > 0.0:
        notes.append(f"{path}: its ranks rise with its ratings: ratings are read as the higher, the better")
    return Board(board or bare, notes, column)


def _of_winrate(
    rows: Sequence[Mapping[str, Any]], rate: RateKind | None
) -> tuple[tuple[str, str, str] | None, tuple[str, ...]]:
    """The columns of a table of `winrate` that are rating and interval, and what to say of them; None of another's."""
    if not rows or not all({"model", *_RATES, *_CONTROLLED} <= row.keys() and "rating" not in row for row in rows):
        return None, ()
    if rate == "raw":
        return _RATES, ("winrate's: win_rate is the rating",)
    if any(row["lc_win_rate"] is not None and "baseline" not in (row.get("flags") or ()) for row in rows):
        return _CONTROLLED, ("winrate's: lc_win_rate, the length-controlled rate, is the rating",)
    return _RATES, ("winrate's: win_rate is the rating, as no model has a length-controlled one",)


def _is_alpaca_eval(row: Mapping[str, Any]) -> bool:
    return {"win_rate", "standard_error"} <= row.keys() and "rating" not in row and "lower" not in row


def _lacks_own_error(row: Mapping[str, Any]) -> bool:
    return row.get(_ALPACA_LC) not in (None, "") and row.get(_ALPACA_LC_ERROR) in (None, "")


def _rated_by_win(path: Path, place: str, row: Mapping[str, Any], kind: RateKind | None) -> Mapping[str, Any]:
    """A row of AlpacaEval's with a win rate as the rating, and the ends of a 95 % interval."""
    names = ("win_rate", "standard_error")
    if kind == "controlled":
        names = (_ALPACA_LC, "standard_error" if _lacks_own_error(row) else _ALPACA_LC_ERROR)
    rate, error = (_number(path, place, name, row.get(name)) for name in names)
    known = rate is not None and error is not None
    ends = (rate - _Z * error, rate + _Z * error) if known else (None, None)  # type: ignore[operator]
    return {"model": _name(path, place, row), "rating": rate, "lower": ends[0], "upper": ends[1]}


def _name(path: Path, place: str, row: Mapping[str, Any]) -> str:
    for column in _NAMES:
        if row.get(column) not in (None, ""):
            return str(row[column])
    raise InputError(f"{path}, {place}: no model's name (in a column model, or one without a name)")


def _listed(models: Sequence[str]) -> str:
    more = len(models) - _SHOWN
    return ", ".join(map(repr, models[:_SHOWN])) + (f" and {more:,} others" if more > 0 else "")


def _misfit(row: Scored) -> str:
    """What is wrong with an interval that does not hold its rating, beyond what rounding explains; empty where it does.

    Distances from the rating (-20 and +20, or 20 and 20) are told by it.
    """
    if row.lower > row.upper:
        return f"lower {row.lower:g} lies above upper {row.upper:g}"
    known = [x for x in (row.rating, row.lower, row.upper) if math.isfinite(x)]
    digits = min(len(repr(x).removesuffix(".0").partition(".")[2]) for x in known)
    slack = 0.5 * 10.0**-digits
    if row.lower - slack <= row.rating <= row.upper + slack:
        return ""
    ends = " to ".join("open" if math.isinf(x) else f"{x:g}" for x in (row.lower, row.upper))
    return f"rating {row.rating:g} lies outside its interval {ends} (its ends are wanted, no distances from the rating)"


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each row stands, and the row; our own document keeps them in its field ``leaderboard``."""
    kind = content_kind(path)
    if kind == "parquet":
        raise InputError(f"{path}: a leaderboard is JSON or CSV, not Parquet")
    document = _document(path) if kind == "jsonl" else None
    if document is None:
        yield from ((f"line {line}", row) for line, row in table_rows(path))
        return
    rows = document.get("leaderboard")
    if not isinstance(rows, list):
        raise InputError(f"{path}: no 'leaderboard' in it")
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row if isinstance(row, Mapping) else {}


def _document(path: Path) -> Mapping[str, Any] | None:
    """The file as one JSON object; None where it is a row of several."""
    with utf8_file(path, "a leaderboard in JSON or CSV") as file:
        raw = file.read()
    try:
        document = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise row_error(path, raw.count(b"\n", 0, error.start) + 1, "not UTF-8 text") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSONL
            return None
        raise row_error(
            path, error.lineno, f"no leaderboard in JSON or CSV ({error.msg}, column {error.colno})"
        ) from None
    return document if "leaderboard" in document or not set(_COLUMNS) <= document.keys() else None


def _number(path: Path, place: str, name: str, value: Any) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()) or value != value:
        return None
    number = to_number(value)
    if number is None:
        infinite = isinstance(value, float) or str(value).strip().lower().lstrip("+-") in ("inf", "infinity", "nan")
        raise InputError(f"{path}, {place}: {name} {value!r} is {'not finite' if infinite else 'no number'}")
    return number
