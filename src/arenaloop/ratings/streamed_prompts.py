"""Battles summed prompt by prompt as they come by: what `clusters.Prompts` tells of battles that lie in memory.

Dense matrices of prompts x models, as many prompts at a time as `_ENTRIES` hold; of more, the battles come by once for
each lot of prompts, so that memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray, effective_number, tally
from arenaloop.ratings.sums import BattleSums, Rows

__all__ = ["Gained", "StreamedPrompts", "binding_streamed", "most_bytes"]

Gained = Callable[[Rows, IntArray], tuple[FloatArray, FloatArray | None]]
"""Of some battles, given the cells of their pairs: what each model a scored beyond expectation, weighted, and the
leverage, None without a correction; both of shape (n,)."""

_ENTRIES = 1 << 24
"""Entries of the matrix of prompts x models that is held (128 MiB)."""
_BINDING = 3
"""Prompts of each pair that are kept: what three of them bind is bound (`clusters`)."""


class StreamedPrompts:
    """Which models battled how often on which prompt; attributes as of `clusters.Prompts`."""

    def __init__(self, battles: BattleSums) -> None:
        self._battles, self._size = battles, len(battles.models)
        total, squares = np.zeros(self._size), np.zeros(self._size)
        models, fought = np.zeros(battles.clusters), np.zeros(battles.clusters)
        for first, many in self._lots():
            counts = np.zeros(many * self._size)
            for rows, start in self._rows(first, many):
                each = np.ones(len(start)) if rows.mass is None else rows.mass**2
                np.add.at(counts, start + rows.a, each)
                np.add.at(counts, start + rows.b, each)
            counts = counts.reshape(many, self._size)
            total += counts.sum(axis=0)
            squares += np.einsum("ij,ij->j", counts, counts)
            models[first : first + many] = (counts > 0).sum(axis=1)
            fought[first : first + many] = counts.sum(axis=1) / 2  # each battle is one of both its models
        if battles.weighted:
            fought = battles.cluster_sizes()
        self.worth: FloatArray = effective_number(total, squares)
        self.spanned: FloatArray = np.maximum(np.minimum(fought, models - 1.0), 1.0)

    def outer_products(self, gained: Gained) -> FloatArray:
        """As of `clusters.Prompts`."""
        size = self._size
        meat = np.zeros((size, size))
        for first, many in self._lots():
            scores, leverage, corrected = np.zeros(many * size), np.zeros(many), False
            for rows, start in self._rows(first, many):
                own, share = gained(rows, rows.cells(size))
                np.add.at(scores, start + rows.a, own)
                np.subtract.at(scores, start + rows.b, own)
                if share is not None:
                    assert rows.cluster is not None
                    leverage += tally(rows.cluster - first, many, share)
                    corrected = True
            scores = scores.reshape(many, size)
            if corrected:
                share = np.minimum(leverage / self.spanned[first : first + many], 0.9)
                scores *= (1.0 / np.sqrt(1.0 - share))[:, None]
            meat += scores.T @ scores
        return meat

    def _lots(self) -> Iterator[tuple[int, int]]:
        """First prompt, and how many, of each lot that fits."""
        step = max(1, _ENTRIES // max(self._size, 1))
        for first in range(0, self._battles.clusters, step):
            yield first, min(step, self._battles.clusters - first)

    def _rows(self, first: int, many: int) -> Iterator[tuple[Rows, IntArray]]:
        """The battles on a lot of prompts, and where each one's prompt begins in its flat matrix, shape (n,)."""
        whole = many == self._battles.clusters
        for rows in self._battles.parts():
            assert rows.cluster is not None
            if not whole:
                rows = rows.chosen((rows.cluster >= first) & (rows.cluster < first + many))
                assert rows.cluster is not None
            yield rows, (rows.cluster.astype(np.int64) - first) * self._size


def most_bytes(battles: BattleSums) -> int:
    """What the sums over battles take at most."""
    size = len(battles.models)
    of_pairs = 8 * 16 * size * size
    if not battles.clustered:
        return of_pairs
    return of_pairs + 8 * (2 * min(battles.clusters * size, max(_ENTRIES, size)) + 6 * battles.clusters)


def binding_streamed(battles: BattleSums, first: int) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Models and prompt of about `first` battles that weigh anything, then of those that bind as all of them do.

    Of each pair no more than three prompts matter: with three it is bound, and with fewer all of them are there.
    """
    every = len(battles) // first + 1
    some = [_thinned(rows, every) for rows in battles.parts()]
    if some:
        yield tuple(np.concatenate(column) for column in zip(*some, strict=True))  # type: ignore[misc]
    if every > 1:
        yield _kept(battles)


def _thinned(rows: Rows, every: int) -> tuple[IntArray, IntArray, IntArray]:
    assert rows.cluster is not None
    use = slice(None, None, every) if rows.mass is None else np.flatnonzero(rows.mass > 0)[::every]
    return rows.a[use], rows.b[use], rows.cluster[use].astype(np.int64)


def _kept(battles: BattleSums) -> tuple[IntArray, IntArray, IntArray]:
    size = len(battles.models)
    seen = np.full((size * size, _BINDING), -1, dtype=np.int64)
    for rows in battles.parts():
        assert rows.cluster is not None
        pair = np.minimum(rows.a, rows.b).astype(np.int64) * size + np.maximum(rows.a, rows.b)
        use = seen[pair, -1] < 0
        if rows.mass is not None:
            use &= rows.mass > 0
        key = np.unique(pair[use] * (battles.clusters + 1) + rows.cluster[use])
        for _ in range(_BINDING):
            pair, prompt = np.divmod(key, battles.clusters + 1)
            new = ~(seen[pair] == prompt[:, None]).any(axis=1) & (seen[pair, -1] < 0)
            key = key[new]
            pair, at = np.unique(pair[new], return_index=True)
            seen[pair, (seen[pair] >= 0).sum(axis=1)] = prompt[new][at]
    pair, slot = np.nonzero(seen >= 0)
    return pair // size, pair % size, seen[pair, slot]
