"""Win rates on a board of any shape, had every battle been between answers of equal length or style."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arenaloop.ratings.arrays import FloatArray, sigmoid, tally
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.style import fit_style

__all__ = ["controlled_rates", "expected_rates"]


def controlled_rates(battles: Battles, controls: Sequence[str]) -> FloatArray | None:
    """Mean over a model's battles of sigma(theta_model - theta_opponent) of the controlled fit, shape (K,).

    On a board against one baseline this is the length-controlled win rate without the term for the prompt (Dubois et
    al. 2024). NaN for a model that met nobody.

    Returns:
        None where the fit says nothing: no battle has the covariates, or not one of them varies within pairs.
    """
    cluster = "battle" if battles.cluster is None else "prompt"
    try:
        found = fit_style(battles, controls, cluster=cluster)
    except ValueError:
        return None
    if not any(effect.value for effect in found.coefficients.values()):
        return None
    return expected_rates(battles, found.fit.theta)


def expected_rates(battles: Battles, theta: FloatArray) -> FloatArray:
    """What a fit expects each model to win of its battles by strength alone, shape (K,); NaN for one that met nobody.

    Against one baseline that is sigma(theta_model - theta_baseline), Arena-Hard's style-controlled score.

    Args:
        theta: strengths in nats, shape (K,), the covariates' share not among them.
    """
    size = len(battles.models)
    mass = np.ones(len(battles)) if battles.mass is None else battles.mass
    expected = mass * sigmoid(theta[battles.a] - theta[battles.b])
    total = tally(battles.a, size, mass) + tally(battles.b, size, mass)
    won = tally(battles.a, size, expected) + tally(battles.b, size, mass - expected)
    return np.where(total > 0, won / np.where(total > 0, total, 1.0), np.nan)
