"""Bradley–Terry ratings that control for length, style or any numeric column.

    P(a beats b) = sigma(theta_a - theta_b + sum_f beta_f x_f)

with x_f the standardised difference of a covariate between the two answers. Ratings then compare models at equal length
(or style): what Chatbot Arena calls style control (Li et al. 2024, "Does style matter?"). Coefficients come with
intervals and can be frozen, so that a model that joins later does not move everybody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, sigmoid, tally
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import BradleyTerry, fit
from arenaloop.ratings.clusters import bound_groups, effective_clusters, worth_inside
from arenaloop.ratings.evidence import Evidence, with_repeats
from arenaloop.ratings.intervals import (
    Intervals,
    between,
    flat_pairs,
    outcome_squares,
)
from arenaloop.ratings.separation import divide
from arenaloop.ratings.student import t_quantile

__all__ = ["Coefficient", "Controlled", "fit_controlled", "scores_by_cluster"]

_RIDGE = 1e-2
"""On the coefficients, where covariates alone tell who won, or cannot be told from the models themselves."""
_AT_REST = 1e-6
"""Largest change of a battle's odds, in nats, by the last step: Newton's error after it is about its square."""
_WITHIN_PAIRS = 1e-3
"""Share of a covariate's square that must vary within pairs of models, not only between them."""
_DENSE_SCORES = 1 << 20
"""Entries of the clusters x parameters matrix of scores that are held at once (8 MiB)."""


@dataclass(frozen=True, slots=True)
class Coefficient:
    """Effect of one covariate, in nats of the odds per standard deviation of its difference.

    Attributes:
        value: the estimate, or what it was frozen at.
        lower, upper: its interval; None for a frozen one, and where the battles do not tell it.
        scale: the standard deviation (around zero) that the differences were divided by. Freeze it with the value.
        frozen: whether it was given.
    """

    value: float
    lower: float | None
    upper: float | None
    scale: float
    frozen: bool


@dataclass(frozen=True, slots=True)
class Controlled:
    """Ratings at equal covariates.

    Attributes:
        fit: the strengths, as `bradley_terry.fit` would return them.
        intervals: their sandwich covariance, with the coefficients' uncertainty in it.
        coefficients: by covariate.
        left_out: battles with a missing covariate, which are not part of the fit.
    """

    fit: BradleyTerry
    intervals: Intervals
    coefficients: Mapping[str, Coefficient]
    left_out: int


