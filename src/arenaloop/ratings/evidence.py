"""How far the clusters bear out a variance: degrees of freedom, and variances that are too small to be true.

Every interval here is that of a contrast, theta_i less the mean of some reference models. The sandwich estimates its
variance V from clusters, and V is only as good as the clusters that carry it:

* **Few clusters.** A model's battles lie on n clusters, unevenly: (sum c)^2 / sum c^2 of its counts per cluster is what
  n is worth. A contrast's variance comes in shares s_j from the battles of several models, each battle counted to the
  one of its two models with fewer clusters. V then has ``1 / sum_jk s_j s_k / max(d_j, d_k)`` degrees of freedom, d_j
  being n_j - 1: Satterthwaite's for clusters that lie within one another, and d where all are the same.
* **Rare upsets.** With T battles at p near 0 or 1, V is made by the few surprises among them. Its relative variance
  under the fit, ``sum Q (1 - 4 q) delta^4 / V^2`` over pairs (q = p (1 - p), Q = T q, delta the pair's weight in the
  contrast), is that of a chi-square with ``2 / ...`` degrees of freedom. Bell & McCaffrey 2002 match the moments of V
  in this way, for normal errors.
  That says how far V can be relied on; how far the ends lie is not a question of Student's tails, but of the skewness
  of the score (`skewness.py`).

With fewer than two degrees of freedom from clusters there is no interval: Student's quantile alone would be 12.7 and
more; nor where V hangs on less than one upset. With few, V may be small by chance, and discrete outcomes make it zero
with some probability: below eight it is never taken as less than what the fit gives independent battles, and drawn
towards that with more. Nor can a handful of upsets show whether battles of one pair on one prompt tend to end alike,
and so are fewer than they seem: below ten upsets V is drawn up towards what it would be if they always did, wholly so
of a single one. Weights count for what they do to V: squared. And where battles on one prompt cancel out (a judge that
votes for a seat; a cycle on every prompt) V tends to zero whatever the models are: far below what the same battles
would give if they were independent, there is no interval; less far below, that takes the place of V.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray
from arenaloop.ratings.skewness import half_widths
from arenaloop.ratings.student import t_quantiles
from arenaloop.ratings.sums import BattleSums
from arenaloop.ratings.units import repeats_of_pairs

__all__ = [
    "LEAST_DOF",
    "Evidence",
    "Judged",
    "contrast_variance",
    "contrasts",
    "drawn_out",
    "moderated",
    "with_repeats",
]

LEAST_DOF = 1.9
"""Degrees of freedom from clusters below which there is no interval. Three even clusters have two."""
_FEW_DOF = 8.0
"""Degrees of freedom below which the variance of independent battles is the least."""
_MANY_DOF = 100.0
"""Degrees of freedom of every model from which on it does not matter how they are shared."""
_LONE_DOF = 0.5
"""What a model on a single cluster counts for in contrasts to which it matters little."""
_CANCELLED, _CANCELLED_FEW = 0.1, 0.01
"""Share of the variance of independent battles below which battles cancel out; with few degrees of freedom chance alone
makes a variance small, and only next to nothing counts."""
_LEAST_UPSET = 0.9
"""Degrees of freedom below which V hangs on less than one upset, or on one that outweighs all others."""
_NONE_SHOWN, _ALL_SHOWN = 1.0, 10.0
"""Upsets with which battles of one pair on one prompt are taken to end alike, and from which on V shows whether they
do: with these, intervals of two models hold what they promise whichever is true (experiments/lopsided_pairs.py)."""
_LOW_SIDE = 2.33
"""Standard errors below the variance of independent battles from which on it is no chance (1 %, one-sided)."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Contrasts of some models with one reference: variance, and whether it can be relied on.

    Attributes:
        variance: in squared nats, guarded, shape (n,).
        dof: of it by clusters, at least 1, shape (n,). `backing`: with the rarity of upsets, too.
        skew: of the score of each contrast, shape (n,); see `skewness`.
        thin: too few clusters for an interval, or none that bind a model to the reference. `cancelled`: battles on the
            same prompts cancel out. `rare`: less than one upset speaks of it. Shape (n,).
    """

    variance: FloatArray
    dof: FloatArray
    backing: FloatArray
    skew: FloatArray
    thin: BoolArray
    cancelled: BoolArray
    rare: BoolArray

    @property
    def trusted(self) -> BoolArray:
        """Where the variance makes an interval, shape (n,)."""
        return ~(self.thin | self.cancelled | self.rare)

    def ends(self, level: float) -> tuple[FloatArray, FloatArray]:
        """How far the lower end lies below the estimate, and the upper one above it, in nats, both of shape (n,)."""
        error, quantile = np.sqrt(self.variance), t_quantiles(level, self.dof)
        return error * half_widths(quantile, -self.skew), error * half_widths(quantile, self.skew)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an estimated covariance rests on.

    Attributes:
        inverse: of the information of the centred strengths, shape (K, K).
        expected: covariance of the centred strengths were battles independent and the fit the truth, shape (K, K).
        spread: variance of each pair's score under the fit, sum w^2 p (1 - p), shape (K, K).
        rarity: sum w^4 q (1 - 4 q) with q = p (1 - p), shape (K, K).
        third: sum w^3 q (1 - 2 p), p being the chance of the row, shape (K, K): the score's third cumulant.
        independent: sum of the outer products of the battles' scores, as if each were its own cluster, shape (K, K);
            None where they are.
        clusters: degrees of freedom of each model's own clusters, shape (K,); infinite where the variance is not
            estimated from them.
        prompts: whether clusters are prompts; battles that are clusters of their own have a known variance.
        lone: models of a single cluster, whose battles stand in with their expected information, shape (K,).
        bound: of each model the group that prompts bind (`clusters.bound_groups`), shape (K,); None where all are one.
        outweighed: models that would have clusters enough if all battles weighed alike, shape (K,); None without any.
        repeated: what the scores' variance under the fit would be more if battles of a pair on one prompt ended alike,
            as a sum of outer products, shape (K, K); None where that is nothing, or hangs on no few upsets.
    """

    inverse: FloatArray
    expected: FloatArray
    spread: FloatArray
    rarity: FloatArray
    third: FloatArray
    independent: FloatArray | None
    clusters: FloatArray
    prompts: bool
    lone: BoolArray
    bound: IntArray | None = None
    outweighed: BoolArray | None = None
    repeated: FloatArray | None = None

    @property
    def thin(self) -> BoolArray:
        """Models that have too few clusters for an interval of their own, shape (K,)."""
        return self.clusters < LEAST_DOF if self.prompts else np.zeros(len(self.clusters), dtype=bool)

    def judge(self, covariance: FloatArray, piece: IntArray, reference: IntArray) -> Judged:
        """Contrasts of all models in `piece` with the mean of `reference`, given their sandwich covariance."""
        V = contrast_variance(covariance, piece, reference)
        E = contrast_variance(self.expected, piece, reference)
        by_cluster, dof = self.dof(piece, reference)
        skew = self.skew(piece, reference)
        thin = by_cluster < LEAST_DOF if self.prompts else np.zeros(len(piece), dtype=bool)
        if self.bound is not None:
            thin |= (self.bound[piece] != self.bound[reference[0]]) | (not _alike(self.bound[reference]))
        rare = (dof < _LEAST_UPSET) & ~thin
        few = dof < _FEW_DOF
        cancelled = np.zeros(len(piece), dtype=bool)
        guarded = moderated(V, E, dof)
        if self.independent is not None:
            of = self._influence(piece, reference)
            A = (of * (self.independent[np.ix_(piece, piece)] @ of)).sum(axis=0)
            cancelled = (np.where(few, _CANCELLED_FEW, _CANCELLED) * A > V) & ~(thin | rare)
            low = ~few & ((1.0 - _LOW_SIDE * np.sqrt(2.0 / dof)) * A > V)
            guarded = np.where(low, A, guarded)
        if self.repeated is not None:
            of = self._influence(piece, reference)
            alike = E + (of * (self.repeated[np.ix_(piece, piece)] @ of)).sum(axis=0)
            guarded = drawn_out(guarded, alike, upsets(by_cluster, dof))
        effect = np.divide(guarded, E, out=np.ones_like(E), where=E > 0)
        return Judged(guarded, np.maximum(by_cluster, 1.0), dof, skew * np.sqrt(effect), thin, cancelled, rare)

    def _influence(self, piece: IntArray, reference: IntArray) -> FloatArray:
        """Weight of each model's score in each contrast, one contrast a column, shape (n, n)."""
        inverse = self.inverse[piece]
        return np.asarray(inverse[:, piece] - inverse[:, reference].mean(axis=1, keepdims=True))

    def skew(self, piece: IntArray, reference: IntArray) -> FloatArray:
        """Skewness of every contrast's score were battles independent, shape (n,).

        In the limit of one pair that is (1 - 2 p) / sqrt(T q).
        """
        block = np.ix_(piece, piece)
        of = self._influence(piece, reference)
        of = of / np.maximum(np.abs(of).max(axis=0, initial=0.0), 1e-300)
        square = of * of
        Q, S = self.spread[block], self.third[block]
        variance = (square * Q.sum(axis=1)[:, None]).sum(axis=0) - (of * (Q @ of)).sum(axis=0)
        third = (of * square * S.sum(axis=1)[:, None]).sum(axis=0) + 3.0 * (of * (S @ square)).sum(axis=0)
        return np.asarray(np.where(variance > 0, third / np.where(variance > 0, variance, 1.0) ** 1.5, 0.0))

    def dof(self, piece: IntArray, reference: IntArray) -> tuple[FloatArray, FloatArray]:
        """Degrees of freedom from clusters alone, and with the rarity of upsets, of every contrast, both (n,)."""
        block = np.ix_(piece, piece)
        own = np.maximum(self.clusters[piece], _LONE_DOF)
        # degrees of freedom need no more than single precision
        of = self._influence(piece, reference)
        of = (of / np.maximum(np.abs(of).max(axis=0, initial=0.0), 1e-300)).astype(np.float32)
        square = of * of
        Q, R = (matrix[block].astype(np.float32) for matrix in (self.spread, self.rarity))
        total = (square * Q.sum(axis=1)[:, None]).sum(axis=0) - (of * (Q @ of)).sum(axis=0)
        total = np.where(total > 0, total, 1.0)
        if len(own) == 0 or own.min() >= _MANY_DOF:
            inverse_dof = 1.0 / own
        else:
            # a pair's share goes to the model with fewer clusters, half each where they are level
            less, level = own[:, None] < own[None, :], own[:, None] == own[None, :]
            thinner = np.where(less, 1.0, np.where(level, 0.5, 0.0)).astype(np.float32) * Q
            share = square * thinner.sum(axis=1)[:, None] - 2.0 * of * (thinner @ of) + thinner @ square
            share = np.maximum(share, 0.0) / total
            joint = 1.0 / np.maximum(own[:, None], own[None, :])
            inverse_dof = (share * (joint.astype(np.float32) @ share)).sum(axis=0)
        fourth = square * square
        relative = (fourth * R.sum(axis=1)[:, None]).sum(axis=0) - 4.0 * (of * square * (R @ of)).sum(axis=0)
        relative = np.maximum(relative + 3.0 * (square * (R @ square)).sum(axis=0), 0.0)
        relative = relative / total**2
        with np.errstate(divide="ignore"):
            return 1.0 / inverse_dof, 1.0 / (inverse_dof + relative / 2.0)


