"""Which prompts make a test set: WizardArena's Diverse and Hard (Arena Learning, arXiv 2407.10627, section 3.2). Pure.

Of a pool in clusters, *Diverse* takes some of each at random, *Hard* the most difficult of some of each; together they
are *Mix*. Everything that is drawn is drawn by a hash of the seed and the prompt, so that neither the order of a file
nor that of clusters' names changes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from arenaloop.types import derive_seed

__all__ = ["drawn", "hardest", "shares"]


def shares(sizes: Sequence[int], n: int) -> list[int]:
    """How many each cluster gives, of `n` in all: the same, and what that leaves missing by turns from the largest.

    ``n // len(sizes)`` come of each, all of one that has fewer. The rest is made up in rounds: the largest cluster
    gives one more, then the second largest (of equal ones the earlier), and so on, whoever has nothing left being
    passed over; then the next round.

    Raises:
        ValueError: there are not as many.
    """
    if n > sum(sizes):
        raise ValueError(f"{n:,} of {sum(sizes):,}")
    given = [min(size, n // len(sizes)) for size in sizes]
    missing = n - sum(given)
    largest = sorted(range(len(sizes)), key=lambda one: -sizes[one])
    while missing:
        for one in largest:
            if missing and given[one] < sizes[one]:
                given[one] += 1
                missing -= 1
    return given


def drawn(
    ids: Sequence[str], labels: NDArray[np.int32], n: int, seed: int, what: str, without: Collection[str] = ()
) -> list[int]:
    """`n` prompts of all clusters as `shares` says, by number, in the order of the pool.

    Args:
        ids: of the prompts.
        labels: the cluster of each.
        seed, what: of the draw.
        without: prompts that are not drawn, as if they were not there.

    Raises:
        ValueError: there are not as many.
    """
    chances = [(derive_seed("test set", what, seed, prompt_id), at) for at, prompt_id in enumerate(ids)]
    members: list[list[tuple[int, int]]] = [[] for _ in range(int(labels.max()) + 1)]
    for label, chance in zip(labels.tolist(), chances, strict=True):
        if ids[chance[1]] not in without:
            members[label].append(chance)
    given = shares([len(some) for some in members], n)
    return sorted(at for some, share in zip(members, given, strict=True) for _, at in sorted(some)[:share])


def hardest(difficulty: Mapping[str, float | None], n: int, seed: int) -> list[str]:
    """The `n` most difficult prompts, the hardest first; of equal ones those that the seed draws.

    Those without a difficulty are left out, so that there may be fewer.
    """
    rated = [
        (-score, derive_seed("test set", "ties", seed, one), one)
        for one, score in difficulty.items()
        if score is not None
    ]
    return [one for *_, one in sorted(rated)[:n]]
