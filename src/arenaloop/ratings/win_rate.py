"""Win rate against one baseline, raw and length-controlled, with bootstrap intervals over prompts.

Preferences are AlpacaEval's: 1 the baseline is better, 2 the model is, 1.5 a tie, anything between a soft label, NaN a
failed annotation. Everything is joined by prompt, never by row position. Shares are in percent here.

Length control is the published GLM (Dubois et al. 2024, arXiv 2404.04475, section 3; AlpacaEval's glm_winrate.py):

    P_i = sigma(b_len tanh(delta_i / sd(delta)) + b_diff gamma_i + b_model)

with delta the baseline's length minus the model's, in characters, and gamma_i the difficulty of the instruction. The
length-controlled win rate is the mean of P_i with the length term put to zero. The fit here is plain maximum likelihood
by default; the public leaderboard uses an L1 penalty chosen by cross-validation, which moves its numbers by about one
and a half points on average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.battles import BoolArray, FloatArray, IntArray, tally

__all__ = ["Annotations", "WinRate", "length_controlled", "preference_from_logprobs", "win_rates"]

_RIDGE = 1e-2
"""Ridge on the GLM's coefficients where the preferences separate, so that they stay finite (flag ``penalised``)."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """N preferences between models and one baseline, one array per column.

    Attributes:
        baseline: name of the baseline.
        models: names; `model` indexes them.
        prompts: keys of the prompts (the instruction's text or id); `prompt` indexes them.
        model, prompt: codes, shape (N,).
        preference: 1 (baseline) to 2 (model), NaN where the annotation failed, shape (N,).
        length_model, length_baseline: characters, NaN where unknown, shape (N,).
        repeated: models whose outputs repeat (the same text for at least half of the prompts).
        skipped: rows that were left out by the reader, e.g. without the baseline in them.
    """

    baseline: str
    models: tuple[str, ...]
    prompts: tuple[object, ...]
    model: IntArray
    prompt: IntArray
    preference: FloatArray
    length_model: FloatArray
    length_baseline: FloatArray
    repeated: frozenset[str] = frozenset()
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class WinRate:
    """One model against the baseline; rates in percent, None where there is nothing to tell.

    Attributes:
        win_rate: 100 times the mean of preference - 1.
        standard_error: 100 times the standard error of that mean.
        lower, upper: bootstrap interval of `win_rate`.
        lc_win_rate, lc_lower, lc_upper: the same with length controlled; None where it was not asked for.
        n_wins, n_draws, n_total: annotations above 1.5, at 1.5, and all that did not fail.
        avg_length: mean characters of the model's outputs.
        flags: what a reader should know: ``baseline``, ``no_preferences``, ``failed_annotations``, ``no_lengths``,
            ``no_length_variation``, ``no_difficulty`` (the fit has no instruction term), ``partial_difficulty``,
            ``penalised`` (the preferences separate, a ridge kept the fit finite), ``constant_length``,
            ``repeated_outputs``, ``lc_far_from_raw`` (AlpacaEval's bounds for a fit gone wrong).
        weights: the GLM's ``length``, ``difficulty`` and ``model`` coefficients, None without a fit.
    """

    model: str
    win_rate: float | None
    standard_error: float | None
    lower: float | None
    upper: float | None
    lc_win_rate: float | None
    lc_lower: float | None
    lc_upper: float | None
    n_wins: int
    n_draws: int
    n_total: int
    avg_length: float | None
    flags: tuple[str, ...]
    weights: Mapping[str, float] | None = None


def preference_from_logprobs(first: float | None, second: float | None, *, switched: bool = False) -> float | None:
    """AlpacaEval's preference from the log-probabilities of the two label tokens (a missing one has probability 0).

    Args:
        first, second: log-probability of the label of the first and of the second output shown.
        switched: whether the baseline was shown second.

    Returns:
        1 (baseline) to 2 (model); None when neither label appeared.
    """
    if first is None and second is None:
        return None
    p_first = 1.0 if second is None else 0.0 if first is None else float(1.0 / (1.0 + np.exp(second - first)))
    preference = 2.0 - p_first
    return 3.0 - preference if switched else preference


def length_controlled(gamma: FloatArray, *, b_diff: float, b_model: float) -> float:
    """Length-controlled win rate in percent from a fit's weights: ``100 mean_i sigma(b_diff gamma_i + b_model)``."""
    return 100.0 * float(np.mean(_sigmoid(b_diff * np.asarray(gamma, dtype=np.float64) + b_model)))


def win_rates(
    annotations: Annotations,
    *,
    control: str | None = None,
    difficulty: Mapping[object, float] | None = None,
    regularizers: Sequence[str] = (),
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    min_models: int = 5,
    penalty: float = 0.0,
) -> list[WinRate]:
    """Win rates of every model, best raw win rate first.

    Args:
        annotations: who was preferred on which prompt.
        control: ``"length"`` for the length-controlled win rate as well.
        difficulty: gamma by prompt key. Without it, it is estimated from these annotations when there are at least
            `min_models` models, and left out of the fit otherwise.
        regularizers: models that are the baseline asked to be longer or shorter; their rows join each fit with weight
            0.2 over their number and without the model's own term, which pins the length coefficient.
        samples, seed, level: of the bootstrap over prompts, which refits every time; all models share the draws.
        penalty: ridge on the GLM's three coefficients.

    Raises:
        ValueError: an unknown control, or a regularizer that is not among the models.
    """
    if control not in (None, "length"):
        raise ValueError(f"control must be length, not {control!r}")
    for name in regularizers:
        if name not in annotations.models:
            raise ValueError(f"regularizer {name!r} is not among the models")
    preference = np.where(annotations.preference == 0.0, 1.5, annotations.preference)  # legacy 0 is a draw
    if ((preference < 1.0) | (preference > 2.0)).any():
        bad = preference[(preference < 1.0) | (preference > 2.0)][0]
        raise ValueError(f"preference {bad} is not between 1 and 2")
    rng = np.random.default_rng(seed)
    prompts = len(annotations.prompts)
    draws = np.empty((samples, prompts))
    for s in range(samples):
        draws[s] = np.bincount(rng.integers(0, prompts, prompts), minlength=prompts)
    lengths = annotations.length_baseline - annotations.length_model
    gamma, gamma_from = None, "none"
    if control == "length":
        gamma, gamma_from = _gamma(annotations, preference, lengths, difficulty, min_models)
    regular = None
    if control == "length" and regularizers:
        regular = _regularizing_rows(annotations, preference, lengths, gamma, regularizers)

    out = []
    for code, name in enumerate(annotations.models):
        rows = np.flatnonzero(annotations.model == code)
        flags: list[str] = []
        y = preference[rows] - 1.0
        valid = ~np.isnan(y)
        weight = draws[:, annotations.prompt[rows]]
        length = annotations.length_model[rows]
        if name == annotations.baseline:
            flags.append("baseline")
        if not valid.all():
            flags.append("failed_annotations")
        if len(rows) > 1 and not np.isnan(length).all() and np.nanstd(length) == 0:
            flags.append("constant_length")
        if name in annotations.repeated:
            flags.append("repeated_outputs")
        raw = raw_error = lower = upper = None
        if valid.any():
            raw = 100.0 * float(y[valid].mean())
            lower, upper = _percentiles(
                100.0 * (weight[:, valid] @ y[valid]), weight[:, valid].sum(axis=1), level, fallback=raw
            )
            if valid.sum() > 1:
                raw_error = 100.0 * float(y[valid].std(ddof=1) / np.sqrt(valid.sum()))
        else:
            flags.append("no_preferences")
        lc: tuple[float | None, float | None, float | None] = (None, None, None)
        weights = None
        if control == "length" and name == annotations.baseline:
            lc, weights = (50.0, 50.0, 50.0), {"length": 0.0, "difficulty": 0.0, "model": 0.0}
        elif control == "length" and raw is not None:
            g = None if gamma is None else gamma[annotations.prompt[rows]]
            lc, weights, more = _controlled(y, lengths[rows], g, weight, level, penalty, regular)
            flags += more
            if gamma_from == "none":
                flags.append("no_difficulty")
            if lc[0] is not None and not _plausible(raw, lc[0]):
                flags.append("lc_far_from_raw")
        out.append(
            WinRate(
                name,
                raw,
                raw_error,
                lower,
                upper,
                *lc,
                n_wins=int(np.count_nonzero(y > 0.5)),
                n_draws=int(np.count_nonzero(y == 0.5)),
                n_total=int(valid.sum()),
                avg_length=None if np.isnan(length).all() else float(np.nanmean(length)),
                flags=tuple(flags),
                weights=weights,
            )
        )
    return sorted(out, key=lambda row: (row.win_rate is None, -(row.win_rate or 0.0), row.model))


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


def _controlled(
    y: FloatArray,
    delta: FloatArray,
    gamma: FloatArray | None,
    weight: FloatArray,
    level: float,
    penalty: float,
    regular: tuple[FloatArray, FloatArray, FloatArray] | None,
) -> tuple[tuple[float | None, float | None, float | None], dict[str, float] | None, list[str]]:
    """Length-controlled win rate of one model with its interval, the GLM's weights, and flags."""
    flags: list[str] = []
    if np.isnan(delta).all():
        return (None, None, None), None, ["no_lengths"]
    if np.nanstd(delta) == 0:
        flags.append("no_length_variation")
    if gamma is not None and np.isnan(gamma).any():
        flags.append("partial_difficulty")
        known = ~np.isnan(gamma)
        y, delta, gamma, weight = y[known], delta[known], gamma[known], weight[:, known]
        if not known.any():
            return (None, None, None), None, flags
    difficulty = np.zeros_like(y) if gamma is None else gamma
    usable = ~(np.isnan(y) | np.isnan(delta))
    target = np.where(usable, np.nan_to_num(y), 0.0)
    mass = usable.astype(np.float64)[None]

    z = standardised_length(delta)[None]
    ridge = penalty
    beta, finite = _glm(z, difficulty, target, mass, ridge, regular)
    if not finite[0]:
        flags.append("penalised")
        ridge = max(penalty, _RIDGE)
        beta, _ = _glm(z, difficulty, target, mass, ridge, regular)
    value = length_controlled(difficulty, b_diff=float(beta[0, 1]), b_model=float(beta[0, 2]))

    z = standardised_length(delta, weight)
    resampled, finite = _glm(z, difficulty, target, weight * mass, ridge, regular, start=beta[0])
    if not finite.all():
        lost = ~finite
        resampled[lost], _ = _glm(z[lost], difficulty, target, (weight * mass)[lost], max(ridge, _RIDGE), regular)
    fitted = _sigmoid(resampled[:, 1:2] * difficulty + resampled[:, 2:3])
    lower, upper = _percentiles(100.0 * (weight * fitted).sum(axis=1), weight.sum(axis=1), level, fallback=value)
    names = ("length", "difficulty", "model")
    return (value, lower, upper), {n: float(b) for n, b in zip(names, beta[0], strict=True)}, flags


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
        p = _sigmoid(now[:, :1] * za + now[:, 1:2] * gamma + now[:, 2:])
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
            expected = _sigmoid(now @ X.T)
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


def _gamma(
    annotations: Annotations,
    preference: FloatArray,
    lengths: FloatArray,
    difficulty: Mapping[object, float] | None,
    min_models: int,
) -> tuple[FloatArray | None, str]:
    """Difficulty by prompt code, shape (P,), NaN where unknown, and where it comes from."""
    if difficulty is not None:
        return np.array([difficulty.get(key, np.nan) for key in annotations.prompts], dtype=np.float64), "given"
    others = annotations.model != (
        annotations.models.index(annotations.baseline) if annotations.baseline in annotations.models else -1
    )
    usable = others & ~np.isnan(preference) & ~np.isnan(lengths)
    codes, model = np.unique(annotations.model[usable], return_inverse=True)
    if len(codes) < min_models:
        return None, "none"
    z = np.empty(usable.sum())
    delta = lengths[usable]
    for code in range(len(codes)):
        z[model == code] = standardised_length(delta[model == code])
    return (
        estimate_difficulty(model, annotations.prompt[usable], preference[usable] - 1.0, z, len(annotations.prompts)),
        "estimated",
    )


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
        p = _sigmoid(beta[model, 0] + beta[model, 1] * z + gamma[prompt])
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


def _regularizing_rows(
    annotations: Annotations,
    preference: FloatArray,
    lengths: FloatArray,
    gamma: FloatArray | None,
    regularizers: Sequence[str],
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Length term, difficulty and target of the rows of the baseline's longer and shorter variants."""
    parts: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for name in regularizers:
        rows = annotations.model == annotations.models.index(name)
        g = np.zeros(rows.sum()) if gamma is None else gamma[annotations.prompt[rows]]
        y = preference[rows] - 1.0
        keep = ~(np.isnan(y) | np.isnan(g) | np.isnan(lengths[rows]))
        parts.append((standardised_length(lengths[rows])[keep], g[keep], y[keep]))
    z, g, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    return z, g, y


def _plausible(raw: float, lc: float) -> bool:
    """AlpacaEval's bounds on how far length control may move a win rate (percent)."""
    return min(raw - raw / 4.0, raw - 10.0) <= lc <= max(raw + (100.0 - raw) / 4.0, raw + 10.0)


def _percentiles(total: FloatArray, count: FloatArray, level: float, *, fallback: float) -> tuple[float, float]:
    """Percentile interval of ratios; a resample without any row says nothing and is left out."""
    some = count > 0
    if not some.any():
        return fallback, fallback
    lower, upper = np.quantile(total[some] / count[some], [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(lower), float(upper)


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -700.0, 700.0))))
