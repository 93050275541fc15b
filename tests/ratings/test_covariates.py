from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.covariates import fit_controlled
from arenaloop.ratings.intervals import sandwich

TRUTH = np.array([0.9, 0.3, 0.0, -0.4, -0.8])
EFFECT = 0.7
"""nats per standard deviation of the length difference"""


def verbose_world(seed: int = 0, battles: int = 20_000, effect: float = EFFECT, prompts: int = 2000) -> Battles:
    """The weakest models write the longest answers, and judges like length."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 5, battles)
    b = (a + rng.integers(1, 5, battles)) % 5
    habit = -1.5 * TRUTH
    length = habit[a] - habit[b] + rng.standard_normal(battles)
    length /= np.sqrt(np.mean(length**2))
    won = rng.random(battles) < 1 / (1 + np.exp(-(TRUTH[a] - TRUTH[b] + effect * length)))
    return Battles.of(
        list("vwxyz"), a, b, won, cluster=rng.integers(0, prompts, battles), covariates={"length": length}
    )


def test_control_recovers_strengths_and_effect_that_raw_ratings_miss() -> None:
    battles = verbose_world()
    raw = fit(battles).theta
    controlled = fit_controlled(battles, ["length"])
    assert np.abs(raw - TRUTH).max() > 0.4
    assert controlled.fit.theta == pytest.approx(TRUTH - TRUTH.mean(), abs=0.1)
    effect = controlled.coefficients["length"]
    assert effect.value == pytest.approx(EFFECT, abs=0.06)
    assert effect.lower is not None
    assert effect.upper is not None
    assert effect.lower < EFFECT < effect.upper
    assert effect.upper - effect.lower < 0.12


def test_the_score_equations_hold() -> None:
    battles = verbose_world(battles=500)
    result = fit_controlled(battles, ["length"])
    theta, effect = result.fit.theta, result.coefficients["length"]
    x = battles.covariates["length"] / effect.scale
    r = battles.score_a - 1 / (1 + np.exp(-(theta[battles.a] - theta[battles.b] + effect.value * x)))
    assert r @ x == pytest.approx(0, abs=1e-7)
    sums = np.bincount(battles.a, r, 5) - np.bincount(battles.b, r, 5)
    assert sums == pytest.approx(np.zeros(5), abs=1e-7)


def test_a_covariate_without_effect_leaves_ratings_and_intervals_nearly_alone() -> None:
    battles = verbose_world(effect=0.0)
    noise = Battles.of(battles.models, battles.a, battles.b, battles.score_a, cluster=battles.cluster,
                       covariates={"noise": np.random.default_rng(1).standard_normal(len(battles))})  # fmt: skip
    plain = fit(noise)
    controlled = fit_controlled(noise, ["noise"])
    assert controlled.fit.theta == pytest.approx(plain.theta, abs=2e-3)
    expected = sandwich(noise, plain, correction=False).covariance
    assert np.diag(controlled.intervals.covariance) == pytest.approx(np.diag(expected), rel=0.01)


def test_frozen_coefficients_keep_everybody_when_a_model_joins() -> None:
    battles = verbose_world()
    first = fit_controlled(battles, ["length"])
    effect = first.coefficients["length"]
    rng = np.random.default_rng(3)
    # the newcomer beats everybody by length alone, which would move a free coefficient
    b = rng.integers(0, 5, 4000)
    length = rng.standard_normal(4000) * 3
    won = length > 0
    joined = Battles.of(
        [*"vwxyz", "zz"],
        np.concatenate([battles.a, np.full(4000, 5)]),
        np.concatenate([battles.b, b]),
        np.concatenate([battles.score_a, won]),
        covariates={"length": np.concatenate([battles.covariates["length"], length])},
    )
    free = fit_controlled(joined, ["length"], cluster="battle")
    frozen = fit_controlled(joined, ["length"], cluster="battle", frozen={"length": (effect.value, effect.scale)})
    gaps = [np.diff(result.fit.theta[:5]) for result in (first, free, frozen)]
    assert np.abs(gaps[1] - gaps[0]).max() > 5 * np.abs(gaps[2] - gaps[0]).max()
    assert frozen.coefficients["length"].frozen
    assert frozen.coefficients["length"].lower is None


def test_missing_covariates_are_left_out_and_counted() -> None:
    battles = verbose_world(battles=2000)
    holes = battles.covariates["length"].copy()
    holes[:100] = np.nan
    gappy = Battles.of(battles.models, battles.a, battles.b, battles.score_a, covariates={"length": holes})
    whole = Battles.of(battles.models, battles.a[100:], battles.b[100:], battles.score_a[100:],
                       covariates={"length": holes[100:]})  # fmt: skip
    one = fit_controlled(gappy, ["length"], cluster="battle")
    two = fit_controlled(whole, ["length"], cluster="battle")
    assert one.left_out == 100
    assert one.fit.theta == pytest.approx(two.fit.theta)


def test_two_covariates_and_separable_battles_stay_finite() -> None:
    rng = np.random.default_rng(0)
    b = rng.integers(1, 3, 200)
    x = {"length": rng.standard_normal(200), "lists": np.zeros(200)}
    battles = Battles.of(["champion", "p", "q"], np.zeros(200, int), b, np.ones(200), covariates=x)
    result = fit_controlled(battles, ["length", "lists"], cluster="battle")
    assert np.isfinite(result.fit.theta).all()
    assert np.isfinite(np.diag(result.intervals.covariance)).all()
    assert result.coefficients["lists"].value == 0


def test_impossible_controls_are_refused() -> None:
    battles = verbose_world(battles=50)
    with pytest.raises(ValueError, match=r"no covariate 'style' \(found: length\)"):
        fit_controlled(battles, ["style"])
    nothing = Battles.of(["a", "b"], [0], [1], [1.0], covariates={"length": [np.nan]})
    with pytest.raises(ValueError, match="no battle has a known length"):
        fit_controlled(nothing, ["length"], cluster="battle")


def test_a_covariate_that_decides_every_battle_is_kept_finite_and_noted() -> None:
    x = np.array([1.0, -1, 2, -2, 1, -1, 3, -3])
    battles = Battles.of(["p", "q"], np.zeros(8, int), np.ones(8, int), x > 0, covariates={"length": x})
    result = fit_controlled(battles, ["length"], cluster="battle")
    assert 1 < result.coefficients["length"].value < 20
    assert "the effect of length has no finite estimate" in result.fit.notes[-1]
    assert np.isfinite(result.intervals.covariance).all()


def test_a_length_that_each_model_has_is_no_effect() -> None:
    """Lengths of 100, 200 and 400 whatever the prompt: ratings are those without them."""
    rng = np.random.default_rng(0)
    length = np.array([100.0, 200.0, 400.0])
    a, b = np.repeat([0, 0, 1], 40), np.repeat([1, 2, 2], 40)
    score = (rng.random(120) < np.repeat([0.6, 0.8, 0.6], 40)).astype(float)
    side = rng.random(120) < 0.5
    a, b, score = np.where(side, b, a), np.where(side, a, b), np.where(side, 1.0 - score, score)
    x = (length[a] - length[b]) / (length[a] + length[b])
    prompts = np.tile(np.arange(40), 3)
    battles = Battles.of(("p", "q", "r"), a, b, score, cluster=prompts, covariates={"length": x})
    found = fit_controlled(battles, ["length"])
    assert found.fit.theta == pytest.approx(fit(battles).theta, abs=1e-8)
    effect = found.coefficients["length"]
    assert (effect.value, effect.lower, effect.upper, effect.frozen) == (0.0, None, None, False)
    assert "varies only between pairs" in found.fit.notes[-1]
    noisy = Battles.of(
        ("p", "q", "r"), a, b, score, cluster=prompts, covariates={"length": x + rng.normal(0, 0.2, 120)}
    )
    assert fit_controlled(noisy, ["length"]).coefficients["length"].lower is not None
