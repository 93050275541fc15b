"""What AlpacaFarm learns from and measures on: its splits without what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from arenaloop.data.formats.training_rows import read_preference
from arenaloop.data.held_out import Turn, prompt_turns, row_turns
from arenaloop.data.splits import Overlap, Row, part
from arenaloop.jsonl import JsonRow
from arenaloop.types import Prompt, content_hash

__all__ = ["GivenPairs", "Material", "carved", "material"]


class GivenPairs(NamedTuple):
    """Labelled pairs of a file as training rows; `notes`: what of the file names no better answer, in plain words."""

    rows: Sequence[JsonRow]
    notes: Sequence[str] = ()


class Material(NamedTuple):
    """What is learned from and measured on, parted by `data.splits`; `overlaps`: what was left out of which split.

    `given` and `given_validation` are labelled pairs, where labels stand in files.
    """

    demonstrations: Sequence[JsonRow]
    preference: Sequence[Prompt]
    unlabeled: Sequence[Prompt]
    validation: Sequence[Prompt]
    given: Sequence[JsonRow] | None
    given_validation: Sequence[JsonRow]
    overlaps: Sequence[Overlap]


Asked = Sequence[Prompt] | GivenPairs
"""Prompts whose pairs are to be labelled, or pairs that are."""


def material(
    overlap: Literal["refuse", "leave_out", "share"],
    evaluation: Sequence[Prompt],
    demonstrations: Sequence[JsonRow],
    preference: Asked,
    unlabeled: Sequence[Prompt],
    validation: Asked,
) -> Material:
    """Part the splits: evaluation prompts stay, then validation, demonstrations, preference and unlabeled ones."""
    measured = _rows(validation)
    learned: dict[str, list[Row[Any]]] = {
        "data.sft": [Row(row, row_turns(row)[:-1], row_turns(row)) for row in demonstrations],
        "data.preference": _rows(preference),
        "data.unlabeled": _rows(unlabeled),
    }
    held_out = {"data.evaluation": evaluation}
    kept, leaking = part(held_out, {"data.validation": measured})
    asked = [Prompt(tuple({"role": turn.role, "content": turn.text} for turn in row.asked)) for row in measured]
    rest, overlaps = part(held_out | {"data.validation": asked}, learned, share=overlap == "share")
    given = isinstance(preference, GivenPairs)
    return Material(
        rest["data.sft"],
        [] if given else rest["data.preference"],
        rest["data.unlabeled"],
        [] if given else kept["data.validation"],
        rest["data.preference"] if given else None,
        kept["data.validation"] if given else [],
        [*leaking, *overlaps],
    )


def _rows(rows: Asked) -> list[Row[Any]]:
    """With what each asks, and all that is said in it: of labelled pairs, in both answers."""
    if not isinstance(rows, GivenPairs):
        return [Row(prompt, turns := prompt_turns(prompt), turns) for prompt in rows]
    out = []
    for row in rows.rows:
        read = read_preference(row)
        asked = [Turn(turn["role"], turn["content"]) for turn in read.prompt]
        answers = [Turn(turn["role"], turn["content"]) for turn in (*read.chosen, *read.rejected)]
        out.append(Row(row, asked, [*asked, *answers]))
    return out


def carved(rows: Sequence[JsonRow], count: int) -> tuple[list[JsonRow], list[JsonRow]]:
    """Labelled pairs to learn from, and `count` to measure on: all pairs of some prompts, whatever a run's seed.

    As AlpacaFarm does with its seed of 42; here by prompt, so that a pair is never measured on whose twin was learned.
    """
    if not count:
        return list(rows), []
    asked = [content_hash(42, [dict(turn) for turn in read_preference(row).prompt]) for row in rows]
    pairs, away, taken = Counter(asked), set[str](), 0
    for prompt in sorted(pairs):
        if taken >= count:
            break
        away.add(prompt)
        taken += pairs[prompt]
    parts: tuple[list[JsonRow], list[JsonRow]] = [], []
    for row, prompt in zip(rows, asked, strict=True):
        parts[prompt in away].append(row)
    return parts
