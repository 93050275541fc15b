"""Battles out of rows: plain ones, and the judgments of other tools (FastChat, Arena-Hard, AlpacaEval).

How each becomes battles:

* **FastChat pair judgments** (`g1_winner`, `g2_winner`, mapped back from seats already): both games agree, or it is a
  tie, as FastChat's own table has it; a game that failed (``error``) leaves the row without an outcome. A prompt's
  turns share a cluster.
* **Arena-Hard judgments** (`games`): the first game seats the baseline as A, the second swaps. Every game is a battle
  of its own on the prompt's cluster; ``A>>B`` and ``B>>A`` weigh three battles, as in Arena-Hard's own fit. The label
  may name either seat first, as in its own table: ``B<A`` is ``A>B``. A game without a verdict has no outcome.
* **AlpacaEval annotations** (`generator_1`, `generator_2`, `preference`): one battle a row with the soft outcome
  preference - 1 for `generator_2`; null is none. The instruction is the prompt.
* **Plain battles**: `model_a`, `model_b`, and `winner`, the three columns of a one-hot winner, or `score_a`.

Labels that nobody knows are counted and left out while they are few (`ratings.cells.UNKNOWN_SHARE`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from arenaloop.data.formats.repeated import once, own_frame
from arenaloop.data.formats.tables import file_error
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.battles import Battles, FloatArray, relative_difference
from arenaloop.ratings.cells import LeftOut, Place, read_games, read_preferences, read_scores, read_weights
from arenaloop.ratings.outcomes import ONE_HOT, one_hot_winners, read_outcomes

__all__ = ["METADATA_LENGTHS", "BattleColumns", "battle_columns", "battles_from_rows", "is_table", "require_columns"]

METADATA_LENGTHS = {"length_a": "sum_assistant_a_tokens", "length_b": "sum_assistant_b_tokens"}
"""Where Chatbot Arena's 100k set keeps lengths: fields of the column `conv_metadata`."""


@dataclass(frozen=True, slots=True)
class BattleColumns:
    """N battles as a file tells them, whatever its form.

    Attributes:
        names_a, names_b: the models, None where missing.
        score: what `model_a` scored, shape (N,), NaN without an outcome.
        weight: shape (N,), None where all count alike.
        prompts: ids, None where the file has none.
        numbers: columns of covariates, NAME_a and NAME_b.
        texts: outputs of both sides, None where the file has none.
        own_failures: of a run's battles, who lost by its own failure, None where a verdict decided; None without any.
        notes: what was read in another way, or left out.
        place: where battle i (from 0) stands in the file.
    """

    names_a: list[Any]
    names_b: list[Any]
    score: FloatArray
    weight: FloatArray | None
    prompts: list[Any] | None
    numbers: Mapping[str, list[Any]]
    texts: tuple[list[Any], list[Any]] | None
    own_failures: list[Any] | None
    notes: tuple[str, ...]
    place: Place


def is_table(columns: Collection[str]) -> bool:
    """Whether rows with these columns are plain battles (rather than judgments of another tool, or nothing known)."""
    winner = {"winner", "score_a"} & set(columns) or set(ONE_HOT) <= set(columns)
    return bool(winner) and {"model_a", "model_b"} <= set(columns)


def require_columns(found: Collection[str], controls: Sequence[str] = (), *, there: Collection[str] = ()) -> None:
    """Refuse a file without the columns of any known kind, naming those that the nearest kind lacks.

    Args:
        found: the file's columns.
        controls: covariates that are wanted.
        there: columns of battles that the rows gave besides, such as an annotation's lengths.

    Raises:
        ValueError: columns are missing; the message names them and those found.
    """
    columns = set(found)
    missing: list[str] = []
    if not is_table(columns) and not any(set(keys) <= columns for keys in _KINDS):
        near = max(_KINDS, key=lambda keys: len(columns & set(keys)))
        missing = [name for name in ("model_a", "model_b") if name not in columns]
        missing += [] if {"winner", "score_a"} & columns else ["winner"]
        if len(columns & set(near)) > 1 and len(columns & set(near)) > 3 - len(missing):
            missing = [name for name in near if name not in columns]
    missing += [f"{n}{side}" for n in controls for side in ("_a", "_b") if f"{n}{side}" not in {*columns, *there}]
    if missing:
        hint = _NO_BASELINE if missing == ["baseline"] else f" (found: {', '.join(list(found)[:20]) or 'none'})"
        raise ValueError(f"missing column {', '.join(missing)}{hint}")


