"""Reading battles from files: our own, Chatbot Arena's, and any JSONL, CSV or Parquet with the same columns.

Files may be gzipped. Only the columns that ratings need are read. Unknown outcomes are counted as skipped, never taken
as ties.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arenaloop.errors import InputError
from arenaloop.ratings.battles import WINNER_SCORES, Battles, relative_length

if TYPE_CHECKING:
    import polars as pl

__all__ = ["battles_from_frame", "read_battles"]

_PROMPT_COLUMNS = ("prompt_id", "question_id")
_WANTED = ("model_a", "model_b", "winner", "score_a", *_PROMPT_COLUMNS, "weight", "length_a", "length_b")


def read_battles(path: str | Path) -> Battles:
    """Battles from a file, or from the ``battles.jsonl`` of a run directory.

    Args:
        path: JSONL, CSV or Parquet (``.jsonl``, ``.csv``, ``.parquet``, the first two also ``.gz``) with `model_a`,
            `model_b`, `winner`, and optionally `prompt_id` (or `question_id`), `weight`, `length_a`, `length_b`.

    Raises:
        InputError: no such file, a file that cannot be parsed, or missing columns (named, with those found).
    """
    path = Path(path)
    if path.is_dir():
        path = path / "battles.jsonl"
    if not path.exists():
        raise InputError(f"{path}: no such file")
    import polars as pl

    try:
        lazy = _scan(path)
        found = lazy.collect_schema().names()
        frame = lazy.select([name for name in _WANTED if name in found]).collect()
    except pl.exceptions.NoDataError:
        raise InputError(f"{path}: the file is empty") from None
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    try:
        return battles_from_frame(frame, found=found)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def battles_from_frame(frame: pl.DataFrame, *, found: list[str] | None = None) -> Battles:
    """Battles from a polars frame with the columns that `read_battles` names.

    Args:
        frame: the columns.
        found: column names to report when some are missing (those of `frame` by default).

    Raises:
        ValueError: a column is missing, or holds impossible values.
    """
    import polars as pl

    names = frame.columns
    missing = [name for name in ("model_a", "model_b") if name not in names]
    if "winner" not in names and "score_a" not in names:
        missing.append("winner")
    if missing:
        shown = ", ".join((found or names)[:20]) or "none"
        raise ValueError(f"missing column {', '.join(missing)} (found: {shown})")

    skipped = frame.height
    frame = frame.filter(pl.col("model_a").is_not_null() & pl.col("model_b").is_not_null())
    skipped -= frame.height
    models = pl.concat([frame["model_a"], frame["model_b"]]).cast(pl.String)
    distinct = models.unique().sort()
    codes = models.cast(pl.Enum(distinct)).to_physical().to_numpy()
    a, b = codes[: frame.height], codes[frame.height :]

    score: Any
    if "winner" in names:
        winner = frame["winner"].cast(pl.String)
        score = winner.replace_strict(dict(WINNER_SCORES), default=None, return_dtype=pl.Float64)
    else:
        score = frame["score_a"].cast(pl.Float64)
    prompt = next((name for name in _PROMPT_COLUMNS if name in names), None)
    covariates = {}
    if "length_a" in names and "length_b" in names:
        covariates["length"] = relative_length(_floats(frame["length_a"]), _floats(frame["length_b"]))
    return Battles.of(
        distinct.to_list(),
        a.astype(np.int32),
        b.astype(np.int32),
        score.fill_null(float("nan")).to_numpy(),
        weight=_floats(frame["weight"]) if "weight" in names else None,
        cluster=None if prompt is None else _group(frame[prompt]),
        covariates=covariates,
        skipped=skipped,
    )


def _scan(path: Path) -> pl.LazyFrame:
    import polars as pl

    kind = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"][-1:]
    if kind == [".parquet"]:
        return pl.scan_parquet(path)
    if kind == [".csv"]:
        return pl.scan_csv(path, infer_schema_length=1000)
    if kind in ([".jsonl"], [".ndjson"]):
        return pl.scan_ndjson(path, infer_schema_length=1000)
    raise InputError(
        f"{path}: cannot tell what this is by its name (known: .jsonl, .csv, .parquet, with or without .gz)"
    )


def _floats(column: pl.Series) -> Any:
    import polars as pl

    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _group(column: pl.Series) -> Any:
    """Codes of a column of ids of any type, -1 where one is missing."""
    import polars as pl

    if not column.dtype.is_integer():
        column = column.cast(pl.String).cast(pl.Categorical).to_physical()
    return column.cast(pl.Int64).fill_null(-1).to_numpy()
