"""Which battles tell most: designs of paired comparisons.

Two designs. `balanced` needs no results: every pair and every prompt is used equally often, within one. `Design`
chooses battle by battle what lowers the summed variance of the centred strengths most (A-optimality), under the
strengths as they are estimated so far.

Information of a battle between i and j is p (1 - p) v v^T with v = e_i - e_j (Fisher information of Bradley & Terry
1952). With C the covariance of the strengths, a further battle of information w turns it into
``C - w C v v^T C / (1 + w v^T C v)`` (Sherman & Morrison 1950), so that its gain, the fall of the trace, is
``w |C v|^2 / (1 + w v^T C v)``. That the best design depends on the strengths, and so on what is known of them, is
Chernoff 1953 ("Locally optimal designs for estimating parameters"); to sample the pairs that narrow the intervals most
is Chatbot Arena's idea (arXiv 2403.04132). What it does to the estimates: docs/matchmaking.md.

The information is that of independent battles. Battles on one prompt are not: `Design` answers by spreading each
model's battles over the prompts, and the intervals of `intervals.sandwich` count prompts, not battles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.bradley_terry import fit_batch

__all__ = [
    "EXPLORE",
    "RELIABLE",
    "RIDGE",
    "Covariance",
    "Design",
    "Unit",
    "balanced",
    "information",
    "reliability",
    "round_robin",
    "unit_information",
]

EXPLORE = 0.5
"""Share of the steered battles that goes on uniformly."""

RELIABLE = 0.9
"""Reliability of the ratings from which on it pays to steer (docs/matchmaking.md has the simulation)."""

RIDGE = 1.0
"""Information of the prior on a strength while battles are chosen: a standard deviation of 1 nat, 174 Elo points."""

_UNDECIDED = 0.25
"""What an undecided battle counts where the next are chosen; in the ratings it counts nothing."""

_SAME = 1e-9
"""Gains that differ by less, relatively, are the same: the order of the pairs decides, not rounding."""


class Unit(NamedTuple):
    """One battle to be fought: codes of two models, ``first < second``, and of a prompt."""

    first: int
    second: int
    prompt: int


def round_robin(models: int, seed: int) -> IntArray:
    """Every pair once, in the order of a round-robin tournament, shape (K (K - 1) / 2, 2).

    Kirkman's circle method over shuffled models, each round shuffled. The first n battles use all models equally often,
    within one for an even K and two for an odd one, and from K - 1 battles on they connect all models (two consecutive
    rounds form a Hamiltonian cycle).
    """
    rng = np.random.default_rng(seed)
    seats = models + models % 2  # with an odd number, whoever meets the empty seat rests
    who = rng.permutation(models)
    pairs: list[tuple[int, int]] = []
    for turn in range(seats - 1):
        circle = [((turn + k) % (seats - 1), (turn - k) % (seats - 1)) for k in range(1, seats // 2)]
        games = [(who[i], who[j]) for i, j in [(turn, seats - 1), *circle] if max(i, j) < models]
        pairs += [(min(games[g]), max(games[g])) for g in rng.permutation(len(games))]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def balanced(models: int, prompts: int, battles: int, seed: int) -> list[Unit]:
    """A uniform design: `battles` different (pair, prompt) units, at most all there are.

    Pairs come in the order of `round_robin`, again and again, and prompts in a shuffled order, so that each pair and
    each prompt is used equally often within one. Fewer battles are the beginning of more.
    """
    pairs = round_robin(models, seed)
    many = len(pairs)
    order = np.random.default_rng([seed, 1]).permutation(prompts)
    # Battle t = r P + q is the r-th of pair q. Taking prompt t mod M would bring a pair back to a prompt after
    # M / gcd(P, M) rounds; one step more from there on gives it a fresh one, until it has met all.
    period = prompts // math.gcd(many, prompts)
    units = []
    for t in range(min(battles, many * prompts)):
        i, j = pairs[t % many]
        units.append(Unit(int(i), int(j), int(order[(t + t // many // period) % prompts])))
    return units


def information(strengths: FloatArray, battles: FloatArray) -> FloatArray:
    """Fisher information of the strengths, shape (K, K): the Laplacian of ``n_ij p_ij (1 - p_ij)``.

    Args:
        strengths: in nats, shape (K,).
        battles: how often each pair has fought, shape (K, K), symmetric.
    """
    L = -battles * unit_information(strengths)
    np.fill_diagonal(L, 0.0)
    np.fill_diagonal(L, -L.sum(axis=1))
    return L


def unit_information(strengths: FloatArray) -> FloatArray:
    """Information p (1 - p) of one battle of each pair, shape (K, K)."""
    gap = np.clip(np.abs(strengths[:, None] - strengths[None, :]), 0.0, 700.0)
    odds = np.exp(-gap)
    return np.asarray(odds / (1.0 + odds) ** 2)


def reliability(strengths: FloatArray, battles: FloatArray, ridge: float = RIDGE) -> float:
    """Which share of the spread of estimated strengths is real, from 0 to 1: ``s / (s + c)``.

    s is the mean square of the centred estimates under the prior `ridge`, c their mean variance given the battles (the
    reliability of test theory). Near 0 the estimates are mostly luck.

    Args:
        strengths: estimates in nats, shape (K,).
        battles: how often each pair has fought, shape (K, K), symmetric.
        ridge: information of the prior on each strength.
    """
    spread = float(np.var(strengths))
    error = Covariance(information(strengths, battles), ridge).trace / len(strengths)
    return spread / (spread + error) if spread > 0.0 else 0.0


class Covariance:
    """The covariance of the centred strengths while battles are added one at a time.

    Args:
        information: of the battles so far, a Laplacian of shape (K, K).
        ridge: information of a prior on each strength, more than 0: it keeps models finite that met nobody yet.

    Attributes:
        matrix: ``(information + ridge I)^-1`` less its part along the shift, shape (K, K).
    """

    def __init__(self, information: FloatArray, ridge: float) -> None:
        size = len(information)
        # the shift has no information but the ridge's: some more makes the inverse accurate, and is taken out again
        shift = ridge + float(np.trace(information)) / size
        regular = information + ridge * np.eye(size) + (shift - ridge) / size
        self.matrix: FloatArray = np.asarray(np.linalg.inv(regular) - 1.0 / (shift * size), dtype=np.float64)
        self._square: FloatArray = self.matrix @ self.matrix

    @property
    def trace(self) -> float:
        """Summed variance of the centred strengths, in squared nats."""
        return float(np.trace(self.matrix))

    def gains(self, weight: FloatArray, first: IntArray, second: IntArray) -> FloatArray:
        """By how much one more battle of each of P pairs would lower the trace, shape (P,).

        Args:
            weight: information of one battle of each pair, shape (P,).
            first, second: codes of the pairs, shape (P,).
        """
        C, S = self.matrix, self._square
        c, s = np.diag(C), np.diag(S)
        reach = c[first] + c[second] - 2.0 * C[first, second]
        moved = s[first] + s[second] - 2.0 * S[first, second]
        return np.asarray(weight * moved / (1.0 + weight * reach))

    def add(self, first: int, second: int, weight: float) -> None:
        """Count one battle of information `weight`: a rank-one update, O(K^2)."""
        C, S = self.matrix, self._square
        column = C[:, first] - C[:, second]
        share = weight / (1.0 + weight * float(column[first] - column[second]))
        turned = C @ column
        S -= share * (np.outer(turned, column) + np.outer(column, turned))
        S += share * share * float(column @ column) * np.outer(column, column)
        C -= share * np.outer(column, column)


class Design:
    """Chooses battles one after the other; remembers which were chosen.

    A pair meets each prompt at most once. A battle takes the prompt on which its two models have fought least, then the
    one that was used least by all. Exact ties go by an order that the seed shuffles.

    Args:
        models, prompts: how many there are (K and M).
        seed: of the orders that decide ties.
        explore: share of the battles of `optimal`, in [0, 1], whose pair comes from the round-robin all the same.
        reliable: `reliability` of the strengths from which on `batch` steers.
        ridge: information of a prior on each strength, in nats^-2.

    Attributes:
        pairs: the round-robin, shape (P, 2).
        asked: how often each pair was chosen, shape (K, K), symmetric.
        size: how many battles were chosen. `steered`: how many of them by `optimal`.
        turn: how far the round-robin has come.
    """

    def __init__(
        self,
        models: int,
        prompts: int,
        *,
        seed: int,
        explore: float = EXPLORE,
        reliable: float = RELIABLE,
        ridge: float = RIDGE,
    ) -> None:
        self.models, self.prompts = models, prompts
        self.explore, self.reliable, self.ridge = explore, reliable, ridge
        self.pairs = round_robin(models, seed)
        self.asked = np.zeros((models, models), dtype=np.int64)
        self.size = self.steered = self.turn = 0
        self._order = np.random.default_rng([seed, 1]).permutation(prompts)  # prompts by position
        self._position = np.argsort(self._order)
        self._used = np.zeros((models, prompts), dtype=np.int32)  # by position, as the two below
        self._total = np.zeros(prompts, dtype=np.int64)
        self._met: dict[tuple[int, int], list[int]] = {}

    @property
    def room(self) -> int:
        """How many battles there are left to choose."""
        return len(self.pairs) * self.prompts - self.size

    def restore(self, units: Iterable[Unit], *, turn: int, steered: int) -> None:
        """Take up battles that were chosen before, with `turn` and `steered` as they were after them."""
        for unit in units:
            self._take(unit)
        self.turn, self.steered = turn, steered

    def batch(self, wins: FloatArray, decided: FloatArray) -> list[Unit]:
        """The next batch: a tenth of the battles so far, at least 100 and four a model.

        Uniform until the strengths are reliable, A-optimal from then on. What fails is not replaced: an undecided
        battle counts a quarter of a decided one here, so that a model that fails does not draw the battles to itself.

        Args:
            wins: win weights of the battles that were decided, shape (K, K); row beats column, ties half each.
            decided: how many battles of each pair were decided, shape (K, K), symmetric; the rest of `asked` was not.
        """
        size = max(100, 4 * self.models, self.size // 10)
        strengths: FloatArray = fit_batch(wins, l2=self.ridge)
        fought = decided + _UNDECIDED * (self.asked - decided)
        if not self.steered and reliability(strengths, fought, self.ridge) < self.reliable:
            return self.uniform(size)
        share = (fought.sum(axis=1) + 1.0) / (self.asked.sum(axis=1) + 1.0)
        return self.optimal(size, strengths, fought, np.minimum(share[:, None], share[None, :]))

    def uniform(self, battles: int) -> list[Unit]:
        """The next battles of the round-robin, as many as there is room for."""
        return [self._fight(*self._next_pair()) for _ in range(min(battles, self.room))]

    def optimal(
        self, battles: int, strengths: FloatArray, fought: FloatArray, decided: FloatArray | None = None
    ) -> list[Unit]:
        """The next battles, each the best after those before it; `explore` of them from the round-robin.

        The first n of a larger number are those of n.

        Args:
            battles: how many, as many as there is room for.
            strengths: estimates in nats, shape (K,).
            fought: battles that count as information, shape (K, K), symmetric.
            decided: chance that a battle of each pair will be decided, shape (K, K), symmetric; 1 by default.
        """
        first, second = self.pairs.T
        covariance = Covariance(information(strengths, fought), self.ridge)
        worth = unit_information(strengths) * (1.0 if decided is None else decided)
        weight = worth[first, second]
        units: list[Unit] = []
        for _ in range(min(battles, self.room)):
            self.steered += 1
            if math.floor(self.steered * self.explore) > math.floor((self.steered - 1) * self.explore):
                i, j = self._next_pair()
            else:
                gain = covariance.gains(weight, first, second)
                gain[self.asked[first, second] >= self.prompts] = -1.0
                i, j = (int(code) for code in self.pairs[int(np.argmax(gain >= gain.max() * (1.0 - _SAME)))])
            units.append(self._fight(i, j))
            covariance.add(i, j, float(worth[i, j]))
        return units

    def _next_pair(self) -> tuple[int, int]:
        """The next pair of the round-robin that has a prompt left."""
        while True:
            i, j = self.pairs[self.turn % len(self.pairs)]
            self.turn += 1
            if self.asked[i, j] < self.prompts:
                return int(i), int(j)

    def _fight(self, first: int, second: int) -> Unit:
        """The battle of a pair on the prompt that serves it best."""
        own = (self._used[first] + self._used[second]).astype(np.int64)
        cost = own * (int(self._total.max()) + 1) + self._total
        cost[self._met.get((first, second), [])] = np.iinfo(np.int64).max
        unit = Unit(first, second, int(self._order[int(np.argmin(cost))]))
        self._take(unit)
        return unit

    def _take(self, unit: Unit) -> None:
        i, j, prompt = unit
        position = int(self._position[prompt])
        self.asked[i, j] += 1
        self.asked[j, i] += 1
        self._used[i, position] += 1
        self._used[j, position] += 1
        self._total[position] += 1
        self._met.setdefault((i, j), []).append(position)
        self.size += 1
