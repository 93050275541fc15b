"""Battles of one pair on one prompt: what they are together, as they judge the same two answers."""

from __future__ import annotations

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, tally
from arenaloop.ratings.sums import BattleSums

__all__ = ["pair_units", "repeats_of_pairs"]

_PENDING = 4_000_000


def pair_units(battles: BattleSums, cluster: str, chosen: BoolArray, whole: FloatArray) -> FloatArray:
    """How many units each row won against each column, shape (K, K), in the pairs that are `chosen`.

    A unit is a battle, or with `cluster` ``"prompt"`` all battles of a pair on one prompt, which count as their mean.
    It counts for what it weighs in `whole` battles of the pair, shape (K, K).
    """
    size = len(battles.models)
    if cluster == "prompt":
        pair, once, won, squares = _on_prompts(battles, chosen)
        scored, fought = (tally(pair, size * size, of) for of in (squares / once * (won / once), squares / once))
    else:
        scored, fought = np.zeros((2, size * size))
        for rows in battles.kinds():
            use = chosen[rows.a, rows.b]
            if rows.mass is not None:
                use &= rows.mass > 0
            some = rows.chosen(use)
            first = some.a < some.b
            mass = np.ones(len(some.a)) if some.mass is None else some.mass
            if some.times is not None:
                mass = mass * some.times
            pair = np.where(first, some.cells(size), some.b.astype(np.int64) * size + some.a)
            scored += tally(pair, size * size, mass * np.where(first, some.score_a, 1.0 - some.score_a))
            fought += tally(pair, size * size, mass)
    scored, fought = scored.reshape(size, size), fought.reshape(size, size)
    return np.asarray((scored + (fought - scored).T) / whole)


def repeats_of_pairs(battles: BattleSums, chosen: BoolArray) -> FloatArray:
    """By how much more a pair's score would vary if its battles on one prompt ended alike, shape (K, K), symmetric.

    As a share of its variance with all battles independent; 0 where a prompt has one battle of the pair, and of pairs
    that are not `chosen`.
    """
    size = len(battles.models)
    pair, once, _, squares = _on_prompts(battles, chosen)
    together, alone = (tally(pair, size * size, of).reshape(size, size) for of in (once * once, squares))
    more = np.divide(together, alone, out=np.ones_like(alone), where=alone > 0) - 1.0
    return np.asarray(np.maximum(more + more.T, 0.0))


def _on_prompts(battles: BattleSums, chosen: BoolArray) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
    """Each chosen pair's battles on each prompt, all of shape (n,): which pair, smaller code first, in a flat matrix.

    Then sums of their weights, of these times what the smaller code scored, and of their squares.
    """
    size = len(battles.models)
    met = _Units()
    for rows in battles.parts():
        use = chosen[rows.a, rows.b]
        if rows.mass is not None:
            use &= rows.mass > 0
        assert rows.cluster is not None
        a, b, prompt = rows.a[use].astype(np.int64), rows.b[use].astype(np.int64), rows.cluster[use].astype(np.int64)
        score = np.where(a < b, rows.score_a[use], 1.0 - rows.score_a[use])
        mass = np.ones(len(a)) if rows.mass is None else rows.mass[use]
        met.add(prompt * (size * size) + np.minimum(a, b) * size + np.maximum(a, b), mass, score)
    key, sums = met.sums()
    return key % (size * size), *sums


class _Units:
    """Battles summed by what they are a unit of; memory holds a key once, and `_PENDING` battles."""

    def __init__(self) -> None:
        self._keys: list[IntArray] = []
        self._sums: list[FloatArray] = []
        self._pending = 0

    def add(self, key: IntArray, mass: FloatArray, score: FloatArray) -> None:
        self._keys.append(key)
        self._sums.append(np.stack([mass, mass * score, mass * mass]))
        self._pending += len(key)
        if self._pending > _PENDING:
            self._merge()

    def sums(self) -> tuple[IntArray, FloatArray]:
        """Keys, each once, and the sums of their battles' weights, scores and squared weights, shape (3, n)."""
        self._merge()
        return self._keys[0], self._sums[0]

    def _merge(self) -> None:
        keys = np.concatenate([np.zeros(0, dtype=np.int64), *self._keys])
        sums = np.concatenate([np.zeros((3, 0)), *self._sums], axis=1)
        distinct, where = np.unique(keys, return_inverse=True)
        self._keys, self._sums = [distinct], [np.stack([tally(where, len(distinct), row) for row in sums])]
        self._pending = 0
