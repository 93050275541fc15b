"""Where battle files tell the style of their answers: in columns, in Chatbot Arena's metadata, or in the texts."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arenaloop.data.style import Style, style_of
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, row_error, user_rows
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.style_features import FEATURES
from arenaloop.table_files import table_files

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "METADATA",
    "StyleByAnswer",
    "joined_style",
    "metadata_schema",
    "read_answer_styles",
    "spoken_texts",
    "structure",
    "style_cells",
    "style_expressions",
    "unanswered",
]

StyleByAnswer = Mapping[tuple[str, str], Style]
"""Style by model and prompt id, both as texts."""

METADATA = {
    "length": ("sum_assistant_{}_tokens", ()),
    "headers": ("header_count_{}", ("h1", "h2", "h3", "h4", "h5", "h6")),
    "lists": ("list_count_{}", ("ordered", "unordered")),
    "bold": ("bold_count_{}", ("**", "__")),
}
"""Fields of Chatbot Arena's `conv_metadata` by feature: the name, by side, and its own fields."""
_NAMED = 8
_TEXTS = ("conversation", "response", "output", "messages", "text")
"""Columns NAME_a and NAME_b that may hold an answer; the first that is there does."""


def style_cells(row: JsonRow) -> dict[str, float | None]:
    """FEATURE_a and FEATURE_b of one battle, None where a side is not known; empty where the row has no source of them.

    Columns of these names come first, then `conv_metadata`, then the texts.
    """
    if any(f"{name}_a" in row for name in FEATURES[1:]):
        return {}
    metadata = structure(row.get("conv_metadata"))
    if isinstance(metadata, dict) and METADATA["headers"][0].format("a") in metadata:
        cells = ((name, side, metadata.get(METADATA[name][0].format(side))) for name in FEATURES for side in "ab")
        return {f"{name}_{side}": _total(cell) for name, side, cell in cells}
    source = next((name for name in _TEXTS if f"{name}_a" in row and f"{name}_b" in row), None)
    if source is None:
        return {}
    return {
        f"{name}_{side}": None if texts is None else float(count)
        for side in "ab"
        for texts in (spoken_texts(row[f"{source}_{side}"]),)
        for name, count in zip(FEATURES, style_of(texts or ()), strict=True)
    }


def joined_style(battle: Mapping[str, Any], answers: StyleByAnswer) -> dict[str, float | None]:
    """FEATURE_a and FEATURE_b of one battle by its models and prompt; None where there is no such answer."""
    found: dict[str, float | None] = {}
    for side in "ab":
        style = answers.get((str(battle.get(f"model_{side}")), str(battle.get("prompt_id"))))
        for name, count in zip(FEATURES, style or (None,) * len(FEATURES), strict=True):
            found[f"{name}_{side}"] = None if count is None else float(count)
    return found


def _total(cell: object) -> float | None:
    """A count, or the sum of the counts in a mapping."""
    values = list(cell.values()) if isinstance(cell, dict) else [cell]
    known = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return float(sum(known)) if known else None


def spoken_texts(value: object) -> list[str] | None:
    """What the assistant said, one text a turn, of a text, a list of texts or messages, or the text of such a list."""
    if isinstance(value, str):
        found = structure(value)
        return (_spoken(found) if isinstance(found, list) else None) or [value]
    return _spoken(value) if isinstance(value, list) else None


def _spoken(found: Sequence[Any]) -> list[str] | None:
    """The assistant's texts in a list of texts or messages; None where it is neither."""
    texts: list[str] = []
    for turn in found:
        if isinstance(turn, dict):
            if turn.get("role") not in ("assistant", "gpt", "model"):
                continue
            turn = turn.get("content")
            if isinstance(turn, list):  # parts of a message
                turn = "".join(str(part.get("text") or "") for part in turn if isinstance(part, dict))
        if not isinstance(turn, str):
            return None
        texts.append(turn)
    return texts or None


def structure(value: object) -> object:
    """A list or mapping that was saved as its text, by JSON or by Python's repr; any other value as it is."""
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value


def metadata_schema(kind: type[pl.Struct], number: Any) -> pl.Struct:
    """What polars is to read of `conv_metadata` in JSON."""
    fields: dict[str, Any] = {}
    for name, own in METADATA.values():
        for side in "ab":
            fields[name.format(side)] = kind(dict.fromkeys(own, number)) if own else number
    return kind(fields)


