"""Taking battles in block by block: what `Battles.of` does with whole columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, meetings, tally
from arenaloop.ratings.battles import self_battle_notes, weightless_notes
from arenaloop.ratings.look_alikes import name_twins
from arenaloop.ratings.streamed import Spool, StreamedBattles

__all__ = ["Intake"]


class Intake:
    """Battles as they come in.

    Args:
        spool: where they are written to.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._met = np.zeros(0)
        self._undecided = np.zeros((0, 0), dtype=np.int64)
        self._codes: dict[str, _Codes] = {}
        self._count = self._selfish = self._skipped = 0
        self._weighted = False

    def add(
        self,
        models: int,
        a: IntArray,
        b: IntArray,
        score_a: FloatArray,
        *,
        weight: FloatArray | None = None,
        prompt: IntArray | None = None,
        voter: IntArray | None = None,
    ) -> None:
        """Take in some battles, all with the columns of the first.

        Args:
            models: how many names there are so far.
            a, b: codes of the models, shape (n,).
            score_a: in [0, 1]; NaN is an unknown outcome, which is skipped and counted.
            weight: finite and not negative.
            prompt, voter: codes; negative means unknown, a cluster of its own.

        Raises:
            OSError: there is no room for them.
        """
        self._grow(models)
        self._met += tally(a, models) + tally(b, models)
        selfish = a == b
        unknown = np.isnan(score_a) & ~selfish
        if unknown.any():
            self._undecided += meetings(a[unknown], b[unknown], models)
        keep = ~(selfish | unknown)
        self._selfish += int(selfish.sum())
        self._skipped += int(np.count_nonzero(~keep))
        if not keep.all():
            a, b, score_a = a[keep], b[keep], score_a[keep]
            weight, prompt, voter = (None if c is None else c[keep] for c in (weight, prompt, voter))
        there = {name: codes for name, codes in (("prompt", prompt), ("voter", voter)) if codes is not None}
        written = {name: self._codes.setdefault(name, _Codes()).seen(codes) for name, codes in there.items()}
        if not len(a):
            return
        self._count += len(a)
        self._weighted = weight is not None
        narrow = np.uint16 if models <= 1 << 16 else np.uint32
        halves = score_a * 2.0
        exact = (halves == np.floor(halves)).all()
        self._spool.add(
            a=a.astype(narrow),
            b=b.astype(narrow),
            halves=halves.astype(np.uint8) if exact else None,
            score=None if exact else score_a,
            weight=weight,
            **written,
        )

    def _grow(self, models: int) -> None:
        more = models - len(self._met)
        if more > 0:
            self._met = np.pad(self._met, (0, more))
            self._undecided = np.pad(self._undecided, (0, more))

    def finished(self, names: Sequence[str], notes: Sequence[str], skipped: int = 0) -> StreamedBattles:
        """All of them.

        Args:
            names: of the models, by code.
            notes: what the reader has to say.
            skipped: rows that it has left out already.
        """
        self._grow(len(names))
        order = sorted(range(len(names)), key=lambda code: names[code])
        position = np.empty(len(names), dtype=np.int64)
        position[order] = np.arange(len(names))
        told = [
            *notes,
            *name_twins(dict(zip(names, map(int, self._met), strict=True))),
            *self_battle_notes(self._selfish),
        ]
        undecided = self._undecided[np.ix_(order, order)]
        prompt, voter = (self._codes[name].dense() if name in self._codes else None for name in ("prompt", "voter"))
        battles = StreamedBattles(
            tuple(names[code] for code in order),
            clusters=0 if prompt is None else prompt[1],
            voters=0 if voter is None else voter[1],
            skipped=skipped + self._skipped,
            notes=tuple(told),
            undecided=undecided if undecided.any() else None,
            spool=self._spool,
            count=self._count,
            code=position,
            unit=None if prompt is None else ("prompt", prompt[0]),
            people=None if voter is None else voter[0],
            scale=(1.0, 0.0) if self._weighted else None,
        )
        battles, weightless = battles.scaled()
        return replace(battles, notes=(*battles.notes, *weightless_notes(weightless)))


class _Codes:
    """Codes of a column as they come in: which there are, and a new one for each that is unknown."""

    def __init__(self) -> None:
        self._there: BoolArray = np.zeros(0, dtype=bool)
        self._unknown = 0

    def seen(self, codes: IntArray) -> IntArray:
        """Codes as they are written: known ones doubled, unknown ones odd, so that neither meets the other."""
        unknown = codes < 0
        written = np.asarray(codes, dtype=np.int64) * 2
        many = int(np.count_nonzero(unknown))
        written[unknown] = 2 * (self._unknown + np.arange(many)) + 1
        self._unknown += many
        most = int(written.max(initial=-1)) + 1
        if most > len(self._there):
            self._there = np.pad(self._there, (0, max(most, 2 * len(self._there)) - len(self._there)))
        self._there[written] = True
        return written.astype(np.uint32 if most < 1 << 32 else np.uint64)

    def dense(self) -> tuple[IntArray, int]:
        """Numbers from 0 of the codes as they are written, and how many there are."""
        return (np.cumsum(self._there) - 1).astype(np.int32), int(self._there.sum())
