"""How often the interval of two models' difference holds the truth, from even to lopsided, counted and not drawn.

    python experiments/lopsided_pairs.py [--prompts 40 80] [--gaps 0 100 300 600 1000]

Of two models nothing matters but how many prompts one of them won wholly, shared, or lost wholly, so that every record
that can come about has a known probability (records below 3e-5 are left out). A line for each gap in Elo points,
number of prompts and design: one battle a prompt; two, independent; two that end alike in half of the cases (a
correlation of .5). It says in percent how often the interval held the gap, and how often it lay wholly above and below.
"""

from __future__ import annotations

import argparse
import math
from functools import cache

import numpy as np

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.intervals import sandwich

LEAST = 3e-5
DESIGNS = ((1, 0.0), (2, 0.0), (2, 0.5))
"""Battles a prompt, and their correlation."""


@cache
def ends(won: int, shared: int, lost: int, battles: int) -> tuple[float, float]:
    """The interval of the difference, in Elo points, by how many prompts a model won wholly, shared and lost wholly."""
    scores = np.repeat([1.0, 0.0], [battles * won, battles * lost])
    scores = np.concatenate([scores[: battles * won], np.tile([1.0, 0.0], shared), scores[battles * won :]])
    prompts = np.arange(len(scores)) // battles
    first = np.zeros(len(scores), dtype=int)
    played = Battles.of(["x", "y"], first, first + 1, scores, cluster=prompts)
    _, lower, upper = sandwich(played, fit(played)).difference("x", "y")
    return lower, upper


def coverage(gap: float, prompts: int, battles: int, correlation: float) -> tuple[float, float, float]:
    """Probabilities that the interval holds the gap, lies above it, and lies below it."""
    p = 1.0 / (1.0 + 10.0 ** (-gap / 400.0))
    won, lost = (p, 1.0 - p) if battles == 1 else (q * (correlation + (1.0 - correlation) * q) for q in (p, 1.0 - p))
    each = (won, max(0.0, 1.0 - won - lost), lost)
    mass = above = below = 0.0
    for shared in range(prompts + 1 if battles == 2 else 1):
        for all_lost in range(prompts - shared + 1):
            record = (prompts - shared - all_lost, shared, all_lost)
            ways = math.lgamma(prompts + 1) - sum(math.lgamma(count + 1) for count in record)
            weight = math.exp(ways + sum(n * math.log(q) for n, q in zip(record, each, strict=True) if n))
            if weight >= LEAST:
                lower, upper = ends(*record, battles)
                mass, above, below = mass + weight, above + weight * (lower > gap), below + weight * (upper < gap)
    return (mass - above - below) / mass, above / mass, below / mass


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prompts", type=int, nargs="+", default=[40, 80])
    parser.add_argument("--gaps", type=float, nargs="+", default=[0, 100, 300, 600, 1000])
    arguments = parser.parse_args()
    print("| gap | prompts | battles a prompt | correlation | held | above | below |\n|--|--|--|--|--|--|--|")
    for gap in arguments.gaps:
        for prompts in arguments.prompts:
            for battles, correlation in DESIGNS:
                shares = " | ".join(f"{100 * share:.1f}" for share in coverage(gap, prompts, battles, correlation))
                print(f"| {gap:g} | {prompts} | {battles} | {correlation:g} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