def moderated(variance: FloatArray, expected: FloatArray, dof: FloatArray) -> FloatArray:
    """`variance` drawn up to that of independent battles: wholly below `_FEW_DOF` degrees of freedom, then less."""
    return np.asarray(variance + np.maximum(expected - variance, 0.0) * (_FEW_DOF / np.maximum(dof, _FEW_DOF)))


def upsets(by_cluster: FloatArray, dof: FloatArray) -> FloatArray:
    """How many upsets contrasts rest on, given `Evidence.dof`: of one lopsided pair, about the rarer outcomes."""
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 / np.maximum(1.0 / dof - 1.0 / by_cluster, 0.0))


def drawn_out(variance: FloatArray, alike: FloatArray, upsets: FloatArray) -> FloatArray:
    """`variance` drawn up to that of battles that end alike on each prompt, as far as few upsets do not show more."""
    share = np.clip((_ALL_SHOWN - upsets) / (_ALL_SHOWN - _NONE_SHOWN), 0.0, 1.0)
    return np.asarray(variance + np.maximum(alike - variance, 0.0) * share)


def with_repeats(evidence: Evidence, battles: BattleSums, wins: FloatArray, unit: FloatArray) -> Evidence:
    """`evidence` with `repeated`, where prompts are the clusters and any contrast hangs on few upsets.

    Args:
        wins, unit: of the fit, see `bradley_terry.BradleyTerry`.
    """
    whole = np.maximum(unit[:, None], unit[None, :])
    few = (wins + wins.T > 0) & (np.minimum(wins, wins.T) < _ALL_SHOWN * whole)
    if not (evidence.prompts and few.any()):
        return evidence
    everyone = np.arange(len(wins))
    # the difference of two models rests on no fewer upsets than the worse of them has from the mean, or nearly so
    if (upsets(*evidence.dof(everyone, everyone)) > 2.0 * _ALL_SHOWN).all():
        return evidence
    more = evidence.spread * repeats_of_pairs(battles, few)
    if not more.any():
        return evidence
    return replace(evidence, repeated=np.diag(more.sum(axis=1)) - more)


