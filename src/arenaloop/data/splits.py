"""Splits that have nothing in common: no row asks what another split asks, however it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from arenaloop.data.held_out import HeldOut, Turn, normalised
from arenaloop.types import Prompt

__all__ = ["Overlap", "Row", "part"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A row of a split.

    Attributes:
        value: the row.
        asked: the turns that are answered.
        turns: all turns, answers included.
    """

    value: T
    asked: Sequence[Turn]
    turns: Sequence[Turn]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Rows of a split that ask what another asks: how many, and the last user turn of the first of them."""

    split: str
    other: str
    rows: int
    example: str


def part(
    held_out: Mapping[str, Sequence[Prompt]], splits: Mapping[str, Sequence[Row[T]]], *, share: bool = False
) -> tuple[dict[str, list[T]], list[Overlap]]:
    """Leave out of each split the rows that ask or contain a held-out prompt, or ask what an earlier split asks.

    Args:
        held_out: by name, prompts that nothing may ask or contain (see `held_out`).
        splits: by name, in the order in which they keep what several of them ask.
        share: splits may ask what others of them ask.

    Returns:
        The rows that are left of each split, and what was left out of it.
    """
    kept: dict[str, list[T]] = {}
    found: dict[tuple[str, str], tuple[int, str]] = {}
    away = {name: HeldOut(prompts) for name, prompts in held_out.items()}
    seen: dict[tuple[str, ...], str] = {}
    for split, rows in splits.items():
        own: dict[tuple[str, ...], str] = {}
        kept[split] = []
        for row in rows:
            other = next((name for name, prompts in away.items() if prompts.leak(row.turns) is not None), None)
            if not share:
                key = tuple(normalised(turn.text) for turn in row.asked if turn.role == "user")
                other = other or seen.get(key)
                own[key] = split
            if other is None:
                kept[split].append(row.value)
                continue
            count, example = found.get((split, other), (0, row.asked[-1].text if row.asked else ""))
            found[split, other] = count + 1, example
        seen = own | seen
    return kept, [Overlap(*names, *told) for names, told in found.items()]
