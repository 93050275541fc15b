"""Resamples of whole clusters, drawn and fitted by the block: counts of pairs, and the strengths that they make.

Battles that are alone in their cluster collapse to a table of cells that one multinomial draw resamples at once; the
other clusters get integer weights, and their battles are summed pair by pair.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, tally
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import BradleyTerry, fit_wins, newton_batch
from arenaloop.ratings.crossings import components, walks
from arenaloop.ratings.intervals import information_inverse, win_probabilities

__all__ = ["Resampler", "chord_steps", "full_steps", "multinomial"]

_BLOCK = 32 << 20
"""Bytes that one block of resamples may hold in its largest array."""
_CHORD_STEPS = 12
_CHORD_TOLERANCE = 1e-4
"""Largest last step in nats (0.02 Elo); the error left is smaller by the chord's rate of convergence."""


class Resampler:
    """Counts of the whole data, laid out so that a block of resamples is drawn and summed with few array operations.

    After `draw(rng, R)`: `played`, shape (R, P), battles of each pair that met, and `won`, shape (R, K), each model's
    score; pseudo-wins of the fit are included in both.
    """

    def __init__(self, battles: Battles, fit: BradleyTerry, cluster: str) -> None:
        size = self.size = len(fit.models)
        low, high = np.minimum(battles.a, battles.b), np.maximum(battles.a, battles.b)
        code = low.astype(np.int64) * size + high
        met = np.triu(fit.wins + fit.wins.T + fit.pseudo + fit.pseudo.T, 1).ravel() > 0
        self.pairs = np.flatnonzero(met)  # i K + j with i < j
        self.i, self.j = np.divmod(self.pairs, size)
        place = np.cumsum(met) - 1
        pair = np.maximum(place[code], 0)  # a battle of weight 0 may lie on no pair: any will do, it adds nothing
        score = np.where(battles.a < battles.b, battles.score_a, 1.0 - battles.score_a)  # of the pair's first model
        self.pseudo_played = (fit.pseudo + fit.pseudo.T).ravel()[self.pairs]
        self.pseudo_wins = fit.pseudo
        self.pseudo_won = fit.pseudo.sum(axis=1)

        if cluster == "battle":
            alone = np.ones(len(battles), dtype=bool)
            self.units = len(battles)
        else:
            assert battles.cluster is not None
            in_cluster = np.bincount(battles.cluster, minlength=battles.clusters)
            alone = in_cluster[battles.cluster] == 1
            self.units = battles.clusters
        self._singles(pair[alone], score[alone], None if battles.mass is None else battles.mass[alone])
        rest = ~alone
        group = np.zeros(0, dtype=np.int64) if battles.cluster is None or not rest.any() else battles.cluster[rest]
        weight = None if battles.mass is None else battles.mass[rest]
        self._shared(pair[rest], score[rest], weight, group)

    def _singles(self, pair: IntArray, score: FloatArray, weight: FloatArray | None) -> None:
        """Battles alone in their cluster, collapsed to cells of equal pair, score and weight, sorted by pair."""
        self.alone = len(pair)
        self.unit_weights = weight is None
        twice = (2.0 * score).astype(np.int8)
        if weight is None and (twice == 2.0 * score).all():
            key = pair * 3 + twice
            counts = np.bincount(key, minlength=3 * len(self.pairs))
            cells = np.flatnonzero(counts)
            self.cell_pair, self.cell_score = cells // 3, (cells % 3) / 2.0
            self.cell_count = counts[cells]
            self.cell_weight = np.ones(len(cells))
        else:
            mass = np.ones(len(pair)) if weight is None else weight
            rows = np.stack([pair.astype(np.float64), score, mass], axis=1)
            cells_2d, self.cell_count = np.unique(rows, axis=0, return_counts=True)
            self.cell_pair = cells_2d[:, 0].astype(np.int64)
            self.cell_score, self.cell_weight = cells_2d[:, 1], cells_2d[:, 2]

        self.row_cell = np.repeat(np.arange(len(self.cell_count), dtype=np.int32), self.cell_count)

    def _shared(self, pair: IntArray, score: FloatArray, weight: FloatArray | None, group: IntArray) -> None:
        """Battles that share a cluster, sorted so that the r-th battles of all pairs with more than r lie together."""
        present, group = np.unique(group, return_inverse=True)
        self.groups = len(present)
        self.group, self.pair, self.score, self.weight = group, pair, score, weight
        if not self.groups:
            return
        counts = np.bincount(pair, minlength=len(self.pairs))
        self.by_count = np.argsort(-counts, kind="stable")
        order = np.argsort(pair, kind="stable")
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[self.by_count]
        counts = counts[self.by_count]
        self.ranks: list[IntArray] = []  # rows of the r-th battle of each pair, the busiest pairs first
        while len(self.ranks) < counts[0]:
            many = int(np.searchsorted(-counts, -len(self.ranks), side="left"))
            if many < 64:
                break
            self.ranks.append(order[starts[:many] + len(self.ranks)])
        # what is left belongs to few pairs with many battles: they are summed one by one
        self.heavy = [
            (rank, order[start + len(self.ranks) : start + count])
            for rank, (start, count) in enumerate(zip(starts, counts, strict=True))
            if count > len(self.ranks)
        ]
        mass = score if weight is None else score * weight
        other = (1.0 if weight is None else weight) - mass
        base = group * self.size
        self.scored = tally(base + self.i[pair], self.groups * self.size, mass)
        self.scored += tally(base + self.j[pair], self.groups * self.size, other)
        self.scored = self.scored.reshape(self.groups, self.size).astype(np.float32)

    def block(self, samples: int) -> int:
        """How many resamples are drawn together."""
        width = max(4 * len(self.pairs), 8 * len(self.cell_pair), 2 * self.groups, 8 * self.size, 1)
        return int(np.clip(_BLOCK // width, 1, samples))

    def draw(self, rng: np.random.Generator, count: int) -> None:
        """Resample the clusters `count` times."""
        played = np.tile(self.pseudo_played, (count, 1))
        won = np.tile(self.pseudo_won, (count, 1))
        share = self.alone / self.units
        lone = np.full(count, self.units) if share == 1.0 else rng.binomial(self.units, share, size=count)
        self.cell_draws = None
        if self.alone:
            drawn = self.cell_draws = multinomial(rng, lone, self.cell_count, self.row_cell)
            if not self.unit_weights:
                drawn *= self.cell_weight
            starts = np.flatnonzero(np.diff(self.cell_pair, prepend=-1))
            met = self.cell_pair[starts]
            i, j = self.i[met], self.j[met]
            for r, row in enumerate(drawn):
                total = np.add.reduceat(row, starts)
                first = np.add.reduceat(row * self.cell_score, starts)
                played[r, met] += total
                won[r] += tally(i, self.size, first) + tally(j, self.size, total - first)
        if self.groups:
            self.times = np.empty((self.groups, count), dtype=np.uint16)  # no prompt is drawn 65,536 times
            for r in range(count):
                picked = rng.integers(0, self.groups, self.units - lone[r], dtype=np.int32)
                self.times[:, r] = np.bincount(picked, minlength=self.groups)
            played += self._shared_played(count).T
            won += self.times.T.astype(np.float32) @ self.scored
        self.played, self.won = played, won

    def _shared_played(self, count: int) -> npt.NDArray[np.float32]:
        """Weighted battles of each pair from the shared clusters, shape (P, count)."""
        small = self.weight is None and (len(self.ranks) + max((len(r) for _, r in self.heavy), default=0)) < 4000
        total = np.zeros((len(self.pairs), count), dtype=np.uint16 if small else np.float32)
        for rows in self.ranks:
            times = self.times[self.group[rows]]
            total[: len(rows)] += times if self.weight is None else times * self.weight[rows, None].astype(np.float32)
        for rank, rows in self.heavy:
            times = self.times[self.group[rows]]
            if self.weight is None:
                total[rank] += times.sum(axis=0, dtype=total.dtype)
            else:
                total[rank] += self.weight[rows].astype(np.float32) @ times
        out = np.empty((len(self.pairs), count), dtype=np.float32)
        out[self.by_count] = total
        return out

    def disconnected(self, fit: BradleyTerry) -> npt.NDArray[np.bool_]:
        """Which resamples of the block no longer connect models that the whole data connects, shape (R,)."""
        lost = np.zeros(len(self.played), dtype=bool)
        for r in np.flatnonzero((self.played <= 0).any(axis=1)):
            met = np.zeros(self.size * self.size)
            met[self.pairs[self.played[r] > 0]] = 1.0
            lost[r] = (components(met.reshape(self.size, self.size))[0] != fit.component).any()
        return lost

    def wins(self, r: int) -> FloatArray:
        """The win matrix of the r-th resample of the block, shape (K, K), without pseudo-wins."""
        square = self.size * self.size
        total = np.zeros(square)
        if self.cell_draws is not None:
            drawn = self.cell_draws[r]
            i, j = self.i[self.cell_pair], self.j[self.cell_pair]
            total += tally(i * self.size + j, square, drawn * self.cell_score)
            total += tally(j * self.size + i, square, drawn * (1.0 - self.cell_score))
        if self.groups:
            times = self.times[self.group, r].astype(np.float64)
            if self.weight is not None:
                times *= self.weight
            i, j = self.i[self.pair], self.j[self.pair]
            total += tally(i * self.size + j, square, times * self.score)
            total += tally(j * self.size + i, square, times * (1.0 - self.score))
        return total.reshape(self.size, self.size)


def multinomial(rng: np.random.Generator, total: IntArray, counts: IntArray, row_cell: IntArray) -> FloatArray:
    """Multinomial draws with the cells' shares as probabilities, shape (R, C): exact, at half the price of numpy's.

    Independent Poisson counts are multinomial given their sum. They are drawn with a mean a little below `total`, and
    what is missing is drawn row by row; the few resamples that came out above `total` are drawn by numpy.

    Args:
        total: draws of each resample, shape (R,).
        counts: rows of each cell, shape (C,).
        row_cell: the cell of each row, shape (sum of counts,).
    """
    share = counts / len(row_cell)
    mean = np.maximum(total - 3.0 * np.sqrt(total), 0.0)
    out = np.empty((len(total), len(counts)))
    for r, rows in enumerate(total):
        drawn = rng.poisson(mean[r] * share)
        missing = int(rows - drawn.sum())
        if missing < 0:
            drawn = rng.multinomial(rows, share)
        elif missing:
            drawn += np.bincount(row_cell[rng.integers(0, len(row_cell), missing)], minlength=len(counts))
        out[r] = drawn
    return out


def chord_steps(resampler: Resampler, fit: BradleyTerry) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Strengths of a block of resamples, (R, K), and which of them have settled, (R,).

    Steps ``theta += H^+ g(theta)`` with H of the whole data. With e = exp(theta) the gradient needs no logistic:
    sum_b T_ab p_ab = e_a sum_b T_ab / (e_a + e_b).
    """
    size = resampler.size
    p = win_probabilities(fit)
    inverse = information_inverse(fit, p).astype(np.float32)
    centre = np.nan_to_num(fit.theta)
    count = len(resampler.won)
    theta = np.tile(centre, (count, 1))
    settled = np.zeros(count, dtype=bool)
    if np.ptp(centre) > 60.0:  # exp would leave single precision
        return theta, settled
    played = resampler.played.astype(np.float32)
    upper = np.zeros((size, size), dtype=np.float32)
    flat, at = upper.reshape(-1), resampler.pairs
    ratio = np.empty_like(upper)
    active = np.arange(count)
    last = np.full(count, np.inf)
    for _ in range(_CHORD_STEPS):
        expected = np.empty((len(active), size))
        strength = np.exp(theta[active]).astype(np.float32)
        for row, r in enumerate(active):
            e = strength[row]
            flat[at] = played[r]
            np.add(e[:, None], e[None, :], out=ratio)
            np.divide(upper, ratio, out=ratio)
            expected[row] = e * (ratio.sum(axis=1) + ratio.sum(axis=0))
        gradient = resampler.won[active] - expected - fit.l2 * theta[active]
        step = (gradient.astype(np.float32) @ inverse).astype(np.float64)
        size_of_step = np.abs(step).max(axis=1)
        theta[active] += step
        settled[active] = size_of_step < _CHORD_TOLERANCE
        # a chord that does not shrink its steps is too far from its optimum: Newton's own steps are cheaper there
        going = (size_of_step >= _CHORD_TOLERANCE) & (size_of_step < np.minimum(0.6 * last[active], 1.5))
        last[active] = size_of_step
        active = active[going]
        if not active.size:
            break
    theta[:, np.isnan(fit.theta)] = np.nan
    return theta, settled


def full_steps(
    resampler: Resampler, fit: BradleyTerry, theta: FloatArray, unsettled: IntArray
) -> tuple[FloatArray, dict[int, BoolArray]]:
    """`theta`, shape (R, K), with the resamples `unsettled` solved exactly; separable ones as the point fit is.

    Returns:
        The strengths, and for each separable resample who reaches whom by "beat", shape (K, K).
    """
    matrices: list[FloatArray] = []
    regular: list[int] = []
    walked: dict[int, BoolArray] = {}
    for r in unsettled:
        W = resampler.wins(r) + resampler.pseudo_wins
        met, group = components(W)
        if fit.l2 == 0 and (group != met).any():
            theta[r] = fit_wins(W, fit.models, unit=fit.unit).theta
            walked[int(r)] = walks(W > 0)
        else:
            matrices.append(W)
            regular.append(int(r))
    if regular:
        theta[regular] = newton_batch(np.stack(matrices), fit.l2, fit.component)
        theta[:, np.isnan(fit.theta)] = np.nan
    return theta, walked
