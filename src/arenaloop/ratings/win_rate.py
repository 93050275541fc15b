"""Win rate against one baseline, raw and length-controlled, with intervals over prompts.

Preferences are AlpacaEval's: 1 the baseline is better, 2 the model is, 1.5 a tie, anything between a soft label, NaN a
failed annotation. Everything is joined by prompt, never by row position. Shares are in percent here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, relative_weights
from arenaloop.ratings.bca import left_out
from arenaloop.ratings.length_control import (
    controlled_rate,
    estimate_difficulty,
    plausible,
    standardised_length,
)
from arenaloop.ratings.rates import UNKNOWN, Rate, clustered_rate, resampled
from arenaloop.ratings.sums import FEW_OF_ALL

__all__ = ["Annotations", "Prepared", "WinRate", "preference_from_logprobs", "prepared", "win_rates"]


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
        weight: how much each row counts, shape (N,); only proportions matter. None where all count alike.
        own_failure: rows that one side lost by a failure of its own, without a verdict, shape (N,); None without any.
            Their lengths are not known; the length-controlled fit takes them as equal.
        undecided: by model, what has no outcome and stands in no row.
        notes: what a reader of the rates should know about the rows, in plain words.
        tag: index into `tags` of what the rows are sliced by, -1 where there is none, shape (N,); None where they are
            not.
        tags: its values.
        undecided_tags: the value of what has no outcome and stands in no row, by model; of sliced rows alone.
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
    own_failure: BoolArray | None = None
    undecided: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    weight: FloatArray | None = None
    tag: IntArray | None = None
    tags: tuple[str, ...] = ()
    undecided_tags: tuple[tuple[str, str], ...] = ()

    def with_undecided(self, pairs: Iterable[tuple[str, str]], tags: Sequence[str | None] = ()) -> Annotations:
        """The same, and pairs of models that have no outcome; those without the baseline among them do not count.

        Args:
            pairs: two models each.
            tags: of each pair, where the rows are sliced and these are known.
        """
        pairs = list(pairs)
        others = [(b if a == self.baseline else a) if self.baseline in (a, b) else None for a, b in pairs]
        met = Counter(other for other in others if other is not None)
        if not met:
            return self
        models = (*self.models, *sorted(met.keys() - {*self.models}))
        tagged = zip(others, tags, strict=False)
        known = tuple((other, tag) for other, tag in tagged if other is not None and tag is not None)
        return replace(self, models=models, undecided=met, undecided_tags=known)

    def tagged(self, code: int) -> Annotations:
        """The rows of one slice, by index into `tags`, among the models that it holds; notes stay with the whole."""
        assert self.tag is not None
        keep = np.asarray(self.tag == code, dtype=np.bool_)
        undecided = Counter(model for model, tag in self.undecided_tags if tag == self.tags[code])
        there = np.union1d(self.model[keep], [self.models.index(name) for name in undecided]).astype(np.int64)
        place = np.zeros(len(self.models), dtype=np.int32)
        place[there] = np.arange(len(there), dtype=np.int32)
        prompts, prompt = np.unique(self.prompt[keep], return_inverse=True)
        return replace(
            self,
            models=tuple(self.models[code] for code in there),
            prompts=tuple(self.prompts[code] for code in prompts),
            model=place[self.model[keep]],
            prompt=prompt.astype(np.int32),
            preference=self.preference[keep],
            length_model=self.length_model[keep],
            length_baseline=self.length_baseline[keep],
            skipped=0,
            own_failure=None if self.own_failure is None else self.own_failure[keep],
            undecided=undecided,
            notes=(),
            weight=None if self.weight is None else self.weight[keep],
            tag=None,
            tags=(),
            undecided_tags=(),
        )


@dataclass(frozen=True, slots=True)
class WinRate:
    """One model against the baseline; rates in percent, None where there is nothing to tell.

    Attributes:
        win_rate: 100 times the mean of preference - 1, by weight where rows weigh differently.
        standard_error: 100 times the standard error of that mean, clustered by prompt.
        lower, upper: Wilson's interval of `win_rate` for clusters, see `rates.clustered_rate`.
        lc_win_rate, lc_lower, lc_upper: with length controlled, and its BCa bootstrap interval over prompts; None where
            it was not asked for. The interval alone is None with fewer than two wins or two losses (draws half), or
            fewer than two rows that are not as most are (all draws).
        n_wins, n_draws, n_total: annotations above 1.5, at 1.5, and all that did not fail.
        avg_length: mean characters of the model's outputs.
        flags: what a reader should know: ``baseline``, ``no_preferences``, ``failed_annotations``, ``no_lengths``,
            ``no_length_variation``, ``no_difficulty`` (the fit has no instruction term), ``partial_difficulty``,
            ``penalised`` (the preferences separate, a ridge kept the fit finite), ``constant_length``,
            ``uneven_weights`` (the rows count as less than half as many alike ones), ``few_wins_or_losses`` (of one of
            them there are too few for the length-controlled interval to hold the
            truth as often as it says), ``repeated_outputs``, ``lc_far_from_raw`` (AlpacaEval's bounds for a fit gone
            wrong).
        lc_standard_error: of `lc_win_rate`, over the resamples behind its interval; None where that is.
        weights: the GLM's ``length``, ``difficulty`` and ``model`` coefficients, None without a fit.
        n_no_difficulty: annotations left out of the fit, since their prompt's difficulty is unknown.
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
    lc_standard_error: float | None = None
    weights: Mapping[str, float] | None = None
    n_no_difficulty: int = 0


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
        samples, seed: of the bootstrap over prompts behind the length-controlled intervals, which refits every time;
            all models share the draws.
        level: of all intervals.
        penalty: ridge on the GLM's three coefficients.

    Raises:
        ValueError: an unknown control, or a regularizer that is not among the models.
    """
    found = prepared(annotations, control, difficulty, regularizers, samples, seed, min_models)
    preference, lengths, gamma, gamma_from = found.preference, found.lengths, found.gamma, found.gamma_from
    regular, draws, without = found.regular, found.draws, found.without

    out = []
    for code, name in enumerate(annotations.models):
        rows = np.flatnonzero(annotations.model == code)
        flags: list[str] = []
        y = preference[rows] - 1.0
        valid = ~np.isnan(y)
        prompt = annotations.prompt[rows]
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
        mass = None if annotations.weight is None else relative_weights(np.where(valid, annotations.weight[rows], 0.0))
        whole = np.ones(len(rows)) if mass is None else mass
        if (valid & (whole > 0)).any():
            rate = clustered_rate((whole * y)[valid], whole[valid], prompt[valid], level=level).scaled(100.0)
            if mass is not None and mass.sum() < FEW_OF_ALL * valid.sum():
                flags.append("uneven_weights")
            raw, raw_error, lower, upper = rate.value, rate.standard_error, rate.lower, rate.upper
        else:
            flags.append("no_preferences")
        lc = UNKNOWN
        weights, unknown = None, 0
        if control == "length" and name == annotations.baseline:
            lc, weights = Rate(50.0, 50.0, 50.0, 0.0), {"length": 0.0, "difficulty": 0.0, "model": 0.0}
        elif control == "length" and raw is not None:
            g = None if gamma is None else gamma[prompt]
            lc, weights, more, _ = controlled_rate(
                y, lengths[rows], g, draws[:, prompt], without[:, prompt], level, penalty, regular, mass
            )
            flags += more
            if g is not None and "partial_difficulty" in more:
                unknown = int(np.count_nonzero(valid & np.isnan(g)))
            if gamma_from == "none":
                flags.append("no_difficulty")
            if lc.value is not None and not plausible(raw, lc.value):
                flags.append("lc_far_from_raw")
        out.append(
            WinRate(
                name,
                raw,
                raw_error,
                lower,
                upper,
                lc.value,
                lc.lower,
                lc.upper,
                n_wins=int(np.count_nonzero(y > 0.5)),
                n_draws=int(np.count_nonzero(y == 0.5)),
                n_total=int(valid.sum()),
                avg_length=None if np.isnan(length).all() else float(np.nanmean(length)),
                flags=tuple(flags),
                lc_standard_error=lc.standard_error,
                weights=weights,
                n_no_difficulty=unknown,
            )
        )
    return sorted(out, key=lambda row: (row.win_rate is None, -(row.win_rate or 0.0), row.model))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the rates of all models are made of.

    Attributes:
        preference: as of `Annotations`, shape (N,).
        lengths: the baseline's less the model's, shape (N,).
        gamma: difficulty by prompt code, shape (P,); None without one.
        gamma_from: ``given``, ``estimated`` or ``none``.
        regular: rows that join every length-controlled fit.
        draws: how often each prompt is in each resample, shape (S, P). `without`: the same with each group of prompts
            left out, shape (G, P). Empty without length control.
    """

    preference: FloatArray
    lengths: FloatArray
    gamma: FloatArray | None
    gamma_from: str
    regular: tuple[FloatArray, FloatArray, FloatArray] | None
    draws: FloatArray
    without: FloatArray