def _alike(labels: IntArray) -> bool:
    return bool((labels == labels[0]).all())


def contrasts(evidence: Evidence | None, piece: IntArray, reference: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Which models of a piece are measured from the mean of which: all from `reference`, as far as prompts bind them.

    Groups of several models that are not bound to it are measured from themselves: then both are one object.
    """
    groups: list[IntArray] = []
    if evidence is not None and evidence.bound is not None:
        label, of_reference = evidence.bound[piece], evidence.bound[reference]
        others = np.setdiff1d(label, of_reference[:1] if _alike(of_reference) else [])
        groups = [piece[label == one] for one in others if np.count_nonzero(label == one) > 1]
    rest = np.setdiff1d(piece, np.concatenate(groups)) if groups else np.array(piece)
    if len(rest):
        yield rest, reference
    for group in groups:
        yield group, group


def contrast_variance(covariance: FloatArray, piece: IntArray, reference: IntArray) -> FloatArray:
    """Variance of theta[piece] less the mean of theta[reference], shape (n,), never negative."""
    to = covariance[np.ix_(piece, reference)].mean(axis=1)
    within = covariance[np.ix_(reference, reference)].mean()
    variance = np.diag(covariance)[piece] - 2.0 * to + within
    if len(reference) == 1:
        variance[piece == reference[0]] = 0.0
    return np.asarray(np.maximum(variance, 0.0))
