"""A pool of annotators as the one judge of battles: what its members said of each pair, read as that judge's verdicts.

The members are asked through `calls.annotating`, in calls of several pairs; battles are read back from what is stored,
as those of any judge. Labels that nobody was asked for are verdicts of the pool itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from arenaloop.judges.annotators import Draw, Pair, Pool
from arenaloop.judges.base import decided
from arenaloop.judges.builtin import FreeJudge
from arenaloop.types import Prompt, Response, Verdict, content_hash

__all__ = ["PooledLabels"]


class PooledLabels(FreeJudge):
    """The verdicts of a pool, as far as its labels were taken in (`take`)."""

    def __init__(self, pool: Pool, seed: int, name: str = "annotators") -> None:
        self.pool, self.seed = pool, seed
        self._keys: dict[tuple[str, str, str], str] = {}
        super().__init__(name, 1)

    def _identity(self) -> str:
        pool = self.pool
        who = [member.fingerprint for member in pool.members]
        return content_hash("pool", who, pool.p_label_flip, pool.noise_model, pool.seat_mode, self.seed)

    @property
    def seats(self) -> int:
        """How many seats of a pair are asked about."""
        return 2 if self.pool.seat_mode == "both_orders" else 1

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Of the verdict on a seating: its annotator's, or the pool's own where nobody was asked."""
        own = super().key(prompt, first, second)
        return self._keys.get((prompt.id, first.text_hash, second.text_hash), own)

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Never asked: its members are."""
        raise NotImplementedError("a pool is asked by calls.annotating")

    def take(self, pair: Pair, draw: Draw, verdicts: tuple[str, ...]) -> Iterator[Verdict]:
        """Take in a label; the first one of equal texts stands.

        Args:
            pair, draw: what was labelled, and what became of it.
            verdicts: keys behind the label, in the order of `draw.firsts`.

        Yields:
            The verdicts that nobody was asked for: noise, and the tie of equal answers.
        """
        orders = [(pair.one, pair.two), (pair.two, pair.one)]
        if draw.label is None:
            for one_first, key in zip(draw.firsts, verdicts, strict=False):
                first, second = orders[0 if one_first else 1]
                self._keys.setdefault((pair.prompt.id, first.text_hash, second.text_hash), key)
            return
        for (first, second), score in zip(orders, (2.0 - draw.label, draw.label - 1.0), strict=True):
            yield self._verdict(pair.prompt, first, second, 0, **decided((score, 1.0 - score)))
