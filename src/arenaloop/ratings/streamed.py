"""Battles that no memory holds: coded once into a file without a name, from which they come by as often as is asked.

A battle takes nine bytes there (codes of two models and a prompt, and its outcome), so that going through them again
costs next to nothing beside reading them from where they were. Memory holds the names, a lot of prompts x models
(`streamed_prompts`), and one block. All figures are those of the same battles in a `battles.Battles`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import NO_WEIGHT, BoolArray, IntArray, tally
from arenaloop.ratings.sums import BattleSums, Rows

__all__ = ["Spool", "StreamedBattles"]

_MOST_KINDS = 1 << 24
"""Cells of pairs and outcomes up to which equal battles are counted as one kind."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Where the columns of some battles lie in the file: by name, kind of number and offset."""

    rows: int
    columns: dict[str, tuple[str, int]]


class Spool:
    """Coded battles in a file without a name, which goes with the process.

    Args:
        directory: where that file lies; the system's own for such by default.
    """

    def __init__(self, directory: str | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 (closed with the object)
        self._blocks: list[_Block] = []
        self.size = 0

    def add(self, **columns: npt.NDArray[np.generic] | None) -> None:
        """Write some battles.

        Raises:
            OSError: there is no room.
        """
        there = {name: column for name, column in columns.items() if column is not None}
        told: dict[str, tuple[str, int]] = {}
        for name, column in there.items():
            told[name] = (column.dtype.str, self.size)
            data = np.ascontiguousarray(column).tobytes()
            self._file.write(data)
            self.size += len(data)
        self._blocks.append(_Block(len(next(iter(there.values()))), told))

    def blocks(self) -> Iterator[dict[str, npt.NDArray[np.generic]]]:
        """The battles as they were written."""
        self._file.flush()
        for block in self._blocks:
            yield {name: self._column(block.rows, *at) for name, at in block.columns.items()}

    def _column(self, rows: int, kind: str, offset: int) -> npt.NDArray[np.generic]:
        size = rows * np.dtype(kind).itemsize
        return np.frombuffer(os.pread(self._file.fileno(), size, offset), dtype=kind)


@dataclass(frozen=True)
class StreamedBattles(BattleSums):
    """N battles among K models that come by a block at a time.

    Attributes:
        models, clusters, voters, skipped, notes, undecided, own_failures: as of `sums.BattleSums`.
        spool: the battles, with columns ``a``, ``b``, ``halves`` or ``score``, and ``weight``, ``prompt``, ``voter``
            where they have them.
        count: how many count.
        code: of each code of the spool's models that of `models`, shape (K,).
        unit: the column of what is independent, and the code of each of its codes; None where every battle is.
        scale: what a weight is multiplied by, and the least that counts for anything; None where all are alike.
        without_ties: whether even battles are passed over.
        pairs: the pairs that count, shape (K, K); None where all do.
    """

    models: tuple[str, ...]
    clusters: int
    voters: int
    skipped: int
    notes: tuple[str, ...]
    undecided: IntArray | None
    spool: Spool
    count: int
    code: IntArray
    unit: tuple[str, IntArray] | None = None
    people: IntArray | None = None
    scale: tuple[float, float] | None = None
    without_ties: bool = False
    pairs: BoolArray | None = None
    own_failures: IntArray | None = None
    _kinds: list[Rows] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return self.count

    @property
    def weighted(self) -> bool:
        """Whether battles weigh differently."""
        return self.scale is not None

    @property
    def clustered(self) -> bool:
        """Whether they name what is independent."""
        return self.unit is not None

    @property
    def by_people(self) -> bool:
        """Whether they name who decided."""
        return self.people is not None

    @property
    def mean_mass(self) -> float:
        """Mean weight in proportion."""
        return 1.0 if not (self.weighted and self.count) else float(self.power_sums(1).sum()) / 2.0 / self.count

    def parts(self) -> Iterator[Rows]:
        """All battles, some at a time."""
        for block in self.spool.blocks():
            a, b = (self.code[block[side]] for side in ("a", "b"))
            score = block["score"] if "score" in block else block["halves"] * 0.5
            mass = None
            if self.scale is not None:
                mass = np.asarray(block["weight"] * self.scale[0], dtype=np.float64)
                mass[block["weight"] < self.scale[1]] = 0.0
            cluster = None
            if self.unit is not None:
                cluster = self.unit[1][block[self.unit[0]]]
            rows = Rows(a, b, np.asarray(score, dtype=np.float64), mass, cluster)
            if self.without_ties:
                rows = rows.chosen(rows.score_a != 0.5)
            if self.pairs is not None:
                rows = rows.chosen(self.pairs[rows.a, rows.b])
            yield rows

    def kinds(self) -> Iterator[Rows]:
        """Battles of one pair, order and outcome as one row, where they weigh alike and none is soft."""
        if not self._kinds:
            self._kinds.extend(self._counted())
        return iter(self._kinds) if self._kinds else replace(self, unit=None).parts()

    def _counted(self) -> Iterator[Rows]:
        size = len(self.models)
        if self.weighted or 3 * size * size > _MOST_KINDS:
            return
        total = np.zeros(3 * size * size)
        for rows in replace(self, unit=None).parts():
            halves = (rows.score_a * 2.0).astype(np.int64)
            if (halves != rows.score_a * 2.0).any():
                return
            total += tally(rows.cells(size) * 3 + halves, len(total))
        cell = np.flatnonzero(total)
        pair, halves = np.divmod(cell, 3)
        yield Rows(pair // size, pair % size, halves * 0.5, times=total[cell])

    def among(self, pairs: BoolArray) -> StreamedBattles:
        """The battles of some pairs, shape (K, K), among the same models."""
        return self._counted_again(pairs=pairs if self.pairs is None else pairs & self.pairs)

    def decided(self) -> StreamedBattles:
        """The battles that somebody won."""
        return self._counted_again(without_ties=True)

    def unweighted(self) -> StreamedBattles:
        """The same battles, all weighing alike."""
        return replace(self, scale=None, _kinds=[])

    def by_voter(self) -> StreamedBattles:
        """The same battles with voters in the place of prompts: those of one voter are no independent witnesses."""
        assert self.people is not None
        return replace(self, unit=("voter", self.people), clusters=self.voters)

    def scaled(self) -> tuple[StreamedBattles, int]:
        """The same battles with weights in proportion (`arrays.relative_weights`), and how many count for nothing."""
        if self.scale is None:
            return self, 0
        plain = replace(self, scale=(1.0, 0.0), unit=None)
        most = max((float(rows.mass.max(initial=0.0)) for rows in plain.parts() if rows.mass is not None), default=0.0)
        if not most > 0:
            return replace(self, scale=(1.0, 0.0)), 0
        total, squares, lost, even = 0.0, 0.0, 0, True
        for rows in plain.parts():
            assert rows.mass is not None
            share = rows.mass / most
            light = share < NO_WEIGHT
            lost += int(np.count_nonzero(light & (share > 0)))
            share[light] = 0.0
            even = even and bool((share == 1.0).all())
            total, squares = total + float(share.sum()), squares + float(share @ share)
        scale = None if even else (total / squares / most, NO_WEIGHT * most)
        return replace(self, scale=scale, _kinds=[]), lost

    def _counted_again(self, *, pairs: BoolArray | None = None, without_ties: bool = False) -> StreamedBattles:
        """Some of the battles, with the prompts and voters that they have."""
        some = replace(self, pairs=pairs if pairs is not None else self.pairs, _kinds=[])
        some, _ = replace(some, without_ties=without_ties or self.without_ties).scaled()
        some = replace(some, count=round(float(some.by_pair().sum())))
        if some.unit is not None:
            name, code = some.unit
            code, clusters = _dense(code, np.asarray(some.cluster_sizes() > 0))
            some = replace(some, unit=(name, code), clusters=clusters)
        if some.people is not None:
            people, voters = _dense(some.people, np.asarray(some.by_voter().cluster_sizes() > 0))
            some = replace(some, people=people, voters=voters)
        return some


def _dense(code: IntArray, there: BoolArray) -> tuple[IntArray, int]:
    """`code` with those of its values numbered on that are `there`, and how many these are."""
    return np.where(there, np.cumsum(there) - 1, 0)[code], int(there.sum())
