from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit
from arenaloop.ratings.intervals import information_inverse, sandwich, t_quantile, win_probabilities
from arenaloop.ratings.power import prompts_to_separate


def simulated(seed: int, battles: int = 600, prompts: int = 150, spread: float = 1.0, models: int = 5) -> Battles:
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, prompts, battles)
    skill = np.linspace(-0.8, 0.8, models) + spread * rng.standard_normal((prompts, models))
    a = rng.integers(0, models, battles)
    b = (a + rng.integers(1, models, battles)) % models
    won = rng.random(battles) < 1 / (1 + np.exp(skill[cluster, b] - skill[cluster, a]))
    score = np.where(rng.random(battles) < 0.2, 0.5, won)
    weight = rng.uniform(0.5, 2, battles)
    return Battles.of([f"m{i}" for i in range(models)], a, b, score, cluster=cluster, weight=weight)


def naive_covariance(battles: Battles, cluster: np.ndarray) -> np.ndarray:
    """The sandwich by its definition, one cluster and one battle at a time."""
    theta = fit(battles).theta
    size = len(theta)
    assert battles.weight is not None
    information = np.zeros((size, size))
    meat = np.zeros((size, size))
    for c in np.unique(cluster):
        score = np.zeros(size)
        for t in np.flatnonzero(cluster == c):
            x = np.zeros(size)
            x[battles.a[t]], x[battles.b[t]] = 1, -1
            p = 1 / (1 + np.exp(-theta @ x))
            information += battles.weight[t] * p * (1 - p) * np.outer(x, x)
            score += battles.weight[t] * (battles.score_a[t] - p) * x
        meat += np.outer(score, score)
    return np.linalg.pinv(information) @ meat @ np.linalg.pinv(information)


@pytest.mark.parametrize("cluster", ["prompt", "battle"])
def test_sandwich_equals_its_definition(cluster: str) -> None:
    battles = simulated(0)
    assert battles.cluster is not None
    groups = battles.cluster if cluster == "prompt" else np.arange(len(battles))
    result = sandwich(battles, fit(battles), cluster=cluster, correction=False)
    assert result.covariance == pytest.approx(naive_covariance(battles, groups), abs=1e-10)


def test_blocks_of_prompts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    battles = simulated(1)
    whole = sandwich(battles, fit(battles))
    monkeypatch.setattr("arenaloop.ratings.intervals._DENSE_SCORES", 35)  # seven prompts at a time
    blocks = sandwich(battles, fit(battles))
    assert blocks.covariance == pytest.approx(whole.covariance, abs=1e-12)
    assert blocks.dof == pytest.approx(whole.dof)


def test_prompts_with_one_battle_each_are_battles() -> None:
    battles = simulated(2)
    alone = Battles.of(battles.models, battles.a, battles.b, battles.score_a, cluster=np.arange(len(battles)))
    fitted = fit(alone)
    by_prompt, by_battle = (sandwich(alone, fitted, cluster=c).covariance for c in ("prompt", "battle"))
    assert by_prompt == pytest.approx(by_battle, abs=1e-12)


def test_the_correction_widens_small_samples_and_fades() -> None:
    ratios = []
    for battles, prompts in ((60, 20), (20_000, 5000)):
        data = simulated(3, battles=battles, prompts=prompts)
        fitted = fit(data)
        one, two = (sandwich(data, fitted, correction=c).bounds() for c in (True, False))
        ratios.append(float(np.mean((one[1] - one[0]) / (two[1] - two[0]))))
    assert ratios[0] > 1.1
    assert 1 < ratios[1] < 1.01


@pytest.mark.parametrize("cluster", ["prompt", "battle"])
def test_intervals_cover_the_truth(cluster: str) -> None:
    """Coverage in 300 repetitions, far enough from the bounds of the benchmark's 93 to 97 % not to flicker."""
    spread = 1.0 if cluster == "prompt" else 0.0
    rng = np.random.default_rng(11)
    noise = np.sqrt(2) * spread * rng.standard_normal(100_000)
    base = np.linspace(-0.8, 0.8, 5)
    expected = np.array([[np.mean(1 / (1 + np.exp(y - x + noise))) for y in base] for x in base])
    from arenaloop.ratings.bradley_terry import fit_wins

    truth = fit_wins(0.1 + 0.8 * (expected + 1 - expected.T) / 2).theta
    held = []
    for seed in range(300):
        battles = simulated(1000 + seed, battles=600, prompts=120, spread=spread)
        fitted = fit(battles)
        lower, upper = sandwich(battles, fitted, cluster=cluster).bounds(mean=0.0)
        held.append((lower <= ELO_PER_NAT * truth) & (ELO_PER_NAT * truth <= upper))
    assert 0.925 <= np.mean(held) <= 0.975


