"""Columns as arrays: codes for names, sums by code, and weights in proportion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "NO_WEIGHT",
    "BoolArray",
    "FloatArray",
    "IntArray",
    "dense",
    "effective_number",
    "encode",
    "meetings",
    "prompt_codes",
    "relative_weights",
    "sigmoid",
    "tag_codes",
    "tally",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]


NO_WEIGHT = 1e-9
"""Share of the largest weight below which a battle counts for nothing: no sum in double precision can tell it."""


def relative_weights(mass: FloatArray) -> FloatArray | None:
    """Weights in proportion, so that their sum is Kish's effective number; None where all are alike.

    Nothing else in this package sees how large weights are: a file of weights that sum to one says what a file says in
    which they sum to a thousand.
    """
    most = mass.max(initial=0.0)
    if not most > 0:
        return mass
    mass = mass / most
    mass[mass < NO_WEIGHT] = 0.0
    if (mass == 1.0).all():
        return None
    return np.asarray(mass * (mass.sum() / (mass * mass).sum()))


def sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), whatever x is."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -700.0, 700.0))))


def tally(index: IntArray, size: int, weights: FloatArray | None = None) -> FloatArray:
    """Sums of `weights` (ones by default) by `index`, shape (size,), as floats whatever the input."""
    return np.asarray(np.bincount(index, weights=weights, minlength=size), dtype=np.float64)


def meetings(a: IntArray, b: IntArray, size: int) -> IntArray:
    """How many rows two codes share, symmetric, shape (size, size)."""
    rows = np.bincount(a.astype(np.int64) * size + b, minlength=size * size).reshape(size, size)
    return np.asarray(rows + rows.T)


def effective_number(total: FloatArray, squares: FloatArray) -> FloatArray:
    """Kish's (sum c)^2 / sum c^2 of counts c, of each column by its two sums; 0 of nothing."""
    return np.where(squares > 0, total**2 / np.where(squares > 0, squares, 1.0), 0.0)


def encode(values: Sequence[Any]) -> tuple[IntArray, list[Any]]:
    """Codes by first appearance, shape (N,), and the distinct values that they index."""
    distinct = list(dict.fromkeys(values))
    code = {value: index for index, value in enumerate(distinct)}
    return np.fromiter(map(code.__getitem__, values), dtype=np.int32, count=len(values)), distinct


def prompt_codes(prompt_ids: Sequence[Any]) -> IntArray:
    """Codes of prompt ids by first appearance, shape (N,); -1 where an id is missing (None or NaN)."""
    codes, distinct = encode(prompt_ids)
    unknown = [index for index, value in enumerate(distinct) if value is None or value != value]
    if unknown:
        codes[np.isin(codes, unknown)] = -1
    return codes


def tag_codes(values: Sequence[Any]) -> tuple[IntArray, list[str]]:
    """Codes of values as texts, shape (N,), -1 where one is missing (None, NaN, blank), and the texts they index."""
    codes, texts = encode([None if value is None or value != value else str(value).strip() for value in values])
    known = [index for index, text in enumerate(texts) if text]
    position = np.full(len(texts) or 1, -1, dtype=np.int32)
    position[known] = np.arange(len(known), dtype=np.int32)
    return position[codes], [texts[index] for index in known]


def dense(group: IntArray) -> tuple[IntArray, int]:
    """Codes 0 to G - 1 for any integers; every negative one becomes a cluster of its own."""
    if not len(group):
        return group.astype(np.int32), 0
    low, high = int(group.min()), int(group.max())
    if low >= 0 and high < 4 * len(group) + 1024:  # the usual case: codes already, perhaps with holes
        present = np.zeros(high + 1, dtype=bool)
        present[group] = True
        if present.all():
            return group.astype(np.int32, copy=False), high + 1
        return (np.cumsum(present) - 1).astype(np.int32)[group], int(present.sum())
    known = group >= 0
    values, codes = np.unique(group[known], return_inverse=True)
    dense = np.empty(len(group), dtype=np.int32)
    dense[known] = codes
    alone = int(len(group) - known.sum())
    dense[~known] = len(values) + np.arange(alone)
    return dense, len(values) + alone