_NO_BASELINE = ": Arena-Hard v0.1 keeps its name in its configuration (gpt-4-0314 unless changed); add it to every row"


def battles_from_rows(
    rows: Iterable[tuple[int | str, JsonRow]], source: str, *, controls: Sequence[str] = ()
) -> Battles:
    """Battles from rows that are all of one kind: judgments of one of the tools, or plain battles.

    Args:
        rows: (line, or another word for the place; JSON object).
        source: what to call them in an error.
        controls: covariates; AlpacaEval's outputs give ``length``, plain battles their columns.

    Raises:
        InputError: no rows, unknown rows or values, or mixed kinds.
    """
    columns = battle_columns(rows, source, controls=controls)
    try:
        return Battles.from_names(
            columns.names_a,
            columns.names_b,
            columns.score,
            weight=columns.weight,
            prompt_ids=columns.prompts,
            covariates={
                name: relative_difference(*(_numbers(columns.numbers[f"{name}{side}"]) for side in ("_a", "_b")))
                for name in controls
            },
            notes=columns.notes,
        )
    except ValueError as error:
        raise file_error(source, error) from None


def _numbers(cells: Sequence[Any]) -> FloatArray:
    return np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)


def battle_columns(
    rows: Iterable[tuple[int | str, JsonRow]], source: str, *, controls: Sequence[str] = ()
) -> BattleColumns:
    """The columns that ratings and win rates read; arguments and errors are those of `battles_from_rows`."""
    cells: dict[str, list[Any]] = {}
    lines: list[int | str] = []
    found: dict[str, None] = {}
    unlike = LeftOut("the shape of the rows before them")
    convert: Callable[[JsonRow], Iterable[JsonRow]] | None = None
    count = 0
    for count, (line, row) in enumerate(rows, start=1):
        if convert is None:
            convert = next((reader for keys, reader in _KINDS.items() if set(keys) <= row.keys()), None) or _plain(
                controls
            )
        if count <= 100:
            found.update(dict.fromkeys(row))
        try:
            battles = list(convert(row))
        except (KeyError, TypeError, AttributeError) as error:
            unlike.add(f"not like the rows before it ({error!r})", _placed(line))
            continue
        for battle in battles:
            for name in battle.keys() - cells.keys():
                cells[name] = [None] * len(lines)
            for name, column in cells.items():
                column.append(battle.get(name))
            lines.append(line)
    if not count:
        raise InputError(f"{source}: no rows in it")

    def place(index: int) -> str:
        return _placed(lines[index])

    try:
        left_out = unlike.notes(count)
        if any(isinstance(cell, list) for cell in cells.get("verdicts", ())):
            kept, repeated = once(own_frame(cells), place)
            if kept is not None:
                cells = {name: list(compress(column, kept)) for name, column in cells.items()}
                lines, left_out = list(compress(lines, kept)), [*left_out, *repeated]
        require_columns(found, controls, there=cells)
        score, strength, notes = _scores(cells, place)
        weight = read_weights(cells["weight"], place=place) if "weight" in cells else strength
    except ValueError as error:
        raise file_error(source, error) from None
    texts = ("output_a", "output_b")
    return BattleColumns(
        cells["model_a"],
        cells["model_b"],
        score,
        weight,
        cells.get("prompt_id"),
        {name: column for name, column in cells.items() if name[-2:] in ("_a", "_b")},
        (cells[texts[0]], cells[texts[1]]) if set(texts) <= cells.keys() else None,
        cells.get("own_failure"),
        (*left_out, *notes),
        place,
    )


def _placed(line: int | str) -> str:
    return line if isinstance(line, str) else f"line {line}"


