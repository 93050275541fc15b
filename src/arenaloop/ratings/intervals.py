"""Intervals of Bradley–Terry ratings from one fit: the sandwich, clustered by prompt.

Battles on one prompt share its quirks, so they are no independent witnesses: the scores of all battles on a prompt are
summed before they are squared (Liang & Zeger 1986). The result is the covariance of all ratings, so that intervals of
differences come from it as well. For the bootstrap see `bootstrap.py`.

Small samples: each prompt's score is divided by the root of one minus its leverage (the CR2 of Bell & McCaffrey 2002,
with one leverage per cluster), and quantiles are Student's with as many degrees of freedom as the model has prompts,
less one.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from arenaloop.ratings.battles import Battles, BoolArray, FloatArray, IntArray, tally
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, BradleyTerry, anchor_code

__all__ = ["Intervals", "flat_pairs", "information_inverse", "sandwich", "t_quantile", "win_probabilities"]

_DENSE_SCORES = 1 << 22
"""Entries of the clusters x models matrix of scores that are held at once (32 MiB)."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Uncertainty of a fit.

    Attributes:
        fit: the fit that it belongs to.
        covariance: of the centred strengths in nats, shape (K, K); NaN between models that cannot be compared.
        dof: degrees of freedom of each model's interval, shape (K,).
        clusters: independent units that the variance was estimated from.
        notes: what a reader should know, in plain words.
    """

    fit: BradleyTerry
    covariance: FloatArray
    dof: FloatArray
    clusters: int
    notes: tuple[str, ...]

    def bounds(
        self, *, anchor: tuple[str, float] | None = None, mean: float = 1000.0, level: float = 0.95
    ) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends on the Elo scale, both of shape (K,).

        Without an anchor they belong to the centred ratings; with one to the differences from it, so that the anchor's
        own interval has no width.
        """
        variance = np.diag(self.covariance).copy()
        dof = self.dof
        if anchor is not None:
            code = anchor_code(self.fit.models, anchor)
            same = self.fit.component == self.fit.component[code]
            to_anchor = variance + variance[code] - 2.0 * self.covariance[code]
            variance = np.where(same, np.maximum(to_anchor, 0.0), variance)
            variance[code] = 0.0
            dof = np.where(same, np.minimum(dof, dof[code]), dof)
        rating = self.fit.ratings(anchor=anchor, mean=mean)
        half = ELO_PER_NAT * np.sqrt(np.maximum(variance, 0.0)) * _quantiles(dof, level)
        return rating - half, rating + half

    def difference(self, first: str, second: str, *, level: float = 0.95) -> tuple[float, float, float]:
        """`first` minus `second` in Elo points: estimate, lower and upper end.

        Raises:
            ValueError: a name is not in the data, or the two cannot be compared.
        """
        i, j = (anchor_code(self.fit.models, (name, 0.0)) for name in (first, second))
        if self.fit.component[i] != self.fit.component[j]:
            raise ValueError(f"{first!r} and {second!r} never met, not even through others")
        estimate = ELO_PER_NAT * float(self.fit.theta[i] - self.fit.theta[j])
        half = ELO_PER_NAT * self.standard_error(i, j) * t_quantile(level, float(min(self.dof[i], self.dof[j])))
        return estimate, estimate - half, estimate + half

    def standard_error(self, i: int, j: int) -> float:
        """Standard error in nats of the difference between the models with codes `i` and `j`."""
        C = self.covariance
        return float(np.sqrt(max(C[i, i] + C[j, j] - 2.0 * C[i, j], 0.0)))


