"""AlpacaEval annotations for win rates, and the difficulty of instructions for length control."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from arenaloop.errors import InputError, nearest
from arenaloop.jsonl import read_rows, row_error
from arenaloop.ratings.battles import WINNER_SCORES, encode
from arenaloop.ratings.win_rate import Annotations

__all__ = ["read_annotations", "read_difficulty"]


def read_annotations(
    path: str | Path, baseline: str, rows: Iterable[tuple[int, dict[str, Any]]] | None = None
) -> Annotations:
    """Preferences against `baseline` from AlpacaEval annotations, one model or many, or from battles.

    Rows are `generator_1`, `generator_2`, `preference` (1 the first is better, 2 the second, 1.5 or legacy 0 a draw,
    null failed), `instruction`, optional `input`, and `output_1`, `output_2` for lengths in characters. Battles
    (`model_a`, `model_b`, `winner`, `prompt_id`, optional `length_a`, `length_b`) serve as well. The baseline may
    stand on either side; rows without it are skipped and counted.

    Args:
        path: a JSON array or JSONL, plain or gzip.
        baseline: name of the baseline.
        rows: (line, row) of what `path` holds, where it was read already.

    Raises:
        InputError: the file cannot be read, a row lacks a field, or no row holds the baseline.
    """
    found: Counter[str] = Counter()
    columns: dict[str, list[Any]] = {name: [] for name in ("model", "prompt", "preference", "ours", "theirs")}
    texts: dict[str, Counter[str]] = {}
    own_failure: list[bool] = []
    skipped = 0
    for line, row in read_rows(path) if rows is None else rows:
        first, second, preference, prompt = _sides(path, line, row)
        names = (first, second)
        found.update(names)
        if baseline not in names:
            skipped += 1
            continue
        swap = second == baseline and first != baseline
        model = first if swap else second
        output_ours, output_theirs = (_length(row, side) for side in ((1, 2) if swap else (2, 1)))
        if preference is not None and not (preference == 0 or 1 <= preference <= 2):
            raise row_error(path, line, f"preference {preference} is not between 1 and 2")
        if preference == 0:
            preference = 1.5
        columns["model"].append(model)
        columns["prompt"].append(prompt)
        columns["preference"].append(math.nan if preference is None else 3.0 - preference if swap else preference)
        own_failure.append(row.get("own_failure") is not None)  # whose lengths nobody knows
        columns["ours"].append(math.nan if own_failure[-1] else output_ours)
        columns["theirs"].append(math.nan if own_failure[-1] else output_theirs)
        text = row.get("output_1" if swap else "output_2")
        if isinstance(text, str):
            texts.setdefault(model, Counter())[text] += 1
    if not columns["model"]:
        hint = nearest(baseline, list(found)) or f" (found: {', '.join(list(found)[:8]) or 'no rows'})"
        raise InputError(f"{path}: no row with the baseline {baseline!r}{hint}")
    model_codes, models = encode(columns["model"])
    prompt_codes, prompts = encode(columns["prompt"])
    repeated = {
        model
        for model, seen in texts.items()
        if model != baseline and seen.total() >= 4 and seen.most_common(1)[0][1] * 2 >= seen.total()
    }
    return Annotations(
        baseline,
        tuple(models),
        tuple(prompts),
        model_codes,
        prompt_codes,
        np.array(columns["preference"], dtype=np.float64),
        np.array(columns["ours"], dtype=np.float64),
        np.array(columns["theirs"], dtype=np.float64),
        frozenset(repeated),
        skipped,
        np.array(own_failure, dtype=bool) if any(own_failure) else None,
    )


def read_difficulty(path: str | Path) -> dict[object, float]:
    """Difficulty by instruction, from rows ``{"instruction", "difficulty"}`` (`instruction_difficulty` serves too).

    Raises:
        InputError: the file cannot be read, or a row lacks a field or holds no finite number.
    """
    out: dict[object, float] = {}
    for line, row in read_rows(path):
        value = row.get("difficulty", row.get("instruction_difficulty"))
        if "instruction" not in row or not isinstance(value, int | float) or not math.isfinite(value):
            raise row_error(path, line, f"wants 'instruction' and a number 'difficulty' (found: {', '.join(row)})")
        if not isinstance(row["instruction"], str | int):
            raise row_error(path, line, "'instruction' must be text")
        out[_key(row)] = float(value)
    return out


def _sides(path: str | Path, line: int, row: dict[str, Any]) -> tuple[str, str, float | None, object]:
    """Names of the first and the second side, AlpacaEval's preference between them, and the prompt's key."""
    if {"generator_1", "generator_2", "preference", "instruction"} <= row.keys():
        preference = row["preference"]
        if preference is not None and (isinstance(preference, bool) or not isinstance(preference, int | float)):
            raise row_error(path, line, f"preference {preference!r} is no number")
        if preference is not None and math.isnan(preference):
            preference = None
        if not isinstance(row["instruction"], str | int):
            raise row_error(path, line, "'instruction' must be text")
        return str(row["generator_1"]), str(row["generator_2"]), preference, _key(row)
    if {"model_a", "model_b", "winner"} <= row.keys() and ("prompt_id" in row or "question_id" in row):
        winner = row["winner"]
        score = WINNER_SCORES.get(winner) if isinstance(winner, str) else None
        key = row["prompt_id"] if "prompt_id" in row else row["question_id"]
        if isinstance(key, list | dict):
            raise row_error(path, line, "the prompt's id must be text or a number")
        return str(row["model_a"]), str(row["model_b"]), None if score is None else 2.0 - score, key
    wanted = "generator_1, generator_2, preference, instruction (or model_a, model_b, winner, prompt_id)"
    raise row_error(path, line, f"wants {wanted}, found {', '.join(row)}")


def _key(row: dict[str, Any]) -> object:
    """What prompts are joined by: the instruction, with its input where it has one."""
    extra = row.get("input")
    return f"{row['instruction']}\n\n{extra}" if extra else row["instruction"]


def _length(row: dict[str, Any], side: int) -> float:
    text = row.get(f"output_{side}")
    if isinstance(text, str):
        return float(len(text))
    length = row.get("length_a" if side == 1 else "length_b")
    return float(length) if isinstance(length, int | float) else math.nan
