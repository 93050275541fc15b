"""Bradley–Terry with judges of unlike reliability, fitted jointly and without labels.

    P(judge j names the first of a, b) = sigma(alpha_j (theta_a - theta_b) + s_j)

alpha_j is how many nats of its odds a judge gives to one nat of strength: a coin has 0, a judge that turns everything
round a negative one. s_j is what the first seat is worth to it. A judge's vote weighs alpha_j in the fit (sum of
alpha_j y_j is what the likelihood knows of a battle), so that nobody has to say beforehand who is to be trusted: judges
that agree with what all of them together say of the models count for more. The model is the two-parameter logistic one
of item response theory (Birnbaum 1968) with judges for items.

Scale: only products of alpha and theta are seen. So the slopes are divided by their mean in which each counts by
itself, sum alpha^2 / sum alpha over the positive ones: a coin more or less neither stretches ratings nor shrinks them,
and of judges who are all alike each has slope 1. A ridge of `RIDGE` draws slopes to 1 and seat effects to 0, which
matters where votes are few. Of judges who all err alike nothing is learned here: they agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, sigmoid, tally
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import BradleyTerry, fit
from arenaloop.ratings.clusters import bound_groups, effective_clusters, worth_inside
from arenaloop.ratings.evidence import Evidence
from arenaloop.ratings.intervals import Intervals, between
from arenaloop.ratings.student import t_quantile

__all__ = ["MOST_JUDGES", "RIDGE", "JudgeFit", "Reliability", "fit_reliability"]

RIDGE = 0.1
"""On each slope's distance from 1 and on each seat effect, in squared nats."""
MOST_JUDGES = 200
_STEPS = 200
_TOLERANCE = 1e-8
_DENSE_SCORES = 1 << 20
"""Entries of the clusters x parameters matrix of scores that are held at once (8 MiB)."""


@dataclass(frozen=True, slots=True)
class JudgeFit:
    """One judge.

    Attributes:
        name: of the judge. `votes`: how many of its verdicts were fitted.
        slope, slope_lower, slope_upper: alpha and its interval; see the module for its scale.
        weight: its slope as a share of the best's, in [0, 1]; 0 where it is not positive.
        seat, seat_lower, seat_upper: what the first seat is worth to it, in nats.
    """

    name: str
    votes: int
    slope: float
    slope_lower: float | None
    slope_upper: float | None
    weight: float
    seat: float
    seat_lower: float | None
    seat_upper: float | None


@dataclass(frozen=True, slots=True)
class Reliability:
    """The joint fit.

    Attributes:
        intervals: strengths (`intervals.fit`) and their covariance, the judges' uncertainty in it.
        judges: in the order that they were given.
        separated: models that won or lost every vote against some of the others, shape (K,): no interval is known.
        converged: whether the fit came to rest. `steps`: how many it took.
        notes: what a reader should know, in plain words.
    """

    intervals: Intervals
    judges: tuple[JudgeFit, ...]
    separated: BoolArray
    converged: bool
    steps: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Cells:
    """Votes summed by judge and seated pair, shape (C,) each; `judge` is J for pseudo-wins and where nobody judged."""

    judge: IntArray
    a: IntArray
    b: IntArray
    weight: FloatArray
    won: FloatArray


