"""Battles from files: ours, Chatbot Arena's, any table with the same columns, and the judgments of other tools.

Tables go through polars, which reads only the columns that ratings need; JSON of a known shape of judgments, and
whatever polars does not take (a NaN in JSON, UTF-16, numbers as texts), goes row by row through `judgments`. Both give
the same battles.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arenaloop.columns import BLANK, WAS_TURNED, Columns
from arenaloop.data.formats import judgments
from arenaloop.data.formats.repeated import OWN_COLUMNS, once
from arenaloop.data.formats.style_columns import StyleByAnswer, metadata_schema, style_expressions
from arenaloop.data.formats.vote_ids import vote_id
from arenaloop.data.formats.where import Chosen, Where
from arenaloop.data.result_files import check_whole
from arenaloop.errors import InputError, first_line
from arenaloop.jsonl import JsonRow, user_rows
from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.cells import Place, read_controls, read_scores, read_weights
from arenaloop.ratings.outcomes import ONE_HOT, WINNER_SCORES, one_hot_winners, read_outcomes
from arenaloop.ratings.style_features import FEATURES, feature_names, is_style
from arenaloop.table_files import is_pattern
from arenaloop.tables import class_words, content_kind, csv_form, file_error, line_of, table_rows
from arenaloop.text_files import bare_name, utf8_file

if TYPE_CHECKING:
    import polars as pl

__all__ = ["battles_from_frame", "read_battles"]

_TEXT = ("model_a", "model_b", "winner", *ONE_HOT, *judgments.PROMPT_COLUMNS)
_NUMBERS = ("score_a", "weight")
_OURS = frozenset({"prompt_id", "winner", "score_b", "flipped", "judge", "verdicts"})  # of ``battles.jsonl``


def read_battles(
    path: str | Path | Sequence[Path],
    *,
    controls: Sequence[str] = (),
    answers: StyleByAnswer | None = None,
    by: judgments.By = None,
    judges: Sequence[str] = (),
    scores: list[tuple[int | str, JsonRow]] | None = None,
    where: Where | None = None,
) -> Battles:
    """Battles from a file, from the ``battles.jsonl`` of a run directory, or from a directory of judgments.

    Known contents, told apart by what is in them:

    * a table (JSON, JSONL, CSV or Parquet; see `tables`) with `model_a`, `model_b`, `winner` (see
      `ratings.outcomes.read_outcomes`) or `winner_model_a`, `winner_model_b`, `winner_tie` or, without those, `score_a`
      in [0, 1]; optionally `prompt_id` (or `question_id`), who voted (`judgments.VOTER_COLUMNS`), `weight`, and pairs
      of numeric columns such as `length_a`, `length_b`;
    * FastChat pair judgments, Arena-Hard judgments, AlpacaEval annotations (see `judgments`).

    Rows whose winner is not known are left out and counted while they are few, and refused otherwise.

    Args:
        path: a file, plain or gzip, a directory or a pattern (`arenaloop.table_files`), or the files of one table.
        controls: names of covariates to read, ``length`` for the columns `length_a` and `length_b`.
        answers: the style of the answers, for files without it; see `style_columns.read_answer_styles`.
        by: what to slice them by.
        judges: whose judgments to read; all where none is named.
        scores: gets FastChat's single scores, where there are some (`whole_judgments.once_scored`).
        where: which rows count; all where it is None.

    Raises:
        InputError: no such file, content that cannot be read, values that are not known, or missing columns (named,
            with those found).
    """
    settings: dict[str, Any] = {"controls": controls, "answers": answers, "by": by, "judges": judges, "where": where}
    settings["scores"] = scores
    if not isinstance(path, str | Path):
        return judgments.battles_from_rows(table_rows(path), f"{path[0]} … {path[-1]}", **settings)
    path = Path(path)
    if (path / "battles.jsonl").exists():
        battles = read_battles(path / "battles.jsonl", **settings)
        check_whole(path)
        return battles
    if path.is_dir() or is_pattern(path):
        return judgments.battles_from_rows(table_rows(path), str(path), **settings)
    kind = content_kind(path)
    worded = kind == "parquet" and bool(class_words(path, kind))
    if kind not in ("array", "arrow") and answers is None and not judges and not worded:
        found = _columns(path, kind)
        spelled = judgments.known_names(controls).spelled(found)
        try:
            judgments.require_columns([spelled.get(name, name) for name in found])
            unread = judgments.unread(found, controls, by) if not spelled and judgments.is_table(found) else None
            chosen = Chosen(where, str(path))
            looked = chosen.columns(found)
            unread = None if unread is None else [name for name in unread if name not in looked]
            frame = None if unread is None else _frame(path, kind, controls, found, unread, by, looked)
            if (
                frame is not None
                and frame.height
                and not (_holds_header(frame, found) or _repeats(frame, found) or _turned(frame, unread or ()))
                and not _objects(frame, by)
            ):
                place, notes = line_of(path), _named(path, frame, unread or ())
                counts = chosen.mask(frame)
                chosen.refuse_none()
                notes += chosen.notes()
                if counts is not None:
                    frame, place = frame.filter(counts), partial(_place_of, np.flatnonzero(counts), place)
                if set(OWN_COLUMNS) <= set(frame.columns):
                    kept, repeated = once(frame, place)
                    notes += repeated
                    if kept is not None:
                        frame, place = frame.filter(kept), partial(_place_of, np.flatnonzero(kept), place)
                battles = battles_from_frame(frame, controls=controls, by=by, found=found, place=place)
                return replace(battles, notes=(*notes, *battles.notes))
        except InputError:
            raise
        except ValueError as error:
            raise file_error(path, error) from None
    return judgments.battles_from_rows(table_rows(path), str(path), **settings)


def _place_of(kept: IntArray, place: Place, index: int) -> str:
    """Where a row of those that were kept stands."""
    return place(int(kept[index]))


def battles_from_frame(
    frame: pl.DataFrame,
    *,
    controls: Sequence[str] = (),
    by: judgments.By = None,
    found: Sequence[str] | None = None,
    place: Place | None = None,
) -> Battles:
    """Battles from a polars frame with the columns that `read_battles` names.

    Args:
        frame: the columns.
        controls: covariates; each NAME needs numeric columns NAME_a and NAME_b.
        by: what to slice them by.
        found: column names to report when some are missing (those of `frame` by default).
        place: where a row (from 0) stands, for errors; ``row N`` by default.

    Raises:
        ValueError: a column is missing, or holds impossible values.
    """
    import polars as pl

    names = frame.columns
    missing = [name for name in ("model_a", "model_b") if name not in names]
    one_hot = "winner" not in names and set(ONE_HOT) <= set(names)
    if "winner" not in names and "score_a" not in names and not one_hot:
        missing.append("winner")
    missing += [f"{n}{side}" for n in feature_names(controls) for side in ("_a", "_b") if f"{n}{side}" not in names]
    if missing:
        raise ValueError(f"missing column {', '.join(missing)} (found: {', '.join((found or names)[:20]) or 'none'})")
    judgments.require_slices(by, names if found is None else found)

    score, notes = _scores(frame, one_hot, place)
    weight = read_weights(frame["weight"].to_numpy(), place=place) if "weight" in names else None
    covariates, told = read_controls(controls, lambda name: _floats(frame[name]), place=place)
    notes += told
    texts = [frame[name].cast(pl.String) for name in ("model_a", "model_b")]
    a, b, models = _codes(*(column.fill_null("") if column.null_count() else column for column in texts))
    kept = None
    prompt = next((name for name in judgments.PROMPT_COLUMNS if name in names), None)
    voter = judgments.voter_column(names if found is None else found)
    tag, tags = _tags(frame, by, prompt)
    gone: IntArray | tuple[()] = ()
    if blank := [code for code, name in enumerate(models) if not name.strip()]:
        kept = ~(np.isin(a, blank) | np.isin(b, blank))
        notes.append(f"{int((~kept).sum()):,} of {len(kept):,} rows without a model's name left out")
        if tag is not None:
            tag, gone = tag[kept], tag[~kept]
        frame, score, weight = frame.filter(kept), score[kept], None if weight is None else weight[kept]
        covariates = {name: column[kept] for name, column in covariates.items()}
        a, b, models = _codes(*(column.filter(kept) for column in texts))
    return Battles.of(
        models,
        a,
        b,
        score,
        weight=weight,
        cluster=None if prompt is None else _prompts(frame[prompt]),
        covariates=covariates,
        skipped=0 if kept is None else int((~kept).sum()),
        notes=notes,
        voter=None if voter is None else _prompts(frame[voter]),
        tag=tag,
        tags=tags,
        skipped_tags=gone,
    )


def _tags(frame: pl.DataFrame, by: judgments.By, prompt: str | None) -> tuple[IntArray | None, list[str]]:
    """Codes of what the rows are sliced by, -1 where there is none, and the texts that they index."""
    import polars as pl

    if by is None or (not isinstance(by, str) and prompt is None):
        return None, []
    if isinstance(by, str):
        column = frame[by].cast(pl.String)
    else:
        column = frame[str(prompt)].cast(pl.String).replace_strict(by, default=None, return_dtype=pl.String)
    column = column.str.strip_chars()
    column = column.set(column == "", None)
    texts = column.drop_nulls().unique().sort()
    codes = column.cast(pl.Enum(texts)).to_physical().cast(pl.Int32).fill_null(-1)
    return codes.to_numpy(), texts.to_list()


def _scores(frame: pl.DataFrame, one_hot: bool, place: Place | None) -> tuple[FloatArray, list[str]]:
    """What `model_a` scored in each row, and what is to be said about it."""
    import polars as pl

    if "winner" not in frame.columns and not one_hot:
        column = frame["score_a"]
        values = column.fill_null(float("nan")).to_numpy() if column.dtype.is_numeric() else column.to_list()
        outcomes = read_scores(values, place=place)
        return outcomes.score, list(outcomes.notes)
    winner = None
    if not one_hot:
        winner = frame["winner"].cast(pl.String)
        score = np.full(frame.height, np.nan)
        for outcome, value in WINNER_SCORES.items():  # a comparison each is cheaper than codes of the column
            score[(winner == outcome).fill_null(False).to_numpy()] = value
        if not np.isnan(score).any():
            return score, []
    words = one_hot_winners(*(frame[name].to_list() for name in ONE_HOT)) if winner is None else winner.to_list()
    outcomes = read_outcomes(words, frame["model_a"].to_list(), frame["model_b"].to_list(), place=place)
    return outcomes.score, list(outcomes.notes)


def _columns(path: Path, kind: str) -> list[str]:
    """The names of a table's columns (of JSONL, those of its first 100 rows)."""
    import polars as pl

    if kind == "csv":
        return list(csv_form(path).columns)
    if kind == "jsonl":
        return list(dict.fromkeys(key for _, row in itertools.islice(user_rows(path), 100) for key in row))
    try:
        return [bare_name(name) for name in pl.scan_parquet(path).collect_schema().names()]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({first_line(error)})") from None