def style_expressions(schema: Mapping[str, Any]) -> list[pl.Expr] | None:
    """FEATURE_a and FEATURE_b out of a column `conv_metadata`; None where it lacks one of the fields.

    Args:
        schema: of the column, dtypes by field.
    """
    import polars as pl

    out = []
    for feature, (name, _) in METADATA.items():
        for side in "ab":
            field = name.format(side)
            if field not in schema:
                return None
            value = pl.col("conv_metadata").struct.field(field)
            dtype = schema[field]
            if isinstance(dtype, pl.Struct):
                parts = [value.struct.field(one.name).cast(pl.Float64) for one in dtype.fields]
                value = (
                    pl.when(pl.all_horizontal(part.is_null() for part in parts))
                    .then(None)
                    .otherwise(pl.sum_horizontal(parts))
                )
            out.append(value.cast(pl.Float64).alias(f"{feature}_{side}"))
    return out


def read_answer_styles(path: str | Path) -> dict[tuple[str, str], Style]:
    """The style of answers in Arena-Hard's or FastChat's ``model_answer`` files, by model and prompt id.

    Counts in `metadata` (Arena-Hard v2's `token_len`, `header_count`, …) come before those of the text.

    Args:
        path: a file, a pattern of names, or a directory of ``*.jsonl`` (``.gz`` too), whose questions are passed over.

    Raises:
        InputError: no such files, or a row that is no answer.
    """
    path = Path(path)
    files = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")]) if path.is_dir() else table_files(path)
    if not files:
        raise InputError(f"{path}: no answers (*.jsonl) here")
    found: dict[tuple[str, str], Style] = {}
    for file in files:
        for line, row in user_rows(file):
            model = row.get("model", row.get("model_id"))
            prompt = row.get("uid", row.get("question_id"))
            style = _answered(row)
            if path.is_dir() and _is_question(row):
                break
            if model is None or prompt is None or style is None:
                raise row_error(file, line, "no answer: it wants model or model_id, uid or question_id, and a text")
            found[str(model), str(prompt)] = style
    if not found:
        raise InputError(f"{path}: no answers in it")
    return found


def unanswered(answers: StyleByAnswer, battles: Battles, path: Path) -> list[str]:
    """A note on the models that battled and whose answers are not there.

    Raises:
        InputError: no answer is by a model that battled, or every battle is of a model without any; names the models.
    """
    names = sorted({model for model, _ in answers})
    if not {*names} & {*battles.models}:
        raise InputError(
            f"{path}: no answer here is by a model that battled: these are answers of {_some(names)}, and the battles "
            f"are of {_some(battles.models)}; the names must be the same"
        )
    lacking = [code for code, name in enumerate(battles.models) if name not in names]
    if not lacking:
        return []
    told = _some([battles.models[code] for code in lacking])
    if len(battles) and bool((np.isin(battles.a, lacking) | np.isin(battles.b, lacking)).all()):
        raise InputError(f"{path}: no answers of {told} here, and every battle is of one of these")
    return [f"no answers of {told} in {path}: the style of their battles is not known"]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _is_question(row: JsonRow) -> bool:
    """Whether a row is of the `question.jsonl` that stands beside answers."""
    return ("turns" in row or "prompt" in row) and not {"choices", "messages", "model", "model_id"} & row.keys()


def _answered(row: JsonRow) -> Style | None:
    metadata = row.get("metadata")
    if isinstance(metadata, dict) and "token_len" in metadata:
        numbers = [_total(metadata.get(name)) for name in ("token_len", "header_count", "list_count", "bold_count")]
        return Style(*(int(number or 0.0) for number in numbers))
    choices, messages = row.get("choices"), row.get("messages")
    texts: Sequence[Any] | None = None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        texts = choices[0].get("turns")
        if isinstance(texts, list):
            texts = [t.get("content", t.get("answer")) if isinstance(t, dict) else t for t in texts]
    elif isinstance(messages, list):
        contents = [m.get("content") for m in messages if isinstance(m, dict) and m.get("role") == "assistant"]
        texts = [c.get("answer") if isinstance(c, dict) else c for c in contents]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        return None
    return style_of(texts)
