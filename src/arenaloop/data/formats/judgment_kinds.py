"""The judgments of other tools (FastChat, Arena-Hard, AlpacaEval), and the battles in each row of theirs.

How each becomes battles:

* **FastChat pair judgments** (`g1_winner`, `g2_winner`, mapped back from seats already): both games agree, or it is a
  tie, as FastChat's own table has it; a game that failed (``error``) leaves the row without an outcome. A prompt's
  turns share a cluster.
* **Arena-Hard judgments** (`games`): the first game seats the baseline as A, the second swaps. Every game is a battle
  of its own on the prompt's cluster; ``A>>B`` and ``B>>A`` weigh three battles, as in Arena-Hard's own fit. The label
  may name either seat first, as in its own table: ``B<A`` is ``A>B``. A game without a verdict has no outcome.
* **AlpacaEval annotations** (`generator_1`, `generator_2`, `preference`): one battle a row with the soft outcome
  preference - 1 for `generator_2`; null is none. The instruction is the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from arenaloop.jsonl import JsonRow

__all__ = ["KINDS", "Kind", "annotated", "instruction_key", "noise_note"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of rows: what makes battles of one.

    Attributes:
        keys: columns that tell the kind.
        battles: of a row.
        judged: by what one judge decides once, the judge first; empty where rows may repeat.
        read: columns that it reads. `carried`: others that such files have, and that do not change what a row means.
    """

    keys: tuple[str, ...]
    battles: Callable[[JsonRow], Iterable[JsonRow]]
    judged: tuple[str, ...]
    read: frozenset[str]
    carried: frozenset[str]


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
        "annotated": row["preference"],
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


_ANNOTATED = frozenset({"annotator", "seat", "noise", "vote", "status"})


def annotated(row: JsonRow) -> frozenset[str]:
    """Of a row that `annotate` wrote, the columns beside its label; none of others, where they may mean anything."""
    return _ANNOTATED | {"error"} if row.keys() >= _ANNOTATED else frozenset()


def noise_note(noise: int, rows: int) -> list[str]:
    """One line where rows that `annotate` wrote are noise; none without any."""
    return [f"{noise:,} of {rows:,} rows are noise, which annotate drew without asking anybody"] if noise else []


_FASTCHAT = ("g1_winner", "g2_winner", "model_1", "model_2", "question_id")
_ARENA_HARD = ("games", "model")
_ALPACA_EVAL = ("generator_1", "generator_2", "preference", "instruction")
KINDS = (
    Kind(
        _FASTCHAT,
        _fastchat,
        ("judge", "question_id", "model_1", "model_2", "turn"),
        frozenset(_FASTCHAT),
        frozenset({"g1_user_prompt", "g1_judgment", "g2_user_prompt", "g2_judgment", "turn"}),
    ),
    Kind(
        _ARENA_HARD,
        _arena_hard,
        ("judge", "uid", "question_id", "model", "baseline"),
        frozenset({*_ARENA_HARD, "baseline", "uid", "question_id"}),
        frozenset({"prompt", "cluster"}),
    ),
    Kind(
        _ALPACA_EVAL,
        _alpaca_eval,
        ("annotator", "instruction", "input", "generator_1", "generator_2", "output_1", "output_2"),
        frozenset({*_ALPACA_EVAL, "input", "output_1", "output_2", "length_a", "length_b", "weight"}),
        frozenset({"referenced_models", "completion"}),
    ),
)