def _frame(
    path: Path,
    kind: str,
    controls: Sequence[str],
    found: Sequence[str],
    unread: Sequence[str],
    by: judgments.By,
    looked: Sequence[str],
) -> pl.DataFrame | None:
    """The columns that ratings need, those to be named, and those that are `looked` at (`Chosen.columns`).

    None where polars does not take the file as it is.
    """
    import polars as pl

    numbers = [*_NUMBERS, *(f"{name}{side}" for name in feature_names(controls) for side in ("_a", "_b"))]
    lengths = judgments.METADATA_LENGTHS
    nested = "length" in controls and "length_a" not in found and "conv_metadata" in found
    styled = is_style(controls) and not {f"{name}_a" for name in FEATURES[1:]} & set(found)
    if styled and "conv_metadata" not in found:
        return None  # the texts are counted row by row
    types: dict[str, Any] = dict.fromkeys(_TEXT, pl.String) | dict.fromkeys(numbers, pl.Float64)
    ids = [name for name in _identity(found) if name not in types]
    others = [name for name in (judgments.voter_column(found), by, *looked) if isinstance(name, str)]
    beside = [name for name in dict.fromkeys(others) if name not in types]
    types |= dict.fromkeys([*ids, *unread, *beside], pl.String)
    if judgments.is_own(found) and "prompt_id" in found and "question_id" not in (by, *looked):
        types.pop("question_id")  # which names the same prompt in its own file's way
    wanted = [name for name in types if name in found]
    try:
        if kind == "jsonl":
            # a schema of our own: the same key may hold a number in one row and text in the next
            if styled:
                types["conv_metadata"] = metadata_schema(pl.Struct, pl.Float64)
            elif nested:
                types["conv_metadata"] = pl.Struct(dict.fromkeys(lengths.values(), pl.Float64))
            if set(found) >= _OURS:
                own = dict.fromkeys(("verdicts", "own_failure"), pl.String)
                found, types = [*found, *own], types | own
                wanted += [name for name in own if name not in wanted]
            lazy = pl.scan_ndjson(path, schema={name: kept for name, kept in types.items() if name in found})
        elif kind == "csv":
            if not csv_form(path).plain:
                return None
            try:  # ids that are numbers are coded faster
                frame = _read_csv(path, types | dict.fromkeys(judgments.PROMPT_COLUMNS, pl.Int64))
            except pl.exceptions.ComputeError:
                frame = _read_csv(path, types)
            # an empty cell may be the end of a row that is too short: the rows' reader tells
            return None if any(frame.drop(beside).null_count().row(0)) else frame
        else:
            lazy = pl.scan_parquet(path).rename(bare_name)
        if styled:
            expressions = style_expressions(_fields(lazy.collect_schema()["conv_metadata"]))
            if expressions is None:
                return None
            features = [f"{name}_{side}" for name in FEATURES for side in "ab"]
            wanted = [*(name for name in wanted if name not in features), *features]
            lazy = lazy.with_columns(expressions)
        elif nested:
            fields = [pl.col("conv_metadata").struct.field(field).alias(name) for name, field in lengths.items()]
            lazy, wanted = lazy.with_columns(fields), [*wanted, *lengths]
        frame = lazy.select(wanted).collect()
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError):
        return None
    if kind != "jsonl":
        return frame
    # keys that come later, twice, or written in another way than polars knows: the rows' reader tells
    optional = {"own_failure", *ids, *unread, *beside}
    missing = any(frame[n].null_count() == frame.height for n in wanted if n not in optional)
    odd = missing or not (judgments.is_own(found) or _keys(path) == len(found) * frame.height)
    return None if odd else frame


