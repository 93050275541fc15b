"""Standard errors of the differences between all pairs of models, from the joint covariance of a fit.

What holds one interval to account (`evidence.Evidence.judge`: few clusters, rare upsets, battles that cancel out) holds
every pair to account here. A board of K models has K (K - 1) / 2 pairs: up to `_EXACT` models each is judged as its own
interval would be; beyond, the degrees of freedom of a pair are the fewer of its two models' own, which are no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray
from arenaloop.ratings.bootstrap import Bootstrap
from arenaloop.ratings.evidence import Evidence, drawn_out, moderated, upsets
from arenaloop.ratings.intervals import Intervals

__all__ = ["PairErrors", "pair_errors", "pieces"]

_EXACT = 128
"""Models up to which every pair is judged by itself; the work grows with their fourth power."""


@dataclass(frozen=True, slots=True)
class PairErrors:
    """How sure the difference of each pair of models is.

    Attributes:
        error: standard error in nats, shape (K, K), symmetric; infinite where there is no interval, or one end is open.
        dof: its degrees of freedom, at least 1, shape (K, K).
        skew: of the difference row less column, shape (K, K), antisymmetric; see `skewness`.
        open: pairs of which one end, or both, are the likelihood's, shape (K, K).
        covariance: of the centred strengths, shape (K, K), as the intervals have it; NaN between models that cannot be
            compared.
        draws: resampled strengths, shape (S, K), where the intervals are a bootstrap's; else None.
    """

    error: FloatArray
    dof: FloatArray
    open: BoolArray
    covariance: FloatArray
    draws: FloatArray | None
    skew: FloatArray | None = None


def pieces(spread: Intervals | Bootstrap) -> list[IntArray]:
    """Codes of the models that can be compared with each other, one array for each component of two and more."""
    fit = spread.fit
    rated = ~np.isnan(fit.theta)
    found = (np.flatnonzero(rated & (fit.component == c)) for c in np.unique(fit.component[rated]))
    return [piece for piece in found if len(piece) > 1]


def pair_errors(spread: Intervals | Bootstrap) -> PairErrors:
    """The standard errors of all differences behind `Intervals.difference` or `Bootstrap.difference`."""
    size = len(spread.fit.models)
    error, dof, skew = np.full((size, size), np.inf), np.ones((size, size)), np.zeros((size, size))
    opened = np.zeros((size, size), dtype=bool)
    if spread.divide is not None:
        opened = ~(spread.divide.reach & spread.divide.reach.T)
    draws = None
    if isinstance(spread, Bootstrap):
        draws = spread.draws
        covariance = np.full((size, size), np.nan)
        known = np.flatnonzero(~np.isnan(spread.fit.theta))
        if spread.evidence is not None and len(known):
            covariance[np.ix_(known, known)] = np.atleast_2d(np.cov(draws[:, known], rowvar=False))
        _resampled(spread, covariance, error, dof, skew)
    else:
        covariance = spread.covariance
        for piece in pieces(spread):
            judge = _judged if len(piece) <= _EXACT else _bounded
            block = np.ix_(piece, piece)
            error[block], dof[block], skew[block] = judge(spread.evidence, covariance, piece)
    error[opened | np.isnan(error)] = np.inf  # NaN: of a model whose variance is not known
    np.fill_diagonal(error, np.inf)
    return PairErrors(error, dof, opened, covariance, draws, skew)


def _resampled(spread: Bootstrap, covariance: FloatArray, error: FloatArray, dof: FloatArray, skew: FloatArray) -> None:
    """Fill in those of a bootstrap: the spread of its draws, with Hesterberg's factor for few clusters.

    Where upsets are too rare for resamples, they are the sandwich's.
    """
    if spread.evidence is None:
        return
    for piece in pieces(spread):
        for j in map(int, piece):
            reference = np.array([j])
            reasons = [spread.why_not(int(i), reference) for i in piece]
            trusted = np.array([i != j and not reason for i, reason in zip(piece, reasons, strict=True)])
            worth = np.minimum(spread.worth[piece], spread.worth[j])
            free = np.maximum(np.minimum(worth - 1.0, spread.evidence.dof(piece, reference)[1]), 1.0)
            variance = covariance[piece, piece] + covariance[j, j] - 2.0 * covariance[piece, j]
            wide = np.sqrt(np.maximum(variance, 0.0) * (free + 1.0) / free)
            error[piece, j], dof[piece, j] = np.where(trusted, wide, np.inf), free
            rare = np.array([reason == "rare" for reason in reasons]) & (piece != j)
            if spread.sandwiched is not None and rare.any():
                judged = spread.sandwiched.evidence.judge(spread.sandwiched.covariance, piece, reference)
                own = np.where(judged.trusted, np.sqrt(judged.variance), np.inf)
                error[piece[rare], j], dof[piece[rare], j] = own[rare], judged.dof[rare]
                skew[piece[rare], j] = judged.skew[rare]


def _judged(evidence: Evidence, covariance: FloatArray, piece: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    error, dof, skew = np.empty((3, len(piece), len(piece)))
    for place, j in enumerate(piece):
        judged = evidence.judge(covariance, piece, np.array([j]))
        error[:, place] = np.where(judged.trusted, np.sqrt(judged.variance), np.inf)
        dof[:, place], skew[:, place] = judged.dof, judged.skew
    return np.maximum(error, error.T), np.minimum(dof, dof.T), 0.5 * (skew - skew.T)


def _bounded(evidence: Evidence, covariance: FloatArray, piece: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """As `_judged`, for many models: each pair has what the worse of its two models has against the mean of all.

    Skews are those that two independent estimates would have together.
    """
    block = np.ix_(piece, piece)
    judged = evidence.judge(covariance, piece, piece)
    bound = None if evidence.bound is None else evidence.bound[piece]
    trusted = judged.trusted[:, None] & judged.trusted[None, :]
    if bound is not None:
        # a mean over several groups is no one's reference: each group is judged from its own
        trusted = np.zeros_like(trusted)
        for group in np.unique(bound):
            inside = np.flatnonzero(bound == group)
            if len(inside) > 1:
                own = evidence.judge(covariance, piece[inside], piece[inside]).trusted
                trusted[np.ix_(inside, inside)] = own[:, None] & own[None, :]
    dof, backing = (np.minimum(of[:, None], of[None, :]) for of in (judged.dof, judged.backing))
    variance = moderated(_apart(covariance[block]), _apart(evidence.expected[block]), backing)
    if evidence.independent is not None:
        inverse = evidence.inverse[block]
        alone = _apart(inverse @ evidence.independent[block] @ inverse)
        trusted &= variance > 0.1 * alone
        variance = np.where((1.0 - 2.33 * np.sqrt(2.0 / backing)) * alone > variance, alone, variance)
    if evidence.repeated is not None:
        inverse = evidence.inverse[block]
        alike = _apart(evidence.expected[block] + inverse @ evidence.repeated[block] @ inverse)
        variance = drawn_out(variance, alike, upsets(dof, backing))
    spreads, third = judged.variance, judged.skew * judged.variance**1.5
    both = np.maximum(spreads[:, None] + spreads[None, :], 1e-300)
    skew = (third[:, None] - third[None, :]) / both**1.5
    return np.where(trusted, np.sqrt(np.maximum(variance, 0.0)), np.inf), dof, skew


def _apart(covariance: FloatArray) -> FloatArray:
    """Variances of all differences, shape (k, k)."""
    own = np.diag(covariance)
    return np.asarray(own[:, None] + own[None, :] - 2.0 * covariance)