def test_difference_and_anchored_bounds_tell_the_same() -> None:
    battles = simulated(4)
    result = sandwich(battles, fit(battles))
    estimate, low, high = result.difference("m4", "m1")
    lower, upper = result.bounds(anchor=("m1", 0.0))
    assert (low, high) == pytest.approx((lower[4], upper[4]))
    assert result.fit.ratings(anchor=("m1", 0.0))[4] == pytest.approx(estimate)
    assert result.difference("m1", "m4") == pytest.approx((-estimate, -high, -low))


def test_a_perfect_record_has_an_interval_as_wide_as_its_information() -> None:
    battles = Battles.of(["a", "b", "c"], [0] * 20 + [1] * 20, [1] * 10 + [2] * 10 + [2] * 20, [1.0] * 20 + [1, 0] * 10)
    fitted = fit(battles)
    result = sandwich(battles, fitted, cluster="battle")
    bread = information_inverse(fitted, win_probabilities(fitted))
    assert result.covariance[0, 0] == pytest.approx(bread[0, 0], rel=0.05)


def test_all_ties_and_lone_prompts_are_not_certainty() -> None:
    ties = Battles.of(["a", "b"], [0] * 5, [1] * 5, [0.5] * 5)
    lower, upper = sandwich(ties, fit(ties), cluster="battle").bounds()
    assert upper[0] - lower[0] > 100
    lone = Battles.of(["a", "b"], [0, 0], [1, 1], [1, 0], cluster=[0, 0])
    result = sandwich(lone, fit(lone))
    assert "only one prompt for a, b" in result.notes[0]
    assert np.subtract(*result.bounds()[::-1]).min() > 100


def test_student_quantiles_of_the_table() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}
    for dof, value in table.items():
        assert t_quantile(0.95, dof) == pytest.approx(value, abs=6e-4)
    assert t_quantile(0.99, 7) == pytest.approx(3.499, abs=6e-4)
    assert t_quantile(0.95, np.inf) == pytest.approx(1.959964, abs=1e-6)
    for level, few in ((0, 5), (1, 5), (0.95, 0.5)):
        with pytest.raises(ValueError, match="must"):
            t_quantile(level, few)


def test_impossible_settings_are_refused() -> None:
    battles = Battles.of(["a", "b"], [0], [1], [1])
    with pytest.raises(ValueError, match="no prompt ids"):
        sandwich(battles, fit(battles))
    with pytest.raises(ValueError, match="prompt or battle"):
        sandwich(battles, fit(battles), cluster="judge")


def test_power_promises_what_more_prompts_then_show() -> None:
    battles = simulated(5, battles=800, prompts=200)
    result = prompts_to_separate(sandwich(battles, fit(battles)), "m2", "m3", power=0.5)
    assert result.needed is not None
    assert result.more == max(result.needed - result.units, 0)
    # at power one half the wanted n is where |d| equals the interval's half-width
    half = t_quantile(0.95, result.needed - 1.0) * result.standard_error * np.sqrt(result.units / result.needed)
    assert half == pytest.approx(abs(result.difference), rel=2e-3)
    stricter = prompts_to_separate(sandwich(battles, fit(battles)), "m2", "m3", power=0.9)
    assert stricter.needed is not None
    assert stricter.needed > result.needed
    # twelve times the prompts: the standard error falls as predicted
    more = simulated(5, battles=9600, prompts=2400)
    later = prompts_to_separate(sandwich(more, fit(more)), "m2", "m3")
    assert later.standard_error == pytest.approx(result.standard_error / np.sqrt(12), rel=0.15)
    with pytest.raises(ValueError, match="power"):
        prompts_to_separate(sandwich(battles, fit(battles)), "m2", "m3", power=1.0)


def test_equal_models_never_separate() -> None:
    battles = Battles.of(["a", "b"], [0, 0, 0, 0], [1] * 4, [1, 0, 1, 0])
    result = prompts_to_separate(sandwich(battles, fit(battles), cluster="battle"), "a", "b")
    assert result.needed is None
    assert result.more is None
