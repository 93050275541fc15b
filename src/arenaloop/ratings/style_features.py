"""Style as numbers: which features there are, and by how much one answer is ahead of the other in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from arenaloop.ratings.arrays import FloatArray

__all__ = ["FEATURES", "PROCEDURES", "feature_names", "is_style", "style_differences"]

FEATURES = ("length", "headers", "lists", "bold")
"""Of one answer: its length, and how many headers, list items and bold spans it has outside code."""
PROCEDURES = ("style", "arena_hard")
"""Controls that stand for all `FEATURES`, see `ratings.style`."""


def feature_names(controls: Sequence[str]) -> list[str]:
    """The covariates that controls stand for: those of style in their place, others as they are.

    Raises:
        ValueError: a feature is asked for twice.
    """
    names = [name for control in controls for name in (FEATURES if control in PROCEDURES else (control,))]
    for name in FEATURES:
        if names.count(name) > 1:
            raise ValueError(f"{name} is a part of style: control one of them")
    return names


def is_style(controls: Sequence[str]) -> bool:
    """Whether style is among the controls."""
    return any(control in PROCEDURES for control in controls)


def style_differences(procedure: str, column: Callable[[str], FloatArray]) -> dict[str, FloatArray]:
    """By how much a is ahead of b in each feature, shape (N,), NaN where one of the eight numbers is missing.

    Args:
        procedure: ``style`` for (a - b) / (a + b + 1); ``arena_hard`` for (a - b) / (a + b) of the length and, of
            markdown's density d = count / (length + 1), (d_a - d_b) / (d_a + d_b + 1).
        column: gives the column FEATURE_a or FEATURE_b.

    Raises:
        ValueError: a number is negative.
    """
    found = {}
    first, second = ({name: column(f"{name}{side}") for name in FEATURES} for side in ("_a", "_b"))
    for side, numbers in (("_a", first), ("_b", second)):
        for name, values in numbers.items():
            if (values < 0).any():
                row = int(np.flatnonzero(values < 0)[0])
                raise ValueError(f"row {row}: column {name}{side}: {values[row]:g}, where no count is negative")
    for name in FEATURES:
        a, b = first[name], second[name]
        if procedure == "arena_hard" and name == "length":
            total = np.where(a + b == 0.0, 1.0, a + b)
        else:
            if procedure == "arena_hard":
                a, b = a / (first["length"] + 1.0), b / (second["length"] + 1.0)
            total = a + b + 1.0
        found[name] = (a - b) / total
    unknown = np.isnan(sum(found.values(), start=np.zeros(1)))
    if unknown.any():
        found = {name: np.where(unknown, np.nan, values) for name, values in found.items()}
    return found