def sandwich(battles: Battles, fit: BradleyTerry, *, cluster: str = "prompt", correction: bool = True) -> Intervals:
    """Covariance ``H^+ M H^+`` with M the sum over clusters of the outer products of their scores.

    The score of battle t is w_t (s_t - p_t) (e_a - e_b), and H is the information of the fit (White 1982; Liang &
    Zeger 1986). Where the data cannot show their own variance (pairs across a separation, models whose results never
    varied, models seen on one prompt only) the expected information stands in M instead.

    Args:
        battles: the battles that `fit` was made from.
        fit: the point estimate.
        cluster: ``"prompt"``, or ``"battle"`` to take every battle as independent.
        correction: the small-sample correction described at the top.

    Raises:
        ValueError: `cluster` does not exist, or is ``"prompt"`` and the battles carry no prompt ids.
    """
    if cluster not in ("prompt", "battle"):
        raise ValueError(f"cluster must be prompt or battle, not {cluster!r}")
    if cluster == "prompt" and battles.cluster is None:
        raise ValueError("no prompt ids to cluster by: use cluster='battle'")
    size = len(fit.models)
    p = win_probabilities(fit)
    Q = (fit.wins + fit.wins.T + fit.pseudo + fit.pseudo.T) * p * p.T
    bread = information_inverse(fit, p)

    cell: IntArray = battles.a.astype(np.int64) * size + battles.b
    expected = (fit.pseudo > 0) | flat_pairs(battles, cell, size)
    reach = np.diag(bread)[:, None] + np.diag(bread)[None, :] - 2.0 * bread
    leverage = p * p.T * reach if correction else None
    meat, seen = _meat(battles, cell, p, expected, leverage, cluster)
    thin = (seen < 2) & ~np.isnan(fit.theta)
    if thin.any():
        expected |= thin[:, None] | thin[None, :]
        meat, _ = _meat(battles, cell, p, expected, leverage, cluster)
    if expected.any():
        meat += _laplacian(np.where(expected, Q, 0.0))

    notes: list[str] = []
    if thin.any():
        few = [fit.models[i] for i in np.flatnonzero(thin)]
        shown = ", ".join(few[:8]) + (f" and {len(few) - 8} more" if len(few) > 8 else "")
        notes.append(f"only one {cluster} for {shown}: the interval rests on the model's own information")
    covariance = bread @ meat @ bread
    dof = np.where(thin | (seen < 2), np.inf, np.maximum(seen - 1.0, 1.0)) if correction else np.full(size, np.inf)
    covariance[fit.component[:, None] != fit.component[None, :]] = np.nan
    unrated = np.isnan(fit.theta)
    covariance[unrated] = covariance[:, unrated] = np.nan
    clusters = battles.clusters if cluster == "prompt" else len(battles)
    return Intervals(fit, covariance, dof, clusters, tuple(notes))


def win_probabilities(fit: BradleyTerry) -> FloatArray:
    """P(row beats column) under the fit, shape (K, K); models that met nobody count as average."""
    theta = np.nan_to_num(fit.theta)
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(theta[None, :] - theta[:, None], -700, 700))))


def information_inverse(fit: BradleyTerry, p: FloatArray) -> FloatArray:
    """Pseudo-inverse of the information of the centred strengths, component by component, shape (K, K)."""
    size = len(p)
    H = _laplacian((fit.wins + fit.wins.T + fit.pseudo + fit.pseudo.T) * p * p.T)
    bread = np.zeros((size, size))
    for c in np.unique(fit.component):
        piece = np.flatnonzero((fit.component == c) & ~np.isnan(fit.theta))
        if len(piece) < 2:
            continue
        block = H[np.ix_(piece, piece)]
        block[np.diag_indices(len(piece))] += fit.l2
        # adding a constant makes the singular shift direction regular; centring both sides takes it out again
        inverse = np.linalg.inv(block + np.trace(block) / len(piece) ** 2)
        inverse -= inverse.mean(axis=0, keepdims=True)
        inverse -= inverse.mean(axis=1, keepdims=True)
        bread[np.ix_(piece, piece)] = inverse
    return bread


def _laplacian(Q: FloatArray) -> FloatArray:
    L = -Q
    L[np.diag_indices(len(Q))] += Q.sum(axis=1)
    return L


def flat_pairs(battles: Battles, cell: IntArray, size: int) -> BoolArray:
    """Pairs with a model whose results never varied, shape (K, K)."""
    fought, scored, square = (
        tally(cell, size * size, column).reshape(size, size)
        for column in (None, battles.score_a, battles.score_a * battles.score_a)
    )
    total = fought.sum(axis=1) + fought.sum(axis=0)
    # b scores 1 - s, and (1 - s)^2 = 1 - 2 s + s^2
    mean = (scored.sum(axis=1) + (fought - scored).sum(axis=0)) / np.maximum(total, 1)
    squares = square.sum(axis=1) + (fought - 2.0 * scored + square).sum(axis=0)
    flat = (total > 0) & (squares - total * mean**2 < 1e-9 * np.maximum(total, 1))
    return flat[:, None] | flat[None, :]