def fit_reliability(
    battles: Battles, judge: IntArray, judges: Sequence[str], *, cluster: str = "prompt", level: float = 0.95
) -> Reliability:
    """Penalised maximum likelihood by Fisher's scoring with halved steps, and a sandwich covariance over clusters.

    Args:
        battles: one vote each, `a` in the first seat.
        judge: who gave it, codes into `judges`, shape (N,); J for a loss that needed no judge, such as by a failure of
            the model's own, which has slope 1 and no seat.
        judges: J names.
        cluster: ``"prompt"``, so that all votes on a prompt are one observation, or ``"battle"``.
        level: of the judges' intervals.

    Raises:
        ValueError: too many judges, or no prompt ids to cluster by.
    """
    J, K = len(judges), len(battles.models)
    if J > MOST_JUDGES:
        raise ValueError(f"{J:,} judges: rule reliability is for a jury, of at most {MOST_JUDGES}")
    if cluster == "prompt" and battles.cluster is None:
        raise ValueError("no prompt ids to cluster by: use cluster='battle'")
    plain = fit(battles)
    cells = _cells(battles, judge, plain, J)
    rated = ~np.isnan(plain.theta)
    frame = _constraints(plain, rated, J)
    x = np.concatenate([np.nan_to_num(plain.theta), np.ones(J), np.zeros(J)])
    loss = _loss(cells, x, K, J)
    steps, rest = 0, np.inf
    while steps < _STEPS and rest >= _TOLERANCE:
        steps += 1
        gradient, H = _derivatives(cells, x, K, J)
        step = _solve(H, frame, gradient)[: len(x)]
        rest = float(np.abs(gradient @ step))
        size = 1.0
        while size > 1e-6 and (tried := _loss(cells, x + size * step, K, J)) > loss + 1e-12 * abs(loss):
            size /= 2.0
        if size <= 1e-6:
            break
        x, loss = x + size * step, tried
    converged = rest < 1e-5
    x, frame, lone = _scaled(x, frame, K, J)
    theta, alpha, seat = x[:K], x[K : K + J], x[K + J :]
    for c in np.unique(plain.component[rated]):
        piece = rated & (plain.component == c)
        theta[piece] -= theta[piece].mean()

    _, H = _derivatives(cells, x, K, J, lone)
    bread = _inverse(H, frame)
    weight = np.ones(len(battles)) if battles.mass is None else battles.mass
    own = np.append(alpha, lone)[judge]
    d = theta[battles.a] - theta[battles.b]
    p = sigmoid(own * d + np.append(seat, 0.0)[judge])
    r, q = weight * (battles.score_a - p), weight**2 * p * (1.0 - p)
    prompts = cluster == "prompt"
    group = battles.cluster if prompts and battles.cluster is not None else np.arange(len(battles))
    units = battles.clusters if prompts else len(battles)
    meat = _meat(battles, judge, r, own, d, group, units, J)
    covariance = bread @ meat @ bread * (units / max(units - 1.0, 1.0))

    fitted = replace(plain, theta=np.where(rated, theta, np.nan))
    cell = battles.a.astype(np.int64) * K + battles.b
    worth = effective_clusters(battles, cluster)
    bound = bound_groups(battles) if prompts else None
    worth = worth if bound is None else worth_inside(battles, bound, worth)
    thin = (worth < 1.5) & rated
    known = bread @ _expected(cells, x, K, J, lone) @ bread
    evidence = Evidence(
        bread[:K, :K],
        known[:K, :K],
        _by_pair(cell, q * own**2, K),
        _by_pair(cell, weight**4 * own**4 * (qq := p * (1.0 - p)) * (1.0 - 4.0 * qq), K),
        _laplacian(cell, (own * r) ** 2, K) if prompts else None,
        worth - 1.0 if prompts else np.where(thin, np.inf, np.maximum(worth - 1.0, 1.0)),
        prompts,
        thin,
        bound,
    )
    intervals = Intervals(fitted, between(plain, covariance[:K, :K]), units, evidence, None)
    fits = _judges(judges, judge, alpha, seat, np.diag(covariance)[K:], units, level)
    return Reliability(
        intervals,
        fits,
        np.asarray(plain.pseudo.any(axis=1)),
        converged,
        steps,
        tuple(_notes(plain, fits, converged, steps)),
    )


