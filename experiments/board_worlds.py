"""Boards with one thing wrong, and boards of which the truth is known: votes of people on pairs of answers."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit_wins

__all__ = ["PLANTED", "Votes", "planted", "truth_of", "votes"]


@dataclass(frozen=True)
class Votes:
    """N votes: who stood first and second, what the first scored, on which prompt, by whom."""

    models: int
    a: IntArray
    b: IntArray
    score: FloatArray
    prompt: IntArray
    voter: IntArray

    @property
    def names(self) -> list[str]:
        """Of the models, by strength where it is a ladder."""
        return [
            f"model-{chr(ord('a') + code)}" if self.models <= 26 else f"model-{code:03d}" for code in range(self.models)
        ]

    def battles(self, *, people: bool = True, prompts: bool = True) -> Battles:
        """The votes as battles, with who voted and on what as far as wanted."""
        return Battles.of(
            self.names,
            self.a,
            self.b,
            self.score,
            cluster=self.prompt if prompts else None,
            voter=self.voter if people else None,
        )

    def write(self, path: Path, *, people: bool = True, prompts: bool = True) -> None:
        """As a CSV with the columns that other programs read, too."""
        words = {1.0: "model_a", 0.0: "model_b", 0.5: "tie"}
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            extra = [*(["prompt_id", "item_id"] if prompts else []), *(["voter_id"] if people else [])]
            out.writerow(["model_a", "model_b", "winner", *extra])
            for i in range(len(self.a)):
                ids = [*([f"p{self.prompt[i]}"] * 2 if prompts else []), *([f"v{self.voter[i]}"] if people else [])]
                out.writerow([self.names[self.a[i]], self.names[self.b[i]], words[float(self.score[i])], *ids])


def votes(
    theta: FloatArray,
    count: int,
    rng: np.random.Generator,
    *,
    prompts: int = 500,
    voters: int = 300,
    ties: float = 0.1,
    suits: float = 0.0,
    seat: float = 0.0,
) -> Votes:
    """Votes on random pairs in random seats.

    Args:
        theta: strengths in nats, shape (K,).
        count: how many votes.
        rng: draws them.
        prompts: how many there are; each suits the models by a standard deviation of `suits` nats.
        voters: how many there are.
        ties: share of them.
        seat: what the first seat is worth in nats.
    """
    size = len(theta)
    a = rng.integers(0, size, count)
    b = (a + rng.integers(1, size, count)) % size
    prompt, voter = rng.integers(0, prompts, count), rng.integers(0, voters, count)
    liking = rng.normal(0.0, suits, (prompts, size)) if suits else np.zeros((prompts, size))
    return _decided(
        theta[a] - theta[b] + liking[prompt, a] - liking[prompt, b] + seat, size, a, b, prompt, voter, ties, rng
    )


def _decided(
    odds: FloatArray,
    size: int,
    a: IntArray,
    b: IntArray,
    prompt: IntArray,
    voter: IntArray,
    ties: FloatArray | float,
    rng: np.random.Generator,
) -> Votes:
    score = (rng.random(len(a)) < 1.0 / (1.0 + np.exp(-odds))).astype(np.float64)
    score[rng.random(len(a)) < ties] = 0.5
    return Votes(size, a, b, score, prompt, voter)


def truth_of(theta: FloatArray, suits: float, ties: float) -> FloatArray:
    """What the ratings of votes tend to, in nats, shape (K,): the fit of the expected scores."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    apart = (theta[:, None] - theta[None, :])[..., None] + nodes * suits * np.sqrt(2.0)
    p = ((1.0 / (1.0 + np.exp(-apart))) * weights).sum(axis=-1) / weights.sum()
    p = (1.0 - ties) * p + ties / 2.0
    np.fill_diagonal(p, 0.0)
    return fit_wins(p * 1000.0).theta


LADDER = np.array([0.75, 0.45, 0.15, -0.15, -0.45, -0.75])
PLANTED = {
    "even": None,
    "thin": "thin",
    "first seat favoured": "seat",
    "draw-prone model": "ties",
    "rock, paper, scissors": "cycles",
    "two pools": "disconnected",
    "power voters": "power_voters",
}
"""Boards, and the one flag that each is to raise."""


def planted(board: str, seed: int) -> Votes:
    """6,000 votes on six models 52 Elo points apart from one to the next, with one thing wrong (thin: 200 votes)."""
    rng = np.random.default_rng([seed, list(PLANTED).index(board)])
    count = 200 if board == "thin" else 6000
    fair = votes(LADDER, count, rng)
    a, b, voter = fair.a.copy(), fair.b.copy(), fair.voter.copy()
    odds, ties = LADDER[a] - LADDER[b], np.full(count, 0.1)
    if board == "first seat favoured":  # and the fourth takes it, nearly always
        turn = (b == 3) & (rng.random(count) < 0.9)
        a, b = np.where(turn, b, a), np.where(turn, a, b)
        odds = LADDER[a] - LADDER[b] + 0.5
    elif board == "draw-prone model":  # the last one draws eight of ten
        ties[(a == 5) | (b == 5)] = 0.8
    elif board == "rock, paper, scissors":  # the first three
        for i in range(3):
            j = (i + 1) % 3
            odds[(a == i) & (b == j)], odds[(a == j) & (b == i)] = 1.0, -1.0
    elif board == "two pools":
        a = 3 * (a // 3) + a % 3
        b = 3 * (a // 3) + (a % 3 + rng.integers(1, 3, count)) % 3
        odds = LADDER[a] - LADDER[b]
    elif board == "power voters":  # six people with tastes of their own cast a third of the votes
        busy = rng.random(count) < 1.0 / 3.0
        voter[busy] = rng.integers(0, 6, int(busy.sum()))
        taste = np.zeros((300, 6))
        taste[:6] = rng.normal(0.0, 1.0, (6, 6))
        odds += taste[voter, a] - taste[voter, b]
    return _decided(odds, 6, a, b, fair.prompt, voter, ties, rng)
