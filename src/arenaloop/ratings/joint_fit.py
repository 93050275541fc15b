"""The fit behind `reliability`: strengths, slopes and seat effects at once, and how sure all of them are together.

    P(judge j names the first of a, b) = sigma(alpha_j (theta_a - theta_b) + s_j)

Penalised maximum likelihood by Fisher's scoring with halved steps, on votes summed by judge and seated pair. P is short
for K + 2 J parameters in the order theta, alpha, s. Their joint covariance is a sandwich: bread from the expected
information within the constraints that fix the scale, meat from the clusters' scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, sigmoid, tally
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import BradleyTerry

__all__ = ["RIDGE", "JointFit", "by_pair", "fit_jointly", "laplacian"]

RIDGE = 0.1
"""On each slope's distance from 1 and on each seat effect, in squared nats."""
_STEPS = 200
_TOLERANCE = 1e-8
_DENSE_SCORES = 1 << 20
"""Entries of the clusters x parameters matrix of scores that are held at once (8 MiB)."""


@dataclass(frozen=True, slots=True)
class _Cells:
    """Votes summed by judge and seated pair, shape (C,) each.

    `judge` is J for pseudo-wins and where nobody judged, `seat` besides where the vote tells nothing of the seat.
    """

    judge: IntArray
    seat: IntArray
    a: IntArray
    b: IntArray
    weight: FloatArray
    won: FloatArray


@dataclass(frozen=True, slots=True)
class JointFit:
    """A joint fit of K models and J judges.

    Attributes:
        theta, alpha, seat: strengths, centred within each component, shape (K,), slopes and seat effects, shape (J,).
        lone: slope of votes that needed no judge, and of pseudo-wins.
        slope, apart, p: of each vote its judge's slope, the difference of strengths, the fitted probability of the
            first, shape (N,).
        bread: inverse of the information within the constraints, shape (P, P).
        known: covariance were votes independent and the fit the truth, shape (P, P).
        covariance: the sandwich, shape (P, P).
        converged: whether the fit came to rest. `steps`: how many it took.
    """

    theta: FloatArray
    alpha: FloatArray
    seat: FloatArray
    lone: float
    slope: FloatArray
    apart: FloatArray
    p: FloatArray
    bread: FloatArray
    known: FloatArray
    covariance: FloatArray
    converged: bool
    steps: int


def fit_jointly(
    battles: Battles,
    judge: IntArray,
    J: int,
    plain: BradleyTerry,
    *,
    group: IntArray,
    units: int,
    seatless: BoolArray | None = None,
) -> JointFit:
    """Fit models and judges.

    Args:
        battles: one vote each, `a` in the first seat.
        judge: who gave it, shape (N,); J for nobody.
        J: how many judges there are.
        plain: the fit of all votes alike: where to begin, and whose pseudo-wins stay in.
        group: which of the `units` clusters each vote belongs to, shape (N,).
        seatless: votes that tell of models and judge, and nothing of the seat, shape (N,); None for none.
    """
    K = len(battles.models)
    seated = judge if seatless is None else np.where(seatless, J, judge)
    cells = _cells(battles, judge, seated, plain, J)
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
    x, frame, lone = _scaled(x, frame, K, J)
    theta, alpha, seat = x[:K], x[K : K + J], x[K + J :]
    for c in np.unique(plain.component[rated]):
        piece = rated & (plain.component == c)
        theta[piece] -= theta[piece].mean()

    bread = _inverse(_derivatives(cells, x, K, J, lone)[1], frame)
    weight = np.ones(len(battles)) if battles.mass is None else battles.mass
    slope = np.append(alpha, lone)[judge]
    apart = theta[battles.a] - theta[battles.b]
    p = sigmoid(slope * apart + np.append(seat, 0.0)[seated])
    meat = _meat(battles, judge, seated, weight * (battles.score_a - p), slope, apart, group, units, J)
    return JointFit(
        theta=theta,
        alpha=alpha,
        seat=seat,
        lone=lone,
        slope=slope,
        apart=apart,
        p=p,
        bread=bread,
        known=bread @ _expected(cells, x, K, J, lone) @ bread,
        covariance=bread @ meat @ bread * (units / max(units - 1.0, 1.0)),
        converged=rest < 1e-5,
        steps=steps,
    )


def _cells(battles: Battles, judge: IntArray, seated: IntArray, plain: BradleyTerry, J: int) -> _Cells:
    K = len(battles.models)
    weight = np.ones(len(battles)) if battles.mass is None else battles.mass
    code = ((judge.astype(np.int64) * (J + 1) + seated) * K + battles.a) * K + battles.b
    distinct, where = np.unique(code, return_inverse=True)
    i, j = np.nonzero(plain.pseudo)
    more = plain.pseudo[i, j]
    return _Cells(
        np.concatenate([distinct // (K * K * (J + 1)), np.full(len(i), J)]),
        np.concatenate([distinct // (K * K) % (J + 1), np.full(len(i), J)]),
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
    return slope * d + np.append(x[K + J :], 0.0)[cells.seat], slope, d


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
        tally(cells.seat, J + 1, r)[:J] - RIDGE * x[K + J :],
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
    H[:K, :K] = laplacian(cells.a.astype(np.int64) * K + cells.b, q * slope**2, K)
    for first, by, values in ((K, cells.judge, q * slope * d), (K + J, cells.seat, q * slope)):
        block = tally(cells.a * (J + 1) + by, K * (J + 1), values) - tally(cells.b * (J + 1) + by, K * (J + 1), values)
        H[:K, first : first + J] = block.reshape(K, J + 1)[:, :J]
        H[first : first + J, :K] = H[:K, first : first + J].T
    at = np.arange(J)
    H[K + at, K + at] = tally(cells.judge, J + 1, q * d * d)[:J]
    H[K + J + at, K + J + at] = tally(cells.seat, J + 1, q)[:J]
    H[K + at, K + J + at] = H[K + J + at, K + at] = tally(cells.seat, J + 1, q * d)[:J]
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


def laplacian(cell: IntArray, values: FloatArray, K: int) -> FloatArray:
    """Sum of value (e_a - e_b)(e_a - e_b)^T, shape (K, K)."""
    pair = by_pair(cell, values, K)
    return np.asarray(np.diag(pair.sum(axis=1)) - pair)


def by_pair(cell: IntArray, values: FloatArray, K: int) -> FloatArray:
    """Sums over each pair, whoever sat first, shape (K, K), symmetric."""
    total = tally(cell, K * K, values).reshape(K, K)
    return np.asarray(total + total.T)


def _meat(
    battles: Battles,
    judge: IntArray,
    seat: IntArray,
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
        judged, seated = judge[rows] < J, seat[rows] < J
        by, by_seat = base[judged] + K + judge[rows][judged], base[seated] + K + J + seat[rows][seated]
        at = [base + battles.a[rows], base + battles.b[rows], by, by_seat]
        values = [own * residual, -own * residual, (d[rows] * residual)[judged], residual[seated]]
        scores = tally(np.concatenate(at), many * wide, np.concatenate(values)).reshape(many, wide)
        meat += scores.T @ scores
    return meat