def _fields(dtype: Any) -> dict[str, Any]:
    """The dtypes of a struct's fields by name; empty for another dtype."""
    return {one.name: one.dtype for one in getattr(dtype, "fields", ())}


def _holds_header(frame: pl.DataFrame, found: Sequence[str]) -> bool:
    """Whether a row may be the header of a table that was put after another one."""
    return bool(frame["model_a"].is_in(list(found)).any())


def _objects(frame: pl.DataFrame, by: judgments.By) -> bool:
    """Whether what the rows are sliced by is an object, or in one: rows are looked at then."""
    import polars as pl

    if not isinstance(by, str):
        return False
    if by not in frame.columns:
        return True
    column = frame[by]
    return isinstance(column.dtype, pl.Struct) or (
        column.dtype == pl.String and bool(column.str.contains(r"^[\[{]").any())
    )


def _valued(column: pl.Series) -> pl.Series:
    """Which cells of a column that is not read hold anything."""
    import polars as pl

    if column.dtype == pl.String:
        return column.is_not_null() & ~column.str.strip_chars().str.to_lowercase().is_in(list(BLANK))
    return column.is_not_null() & (column.is_not_nan() if column.dtype.is_float() else True)


def _turned(frame: pl.DataFrame, unread: Sequence[str]) -> bool:
    """Whether a cell of a column that is not read may say that its row is turned: rows are looked at then."""
    import polars as pl

    texts = (frame[name] for name in unread if frame[name].dtype == pl.String)
    return any(column.str.strip_chars().str.to_lowercase().is_in(list(WAS_TURNED)).any() for column in texts)


