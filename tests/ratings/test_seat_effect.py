"""What the first seat is worth, beside a logistic regression in full and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.arrays import sigmoid
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.covariates import fit_controlled
from arenaloop.ratings.seat_effect import seat_effect

THETA = np.array([0.6, 0.1, -0.2, -0.5])


def drawn(gamma: float, battles: int, seed: int, prompts: int = 0, weighted: bool = False) -> Battles:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, battles)
    b = (a + rng.integers(1, 4, battles)) % 4
    won = (rng.random(battles) < sigmoid(THETA[a] - THETA[b] + gamma)).astype(float)
    won[rng.random(battles) < 0.1] = 0.5
    prompt = rng.integers(0, prompts, battles) if prompts else None
    weight = rng.uniform(0.5, 2.0, battles) if weighted else None
    seat = {"seat": np.ones(battles)}
    return Battles.of(list("abcd"), a, b, won, cluster=prompt, weight=weight, covariates=seat)


def test_two_models_by_hand() -> None:
    """a wins 30 of 40 from the first seat and 20 of 40 from the second: the mean of logit 3/4 and logit 1/2 is theta,
    half their difference gamma."""
    a = np.r_[np.zeros(40, int), np.ones(40, int)]
    score = np.r_[np.ones(30), np.zeros(10), np.ones(20), np.zeros(20)]
    battles = Battles.of(["a", "b"], a, 1 - a, score)
    found = seat_effect(battles, fit(battles), clustered=False)
    assert found.value == pytest.approx(np.log(3) / 2, abs=1e-9)
    assert found.theta[0] - found.theta[1] == pytest.approx(np.log(3) / 2, abs=1e-9)
    # variance of half the difference of two log-odds: (1 / (40 x 3/16) + 1 / (40 x 1/4)) / 4
    error = np.sqrt((1 / 7.5 + 1 / 10) / 4)
    assert found.upper - found.value == pytest.approx(1.99 * error, rel=0.01)


@pytest.mark.parametrize("prompts", [0, 120])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_coefficient_of_a_covariate_that_is_one_in_every_battle(prompts: int, weighted: bool) -> None:
    """The controlled fit is another implementation, battle by battle."""
    battles = drawn(0.4, 1500, 1, prompts, weighted)
    found = seat_effect(battles, fit(battles), clustered=bool(prompts))
    other = fit_controlled(battles, ["seat"], cluster="prompt" if prompts else "battle")
    effect = other.coefficients["seat"]
    assert found.value == pytest.approx(effect.value / effect.scale, abs=1e-6)
    assert found.upper - found.lower == pytest.approx((effect.upper - effect.lower) / effect.scale, rel=0.01)
    assert found.theta == pytest.approx(other.fit.theta, abs=1e-6)


def test_intervals_hold_the_truth() -> None:
    held = []
    for seed in range(200):
        battles = drawn(0.3, 400, seed)
        found = seat_effect(battles, fit(battles), clustered=False)
        held.append(found.lower < 0.3 < found.upper)
    assert 0.90 < np.mean(held) < 0.99


def test_one_order_of_each_pair_tells_nothing_of_seats() -> None:
    battles = drawn(0.4, 500, 2)
    turned = battles.a > battles.b
    a, b = np.where(turned, battles.b, battles.a), np.where(turned, battles.a, battles.b)
    score = np.where(turned, 1 - battles.score_a, battles.score_a)
    one_order = Battles.of(battles.models, a, b, score)
    found = seat_effect(one_order, fit(one_order), clustered=False)
    assert (found.value, found.lower) == (None, None)
    assert "one order" in found.reason


def test_an_undefeated_model_and_pools_leave_it_finite() -> None:
    battles = drawn(0.4, 500, 3)
    a = np.r_[battles.a, [4, 0, 4, 1], [5, 6] * 20]
    b = np.r_[battles.b, [0, 4, 1, 4], [6, 5] * 20]
    score = np.r_[battles.score_a, [1, 0, 1, 0], [1, 1, 0, 0] * 10]
    more = Battles.of(list("abcdefg"), a, b, score)
    found = seat_effect(more, fit(more), clustered=False)
    assert found.value == pytest.approx(0.4, abs=0.3)
    assert np.isfinite(found.theta).all()
    assert found.theta[5:].sum() == pytest.approx(0)


def test_games_that_cancel_out_on_every_prompt_show_no_variance() -> None:
    """Both games of every prompt agree: the effect is 0, and nothing varies that could tell how surely."""
    a, b = np.tile([0, 1], 20), np.tile([1, 0], 20)
    score = np.where(np.repeat(np.arange(20) < 14, 2), a == 0, a == 1).astype(float)
    games = Battles.of(["x", "y"], a, b, score, cluster=np.repeat(np.arange(20), 2))
    found = seat_effect(games, fit(games), clustered=True)
    assert found.value == pytest.approx(0.0, abs=1e-9)
    assert (found.lower, found.upper) == (None, None)
    assert "cancel out" in found.reason


def test_a_seat_that_wins_everything_has_no_finite_effect() -> None:
    games = Battles.of(["x", "y", "z"], np.tile([0, 1], 6), np.tile([1, 0], 6), np.ones(12))
    found = seat_effect(games, fit(games), clustered=False)
    assert (found.value, found.lower) == (None, None)
    assert "no finite estimate" in found.reason


def both_seats(gamma: float, prompts: int, seed: int, wavers: float = 1.0) -> Battles:
    """Three models, each pair on each prompt from both seats; how much better an answer is stays the same."""
    rng = np.random.default_rng(seed)
    a, b = np.tile([0, 0, 1], prompts), np.tile([1, 2, 2], prompts)
    prompt = np.repeat(np.arange(prompts), 3)
    better = np.array([0.5, 0.0, -0.5])
    apart = better[a] - better[b] + rng.normal(0.0, 1.0, len(a))
    odds = 2.0 * np.concatenate([apart, -apart]) + gamma + wavers * rng.logistic(size=2 * len(a))
    score = (odds > 0).astype(float)
    cluster = np.concatenate([prompt, prompt])
    return Battles.of(list("xyz"), np.concatenate([a, b]), np.concatenate([b, a]), score, cluster=cluster)


def test_games_of_both_seats_tell_the_seat_and_intervals_hold_the_truth() -> None:
    large = both_seats(0.5, 20_000, 1)
    truth = seat_effect(large, fit(large), clustered=True, paired=True).value
    held = 0
    for seed in range(60):
        games = both_seats(0.5, 60, seed)
        found = seat_effect(games, fit(games), clustered=True, paired=True)
        held += found.lower < truth < found.upper
    assert 53 <= held <= 60


def test_a_judge_that_sees_through_the_seat_has_an_effect_of_none_and_no_interval() -> None:
    games = both_seats(0.0, 60, 0, wavers=0.0)
    found = seat_effect(games, fit(games), clustered=True, paired=True)
    assert (found.value, found.lower, found.upper) == (0.0, None, None)
    assert found.reason == "verdicts turn with the seats on fewer than three prompts"