def _meat(
    battles: Battles, cell: IntArray, p: FloatArray, expected: BoolArray, leverage: FloatArray | None, cluster: str
) -> tuple[FloatArray, FloatArray]:
    """Sum over clusters of the outer products of their scores, (K, K), and clusters that each model met, (K,)."""
    size = len(p)
    residual = battles.score_a - p.ravel()[cell]
    if battles.weight is not None:
        residual *= battles.weight
    if expected.any():
        residual[expected.ravel()[cell]] = 0.0
    share = None
    if leverage is not None:
        share = leverage.ravel()[cell]
        if battles.weight is not None:
            share *= battles.weight
    if cluster == "prompt":
        return _by_prompt(battles, size, residual, share)
    # clusters of one: the sum is a Laplacian of squared residuals
    square = residual * residual if share is None else residual * residual / (1.0 - np.minimum(share, 0.9))
    total = tally(cell, size * size, square).reshape(size, size)
    return _laplacian(total + total.T), tally(battles.a, size) + tally(battles.b, size)


def _by_prompt(
    battles: Battles, size: int, residual: FloatArray, share: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """`_meat` for clusters of any size, from blocks of the dense matrix of scores (prompts x models)."""
    group, clusters = battles.cluster, battles.clusters
    assert group is not None
    step = max(1, _DENSE_SCORES // max(size, 1))
    columns: list[Any] = [group, battles.a, battles.b, residual] + ([] if share is None else [share])
    edges = np.array([0, len(group)])
    if clusters > step:
        # numpy sorts 16-bit keys by radix, many times faster than wider ones
        order = np.argsort((group // step).astype(np.uint16 if clusters // step < 65536 else np.int64), kind="stable")
        columns = [column[order] for column in columns]
        edges = np.searchsorted(columns[0] // step, np.arange(-(-clusters // step) + 1))
    meat = np.zeros((size, size))
    seen = np.zeros(size)
    for part, first in enumerate(range(0, clusters, step)):
        here, a, b, r, *shares = (column[edges[part] : edges[part + 1]] for column in columns)
        many = min(step, clusters - first)
        here = here.astype(np.int64) - first
        at_a, at_b = here * size + a, here * size + b
        scores = (tally(at_a, many * size, r) - tally(at_b, many * size, r)).reshape(many, size)
        met = np.zeros(many * size, dtype=bool)
        met[at_a] = met[at_b] = True
        present = met.reshape(many, size)
        seen += present.sum(axis=0)
        if shares:
            # a prompt's leverage: trace of its information against the inverse, spread over the directions it spans
            spanned = np.minimum(tally(here, many), present.sum(axis=1) - 1.0)
            leverage = tally(here, many, shares[0]) / np.maximum(spanned, 1.0)
            scores /= np.sqrt(1.0 - np.minimum(leverage, 0.9))[:, None]
        meat += scores.T @ scores
    return meat, seen


def _quantiles(dof: FloatArray, level: float) -> FloatArray:
    distinct, where = np.unique(dof, return_inverse=True)
    return np.array([t_quantile(level, float(value)) for value in distinct])[where]


def t_quantile(level: float, dof: float) -> float:
    """Half-width in standard errors of a two-sided interval: Student's t, normal for infinite `dof`.

    Hill 1970, "Algorithm 396: Student's t-quantiles"; good to about six digits. scipy has the function, too, but would
    add a third to what a plain install weighs, for this one number.

    Raises:
        ValueError: `level` is not strictly between 0 and 1, or `dof` is below 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
    if not dof >= 1.0:
        raise ValueError(f"dof must be at least 1, not {dof}")
    tail = 1.0 - level
    z = NormalDist().inv_cdf(tail / 2.0)
    if dof > 1e7:
        return -z
    if dof == 1.0:
        return float(1.0 / np.tan(tail * np.pi / 2.0))
    if dof == 2.0:
        return float(np.sqrt(2.0 / (tail * (2.0 - tail)) - 2.0))
    a = 1.0 / (dof - 0.5)
    b = 48.0 / a**2
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * np.sqrt(a * np.pi / 2.0) * dof
    y = (d * tail) ** (2.0 / dof)
    if y > 0.05 + a:
        x = z
        y = x * x
        if dof < 5:
            c += 0.3 * (dof - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x
        y = np.expm1(a * y * y)
    else:
        y = (
            (1.0 / (((dof + 6.0) / (dof * y) - 0.089 * d - 0.822) * (dof + 2.0) * 3.0) + 0.5 / (dof + 4.0)) * y - 1.0
        ) * (dof + 1.0) / (dof + 2.0) + 1.0 / y
    return float(np.sqrt(dof * y))
