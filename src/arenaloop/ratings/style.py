"""Style as covariates of Bradley–Terry: length, headers, list items and bold words of the two answers.

Two procedures, which differ in what a rating means:

* ``style``, after Chatbot Arena (Li et al. 2024, "Does style matter?"): each feature enters as the normalised
  difference (a - b) / (a + b + 1), divided by its standard deviation around zero. Nothing is centred, so that ratings
  compare models at *equal* style, whichever column holds whom. (Chatbot Arena centres, which is next to nothing where
  seats are drawn.)
* ``arena_hard``, after Arena-Hard's ``show_result.py``: the length enters as (m - b) / (m + b) for a model m against
  the baseline b, markdown by its density d = count / (length + 1), (d_m - d_b) / (d_m + d_b + 1); each is centred at
  its mean over the file and divided by its standard deviation. Ratings compare models at the *mean difference* of the
  file from the baseline's style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.covariates import Coefficient, Controlled, fit_controlled
from arenaloop.ratings.style_features import FEATURES, feature_names

__all__ = ["against_baseline", "baseline_of", "fit_style"]


def fit_style(
    battles: Battles,
    controls: Sequence[str],
    *,
    frozen: Mapping[str, tuple[float, float]] | None = None,
    cluster: str = "prompt",
    level: float = 0.95,
) -> Controlled:
    """`covariates.fit_controlled` with the controls ``style`` and ``arena_hard`` among those that it takes.

    Args:
        battles: with the covariates that `style_features.feature_names` names, as a reader of `controls` gives them.
        controls, frozen, cluster, level: see `fit_controlled`; frozen coefficients are by feature.

    Raises:
        ValueError: as of `fit_controlled`; ``arena_hard`` without a model that is in every battle.
    """
    names = feature_names(controls)
    if "arena_hard" not in controls:
        return fit_controlled(battles, names, frozen=frozen, cluster=cluster, level=level)
    if frozen:
        raise ValueError("arena_hard centres its features on the file at hand: it takes no frozen effects")
    turned, spread = against_baseline(battles)
    found = fit_controlled(turned, names, cluster=cluster, level=level)
    effects = {name: _rescaled(effect, spread.get(name)) for name, effect in found.coefficients.items()}
    return replace(found, coefficients=effects)


def against_baseline(battles: Battles) -> tuple[Battles, dict[str, float]]:
    """The battles with the baseline in the second column and style centred, and the features' standard deviations.

    Means and standard deviations are over the battles whose style is known, by weight, with the divisor n - 1.

    Args:
        battles: each between a model and the baseline, which is the model that is in every battle. Of two models it is
            either: the result is the same.

    Raises:
        ValueError: no model is in every battle.
    """
    baseline = baseline_of(battles)
    if baseline is None:
        raise ValueError(
            "arena_hard compares models with one baseline, and no model is in every battle: control style compares any"
        )
    turn = battles.a == baseline
    sign = np.where(turn, -1.0, 1.0)
    known = np.logical_and.reduce([np.isfinite(battles.covariates[name]) for name in FEATURES])
    weight = np.where(known, 1.0 if battles.weight is None else battles.weight, 0.0)
    covariates = dict(battles.covariates)
    spread = {}
    for name in FEATURES:
        x = np.where(known, sign * battles.covariates[name], 0.0)
        mean = float(weight @ x) / max(float(weight.sum()), 1e-300)
        square = float(weight @ (x - mean) ** 2)
        spread[name] = float(np.sqrt(square / max(float(weight.sum()) - 1.0, 1e-300)))
        covariates[name] = np.where(known, x - mean, np.nan)
    a, b = np.where(turn, battles.b, battles.a), np.where(turn, battles.a, battles.b)
    score = np.where(turn, 1.0 - battles.score_a, battles.score_a)
    return replace(battles, a=a, b=b, score_a=score, covariates=covariates), spread


def baseline_of(battles: Battles) -> int | None:
    """The code of the model that is in every battle, of two models the last; None without one."""
    size = len(battles.models)
    fought = np.bincount(battles.a, minlength=size) + np.bincount(battles.b, minlength=size)
    everywhere = np.flatnonzero(fought == len(battles))
    return int(everywhere[-1]) if len(everywhere) and len(battles) else None


def _rescaled(effect: Coefficient, scale: float | None) -> Coefficient:
    """The effect of a difference of `scale` instead of the effect's own."""
    if not scale:
        return effect
    value, lower, upper = (
        None if x is None else x * scale / effect.scale for x in (effect.value, effect.lower, effect.upper)
    )
    return replace(effect, value=value or 0.0, lower=lower, upper=upper, scale=scale)
