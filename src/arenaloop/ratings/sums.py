"""What ratings ask of battles: sums over their rows, whether these lie in memory or come by, a part at a time.

A fit, its intervals and what its order is worth are made of sums over battles: by pair of models, and by prompt (or
voter) and model. `BattleSums` names them. `battles.Battles` has every row as arrays, `streamed.StreamedBattles` has
them in a file; whatever is written against this class is the same figure for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, tally

__all__ = ["FEW_OF_ALL", "BattleSums", "Rows"]

FEW_OF_ALL = 0.5
"""Share of a model's battles below which its effective number is noted. Weights of 1 and 3 (Arena-Hard's) leave three
quarters and more."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some battles, one array a column, all of shape (n,).

    Attributes:
        a, b: codes of the two models.
        score_a: what `a` scored, in [0, 1].
        mass: weights in proportion; None where all are alike.
        cluster: codes of what is independent; None where every battle is, or where rows stand for several battles.
        times: how many battles a row stands for; None where each is one.
    """

    a: IntArray
    b: IntArray
    score_a: FloatArray
    mass: FloatArray | None = None
    cluster: IntArray | None = None
    times: FloatArray | None = None

    def cells(self, size: int) -> IntArray:
        """Position of each battle's pair in a flat matrix of `size` models, shape (n,)."""
        return np.asarray(self.a.astype(np.int64, copy=False) * size + self.b)

    def chosen(self, keep: BoolArray) -> Rows:
        """Those of the rows that are to be kept, shape (n,)."""
        columns = (self.a, self.b, self.score_a, self.mass, self.cluster, self.times)
        return Rows(*(None if column is None else column[keep] for column in columns))  # type: ignore[arg-type]


class BattleSums:
    """N battles among K models, as sums.

    Attributes:
        models: K names in sorted order.
        clusters: how many prompts (or what stands in their place) there are; 0 without.
        voters: how many people decided; 0 without names.
        skipped, notes, undecided, own_failures: as of `battles.Battles`.
    """

    __slots__ = ()

    models: tuple[str, ...]
    clusters: int
    voters: int
    skipped: int
    notes: tuple[str, ...]
    undecided: IntArray | None
    own_failures: IntArray | None

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def weighted(self) -> bool:
        """Whether battles weigh differently."""
        raise NotImplementedError

    @property
    def clustered(self) -> bool:
        """Whether they name what is independent."""
        raise NotImplementedError

    @property
    def by_people(self) -> bool:
        """Whether they name who decided."""
        raise NotImplementedError

    @property
    def mean_mass(self) -> float:
        """Mean weight in proportion."""
        raise NotImplementedError

    def parts(self) -> Iterator[Rows]:
        """All battles, some at a time."""
        raise NotImplementedError

    def kinds(self) -> Iterator[Rows]:
        """All battles without their clusters; equal ones may be one row that stands for several."""
        raise NotImplementedError

    def among(self, pairs: BoolArray) -> Self:
        """The battles of some pairs, shape (K, K), among the same models."""
        raise NotImplementedError

    def decided(self) -> Self:
        """The battles that somebody won."""
        raise NotImplementedError

    def unweighted(self) -> Self:
        """The same battles, all weighing alike."""
        raise NotImplementedError

    def by_voter(self) -> Self:
        """The same battles with voters in the place of prompts: those of one voter are no independent witnesses."""
        raise NotImplementedError

    # ------------------------------------------------------------------ sums

    def by_pair(self, values: Callable[[Rows, IntArray], FloatArray | None] | None = None) -> FloatArray:
        """Sums over the battles of each pair, row against column in the order of their seats, shape (K, K).

        Args:
            values: of some rows, given the cells of their pairs, shape (n,); 1 each by default and where it is None.
        """
        size = len(self.models)
        total = np.zeros(size * size)
        for rows in self.kinds():
            cell = rows.cells(size)
            value = None if values is None else values(rows, cell)
            if rows.times is not None:
                value = rows.times if value is None else value * rows.times
            total += tally(cell, size * size, value)
        return total.reshape(size, size)

    def cluster_sizes(self) -> FloatArray:
        """How many battles each cluster has, shape (clusters,)."""
        total = np.zeros(self.clusters)
        for rows in self.parts():
            assert rows.cluster is not None
            total += tally(rows.cluster, self.clusters)
        return total

    @property
    def ties(self) -> int:
        """How many battles ended even."""
        return round(float(self.by_pair(lambda rows, _: (rows.score_a == 0.5).astype(np.float64)).sum()))

    def per_model(self) -> tuple[IntArray, FloatArray]:
        """Battles that each model fought, and its win rate in them by the weights of the ratings, both of shape (K,).

        The win rate is NaN of a model that fought none, or none of any weight.
        """
        count = self.by_pair()
        won = self.by_pair(lambda rows, _: rows.score_a if rows.mass is None else rows.mass * rows.score_a)
        heavy = self.by_pair(lambda rows, _: rows.mass) if self.weighted else count
        fought = (count.sum(axis=1) + count.sum(axis=0)).round().astype(np.int64)
        scored = won.sum(axis=1) + (heavy - won).sum(axis=0)
        mass = heavy.sum(axis=1) + heavy.sum(axis=0)
        return fought, np.where(mass > 0, scored / np.where(mass > 0, mass, 1.0), np.nan)

    def power_sums(self, power: int) -> FloatArray:
        """Sums of the battles' weights to a `power`, pair by pair, shape (K, K), symmetric; 1 battle weighs 1."""
        total = self.by_pair(lambda rows, _: None if rows.mass is None else rows.mass**power)
        return total + total.T

    def whole_battles(self) -> FloatArray:
        """Weight that a whole battle of each model has, shape (K,): sum w^2 / sum w over its battles.

        In this unit what a model's battles weigh together is Kish's effective number of them (Kish 1965, "Survey
        sampling", section 11.7): equal weights make every battle a whole one, and beside one of a million times the
        weight of the others these are next to nothing.
        """
        if not self.weighted:
            return np.ones(len(self.models))
        mass, squares = (self.power_sums(power).sum(axis=1) for power in (1, 2))
        return np.where(mass > 0, squares / np.where(mass > 0, mass, 1.0), 1.0)

    def weight_notes(self) -> list[str]:
        """In plain words, whose battles count as far fewer, as their weights differ."""
        if not self.weighted:
            return []
        fought = self.power_sums(0).sum(axis=1)
        counts = self.power_sums(1).sum(axis=1) / self.whole_battles()
        few = [
            f"{fought[code]:,.0f} of {name} as {counts[code]:.3g}"
            for code, name in enumerate(self.models)
            if 0 < counts[code] < fought[code] * FEW_OF_ALL
        ]
        more = f" and of {len(few) - 5} models more" if len(few) > 5 else ""
        told = f"weights differ so much that battles count as fewer (Kish): {', '.join(few[:5])}{more}"
        return [told] if few else []
