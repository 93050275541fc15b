"""How often two votes are the same: MT-Bench's agreement, setups S1 and S2 (arXiv 2306.05685, section 4.2).

Of two votes on one pair, drawn from a judge and from people, or from two people: S1 counts ties (and what a judge said
differently from both seats, where its merge rule makes that a tie), so that a coin of three sides agrees in 33 %; S2
takes the combinations of which neither is a tie, where a coin agrees in 50 %. All combinations count alike, as in
FastChat's ``compute_agreement.py``; a soft label is the side that it leans to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.rates import Rate, clustered_rate

__all__ = ["same_votes", "setups"]

_SIDES = 3  # the first output, a tie, the second


def same_votes(
    votes: Sequence[Sequence[float]], others: Sequence[Sequence[float]] | None, *, ties: bool
) -> tuple[FloatArray, FloatArray]:
    """Of each pair, in how many combinations both votes name the same side, and how many combinations there are.

    Args:
        votes: of P pairs, labels from 1 (the first output is better) to 2; 1.5 is a tie.
        others: whom they are compared with; None for the same people's other votes.
        ties: whether ties count.

    Returns:
        Two arrays of shape (P,).
    """
    mine = _counts(votes, ties)
    if others is None:
        each = mine.sum(axis=1)
        return (mine * (mine - 1.0)).sum(axis=1) / 2.0, each * (each - 1.0) / 2.0
    theirs = _counts(others, ties)
    return (mine * theirs).sum(axis=1), mine.sum(axis=1) * theirs.sum(axis=1)


def setups(
    votes: Sequence[Sequence[float]], others: Sequence[Sequence[float]] | None, cluster: IntArray, *, level: float
) -> tuple[Rate, Rate]:
    """S1 and S2 in percent, pairs of one prompt as one observation; arguments as of `same_votes`.

    `Rate.n` counts pairs.
    """
    s1, s2 = (
        clustered_rate(*same_votes(votes, others, ties=ties), cluster, level=level).scaled(100.0)
        for ties in (True, False)
    )
    return s1, s2


def _counts(votes: Sequence[Sequence[float]], ties: bool) -> FloatArray:
    """How many votes of each pair name each side, shape (P, 3); without ties none names both."""
    counts = np.zeros((len(votes), _SIDES))
    for pair, labels in enumerate(votes):
        for label in labels:
            counts[pair, 0 if label < 1.5 else 2 if label > 1.5 else 1] += 1.0
    if not ties:
        counts[:, 1] = 0.0
    return counts
