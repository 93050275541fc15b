"""Battles from files: ours, Chatbot Arena's, any table with the same columns, and the judgments of other tools.

Tables go through polars, which reads only the columns that ratings need; JSON of a known shape of judgments goes
through `judgments`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arenaloop.data.formats import judgments
from arenaloop.errors import InputError
from arenaloop.jsonl import read_rows
from arenaloop.ratings.battles import WINNER_SCORES, Battles, FloatArray, IntArray, relative_difference

if TYPE_CHECKING:
    import polars as pl

__all__ = ["battles_from_frame", "content_kind", "read_battles"]

_PROMPT_COLUMNS = ("prompt_id", "question_id")
_TEXT = ("model_a", "model_b", "winner", *_PROMPT_COLUMNS)
_NUMBERS = ("score_a", "weight")
_METADATA = {"length_a": "sum_assistant_a_tokens", "length_b": "sum_assistant_b_tokens"}
"""Where Chatbot Arena's 100k set keeps lengths: fields of the column `conv_metadata`."""


def read_battles(path: str | Path, *, controls: Sequence[str] = ()) -> Battles:
    """Battles from a file, from the ``battles.jsonl`` of a run directory, or from a directory of judgments.

    Known contents, told apart by what is in them:

    * a table (JSONL, CSV or Parquet) with `model_a`, `model_b`, `winner` (`model_a`, `model_b`, `tie`,
      `tie (bothbad)`; anything else is skipped and counted) or, without that, `score_a` in [0, 1]; optionally
      `prompt_id` (or `question_id`), `weight`, and pairs of numeric columns such as `length_a`, `length_b`;
    * FastChat pair judgments, Arena-Hard judgments, AlpacaEval annotations (see `judgments`).

    Args:
        path: a file, plain or gzip, or a directory.
        controls: names of covariates to read, ``length`` for the columns `length_a` and `length_b`.

    Raises:
        InputError: no such file, content that cannot be read, or missing columns (named, with those found).
    """
    path = Path(path)
    if path.is_dir():
        if (path / "battles.jsonl").exists():
            path = path / "battles.jsonl"
        else:
            files = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz"), *path.glob("*.json")])
            if not files:
                raise InputError(f"{path}: no battles.jsonl here, nor any judgments (*.jsonl)")
            return judgments.battles_from_rows(
                (row for file in files for _, row in read_rows(file)), str(path), controls=controls
            )
    kind = content_kind(path)
    if kind == "array" or (kind == "jsonl" and not _tabular(path)):
        return judgments.battles_from_rows((row for _, row in read_rows(path)), str(path), controls=controls)
    frame, found = _read_table(path, kind, controls)
    try:
        return battles_from_frame(frame, controls=controls, found=found)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def battles_from_frame(
    frame: pl.DataFrame, *, controls: Sequence[str] = (), found: Sequence[str] | None = None
) -> Battles:
    """Battles from a polars frame with the columns that `read_battles` names.

    Args:
        frame: the columns.
        controls: covariates; each NAME needs numeric columns NAME_a and NAME_b.
        found: column names to report when some are missing (those of `frame` by default).

    Raises:
        ValueError: a column is missing, or holds impossible values.
    """
    import polars as pl

    names = frame.columns
    missing = [name for name in ("model_a", "model_b") if name not in names]
    if "winner" not in names and "score_a" not in names:
        missing.append("winner")
    missing += [f"{name}{side}" for name in controls for side in ("_a", "_b") if f"{name}{side}" not in names]
    if missing:
        raise ValueError(f"missing column {', '.join(missing)} (found: {', '.join((found or names)[:20]) or 'none'})")

    skipped = 0
    if frame["model_a"].null_count() or frame["model_b"].null_count():
        skipped = frame.height
        frame = frame.filter(pl.col("model_a").is_not_null() & pl.col("model_b").is_not_null())
        skipped -= frame.height
    a, b, models = _codes(frame["model_a"].cast(pl.String), frame["model_b"].cast(pl.String))
    score: FloatArray
    if "winner" in names:
        score = np.full(frame.height, np.nan)
        winner = frame["winner"].cast(pl.String)
        for outcome, value in WINNER_SCORES.items():  # a comparison each is cheaper than codes of the column
            score[(winner == outcome).fill_null(False).to_numpy()] = value
    else:
        score = _floats(frame["score_a"])
    prompt = next((name for name in _PROMPT_COLUMNS if name in names), None)
    return Battles.of(
        models,
        a,
        b,
        score,
        weight=_floats(frame["weight"]) if "weight" in names else None,
        cluster=None if prompt is None else _prompts(frame[prompt]),
        covariates={
            name: relative_difference(_floats(frame[f"{name}_a"]), _floats(frame[f"{name}_b"])) for name in controls
        },
        skipped=skipped,
    )


