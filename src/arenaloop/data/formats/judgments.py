"""Battles out of other tools' judgments: FastChat (MT-Bench) pairs, Arena-Hard games, AlpacaEval annotations.

How each becomes battles:

* **FastChat pair judgments** (`g1_winner`, `g2_winner`, mapped back from seats already): both games agree, or it is a
  tie, as FastChat's own table has it; a game that failed (``error``) skips the row. A prompt's turns share a cluster.
* **Arena-Hard judgments** (`games`): the first game seats the baseline as A, the second swaps. Every game is a battle
  of its own on the prompt's cluster; ``A>>B`` and ``B>>A`` weigh three battles, as in Arena-Hard's own fit. A game
  without a verdict is skipped.
* **AlpacaEval annotations** (`generator_1`, `generator_2`, `preference`): one battle a row with the soft outcome
  preference - 1 for `generator_2`; null is skipped. The instruction is the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.battles import Battles

__all__ = ["battles_from_rows", "is_judgment"]

Columns = dict[str, list[Any]]

_ARENA_HARD_VERDICTS = {"A>>B": (1.0, 3.0), "A>B": (1.0, 1.0), "A=B": (0.5, 1.0), "B>A": (0.0, 1.0), "B>>A": (0.0, 3.0)}
"""Score of the first seat, and weight."""


def is_judgment(row: JsonRow) -> bool:
    """Whether `row` is a judgment of another tool (rather than a battle)."""
    return any(set(keys) <= set(row) for keys in _KINDS)


def battles_from_rows(rows: Iterable[JsonRow], source: str, *, controls: Sequence[str] = ()) -> Battles:
    """Battles from rows that are all of one kind: judgments of one of the tools, or plain battles.

    Args:
        rows: JSON objects.
        source: what to call them in an error.
        controls: covariates; AlpacaEval's outputs give ``length``, plain battles their columns.

    Raises:
        InputError: no rows, unknown rows, or mixed kinds.
    """
    columns: Columns = {}
    convert = None
    count = 0
    for count, row in enumerate(rows, start=1):
        if convert is None:
            convert = next((reader for keys, reader in _KINDS.items() if set(keys) <= set(row)), _plain)
        try:
            for battle in convert(row):
                for name, value in battle.items():
                    columns.setdefault(name, []).append(value)
        except (KeyError, TypeError, AttributeError) as error:
            like = "not like the rows before it" if count > 1 else "cannot be read as a battle or judgment"
            raise InputError(f"{source}, row {count}: {like} ({error!r})") from None
    if not count:
        raise InputError(f"{source}: the file is empty")
    ragged = {name for name, column in columns.items() if len(column) != len(columns.get("model_a", column))}
    if ragged:
        raise InputError(f"{source}: column {', '.join(sorted(ragged))} is missing in some rows")
    lacking = [f"{name}{side}" for name in controls for side in ("_a", "_b") if f"{name}{side}" not in columns]
    if lacking:
        raise InputError(f"{source}: missing column {', '.join(lacking)} (found: {', '.join(columns)})")
    try:
        return Battles.from_columns(columns, controls=controls)
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None


def _fastchat(row: JsonRow) -> Iterable[JsonRow]:
    first, second = row["g1_winner"], row["g2_winner"]
    names = ("model_1", "model_2", "tie")
    if first not in names or second not in names:
        winner = None
    elif first == second != "tie":
        winner = "model_a" if first == "model_1" else "model_b"
    else:
        winner = "tie"
    yield {"model_a": row["model_1"], "model_b": row["model_2"], "winner": winner, "prompt_id": row["question_id"]}


def _arena_hard(row: JsonRow) -> Iterable[JsonRow]:
    prompt = row["uid"] if "uid" in row else row["question_id"]
    seats = [(row["baseline"], row["model"]), (row["model"], row["baseline"])]
    for (a, b), game in zip(seats, row["games"], strict=False):
        verdict = None if game is None else game.get("score")
        score, weight = _ARENA_HARD_VERDICTS.get(verdict, (None, 1.0)) if isinstance(verdict, str) else (None, 1.0)
        yield {"model_a": a, "model_b": b, "score_a": score, "weight": weight, "prompt_id": prompt}


def _alpaca_eval(row: JsonRow) -> Iterable[JsonRow]:
    preference = row["preference"]
    if preference == 0:  # legacy: a draw
        preference = 1.5
    yield {
        "model_a": row["generator_2"],
        "model_b": row["generator_1"],
        "score_a": None if preference is None else preference - 1.0,
        "prompt_id": row["instruction"] + "\n\n" + (row.get("input") or ""),
        "length_a": _characters(row.get("output_2")),
        "length_b": _characters(row.get("output_1")),
    }


def _characters(text: object) -> float | None:
    return float(len(text)) if isinstance(text, str) else None


def _plain(row: JsonRow) -> Iterable[JsonRow]:
    yield row


_KINDS = {
    ("g1_winner", "g2_winner", "model_1", "model_2", "question_id"): _fastchat,
    ("games", "model", "baseline"): _arena_hard,
    ("generator_1", "generator_2", "preference", "instruction"): _alpaca_eval,
}