def _named(path: Path, frame: pl.DataFrame, unread: Sequence[str]) -> list[str]:
    """Notes on columns that are not read, each with the first of its cells that holds anything."""
    valued = {name: _valued(frame[name]) for name in unread}
    first = {name: column.arg_max() for name, column in valued.items() if column.any()}
    columns = Columns(())
    last = max((at for at in first.values() if at is not None), default=-1)
    for at, (line, row) in enumerate(itertools.islice(table_rows(path), last + 1)):
        columns.takes({name: row.get(name) for name, place in first.items() if place == at}, line)
    return columns.notes()


def _identity(found: Sequence[str]) -> list[str]:
    """The columns that tell votes apart, none of our own battles, which name their verdicts."""
    identity = None if judgments.is_own(found) else vote_id(found, judgments.PROMPT_COLUMNS)
    return [] if identity is None else [*identity.columns, *identity.beside]


def _repeats(frame: pl.DataFrame, found: Sequence[str]) -> bool:
    """Whether a vote may stand in two rows."""
    ids = [name for name in _identity(found) if name in frame.columns]
    if not ids:
        return False
    prompts = [name for name in judgments.PROMPT_COLUMNS if name in frame.columns]
    return bool(frame.select([*ids, *prompts, "model_a", "model_b"]).is_duplicated().any())


def _keys(path: Path) -> int:
    """How many keys a file of JSON has at most (what stands before a colon, in texts too); 0 where blanks hide them."""
    count, last = 0, b""
    with utf8_file(path, "JSON") as file:
        while block := file.read(1 << 20):
            text = last + block
            if any(blank + b":" in text for blank in (b" ", b"\t", b"\r", b"\n")):
                return 0
            count += text.count(b'":') - last.count(b'":')
            last = text[-2:]
    return count


def _read_csv(path: Path, kinds: Mapping[str, Any]) -> pl.DataFrame:
    """The columns of these types. Names stay text as written (a model may be called 007)."""
    import polars as pl

    form = csv_form(path)
    columns = [(raw, name) for raw, name in zip(form.raw, form.columns, strict=True) if name in kinds]
    return (
        pl.scan_csv(
            path,
            separator=form.separator,
            skip_rows=form.skipped,
            infer_schema_length=0,
            schema_overrides={raw: kinds[name] for raw, name in columns},
        )
        .select([pl.col(raw).alias(name) for raw, name in columns])
        .collect()
    )


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