def content_kind(path: Path) -> str:
    """``"parquet"``, ``"jsonl"``, ``"array"`` (JSON) or ``"csv"``, from the first bytes of a plain or gzipped file.

    Raises:
        InputError: no such file, or it is empty or no text.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 12)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as packed:
                head = packed.read(1 << 12)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise InputError(f"{path}: the file is empty")
    if b"\x00" in text:
        raise InputError(f"{path}: neither text nor Parquet")
    return {b"{": "jsonl", b"[": "array"}.get(text[:1], "csv")


def _tabular(path: Path) -> bool:
    """Whether the first row of a JSONL file is a battle and not a judgment of another tool."""
    _, row = next(read_rows(path))
    return not judgments.is_judgment(row)


def _read_table(path: Path, kind: str, controls: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """The columns that ratings need, and the names of all columns."""
    import polars as pl

    numbers = [*_NUMBERS, *(f"{name}{side}" for name in controls for side in ("_a", "_b"))]
    try:
        if kind == "jsonl":
            # a schema of our own: the same key may hold a number in one row and text in the next
            found = list(dict.fromkeys(key for _, row in zip(range(100), read_rows(path)) for key in row[1]))  # noqa: B905
            schema: dict[str, Any] = dict.fromkeys(_TEXT, pl.String) | dict.fromkeys(numbers, pl.Float64)
            if "length" in controls:
                schema["conv_metadata"] = pl.Struct(dict.fromkeys(_METADATA.values(), pl.Float64))
            lazy = pl.scan_ndjson(path, schema={name: kept for name, kept in schema.items() if name in found})
        else:
            lazy = pl.scan_parquet(path) if kind == "parquet" else _scan_csv(path, numbers)
            found = lazy.collect_schema().names()
        wanted = [name for name in (*_TEXT, *numbers) if name in found]
        if "length" in controls and "length_a" not in found and "conv_metadata" in found:
            for name, field in _METADATA.items():
                lazy = lazy.with_columns(pl.col("conv_metadata").struct.field(field).alias(name))
                wanted.append(name)
        try:
            return lazy.select(wanted).collect(), found
        except pl.exceptions.ComputeError:
            if kind != "csv":
                raise
            # ids that look like numbers at first may be text further down
            return _scan_csv(path, numbers, text=_PROMPT_COLUMNS).select(wanted).collect(), found
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        if kind == "jsonl":  # our own reader knows the line
            for _ in read_rows(path):
                pass
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def _scan_csv(path: Path, numbers: Sequence[str], text: Sequence[str] = ()) -> pl.LazyFrame:
    """A CSV whose names stay text as written (a model may be called 007) and whose numbers are floats."""
    import polars as pl

    types: dict[str, Any] = dict.fromkeys(("model_a", "model_b", "winner", *text), pl.String)
    types |= dict.fromkeys(numbers, pl.Float64)
    names = pl.scan_csv(path, infer_schema_length=0).collect_schema().names()
    kept = {name: kind for name, kind in types.items() if name in names}
    return pl.scan_csv(path, infer_schema_length=1000, schema_overrides=kept)


def _codes(first: pl.Series, second: pl.Series) -> tuple[IntArray, IntArray, list[str]]:
    """Codes of two text columns without nulls, each of shape (N,), and the sorted texts that they index."""
    import polars as pl

    # a few thousand rows spread over the file hold every name as a rule; else all rows are looked through for them
    every = max(1, len(first) // 4096)
    for sample in (pl.concat([first.gather_every(every), second.gather_every(every)]), pl.concat([first, second])):
        names = sample.unique().sort()
        a, b = (column.cast(pl.Enum(names), strict=False) for column in (first, second))
        if not (a.null_count() or b.null_count()):
            break
    return (
        a.to_physical().to_numpy().astype(np.int32),
        b.to_physical().to_numpy().astype(np.int32),
        names.to_list(),
    )


def _floats(column: pl.Series) -> FloatArray:
    import polars as pl

    return column.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()


def _prompts(column: pl.Series) -> IntArray:
    """Codes of a column of ids of any type, -1 where one is missing."""
    import polars as pl

    if not column.dtype.is_integer():
        column = column.cast(pl.String).cast(pl.Categorical).to_physical()
    return column.cast(pl.Int64).fill_null(-1).to_numpy() if column.null_count() else column.to_numpy()
