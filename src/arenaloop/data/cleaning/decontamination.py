"""The steps that keep test prompts out of a pool: what asks or contains one, what overlaps, what is most like one.

The last is Arena Learning's rule of ranks (arXiv 2407.10627, section 3.2): a number of rows goes for every test
prompt, however little they are like it. It is no test of contamination by itself, so two come first: the comparison by
normalised turns that keeps held-out prompts out of every training here (`data.held_out`), and the share of a test
prompt's words that stand in runs of n words which a row has, too (as in Tülu 3, arXiv 2411.15124).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from arenaloop.data.cleaning.rows import BenchmarkItem, Drop, Dropping, Row, Rows, Spool
from arenaloop.data.embeddings import Embedder, Vectors, embed
from arenaloop.data.held_out import HeldOut, Leak, prompt_turns
from arenaloop.data.prompts import user_text

__all__ = ["Overlaps", "held_out", "nearest", "overlapping"]

_BLOCK = 20_000  # rows that are compared with a block of test prompts at once
_TESTS = 1_000


def nearest(
    rows: Rows, drop: Dropping, items: Sequence[BenchmarkItem], k: int, embeddings: str | Embedder, seed: int
) -> Iterator[Row]:
    """Drop the `k` rows that are most like each test prompt, by the cosine of their embeddings.

    Two test prompts may name one row: it goes once, and no other in its place. Of equally like rows the earlier goes.
    A row that nothing is known of (its vector is 0) is like none.

    Raises:
        ConfigError, InputError, MissingExtraError: as in `data.embeddings.embed`.
    """
    with Spool() as spool:
        texts: list[str] = []
        for row in rows:
            spool.add(row)
            texts.append(row.asked)
        if not texts:
            return
        pool = len(texts)
        texts += [user_text(item.prompt) for item in items]
        vectors = embed(texts, embeddings, seed=seed)
        del texts
        gone: dict[int, tuple[float, int]] = {}
        for item, similarity, number in _nearest(vectors[:pool], vectors[pool:], k):
            if number not in gone or similarity > gone[number][0]:
                gone[number] = similarity, item
        for number, row in enumerate(spool):
            if number in gone:
                similarity, item = gone[number]
                drop(Drop(row, "nearest", f"among the {k} most like a test prompt", items[item], similarity))
            else:
                yield row


def _nearest(pool: Vectors, asked: Vectors, k: int) -> Iterator[tuple[int, float, int]]:
    """(test prompt, cosine, row) of the `k` rows nearest to each test prompt."""
    known = np.flatnonzero(pool.any(axis=1))
    for first in range(0, len(asked), _TESTS):
        tests = asked[first : first + _TESTS]
        best: list[list[tuple[float, int]]] = [[] for _ in tests]
        for start in range(0, len(known), _BLOCK):
            numbers = known[start : start + _BLOCK]
            cosines = tests @ pool[numbers].T
            few = min(k, len(numbers))
            # by rank, ties by place: a partition alone would leave the order of equals open
            least = np.partition(cosines, len(numbers) - few, axis=1)[:, len(numbers) - few]
            for own, cosine, limit in zip(best, cosines, least, strict=True):
                at = np.flatnonzero(cosine >= limit)
                found = [(float(cosine[n]), -int(numbers[n])) for n in at]
                own[:] = heapq.nlargest(k, [*own, *found])
        for item, own in enumerate(best, first):
            if asked[item].any():
                yield from ((item, min(1.0, cosine), -negative) for cosine, negative in own)


def held_out(rows: Rows, drop: Dropping, items: Sequence[BenchmarkItem]) -> Iterator[Row]:
    """Drop rows that ask or contain a test prompt; see `data.held_out`."""
    held = HeldOut(item.prompt for item in items)
    for row in rows:
        if (found := held.find(row.turns)) is None:
            yield row
        else:
            leak, item = found
            asks = leak is Leak.ASKED
            drop(Drop(row, "held_out", f"{'asks' if asks else 'contains'} a test prompt", items[item], 1.0))


def overlapping(rows: Rows, drop: Dropping, items: Sequence[BenchmarkItem], n: int, share: float) -> Iterator[Row]:
    """Drop rows with runs of `n` words that make up at least `share` of the words of a test prompt; see `Overlaps`."""
    overlaps = Overlaps(items, n, share)
    for row in rows:
        if (found := overlaps.find(row)) is None:
            yield row
        else:
            most, item = found
            drop(Drop(row, "overlap", f"has runs of {n} words of a test prompt", items[item], most))


class Overlaps:
    """The runs of `n` words of test prompts; a test prompt of fewer words has none.

    Args:
        items: the test prompts.
        n: words of a run.
        share: of a test prompt's words, that must stand in runs which a row has, too.
    """

    def __init__(self, items: Sequence[BenchmarkItem], n: int, share: float) -> None:
        self.n, self.share = n, share
        self._asked = [Row.of(0, prompt_turns(item.prompt), {}).words for item in items]
        self._places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        for item, words in enumerate(self._asked):
            for at, run in enumerate(_runs(words, n)):
                self._places[run].append((item, at))

    def find(self, row: Row) -> tuple[float, int] | None:
        """The share of a test prompt's words in runs that a row has, and whose, where it is enough: the largest."""
        covered: dict[int, set[int]] = defaultdict(set)
        for run in {*_runs(row.words, self.n)} & self._places.keys():
            for item, at in self._places[run]:
                covered[item].update(range(at, at + self.n))
        shares = ((len(found) / len(self._asked[item]), -item) for item, found in covered.items())
        most, item = max(shares, default=(0.0, 0))
        return (most, -item) if covered and most >= self.share else None


def _runs(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[at:] for at in range(n)), strict=False)