def fit_controlled(
    battles: Battles,
    controls: Sequence[str],
    *,
    frozen: Mapping[str, tuple[float, float]] | None = None,
    cluster: str = "prompt",
    level: float = 0.95,
) -> Controlled:
    """Maximum-likelihood strengths and coefficients by Newton's method, with a sandwich covariance over clusters.

    Args:
        battles: battles with `covariates` for every name in `controls`.
        controls: names of the covariates.
        frozen: coefficient and scale of those that shall not be estimated.
        cluster: ``"prompt"`` or ``"battle"``.
        level: of the coefficients' intervals.

    Raises:
        ValueError: no such covariate, none of the battles has it, or no prompt ids to cluster by.
    """
    frozen = frozen or {}
    for name in controls:
        if name not in battles.covariates:
            raise ValueError(f"no covariate {name!r} (found: {', '.join(battles.covariates) or 'none'})")
    if cluster == "prompt" and battles.cluster is None:
        raise ValueError("no prompt ids to cluster by: use cluster='battle'")
    # (N, F), column after column: sums are made of columns
    raw = np.array([battles.covariates[name] for name in controls], dtype=np.float64).reshape(len(controls), -1).T
    measured = np.asarray(np.isfinite(raw).all(axis=1), dtype=np.bool_)
    if len(battles) and not measured.any():
        raise ValueError(f"no battle has a known {' and '.join(controls)}")
    kept = battles if measured.all() else battles.rows(measured)
    raw = raw if measured.all() else np.asfortranarray(raw[measured])
    own = np.sqrt((raw * raw).mean(axis=0)) if len(raw) else np.ones(len(controls))
    scale = np.array([frozen[n][1] if n in frozen else (own[f] or 1.0) for f, n in enumerate(controls)])
    X = raw / scale
    size = len(kept.models)
    cell: IntArray = kept.a.astype(np.int64) * size + kept.b
    between_only = _between_pairs(cell, X, size) & (len(kept) > 0)
    unclear = [name for f, name in enumerate(controls) if name not in frozen and between_only[f]]
    free = [f for f, name in enumerate(controls) if name not in frozen and name not in unclear]
    beta = np.array([frozen[n][0] if n in frozen else 0.0 for n in controls])

    plain = fit(kept)
    theta = np.nan_to_num(plain.theta)
    weight = np.ones(len(kept)) if kept.mass is None else kept.mass
    # pseudo-wins of the plain fit stay in, as battles at equal covariates
    i, j = np.nonzero(plain.pseudo)
    a, b, y, w, powers = kept.a, kept.b, kept.score_a, weight, [weight**power for power in (2, 3, 4)]
    if len(i):
        a, b, cell = (np.concatenate(both) for both in ((a, i), (b, j), (cell, i * size + j)))
        more, whole = plain.pseudo[i, j], np.maximum(plain.unit[i], plain.unit[j])
        w, *powers = (np.concatenate([of, more * whole**power]) for power, of in enumerate((w, *powers)))
        y = np.concatenate([y, np.ones(len(i))])
        X = np.concatenate([X, np.zeros((len(i), len(controls)))])
    squares, cubes, fourths = powers
    F = X if len(free) == len(controls) else np.asfortranarray(X[:, free])
    same = (plain.component[:, None] == plain.component[None, :]).astype(np.float64)
    start = beta.copy()
    notes = plain.notes
    still = [name for f, name in enumerate(controls) if name in unclear and not X[: len(kept), f].any()]
    if still:
        notes = (*notes, f"no difference in {' and '.join(still)} between any two answers: no effect of it is taken")
    if moving := [name for name in unclear if name not in still]:
        notes = (
            *notes,
            f"the effect of {' and '.join(moving)} cannot be told from the models themselves, as it varies only "
            "between pairs of them: taken as none",
        )
    for ridge in (0.0, _RIDGE):
        theta, beta = np.nan_to_num(plain.theta), start.copy()
        penalty = np.diag(np.concatenate([np.zeros(size), np.full(len(free), ridge)]))
        odds = theta[a] - theta[b] + X @ beta
        for _ in range(100):
            p = sigmoid(odds)
            r, q = w * (y - p), w * p * (1.0 - p)
            gradient = np.concatenate([_apart(cell, r, size), F.T @ r - ridge * beta[free]])
            H = _information(cell, q, F, size) + penalty
            try:
                step = np.linalg.solve(H + _origin(H, same, size), gradient)
            except np.linalg.LinAlgError:
                reach = np.inf
                break
            moved = step[:size][a] - step[:size][b] + F @ step[size:]
            reach = float(np.abs(moved).max(initial=0.0))
            damping = np.log1p(reach) / reach if reach > 0 else 1.0
            theta += damping * step[:size]
            beta[free] += damping * step[size:]
            odds += damping * moved
            if reach < _AT_REST or np.abs(beta).max(initial=0.0) > 50.0:
                break
        confounded = _confounded(H - penalty + _origin(H, same, size), H - penalty, size)
        if reach < _AT_REST and not (ridge == 0.0 and confounded.any()):
            break
        if ridge == 0.0 and reach < _AT_REST:
            mixed = " and ".join(controls[free[f]] for f in np.flatnonzero(confounded))
            notes = (*notes, f"the effect of {mixed} cannot be told from the models themselves")
        elif ridge == 0.0:
            notes = (
                *notes,
                f"the effect of {' and '.join(controls)} has no finite estimate; kept finite by a ridge of {_RIDGE:g}",
            )
    rated = ~np.isnan(plain.theta)
    for c in np.unique(plain.component[rated]):
        piece = rated & (plain.component == c)
        theta[piece] -= theta[piece].mean()

    p = sigmoid(theta[a] - theta[b] + X @ beta)
    r, q = w * (y - p), w * p * (1.0 - p)
    H = _information(cell, q, F, size) + penalty
    bread = np.linalg.inv(H + _origin(H, same, size))
    units = kept.clusters if cluster == "prompt" else len(kept)
    group = np.arange(len(kept)) if kept.cluster is None or cluster == "battle" else kept.cluster
    bound = bound_groups(kept) if cluster == "prompt" else None
    worth = effective_clusters(kept, cluster)
    worth = worth if bound is None else worth_inside(kept, bound, worth)
    # as in `intervals.sandwich`: where the data cannot show their own variance, the expected information stands in
    thin = (worth < 1.5) & rated
    flat = flat_pairs(kept, plain, outcome_squares(kept))
    expected = (plain.pseudo > 0) | flat | thin[:, None] | thin[None, :]
    stands_in = expected.ravel()[cell]
    shown = np.where(stands_in, 0.0, r)[: len(kept)]
    if cluster == "battle":
        meat = _information(cell[: len(kept)], shown * shown, F[: len(kept)], size)
    else:
        scored = np.multiply(shown[:, None], F[: len(kept)], order="F")
        meat = scores_by_cluster(group, units, kept.a, kept.b, shown, scored, size)
    chance = p * (1.0 - p)
    known = np.zeros_like(meat)
    if stands_in.any():
        known = _information(cell, np.where(stands_in, squares * chance, 0.0), F, size)
    alone = _laplacian(cell[: len(kept)], shown * shown, size) + known[:size, :size]
    meat += known
    covariance = bread @ meat @ bread
    covariance *= units / max(units - 1.0, 1.0)
    centre = np.eye(size) - same / np.maximum(same.sum(axis=1), 1.0)[:, None]
    of_theta = between(plain, centre @ covariance[:size, :size] @ centre.T)
    coefficients = {}
    for f, name in enumerate(controls):
        half = None
        if f in free and units > 1 and not confounded[free.index(f)]:
            at = size + free.index(f)
            half = float(np.sqrt(max(covariance[at, at], 0.0))) * t_quantile(level, max(units - 1.0, 1.0))
        value = float(beta[f])
        lower, upper = (None, None) if half is None else (value - half, value + half)
        coefficients[name] = Coefficient(value, lower, upper, float(scale[f]), name in frozen)
    fitted = replace(plain, theta=np.where(rated, theta, np.nan), notes=notes)
    prompts = cluster == "prompt"
    Q, spread, rarity = (
        _by_pair(cell, values, size) for values in (q, squares * chance, fourths * chance * (1.0 - 4.0 * chance))
    )
    third = tally(cell, size * size, cubes * chance * (1.0 - 2.0 * p)).reshape(size, size)
    by_fit = bread if kept.mass is None else bread @ _information(cell, squares * chance, F, size) @ bread
    evidence = Evidence(
        centre @ bread[:size, :size] @ centre.T,
        centre @ by_fit[:size, :size] @ centre.T,
        spread,
        rarity,
        third - third.T,
        alone if prompts else None,
        worth - 1.0 if prompts else np.where(thin, np.inf, np.maximum(worth - 1.0, 1.0)),
        prompts,
        thin,
        bound,
    )
    evidence = with_repeats(evidence, kept, plain.wins, plain.unit)
    ahead = tally(cell, size * size, w * (X @ beta)).reshape(size, size)
    fought = _by_pair(cell, w, size)
    offset = (ahead - ahead.T) / np.where(fought > 0, fought, 1.0)
    found = divide(kept, fitted, Q, of_theta, cluster, offset)
    return Controlled(
        fitted, Intervals(fitted, of_theta, units, evidence, found), coefficients, int(np.count_nonzero(~measured))
    )