def prepared(
    annotations: Annotations,
    control: str | None,
    difficulty: Mapping[object, float] | None,
    regularizers: Sequence[str],
    samples: int,
    seed: int,
    min_models: int,
) -> Prepared:
    """What the rates of all models are made of; arguments and errors as of `win_rates`."""
    if control not in (None, "length"):
        raise ValueError(f"control must be length, not {control!r}")
    for name in regularizers:
        if name not in annotations.models:
            raise ValueError(f"regularizer {name!r} is not among the models")
    preference = np.where(annotations.preference == 0.0, 1.5, annotations.preference)  # legacy 0 is a draw
    if ((preference < 1.0) | (preference > 2.0)).any():
        bad = preference[(preference < 1.0) | (preference > 2.0)][0]
        raise ValueError(f"preference {bad} is not between 1 and 2")
    lengths = annotations.length_baseline - annotations.length_model
    if annotations.own_failure is not None:
        lengths = np.where(annotations.own_failure, 0.0, lengths)
    gamma, gamma_from = None, "none"
    if control == "length":
        gamma, gamma_from = _gamma(annotations, preference, lengths, difficulty, min_models)
    regular, draws, without = None, np.empty((0, 0)), np.empty((0, 0))
    if control == "length":
        if regularizers:
            regular = _regularizing_rows(annotations, preference, lengths, gamma, regularizers)
        prompts = len(annotations.prompts)
        draws, without = resampled(np.random.default_rng(seed), prompts, samples), left_out(prompts)
    return Prepared(preference, lengths, gamma, gamma_from, regular, draws, without)


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
