"""Figures of models over seeds as tables in Markdown, each with its 95 % t-interval; differences are paired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from over_seeds import Figures, mean

__all__ = ["Shown", "compared", "table", "told", "values"]


class Shown(NamedTuple):
    """A figure, what it is called, how it is scaled, and with how many digits it is told."""

    key: str
    title: str
    scale: float = 1.0
    digits: int = 2


def values(seeds: Sequence[Figures], name: str, shown: Shown) -> np.ndarray:
    """A model's figure by seed, NaN where it has none."""
    return np.array([shown.scale * one.get(name, {}).get(shown.key, np.nan) for one in seeds])


def told(figures: np.ndarray, digits: int, signed: bool = False) -> str:
    """With its interval; of seeds that have the figure, where at least two do."""
    there = figures[np.isfinite(figures)]
    if len(there) < 2:
        return "–" if not len(there) else f"{there[0]:.{digits}f}"
    centre, lower, upper, _ = mean(there)
    sign = "+" if signed else ""
    count = "" if len(there) == len(figures) else f" of {len(there)}"
    return f"{centre:{sign}.{digits}f} ({lower:{sign}.{digits}f} to {upper:{sign}.{digits}f}){count}"


def table(seeds: Sequence[Figures], names: Sequence[str], columns: Sequence[Shown], head: str = "model") -> None:
    """Figures of models, each with its interval."""
    there = [one for one in columns if any(np.isfinite(values(seeds, name, one)).any() for name in names)]
    print(f"\n| {head} |", " | ".join(one.title for one in there), "|\n|--" + "|--" * len(there) + "|")
    for name in names:
        print(f"| {name} |", " | ".join(told(values(seeds, name, one), one.digits) for one in there), "|")


def compared(seeds: Sequence[Figures], pairs: Sequence[tuple[str, str]], columns: Sequence[Shown]) -> None:
    """Paired differences of models."""
    print("\n| difference |", " | ".join(one.title for one in columns), "|\n|--" + "|--" * len(columns) + "|")
    for first, second in pairs:
        lead = [values(seeds, first, one) - values(seeds, second, one) for one in columns]
        cells = (told(each, one.digits, signed=True) for each, one in zip(lead, columns, strict=True))
        print(f"| {first} − {second} |", " | ".join(cells), "|")
