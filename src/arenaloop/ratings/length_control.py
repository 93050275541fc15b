"""Length-controlled win rates: what a model would win if its answers were as long as the baseline's.

The published GLM (Dubois et al. 2024, arXiv 2404.04475, section 3; AlpacaEval's glm_winrate.py):

    P_i = sigma(b_len tanh(delta_i / sd(delta)) + b_diff gamma_i + b_model)

with delta the baseline's length minus the model's, in characters, and gamma_i the difficulty of the instruction. The
length-controlled win rate is the mean of P_i with the length term put to zero. The fit here is plain maximum likelihood
by default; the public leaderboard uses an L1 penalty chosen by cross-validation, which moves its numbers by about one
and a half points on average.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, sigmoid, tally
from arenaloop.ratings.bca import bca_interval
from arenaloop.ratings.rates import UNKNOWN, Rate

__all__ = [
    "FEW",
    "Refit",
    "controlled_rate",
    "estimate_difficulty",
    "length_controlled",
    "plausible",
    "standardised_length",
]

FEW = 10
"""Wins or losses (draws half) below which an interval of the length-controlled rate holds the truth too rarely: with 7
wins of 60 about 80 % of the time instead of 95 (`experiments/length_control_coverage.py`)."""
Refit = Callable[[FloatArray], FloatArray]
"""The rate in percent of each resample, shape (S,), by what its rows weigh, shape (S, n)."""
_RIDGE = 1e-2
"""Ridge on the GLM's coefficients where the preferences separate, so that they stay finite (flag ``penalised``)."""


def length_controlled(gamma: FloatArray, *, b_diff: float, b_model: float) -> float:
    """Length-controlled win rate in percent from a fit's weights: ``100 mean_i sigma(b_diff gamma_i + b_model)``."""
    return 100.0 * float(np.mean(sigmoid(b_diff * np.asarray(gamma, dtype=np.float64) + b_model)))


