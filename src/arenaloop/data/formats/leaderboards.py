"""Leaderboards from files: our ``leaderboard.json``, or a CSV with `model`, `rating`, `lower`, `upper`."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arenaloop.data.formats.battles import content_kind
from arenaloop.errors import InputError
from arenaloop.ratings.agreement import Scored

__all__ = ["read_leaderboard"]

_COLUMNS = ("model", "rating", "lower", "upper")


def read_leaderboard(path: str | Path) -> dict[str, Scored]:
    """Ratings and intervals by model; rows without a rating or an interval are left out.

    Args:
        path: JSON (our document, or a list of its rows) or CSV, plain or gzip, or a run directory.

    Raises:
        InputError: the file cannot be read, lacks a column, holds something that is no number, or a model twice.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "leaderboard.json"
    kind = content_kind(path)
    if kind == "parquet":
        raise InputError(f"{path}: a leaderboard is JSON or CSV, not Parquet")
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    rows: Any
    if kind == "csv":
        rows = csv.DictReader(text.splitlines())
    else:
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {error.lineno}: no leaderboard in JSON or CSV ({error.msg})") from None
        rows = document.get("leaderboard") if isinstance(document, Mapping) else document
        if not isinstance(rows, list):
            raise InputError(f"{path}: no 'leaderboard' in it")
    board: dict[str, Scored] = {}
    for number, row in enumerate(rows, start=1):
        missing = [name for name in _COLUMNS if not isinstance(row, Mapping) or name not in row]
        if missing:
            keys = ", ".join(map(str, row)) if isinstance(row, Mapping) else "no columns"
            raise InputError(f"{path}, row {number}: missing column {', '.join(missing)} (found: {keys})")
        values = [_number(path, number, name, row[name]) for name in _COLUMNS[1:]]
        if None in values:
            continue
        model = str(row["model"])
        if model in board:
            raise InputError(f"{path}, row {number}: model {model!r} for the second time")
        rating, lower, upper = values
        assert rating is not None
        assert lower is not None
        assert upper is not None
        board[model] = Scored(rating, lower, upper)
    if not board:
        raise InputError(f"{path}: no row with a rating and its interval")
    return board


def _number(path: Path, row: int, name: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{path}, row {row}: {name} {value!r} is no number") from None
    if not math.isfinite(number):
        raise InputError(f"{path}, row {row}: {name} {value!r} is not finite")
    return number
