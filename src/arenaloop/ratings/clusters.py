"""Battles summed prompt by prompt: what the prompts of each model are worth, and the outer products of their scores.

Everything comes from dense matrices of prompts x models, a block of prompts at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray, effective_number, tally
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.crossings import WHOLE, components, crossings
from arenaloop.ratings.streamed_prompts import Gained, StreamedPrompts, binding_streamed
from arenaloop.ratings.sums import BattleSums

__all__ = ["Prompts", "bound_groups", "effective_clusters", "prompts_of", "worth_inside"]

_DENSE_ENTRIES = 1 << 22
"""Entries of the prompts x models matrices that are held at once (32 MiB each)."""
_BINDING = 3.0
"""Prompts by which two groups of models must be joined to tell how far apart they lie: from two nothing can be told of
how sure that is."""
_FIRST = 50_000
"""Battles that are looked at first: nearly always they bind all models."""


@dataclass(frozen=True, slots=True)
class _Block:
    """A run of prompts whose matrix fits.

    Attributes:
        first, many: the prompts first to first + many - 1.
        rows: the battles on them.
        entries: of the flat matrix, shape (2 n,): those of each battle's model a, then those of its model b.
    """

    first: int
    many: int
    rows: slice | IntArray
    entries: IntArray


class Prompts:
    """Which models battled how often on which prompt.

    Attributes:
        worth: what each model's prompts are worth, shape (K,): ``(sum c)^2 / sum c^2`` of its battles c per prompt, or
            of the sum c of their squared weights, in proportion to which a prompt adds to the variance.
        spanned: directions among the strengths that each prompt's battles span, shape (G,), at least 1: the models on
            it less one, or its battles where they are fewer.
    """

    def __init__(self, battles: Battles) -> None:
        assert battles.cluster is not None
        self._battles, self._group, self._size = battles, battles.cluster, len(battles.models)
        self._blocks = list(_blocks(battles))
        square = None if battles.mass is None else battles.mass**2
        total, squares = np.zeros(self._size), np.zeros(self._size)
        models, fought = np.zeros(battles.clusters), np.zeros(battles.clusters)
        for block in self._blocks:
            each = None if square is None else np.tile(square[block.rows], 2)
            counts = np.bincount(block.entries, each, block.many * self._size).reshape(block.many, self._size)
            total += counts.sum(axis=0)
            squares += np.einsum("ij,ij->j", counts, counts)
            part = slice(block.first, block.first + block.many)
            models[part] = (counts > 0).sum(axis=1)
            fought[part] = counts.sum(axis=1) / 2  # each battle is one of both its models
        if square is not None:
            fought = tally(battles.cluster, battles.clusters)
        self.worth: FloatArray = effective_number(total, squares)
        self.spanned: FloatArray = np.maximum(np.minimum(fought, models - 1.0), 1.0)

    def outer_products(self, gained: Gained) -> FloatArray:
        """Sum over prompts of the outer products of their scores, shape (K, K).

        Args:
            gained: of some battles, given the cells of their pairs, the residuals and the leverages. A prompt's
                leverage, the trace of its information against the inverse, is spread over the directions it spans, and
                its scores are divided by the root of one minus that.
        """
        size = self._size
        (rows,) = self._battles.parts()
        residual, leverage = gained(rows, rows.cells(size))
        meat = np.zeros((size, size))
        factor = None
        if leverage is not None:
            share = tally(self._group, len(self.spanned), leverage) / self.spanned
            factor = 1.0 / np.sqrt(1.0 - np.minimum(share, 0.9))
        for block in self._blocks:
            own = residual[block.rows]
            scores = tally(block.entries, block.many * size, np.concatenate([own, -own]))
            scores = scores.reshape(block.many, size)
            if factor is not None:
                scores *= factor[block.first : block.first + block.many, None]
            meat += scores.T @ scores
        return meat


def prompts_of(battles: BattleSums) -> Prompts | StreamedPrompts:
    """The prompts of some battles, wherever these are."""
    return Prompts(battles) if isinstance(battles, Battles) else StreamedPrompts(battles)


def bound_groups(battles: BattleSums) -> IntArray:
    """The first model of each one's group, shape (K,): no cut through a group is crossed by fewer than three prompts.

    Battles of several pairs on one prompt are one prompt where their models are bound already.
    """
    size = len(battles.models)
    label: IntArray = np.arange(size)
    tries = _binding if isinstance(battles, Battles) else binding_streamed
    for a, b, prompt in tries(battles, _FIRST):
        label = _bound(label, a, b, prompt, size)
        if not label.any():
            break
    return label


def _binding(battles: BattleSums, first: int) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Models and prompt of about `first` battles that weigh anything, then of all of them, each of shape (n,)."""
    (rows,) = battles.parts()
    assert rows.cluster is not None
    use = slice(None) if rows.mass is None else rows.mass > 0
    a, b, prompt = rows.a[use], rows.b[use], rows.cluster[use].astype(np.int64)
    for every in dict.fromkeys((len(a) // first + 1, 1)) if len(a) else ():
        yield a[::every], b[::every], prompt[::every]


def _bound(label: IntArray, a: IntArray, b: IntArray, prompt: IntArray, size: int) -> IntArray:
    """`label` after groups that these battles bind have become one: pairs first, then whoever many ways join."""
    while True:
        first, second = label[a], label[b]
        apart = first != second
        a, b, prompt = a[apart], b[apart], prompt[apart]
        pair = np.minimum(first, second)[apart].astype(np.int64) * size + np.maximum(first, second)[apart]
        joining = tally(np.unique(prompt * (size * size) + pair) % (size * size), size * size).reshape(size, size)
        joining += joining.T
        pairs = np.where(joining >= _BINDING, joining, 0.0)
        if pairs.any():
            group = components(pairs)[0]
        else:
            group = (crossings(joining, np.ones(size), _BINDING) >= _BINDING * WHOLE).argmax(axis=1)
        if (group[label] == label).all():
            return label
        label = group[label]


def worth_inside(battles: BattleSums, bound: IntArray, worth: FloatArray) -> FloatArray:
    """`worth`, of models that prompts bind to others that of the battles with these alone, shape (K,).

    What joins two groups says nothing of what is inside them, however many battles it is.
    """
    if not bound.any():
        return worth
    inside = bound[:, None] == bound[None, :]
    if not battles.by_pair()[~inside].any():
        return worth
    several = np.bincount(bound, minlength=len(bound))[bound] > 1
    return np.where(several, effective_clusters(battles.among(inside), "prompt"), worth)


def effective_clusters(battles: BattleSums, cluster: str) -> FloatArray:
    """What the clusters of each model are worth, shape (K,): `Prompts.worth`, or with ``"battle"`` its battles."""
    if cluster == "prompt" and battles.clustered:
        return prompts_of(battles).worth
    return effective_number(battles.power_sums(2).sum(axis=1), battles.power_sums(4).sum(axis=1))


def _blocks(battles: Battles) -> Iterator[_Block]:
    group, clusters, size = battles.cluster, battles.clusters, len(battles.models)
    assert group is not None
    step = max(1, _DENSE_ENTRIES // max(size, 1))
    if clusters <= step:
        yield _Block(0, clusters, slice(None), _entries(battles, slice(None), 0))
        return
    # numpy sorts 16-bit keys by radix, many times faster than wider ones
    part = (group // step).astype(np.uint16 if clusters // step < 65536 else np.int64)
    order = np.argsort(part, kind="stable")
    edges = np.searchsorted(part[order], np.arange(-(-clusters // step) + 1))
    for place, first in enumerate(range(0, clusters, step)):
        rows = order[edges[place] : edges[place + 1]]
        yield _Block(first, min(step, clusters - first), rows, _entries(battles, rows, first))


def _entries(battles: Battles, rows: slice | IntArray, first: int) -> IntArray:
    """`_Block.entries` of the battles `rows`, in a matrix that begins with the prompt `first`."""
    assert battles.cluster is not None
    size = len(battles.models)
    start = battles.cluster[rows].astype(np.int64)
    start -= first
    start *= size
    entries = np.empty((2, len(start)), dtype=np.int64)
    np.add(start, battles.a[rows], out=entries[0])
    np.add(start, battles.b[rows], out=entries[1])
    return entries.reshape(-1)
