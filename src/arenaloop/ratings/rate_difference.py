"""How far apart two models are that met the same baseline: the difference of their win rates, paired over prompts.

The rates of two models on the same prompts vary together, as a prompt that is hard for one is for the other: their
difference is known better than either, and two intervals that overlap say little of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, relative_weights, tally
from arenaloop.ratings.bca import bca_interval
from arenaloop.ratings.length_control import Refit, controlled_rate
from arenaloop.ratings.paired_rates import clustered_difference
from arenaloop.ratings.win_rate import Annotations, Prepared, prepared

__all__ = ["RateDifference", "rate_difference"]


@dataclass(frozen=True, slots=True)
class RateDifference:
    """One model's win rate less another's, in percentage points.

    Attributes:
        models: the two.
        prompts: on which both have an outcome; `left_out`: those on which one alone has, or neither.
        win_rate, standard_error, lower, upper: of the raw rates, by `paired_rates.clustered_difference`.
        lc_win_rate, lc_lower, lc_upper: of the length-controlled ones, with a BCa interval over prompts, both models
            refitted on the same resamples; None where that was not asked for, or either has none.
    """

    models: tuple[str, str]
    prompts: int
    left_out: int
    win_rate: float | None
    standard_error: float | None
    lower: float | None
    upper: float | None
    lc_win_rate: float | None = None
    lc_lower: float | None = None
    lc_upper: float | None = None


def rate_difference(
    annotations: Annotations,
    one: str,
    two: str,
    *,
    control: str | None = None,
    difficulty: Mapping[object, float] | None = None,
    regularizers: Sequence[str] = (),
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    min_models: int = 5,
    penalty: float = 0.0,
) -> RateDifference:
    """The difference of two models' win rates on the prompts on which both have an outcome.

    Args:
        annotations: who was preferred on which prompt.
        one, two: models; the second's rate is taken from the first's.
        control, difficulty, regularizers, samples, seed, level, min_models, penalty: as of `win_rates`.

    Raises:
        ValueError: as of `win_rates`; a model that is not there or is the baseline, one model twice, or no prompt on
            which both have an outcome.
    """
    if one == two:
        raise ValueError(f"the difference of {one!r} and itself is none")
    for name in (one, two):
        if name == annotations.baseline:
            raise ValueError(f"{name!r} is the baseline: the difference to it is the other's rate less 50")
        if name not in annotations.models:
            raise ValueError(f"no model {name!r} (found: {', '.join(annotations.models[:8])})")
    found = prepared(annotations, control, difficulty, regularizers, samples, seed, min_models)
    codes = [annotations.models.index(name) for name in (one, two)]
    decided = ~np.isnan(found.preference)
    both, rows = _paired(annotations, codes, decided)
    if not len(both):
        raise ValueError(f"no prompt on which both {one!r} and {two!r} have an outcome")
    columns = [_by_prompt(annotations, found.preference, each, both) for each in rows]
    raw = clustered_difference(*columns[0], *columns[1], np.arange(len(both)), level=level).scaled(100.0)
    lc: tuple[float | None, float | None, float | None] = (None, None, None)
    if control == "length":
        usable = decided & ~np.isnan(found.lengths)
        if found.gamma is not None:
            usable &= ~np.isnan(found.gamma[annotations.prompt])
        lc = _controlled(annotations, found, _paired(annotations, codes, usable)[1], level, penalty)
    left_out = len(np.unique(annotations.prompt[np.isin(annotations.model, codes)])) - len(both)
    return RateDifference((one, two), len(both), left_out, raw.value, raw.standard_error, raw.lower, raw.upper, *lc)


def _paired(annotations: Annotations, codes: Sequence[int], usable: BoolArray) -> tuple[IntArray, list[IntArray]]:
    """The prompts on which both of two models have a usable row, and the rows of each there."""
    sides = [usable & (annotations.model == code) for code in codes]
    both = np.intersect1d(annotations.prompt[sides[0]], annotations.prompt[sides[1]])
    shared = np.isin(annotations.prompt, both)
    return both, [np.flatnonzero(side & shared) for side in sides]


def _weights(annotations: Annotations, rows: IntArray) -> FloatArray | None:
    return None if annotations.weight is None else relative_weights(annotations.weight[rows])


def _by_prompt(
    annotations: Annotations, preference: FloatArray, rows: IntArray, prompts: IntArray
) -> tuple[FloatArray, FloatArray]:
    """What a model scored on each prompt, and how much it could have, each of shape (P,)."""
    told = _weights(annotations, rows)
    weight = np.ones(len(rows)) if told is None else told
    at = np.searchsorted(prompts, annotations.prompt[rows])
    return tally(at, len(prompts), weight * (preference[rows] - 1.0)), tally(at, len(prompts), weight)


def _controlled(
    annotations: Annotations, found: Prepared, rows: Sequence[IntArray], level: float, penalty: float
) -> tuple[float | None, float | None, float | None]:
    """The difference of the length-controlled rates, and the interval of that of both refits of each resample."""
    rates: list[float] = []
    refits: list[tuple[Refit, IntArray]] = []
    known = True
    for each in rows:
        prompt = annotations.prompt[each]
        rate, _, _, refit = controlled_rate(
            found.preference[each] - 1.0,
            found.lengths[each],
            None if found.gamma is None else found.gamma[prompt],
            found.draws[:, prompt],
            found.without[:, prompt],
            level,
            penalty,
            found.regular,
            _weights(annotations, each),
        )
        if rate.value is None or refit is None:
            return None, None, None
        known = known and rate.lower is not None
        rates.append(rate.value)
        refits.append((refit, prompt))
    value = rates[0] - rates[1]
    if not known:
        return value, None, None
    draws, without = (
        refits[0][0](weight[:, refits[0][1]]) - refits[1][0](weight[:, refits[1][1]])
        for weight in (found.draws, found.without)
    )
    return (value, *bca_interval(draws, value, without, level))
