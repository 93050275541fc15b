"""AlpacaEval annotations for win rates, and the difficulty of instructions for length control."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arenaloop.data.formats.benchmark_folder import answered_models
from arenaloop.data.formats.judgment_kinds import instruction_key
from arenaloop.data.formats.judgments import By, battle_columns
from arenaloop.data.formats.where import Where
from arenaloop.errors import InputError, nearest
from arenaloop.jsonl import row_error
from arenaloop.ratings.arrays import encode, tag_codes
from arenaloop.ratings.cells import numeric, to_number
from arenaloop.ratings.look_alikes import name_twins
from arenaloop.ratings.win_rate import Annotations
from arenaloop.tables import table_rows

__all__ = ["read_annotations", "read_difficulty"]


def read_annotations(
    path: str | Path,
    baseline: str,
    rows: Iterable[tuple[int, dict[str, Any]]] | None = None,
    *,
    by: By = None,
    judges: Sequence[str] = (),
    where: Where | None = None,
) -> Annotations:
    """Preferences against `baseline` from AlpacaEval annotations, one model or many, or from battles.

    Rows are what `rank` reads too (see `judgments` and `tables`), with something that names the prompt: annotations
    with `generator_1`, `generator_2`, `preference` (1 the first is better, 2 the second, 1.5 or legacy 0 a draw, null
    failed), `instruction`, optional `input`, and `output_1`, `output_2` for lengths in characters; or battles
    (`model_a`, `model_b`, `winner`, `prompt_id`, optional `length_a`, `length_b`). The baseline may stand on either
    side; rows without it are skipped and counted.

    Args:
        path: a table, or a directory or pattern of them.
        baseline: name of the baseline.
        rows: (line, row) of what `path` holds, where it was read already.
        by: what to slice them by.
        judges: whose judgments to read; all where none is named.
        where: which rows count; all where it is None.

    Raises:
        InputError: the file cannot be read, lacks a column or holds values that are not known, or none holds the
            baseline.
    """
    told = battle_columns(
        table_rows(Path(path)) if rows is None else rows,
        str(path),
        baseline=baseline,
        answered=() if rows is not None else answered_models(Path(path)),
        by=by,
        judges=judges,
        where=where,
    )
    if told.prompts is None:
        raise InputError(f"{path}: missing column instruction or prompt_id: win rates are joined by prompt")
    found: Counter[str] = Counter()
    columns: dict[str, list[Any]] = {
        name: [] for name in ("model", "prompt", "preference", "ours", "theirs", "weight", "tag")
    }
    texts: dict[str, Counter[str]] = {}
    nothing = [None] * len(told.names_a)
    lengths = [told.numbers.get(f"length{side}", nothing) for side in ("_a", "_b")]
    own_failure: list[bool] = []
    nameless = 0
    for i, sides in enumerate(zip(told.names_a, told.names_b, strict=True)):
        if any(name is None or not str(name).strip() for name in sides):
            nameless += 1
            continue
        a, b = map(str, sides)
        found.update((a, b))
        if baseline not in (a, b):
            continue
        ours = 1 if a == baseline and b != baseline else 0
        model = (a, b)[ours]
        columns["model"].append(model)
        columns["prompt"].append(told.prompts[i])
        columns["preference"].append(1.0 + (told.score[i] if ours == 0 else 1.0 - told.score[i]))
        columns["weight"].append(1.0 if told.weight is None else told.weight[i])
        columns["tag"].append(None if told.tags is None else told.tags[i])
        own_failure.append(told.own_failures is not None and told.own_failures[i] is not None)
        unknown = own_failure[-1]  # nobody knows how long an answer that failed would have been
        columns["ours"].append(None if unknown else lengths[ours][i])
        columns["theirs"].append(None if unknown else lengths[1 - ours][i])
        text = told.texts[ours][i] if told.texts else None
        if isinstance(text, str):
            texts.setdefault(model, Counter())[text] += 1
    if not columns["model"]:
        hint = nearest(baseline, list(found)) or f" (found: {', '.join(list(found)[:8]) or 'no rows'})"
        raise InputError(f"{path}: no row with the baseline {baseline!r}{hint}")
    model_codes, models = encode(columns["model"])
    prompt_codes, prompts = encode(columns["prompt"])
    tag, tags = (None, []) if told.tags is None else tag_codes(columns["tag"])
    repeated = {
        model
        for model, seen in texts.items()
        if model != baseline and seen.total() >= 4 and seen.most_common(1)[0][1] * 2 >= seen.total()
    }
    notes = [*told.notes, *name_twins({name: found[name] for name in dict.fromkeys([baseline, *models])})]
    if nameless:
        notes.append(f"{nameless:,} of {len(told.names_a):,} rows without a model's name left out")
    return Annotations(
        baseline,
        tuple(models),
        tuple(prompts),
        model_codes,
        prompt_codes,
        np.array(columns["preference"], dtype=np.float64),
        numeric(columns["ours"]),
        numeric(columns["theirs"]),
        frozenset(repeated),
        len(told.names_a) - len(columns["model"]),
        np.array(own_failure, dtype=bool) if any(own_failure) else None,
        notes=tuple(notes),
        weight=None if told.weight is None else np.array(columns["weight"], dtype=np.float64),
        tag=tag,
        tags=tuple(tags),
    )


def read_difficulty(path: str | Path) -> dict[object, float]:
    """Difficulty by instruction, from rows ``{"instruction", "difficulty"}`` (`instruction_difficulty` serves too).

    Raises:
        InputError: the file cannot be read, or a row lacks a field or holds no finite number.
    """
    out: dict[object, float] = {}
    for line, row in table_rows(Path(path)):
        value = to_number(row.get("difficulty", row.get("instruction_difficulty")))
        if "instruction" not in row or value is None:
            raise row_error(path, line, f"wants 'instruction' and a number 'difficulty' (found: {', '.join(row)})")
        try:
            out[instruction_key(row)] = value
        except TypeError as error:
            raise row_error(path, line, str(error)) from None
    return out