def _cells(battles: Battles, judge: IntArray, plain: BradleyTerry, J: int) -> _Cells:
    K = len(battles.models)
    weight = np.ones(len(battles)) if battles.mass is None else battles.mass
    code = (judge.astype(np.int64) * K + battles.a) * K + battles.b
    distinct, where = np.unique(code, return_inverse=True)
    i, j = np.nonzero(plain.pseudo)
    more = plain.pseudo[i, j]
    return _Cells(
        np.concatenate([distinct // (K * K), np.full(len(i), J)]),
        np.concatenate([distinct // K % K, i]),
        np.concatenate([distinct % K, j]),
        np.concatenate([tally(where, len(distinct), weight), more]),
        np.concatenate([tally(where, len(distinct), weight * battles.score_a), more]),
    )


def _constraints(plain: BradleyTerry, rated: BoolArray, J: int) -> FloatArray:
    """Directions that stay: the sum of each component's strengths, models without a vote, the sum of the slopes."""
    K = len(plain.models)
    rows = [np.where(rated & (plain.component == c), 1.0, 0.0) for c in np.unique(plain.component[rated])]
    rows += [np.eye(K)[i] for i in np.flatnonzero(~rated)]
    frame = np.zeros((len(rows) + 1, K + 2 * J))
    for n, row in enumerate(rows):
        frame[n, :K] = row / np.sqrt(row.sum())
    frame[-1, K : K + J] = 1.0 / np.sqrt(J)
    return frame


def _scaled(x: FloatArray, frame: FloatArray, K: int, J: int) -> tuple[FloatArray, FloatArray, float]:
    """The fit with slopes of self-weighted mean 1, the directions that then stay, and the slope of nobody's votes."""
    alpha = x[K : K + J]
    good = np.maximum(alpha, 0.0)
    unit = float(good @ good) / float(good.sum())
    x = np.concatenate([x[:K] * unit, alpha / unit, x[K + J :]])
    along = np.where(alpha > 0, 2.0 * alpha / unit - 1.0, 0.0)
    frame = frame.copy()
    frame[-1, K : K + J] = along / np.sqrt(along @ along)
    return x, frame, 1.0 / unit


def _predictor(cells: _Cells, x: FloatArray, K: int, J: int, lone: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each cell its odds, the slope and the difference of strengths; pseudo-wins have slope `lone` and no seat."""
    slope = np.append(x[K : K + J], lone)[cells.judge]
    d = x[cells.a] - x[cells.b]
    return slope * d + np.append(x[K + J :], 0.0)[cells.judge], slope, d


def _loss(cells: _Cells, x: FloatArray, K: int, J: int) -> float:
    eta, _, _ = _predictor(cells, x, K, J, 1.0)
    likelihood = float((cells.won * eta - cells.weight * np.logaddexp(0.0, eta)).sum())
    return 0.5 * RIDGE * float(((x[K : K + J] - 1.0) ** 2).sum() + (x[K + J :] ** 2).sum()) - likelihood


def _derivatives(cells: _Cells, x: FloatArray, K: int, J: int, lone: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Ascent direction of the penalised likelihood, shape (P,), and its expected information, shape (P, P)."""
    eta, slope, d = _predictor(cells, x, K, J, lone)
    p = sigmoid(eta)
    r = cells.won - cells.weight * p
    gradient = np.concatenate([
        tally(cells.a, K, slope * r) - tally(cells.b, K, slope * r),
        tally(cells.judge, J + 1, d * r)[:J] - RIDGE * (x[K : K + J] - 1.0),
        tally(cells.judge, J + 1, r)[:J] - RIDGE * x[K + J :],
    ])  # fmt: skip
    H = _expected(cells, x, K, J, lone)
    ridge = np.arange(K, K + 2 * J)
    H[ridge, ridge] += RIDGE
    return gradient, H


def _expected(cells: _Cells, x: FloatArray, K: int, J: int, lone: float) -> FloatArray:
    """Expected information of the votes, shape (P, P)."""
    eta, slope, d = _predictor(cells, x, K, J, lone)
    p = sigmoid(eta)
    q = cells.weight * p * (1.0 - p)
    H = np.zeros((K + 2 * J, K + 2 * J))
    H[:K, :K] = _laplacian(cells.a.astype(np.int64) * K + cells.b, q * slope**2, K)
    for first, values in ((K, q * slope * d), (K + J, q * slope)):
        block = tally(cells.a * (J + 1) + cells.judge, K * (J + 1), values) - tally(
            cells.b * (J + 1) + cells.judge, K * (J + 1), values
        )
        H[:K, first : first + J] = block.reshape(K, J + 1)[:, :J]
        H[first : first + J, :K] = H[:K, first : first + J].T
    at = np.arange(J)
    by_judge = [tally(cells.judge, J + 1, values)[:J] for values in (q * d * d, q * d, q)]
    H[K + at, K + at], H[K + J + at, K + J + at] = by_judge[0], by_judge[2]
    H[K + at, K + J + at] = H[K + J + at, K + at] = by_judge[1]
    return H


def _bordered(H: FloatArray, frame: FloatArray) -> FloatArray:
    return np.block([[H, frame.T], [frame, np.zeros((len(frame), len(frame)))]])


def _solve(H: FloatArray, frame: FloatArray, gradient: FloatArray) -> FloatArray:
    """The step within the constraints, shape (P + C,)."""
    whole = _bordered(H, frame)
    right = np.concatenate([gradient, np.zeros(len(frame))])
    try:
        return np.asarray(np.linalg.solve(whole, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(whole, right, rcond=None)[0])


def _inverse(H: FloatArray, frame: FloatArray) -> FloatArray:
    """Inverse of the information within the constraints, shape (P, P)."""
    return np.asarray(np.linalg.pinv(_bordered(H, frame), hermitian=True)[: len(H), : len(H)])


def _laplacian(cell: IntArray, values: FloatArray, K: int) -> FloatArray:
    """Sum of value (e_a - e_b)(e_a - e_b)^T, shape (K, K)."""
    pair = _by_pair(cell, values, K)
    return np.asarray(np.diag(pair.sum(axis=1)) - pair)


def _by_pair(cell: IntArray, values: FloatArray, K: int) -> FloatArray:
    """Sums over each pair, whoever sat first, shape (K, K), symmetric."""
    total = tally(cell, K * K, values).reshape(K, K)
    return np.asarray(total + total.T)


def _meat(
    battles: Battles,
    judge: IntArray,
    r: FloatArray,
    slope: FloatArray,
    d: FloatArray,
    group: IntArray,
    units: int,
    J: int,
) -> FloatArray:
    """Sum over clusters of the outer products of their scores, shape (P, P)."""
    K = len(battles.models)
    wide = K + 2 * J
    step = max(1, _DENSE_SCORES // wide)
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(0, units + step, step))
    meat = np.zeros((wide, wide))
    for part, first in enumerate(range(0, units, step)):
        rows = order[edges[part] : edges[part + 1]]
        many = min(step, units - first)
        base = (group[rows].astype(np.int64) - first) * wide
        own, residual = slope[rows], r[rows]
        judged = judge[rows] < J
        by = base[judged] + K + judge[rows][judged]
        at = [base + battles.a[rows], base + battles.b[rows], by, by + J]
        values = [own * residual, -own * residual, (d[rows] * residual)[judged], residual[judged]]
        scores = tally(np.concatenate(at), many * wide, np.concatenate(values)).reshape(many, wide)
        meat += scores.T @ scores
    return meat


def _judges(
    names: Sequence[str],
    judge: IntArray,
    alpha: FloatArray,
    seat: FloatArray,
    variance: FloatArray,
    units: int,
    level: float,
) -> tuple[JudgeFit, ...]:
    J = len(names)
    half = np.sqrt(np.maximum(variance, 0.0)) * t_quantile(level, max(units - 1.0, 1.0))
    best = max(float(alpha.max(initial=0.0)), 1e-12)
    votes = np.bincount(judge, minlength=J + 1)

    def ends(value: float, of: float) -> tuple[float | None, float | None]:
        return (value - of, value + of) if units > 2 and of > 1e-9 else (None, None)

    return tuple(
        JudgeFit(
            name,
            int(votes[j]),
            float(alpha[j]),
            *ends(float(alpha[j]), float(half[j])),
            max(float(alpha[j]) / best, 0.0),
            float(seat[j]),
            *ends(float(seat[j]), float(half[J + j])),
        )
        for j, name in enumerate(names)
    )


def _notes(plain: BradleyTerry, fits: Sequence[JudgeFit], converged: bool, steps: int) -> list[str]:
    notes = list(plain.notes)
    if not converged:
        notes.append(f"the fit of judges and models did not converge in {steps} steps: its figures are not to be used")
    turned = [one.name for one in fits if one.slope_upper is not None and one.slope_upper < 0.0]
    if turned:
        notes.append(f"{', '.join(turned)} votes against what the others see: weight 0")
    silent = [
        one.name
        for one in fits
        if one.slope_lower is not None and one.slope_upper is not None and one.slope_lower <= 0.0 <= one.slope_upper
    ]
    if silent:
        notes.append(f"{', '.join(silent)}: no better than a coin, as far as these votes tell")
    if len(fits) == 1:
        notes.append("one judge: there is nobody to compare it with, so its slope is 1")
    if len(fits) == 2:
        notes.append("two judges: which of them is the better one is seen only by how far each spreads the models")
    return notes
