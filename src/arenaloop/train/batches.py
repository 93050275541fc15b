"""From tokenised rows to batches: seeded order, micro-batches of like length, right padding.

Rows lie in one flat table, so that a batch is cut out with a few tensor operations. Padding is on the right and no
attention mask is passed to the model: attention is causal, so a real token never sees the padding after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arenaloop.train.encoding import Encoded
from arenaloop.types import derive_seed

__all__ = ["Batch", "TokenTable", "micro_batches", "optimiser_batches", "shared_out", "total_steps"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one forward pass. B rows, T input tokens, K positions whose logits are needed, N labelled tokens.

    Attributes:
        inputs: (B, T) token ids, right-padded; the last token of the longest rows is an input where it was asked for.
        keep: K; the labelled positions are among the last K of every row.
        at: (N,) index of each labelled position in the flat (B * K) positions kept.
        targets: (N,) the token to be predicted there.
        row: (N,) which row it belongs to.
        last: (B,) the position of each row's last token.
    """

    inputs: Tensor
    keep: int
    at: Tensor
    targets: Tensor
    row: Tensor
    last: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        if device == self.inputs.device:
            return self
        inputs, at, targets, row, last = (
            tensor.to(device, non_blocking=True) for tensor in (self.inputs, self.at, self.targets, self.row, self.last)
        )
        return Batch(inputs, self.keep, at, targets, row, last)


class TokenTable:
    """Tokenised rows in one flat tensor.

    Args:
        rows: the tokenised conversations; each needs a labelled token.
        pad_id: fills the right side of shorter rows; it is never seen nor predicted.

    Attributes:
        lengths: (rows,) tokens per row.
        labelled: (rows,) labelled tokens per row.
    """

    def __init__(self, rows: Sequence[Encoded], pad_id: int) -> None:
        self.lengths = np.array([len(row.ids) for row in rows], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self._ids = np.fromiter((token for row in rows for token in row.ids), dtype=np.int32)
        self._mask = np.fromiter((on for row in rows for on in row.labelled), dtype=bool)
        self._first = np.array([row.labelled.index(True) for row in rows], dtype=np.int64)
        self.labelled = np.array([sum(row.labelled) for row in rows], dtype=np.int64)
        self._first_labelled = np.cumsum(self.labelled) - self.labelled
        self._pad_id = pad_id

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def owners(self) -> Tensor:
        """The row that each labelled token of the whole table belongs to, in order: (N,)."""
        return torch.repeat_interleave(torch.arange(len(self)), torch.from_numpy(self.labelled))

    def places(self, rows: np.ndarray) -> Tensor:
        """Where the labelled tokens of these rows, one row after the other, stand among those of the table: (N,)."""
        first, count = self._first_labelled[rows], self.labelled[rows]
        return torch.from_numpy(np.concatenate([np.arange(at, at + n) for at, n in zip(first, count, strict=True)]))

    def row(self, at: int) -> Encoded:
        """Row `at` as it was given, but for its remarks."""
        part = slice(self._starts[at], self._starts[at] + self.lengths[at])
        return Encoded(self._ids[part].tolist(), self._mask[part].tolist(), truncated=False)

    def batch(self, rows: np.ndarray, *, whole: bool = False) -> Batch:
        """Cut out `rows` as one right-padded batch.

        Args:
            rows: (B,) indices into the table.
            whole: whether every row's last token is an input. A policy predicts nothing after it, a head may read it.
        """
        lengths = self.lengths[rows]
        width = int(lengths.max())
        column = np.arange(width)
        index = np.minimum(self._starts[rows][:, None] + column, len(self._ids) - 1)
        inside = column < lengths[:, None]
        ids = np.where(inside, self._ids[index], self._pad_id).astype(np.int64)
        labelled = (self._mask[index] & inside)[:, 1:]  # position t predicts token t + 1
        keep = width - max(int(self._first[rows].min()), 1)
        row, position = np.nonzero(labelled[:, -keep:])
        targets = ids[:, 1:][:, -keep:][row, position]
        keep += whole  # one more position, at which nothing is labelled
        found = (row * keep + position, targets, row, lengths - 1)
        return Batch(torch.from_numpy(ids if whole else ids[:, :-1]), keep, *map(torch.from_numpy, found))


def total_steps(rows: int, batch_size: int, epochs: float, max_steps: int | None) -> int:
    """Optimiser steps of a whole training: the last batch of an epoch may be smaller, none is left out."""
    return max_steps or max(1, math.ceil(epochs * math.ceil(rows / batch_size)))


def optimiser_batches(rows: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The batches of one epoch, as arrays of row indices: a permutation that only `seed` and `epoch` decide."""
    order = np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(rows)
    return [order[start : start + batch_size] for start in range(0, rows, batch_size)]


def micro_batches(
    rows: np.ndarray, lengths: np.ndarray, *, size: int | None = None, tokens: int, by_length: bool = True
) -> list[np.ndarray]:
    """Cut one optimiser batch into forward passes.

    Args:
        rows: (n,) row indices.
        lengths: (n,) tokens of each of them.
        size: rows per pass, or None for as many as `tokens` allow.
        tokens: padded tokens per pass, where `size` is None; a single longer row still goes through.
        by_length: sort by length first, the longest in front (what does not fit in memory then fails at once).
    """
    order = np.argsort(-lengths, kind="stable") if by_length else np.arange(len(rows))
    parts: list[np.ndarray] = []
    start = 0
    while start < len(order):
        if size is not None:
            stop = start + size
        else:
            stop, width = start + 1, int(lengths[order[start]])
            while stop < len(order):
                width = max(width, int(lengths[order[stop]]))
                if width * (stop + 1 - start) > tokens:
                    break
                stop += 1
        parts.append(rows[order[start:stop]])
        start = stop
    return parts


def shared_out(
    rows: np.ndarray,
    lengths: np.ndarray,
    world: int,
    *,
    size: int | None = None,
    tokens: int,
    by_length: bool = True,
) -> list[list[tuple[np.ndarray, float]]]:
    """The forward passes of one optimiser batch, of each of several processes: rows, and the weight of their loss.

    Every row has weight 1 in one pass of one process. All have equally many passes: who has fewer goes through the
    shortest row once more, with weight 0. Arguments as those of `micro_batches`.
    """
    order = np.argsort(-lengths, kind="stable") if by_length else np.arange(len(rows))
    parts = [
        micro_batches(rows[mine], lengths[mine], size=size, tokens=tokens, by_length=by_length)
        for mine in (order[rank::world] for rank in range(world))
    ]
    most, filler = max(map(len, parts)), rows[[int(np.argmin(lengths))]]
    return [[(part, 1.0) for part in each] + [(filler, 0.0)] * (most - len(each)) for each in parts]