def _by_pair(cell: IntArray, values: FloatArray, size: int) -> FloatArray:
    """Sums of `values` over the battles of each pair, shape (K, K), symmetric."""
    total = tally(cell, size * size, values).reshape(size, size)
    return total + total.T


def _apart(cell: IntArray, values: FloatArray, size: int) -> FloatArray:
    """Sum of value (e_a - e_b) over battles, shape (K,)."""
    total = tally(cell, size * size, values).reshape(size, size)
    return np.asarray(total.sum(axis=1) - total.sum(axis=0))


def _laplacian(cell: IntArray, values: FloatArray, size: int) -> FloatArray:
    """Sum of value (e_a - e_b)(e_a - e_b)^T over battles, shape (K, K)."""
    pair = _by_pair(cell, values, size)
    return np.asarray(np.diag(pair.sum(axis=1)) - pair)


def _information(cell: IntArray, q: FloatArray, F: FloatArray, size: int) -> FloatArray:
    """Sum of q x x^T over battles with x = (e_a - e_b, F), shape (size + F, size + F)."""
    count = F.shape[1]
    H = np.zeros((size + count, size + count))
    H[:size, :size] = _laplacian(cell, q, size)
    for f in range(count):
        qf = q * F[:, f]
        H[:size, size + f] = H[size + f, :size] = _apart(cell, qf, size)
        H[size + f, size:] = qf @ F
    return H