def _scores(cells: Mapping[str, list[Any]], place: Place) -> tuple[FloatArray, FloatArray | None, tuple[str, ...]]:
    """Scores of `model_a`, what the labels weigh (None: one each), and notes."""
    names = cells["model_a"], cells["model_b"]
    if "preference" in cells:
        outcomes = read_preferences(cells["preference"], place=place)
        return outcomes.score - 1.0, None, outcomes.notes
    if "label" in cells:
        outcomes, weight = read_games(cells["label"], column="games, score", place=place)
        return outcomes.score, weight, outcomes.notes
    if "g1" in cells:
        first, second = (read_outcomes(cells[g], *names, column=f"{g}_winner", place=place) for g in ("g1", "g2"))
        both = np.where(first.score == second.score, first.score, 0.5)
        both[np.isnan(first.score) | np.isnan(second.score)] = np.nan
        return both, None, (*first.notes, *second.notes)
    if "winner" not in cells and ONE_HOT[0] not in cells:
        outcomes = read_scores(cells["score_a"], place=place)
    else:
        winners = cells["winner"] if "winner" in cells else one_hot_winners(*(cells[name] for name in ONE_HOT))
        outcomes = read_outcomes(winners, *names, place=place)
    return outcomes.score, None, outcomes.notes


def _fastchat(row: JsonRow) -> Iterable[JsonRow]:
    yield {
        "model_a": row["model_1"],
        "model_b": row["model_2"],
        "g1": row["g1_winner"],
        "g2": row["g2_winner"],
        "prompt_id": row["question_id"],
    }


def _arena_hard(row: JsonRow) -> Iterable[JsonRow]:
    prompt = row["uid"] if "uid" in row else row["question_id"]
    seats = [(row["baseline"], row["model"]), (row["model"], row["baseline"])]
    for (a, b), game in zip(seats, row["games"], strict=False):
        yield {"model_a": a, "model_b": b, "label": None if game is None else game.get("score"), "prompt_id": prompt}


def _alpaca_eval(row: JsonRow) -> Iterable[JsonRow]:
    first, second = row.get("output_1"), row.get("output_2")
    battle = {
        "model_a": row["generator_2"],
        "model_b": row["generator_1"],
        "preference": row["preference"],
        "prompt_id": instruction_key(row),
        "length_a": _characters(second, row.get("length_b")),
        "length_b": _characters(first, row.get("length_a")),
        "output_a": second,
        "output_b": first,
    }
    yield battle | ({"weight": row["weight"]} if "weight" in row else {})


def instruction_key(row: JsonRow) -> object:
    """What prompts are joined by: the instruction, with its input where it has one.

    Raises:
        TypeError: the instruction is neither text nor number.
    """
    instruction, extra = row["instruction"], row.get("input")
    if not isinstance(instruction, str | int):
        raise TypeError("'instruction' must be text")
    return f"{instruction}\n\n{extra}" if extra else instruction


def _characters(text: object, length: object) -> object:
    return float(len(text)) if isinstance(text, str) else length


def _plain(controls: Sequence[str]) -> Callable[[JsonRow], Iterable[JsonRow]]:
    kept = {"model_a", "model_b", "winner", "score_a", "weight", "prompt_id", "length_a", "length_b", *ONE_HOT}
    kept |= {"own_failure", "verdicts"}
    kept |= {f"{name}{side}" for name in controls for side in ("_a", "_b")}

    def battle(row: JsonRow) -> Iterable[JsonRow]:
        out = {name: value for name, value in row.items() if name in kept}
        if "prompt_id" not in out and "question_id" in row:
            out["prompt_id"] = row["question_id"]
        if isinstance(out.get("prompt_id"), list | dict):
            raise TypeError("the prompt's id must be text or a number")
        if any(isinstance(out.get(name), list | dict) for name in ("model_a", "model_b")):
            raise TypeError("a model's name must be text or a number")
        metadata = row.get("conv_metadata")
        if isinstance(metadata, dict) and "length_a" not in out:
            out |= {name: metadata.get(field) for name, field in METADATA_LENGTHS.items()}
        yield out

    return battle


_KINDS: Mapping[tuple[str, ...], Callable[[JsonRow], Iterable[JsonRow]]] = {
    ("g1_winner", "g2_winner", "model_1", "model_2", "question_id"): _fastchat,
    ("games", "model", "baseline"): _arena_hard,
    ("generator_1", "generator_2", "preference", "instruction"): _alpaca_eval,
}