def standardised_length(delta: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    """``tanh(delta / sd(delta))`` along the last axis, sd with ddof 1 and no centring; 0 where sd is 0 or unknown.

    Args:
        delta: length differences, shape (n,); NaN counts as no difference.
        weight: resample counts, shape (S, n); the standard deviation is then that of each resample.

    Returns:
        z, shape (n,) or (S, n).
    """
    known = ~np.isnan(delta)
    filled = np.where(known, delta, 0.0)
    mass = (np.ones_like(filled) if weight is None else weight) * known
    total = mass.sum(axis=-1, keepdims=True)
    mean = (mass * filled).sum(axis=-1, keepdims=True) / np.maximum(total, 1.0)
    variance = (mass * (filled - mean) ** 2).sum(axis=-1, keepdims=True) / np.maximum(total - 1.0, 1.0)
    spread = np.sqrt(variance)
    return np.asarray(np.tanh(np.where(spread > 0, filled / np.where(spread > 0, spread, 1.0), 0.0)))


def controlled_rate(
    y: FloatArray,
    delta: FloatArray,
    gamma: FloatArray | None,
    weight: FloatArray,
    left_out: FloatArray,
    level: float,
    penalty: float,
    regular: tuple[FloatArray, FloatArray, FloatArray] | None,
    counted: FloatArray | None = None,
) -> tuple[Rate, dict[str, float] | None, list[str], Refit | None]:
    """Length-controlled win rate of one model with its BCa interval, the GLM's weights, flags, and what refits it.

    The standard error is the standard deviation of the resamples.

    Args:
        y: preference for the model in [0, 1], NaN where it failed, shape (n,). `delta`, `gamma`: as in the module.
        weight: of each row in each resample of prompts, shape (S, n).
        left_out: the same with each group of prompts left out in turn, shape (G, n).
        level: of the interval.
        penalty: ridge on the coefficients.
        regular: rows that join every fit, see `_glm`.
        counted: weight of each row in the rates, shape (n,), summing to their effective number; all alike by default.
            The lengths' standard deviation is the rows', whatever they weigh.
    """
    flags: list[str] = []
    if np.isnan(delta).all():
        return UNKNOWN, None, ["no_lengths"], None
    if np.nanstd(delta) == 0:
        flags.append("no_length_variation")
    if gamma is not None and np.isnan(gamma).any():
        flags.append("partial_difficulty")
        known = ~np.isnan(gamma)
        y, delta, gamma = y[known], delta[known], gamma[known]
        weight, left_out = weight[:, known], left_out[:, known]
        counted = None if counted is None else counted[known]
        if not known.any():
            return UNKNOWN, None, flags, None
    difficulty = np.zeros_like(y) if gamma is None else gamma
    usable = ~(np.isnan(y) | np.isnan(delta))
    target = np.where(usable, np.nan_to_num(y), 0.0)
    each = np.ones_like(y) if counted is None else counted
    mass = (usable * each)[None]

    z = standardised_length(delta)[None]
    ridge = penalty
    beta, finite = _glm(z, difficulty, target, mass, ridge, regular)
    if not finite[0]:
        flags.append("penalised")
        ridge = max(penalty, _RIDGE)
        beta, _ = _glm(z, difficulty, target, mass, ridge, regular)
    if counted is None:
        value = length_controlled(difficulty, b_diff=float(beta[0, 1]), b_model=float(beta[0, 2]))
    else:
        value = 100.0 * float(each @ sigmoid(beta[0, 1] * difficulty + beta[0, 2]) / each.sum())

    def refitted(weight: FloatArray) -> FloatArray:
        z = standardised_length(delta, weight)
        found, finite = _glm(z, difficulty, target, weight * mass, ridge, regular, start=beta[0])
        if not finite.all():
            lost = ~finite
            found[lost], _ = _glm(z[lost], difficulty, target, (weight * mass)[lost], max(ridge, _RIDGE), regular)
        fitted = sigmoid(found[:, 1:2] * difficulty + found[:, 2:3])
        total = weight @ each  # a resample without any row says nothing
        return np.where(
            total > 0, 100.0 * (weight * each * fitted).sum(axis=1) / np.where(total > 0, total, 1.0), np.nan
        )

    lower: float | None = None
    upper: float | None = None
    error: float | None = None
    # what tells resamples apart: rows that are not as most are (all draws, or draws and one win, vary no more than
    # wins alone), and wins and losses. With fewer than two many resamples hold none, and say the same each time
    counts = usable & (each > 0)
    other = counts & (target != np.median(target[counts])) if counts.any() else counts
    sums = mass[0] * target, mass[0] * (1.0 - target), each * other
    rarer = min(float(one.sum()) for one in sums)
    if rarer >= 2.0:
        drawn = refitted(weight)
        error = float(np.nanstd(drawn, ddof=1))
        lower, upper = bca_interval(drawn, value, refitted(left_out), level)
    if rarer < FEW:
        flags.append("few_wins_or_losses")
    names = ("length", "difficulty", "model")
    return Rate(value, lower, upper, error), {n: float(b) for n, b in zip(names, beta[0], strict=True)}, flags, refitted


def _glm(
    z: FloatArray,
    gamma: FloatArray,
    y: FloatArray,
    mass: FloatArray,
    ridge: float,
    regular: tuple[FloatArray, FloatArray, FloatArray] | None = None,
    *,
    start: FloatArray | None = None,
) -> tuple[FloatArray, BoolArray]:
    """Soft-target logistic regressions on (z, gamma, 1) by damped Newton, one for each resample.

    Args:
        z: standardised lengths, shape (S, n).
        gamma, y: difficulty and target in [0, 1], shape (n,).
        mass: row weights, shape (S, n).
        ridge: on the three coefficients.
        regular: z, gamma and target of rows that join every fit without the last column.

    Returns:
        Coefficients, shape (S, 3), and which fits ended at a finite maximum, shape (S,).
    """
    beta = np.zeros((len(z), 3)) if start is None else np.tile(start, (len(z), 1))
    active = np.arange(len(z))
    powers = np.stack([gamma * gamma, gamma, np.ones_like(gamma)], axis=1)
    for _ in range(60):
        za, now = z[active], beta[active]
        p = sigmoid(now[:, :1] * za + now[:, 1:2] * gamma + now[:, 2:])
        r = mass[active] * (y - p)
        q = mass[active] * (p * (1.0 - p))
        qz = q * za
        gradient = np.stack([(r * za).sum(axis=1), r @ gamma, r.sum(axis=1)], axis=1) - ridge * now
        H = np.empty((len(active), 3, 3))
        H[:, 0, 0] = (qz * za).sum(axis=1)
        H[:, 0, 1:] = H[:, 1:, 0] = qz @ powers[:, 1:]
        H[:, 1, 1], H[:, 1, 2], H[:, 2, 2] = (q @ powers).T
        H[:, 2, 1] = H[:, 1, 2]
        # a column that is zero throughout (no gamma, no length variation) has no say: a trace of ridge keeps H regular
        H += (ridge + 1e-9) * np.eye(3)
        if regular is not None:
            X = np.stack([regular[0], regular[1], np.zeros_like(regular[0])], axis=1)
            expected = sigmoid(now @ X.T)
            gradient += 0.1 * (regular[2] - expected) @ X
            H += np.einsum("mk,sm,ml->skl", X, 0.1 * expected * (1.0 - expected), X, optimize=True)
        step = np.linalg.solve(H, gradient[:, :, None])[:, :, 0]
        # no row moves further than this; damping as in bradley_terry
        reach = np.abs(step[:, 0]) + np.abs(step[:, 1]) * np.abs(gamma).max(initial=0.0) + np.abs(step[:, 2])
        step *= np.where(reach > 0, np.log1p(reach) / np.where(reach > 0, reach, 1.0), 1.0)[:, None]
        beta[active] = now + step
        active = active[(reach > 1e-8) & (np.abs(beta[active]).max(axis=1) < 40.0)]
        if not active.size:
            break
    finite = np.abs(beta).max(axis=1) < 40.0
    finite[active] = False
    return beta, finite


def estimate_difficulty(
    model: IntArray, prompt: IntArray, y: FloatArray, z: FloatArray, prompts: int, *, ridge: float = 1.0
) -> FloatArray:
    """Instruction difficulty from the annotations themselves, shape (prompts,), with mean 0.

    Maximises the joint likelihood of ``sigma(b_model + b_len,model z + gamma_prompt)`` with a ridge on gamma (a normal
    prior of variance 1 / ridge) by Newton's method; gamma's diagonal block is eliminated, so that a step costs a
    (2 models)^3 solve.

    Args:
        model, prompt: codes, shape (N,).
        y: soft preferences for the model in [0, 1], shape (N,).
        z: standardised length differences, shape (N,).
        prompts: how many prompts there are.
    """
    models = int(model.max()) + 1
    beta, gamma = np.zeros((models, 2)), np.zeros(prompts)
    for _ in range(100):
        p = sigmoid(beta[model, 0] + beta[model, 1] * z + gamma[prompt])
        q = p * (1.0 - p)
        r = y - p
        g_beta = np.stack([tally(model, models, r), tally(model, models, r * z)], axis=1) - 1e-4 * beta
        g_gamma = tally(prompt, prompts, r) - ridge * gamma
        D = tally(prompt, prompts, q) + ridge
        A = np.zeros((models, 2, models, 2))
        at = np.arange(models)
        A[at, 0, at, 0] = tally(model, models, q)
        A[at, 0, at, 1] = A[at, 1, at, 0] = tally(model, models, q * z)
        A[at, 1, at, 1] = tally(model, models, q * z * z)
        H = A.reshape(2 * models, 2 * models) + 1e-4 * np.eye(2 * models)
        cell = model.astype(np.int64) * prompts + prompt
        parts = [tally(cell, models * prompts, column).reshape(models, prompts) for column in (q, q * z)]
        C = np.stack(parts, axis=1).reshape(2 * models, prompts)
        s_beta = np.linalg.solve(H - (C / D) @ C.T, g_beta.ravel() - C @ (g_gamma / D))
        s_gamma = (g_gamma - C.T @ s_beta) / D
        change = s_beta.reshape(models, 2)
        reach = float(np.abs(change[model, 0] + change[model, 1] * z + s_gamma[prompt]).max())
        damping = np.log1p(reach) / reach if reach > 0 else 1.0
        beta += damping * change
        gamma += damping * s_gamma
        if reach < 1e-8:
            break
    return gamma - gamma.mean()


def plausible(raw: float, lc: float) -> bool:
    """AlpacaEval's bounds on how far length control may move a win rate (percent)."""
    return min(raw - raw / 4.0, raw - 10.0) <= lc <= max(raw + (100.0 - raw) / 4.0, raw + 10.0)