def _between_pairs(cell: IntArray, X: FloatArray, size: int) -> BoolArray:
    """Which covariates are (nearly) the same in all battles of a pair of models, shape (F,).

    Such a one would be told from the strengths by how far these are from adding up, which is no effect of it.
    """
    count = np.maximum(_by_pair(cell, np.ones(len(cell)), size), 1.0)
    out = []
    for x in X.T:
        total = tally(cell, size * size, x).reshape(size, size)
        square = float(x @ x)
        within = square - float(np.triu((total - total.T) ** 2 / count, 1).sum())
        out.append(within <= _WITHIN_PAIRS * square)
    return np.array(out, dtype=np.bool_)


def _confounded(regular: FloatArray, H: FloatArray, size: int) -> BoolArray:
    """Which free covariates hold nothing that the models and the other covariates do not hold, shape (F,)."""
    left = H[size:, size:] - H[size:, :size] @ np.linalg.solve(regular[:size, :size], H[:size, size:])
    count = len(left)
    alone = np.zeros(count)
    for f in range(count):
        rest = np.arange(count) != f
        alone[f] = left[f, f] - left[f, rest] @ np.linalg.pinv(left[np.ix_(rest, rest)], hermitian=True) @ left[rest, f]
    return np.asarray(alone <= 1e-9 * np.diag(H)[size:])


def _origin(H: FloatArray, same: FloatArray, size: int) -> FloatArray:
    """What makes H regular: weight on the shift of each component, and a trace on covariates that never vary."""
    out = np.zeros_like(H)
    out[:size, :size] = same * (max(float(np.trace(H[:size, :size])), 1.0) / max(size, 1) ** 2)
    flat = np.arange(size, len(H))
    out[flat, flat] = np.where(np.diag(H)[size:] > 0, 0.0, 1.0)
    return out


def scores_by_cluster(
    group: IntArray, groups: int, a: IntArray, b: IntArray, r: FloatArray, S: FloatArray, size: int
) -> FloatArray:
    """Sum over clusters of the outer products of their summed scores, shape (size + F, size + F).

    Args:
        group: cluster of each battle, 0 to `groups` - 1, shape (N,).
        a, b: codes of its models.
        r: its score in theta_a - theta_b, shape (N,).
        S: its scores in F parameters more, shape (N, F).
        size: how many models there are.
    """
    wide = size + S.shape[1]
    step = max(1, _DENSE_SCORES // wide)
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(0, groups + step, step))
    meat = np.zeros((wide, wide))
    for part, first in enumerate(range(0, groups, step)):
        rows = order[edges[part] : edges[part + 1]]
        here = group[rows].astype(np.int64) - first
        many = min(step, groups - first)
        base = here * wide
        scores = tally(base + a[rows], many * wide, r[rows]) - tally(base + b[rows], many * wide, r[rows])
        scores = scores.reshape(many, wide)
        for f in range(S.shape[1]):
            scores[:, size + f] = tally(here, many, S[rows, f])
        meat += scores.T @ scores
    return meat
