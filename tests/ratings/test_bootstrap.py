from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bootstrap import _tail, bootstrap
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit, fit_wins
from arenaloop.ratings.intervals import sandwich
from arenaloop.ratings.resamples import Resampler, chord_steps, multinomial


def simulated(models: int = 6, battles: int = 3000, prompts: int = 200, seed: int = 0, spread: float = 0.0) -> Battles:
    rng = np.random.default_rng(seed)
    base = np.linspace(-0.8, 0.8, models)
    cluster = rng.integers(0, prompts, battles)
    skill = base + spread * rng.standard_normal((prompts, models))
    a = rng.integers(0, models, battles)
    b = (a + rng.integers(1, models, battles)) % models
    p = 1 / (1 + np.exp(skill[cluster, b] - skill[cluster, a]))
    score = np.where(rng.random(battles) < 0.2, 0.5, rng.random(battles) < p)
    return Battles.of([f"m{i}" for i in range(models)], a, b, score, cluster=cluster)


@pytest.mark.parametrize("cluster", ["prompt", "battle"])
@pytest.mark.parametrize("weighted", [False, True])
def test_chord_steps_end_where_full_refits_end(cluster: str, weighted: bool) -> None:
    battles = simulated()
    if weighted:
        battles = replace(battles, weight=np.random.default_rng(1).uniform(0.2, 2.0, len(battles)))
    fitted = fit(battles)
    resampler = Resampler(battles, fitted, cluster)
    resampler.draw(np.random.default_rng(0), 20)
    theta, settled = chord_steps(resampler, fitted)
    assert settled.all()
    for r in range(20):
        wins = resampler.wins(r)
        assert wins.sum(axis=1) == pytest.approx(resampler.won[r], rel=1e-5)
        exact = fit_wins(wins).theta
        assert np.abs(theta[r] - theta[r].mean() - exact).max() * ELO_PER_NAT < 0.1


@pytest.mark.parametrize("cluster", ["prompt", "battle"])
def test_resampled_counts_have_the_moments_of_drawing_with_replacement(cluster: str) -> None:
    battles = simulated(models=3, battles=400, prompts=50)
    fitted = fit(battles)
    resampler = Resampler(battles, fitted, cluster)
    resampler.draw(np.random.default_rng(0), 4000)
    unit = battles.cluster if cluster == "prompt" else np.arange(len(battles))
    assert unit is not None
    units = int(unit.max()) + 1
    inside = np.zeros((units, 3))
    np.add.at(inside, (unit, battles.a), battles.score_a)
    np.add.at(inside, (unit, battles.b), 1 - battles.score_a)
    mean = inside.sum(axis=0)
    variance = units * inside.var(axis=0)
    assert resampler.won.mean(axis=0) == pytest.approx(mean, abs=5 * np.sqrt(variance.max() / 4000))
    assert resampler.won.var(axis=0) == pytest.approx(variance, rel=0.15)


def test_fast_multinomial_draws_have_multinomial_moments() -> None:
    counts = np.array([400, 100, 30, 5, 1])
    row_cell = np.repeat(np.arange(5), counts)
    total = np.full(20_000, 536)
    drawn = multinomial(np.random.default_rng(0), total, counts, row_cell)
    assert (drawn.sum(axis=1) == 536).all()
    share = counts / 536
    assert drawn.mean(axis=0) == pytest.approx(counts, abs=5 * np.sqrt(400 / 20_000))
    covariance = 536 * (np.diag(share) - np.outer(share, share))
    assert np.cov(drawn.T) == pytest.approx(covariance, rel=0.1, abs=1.5)


def test_singletons_and_shared_prompts_mix() -> None:
    battles = simulated(battles=600, prompts=50)
    cluster = np.where(np.arange(600) < 300, battles.cluster, 1000 + np.arange(600))
    mixed = Battles.of(battles.models, battles.a, battles.b, battles.score_a, cluster=cluster)
    fitted = fit(mixed)
    drawn = bootstrap(mixed, fitted, samples=1500, seed=2)
    robust = sandwich(mixed, fitted, correction=False)
    assert drawn.draws.std(axis=0) == pytest.approx(np.sqrt(np.diag(robust.covariance)), rel=0.12)


@pytest.mark.parametrize("cluster", ["prompt", "battle"])
def test_bootstrap_and_sandwich_agree_on_large_samples(cluster: str) -> None:
    battles = simulated(battles=8000, prompts=400, spread=1.0)
    fitted = fit(battles)
    drawn = bootstrap(battles, fitted, samples=1000, seed=3, cluster=cluster)
    robust = sandwich(battles, fitted, cluster=cluster)
    widths = [np.subtract(*interval.bounds()[::-1]) for interval in (drawn, robust)]
    assert widths[0] == pytest.approx(widths[1], rel=0.12)
    one, two = (interval.difference("m0", "m5") for interval in (drawn, robust))
    assert one == pytest.approx(two, abs=0.12 * (two[2] - two[1]))


def test_clustering_matters_when_prompts_have_their_own_strengths() -> None:
    battles = simulated(battles=8000, prompts=100, spread=1.5)
    fitted = fit(battles)
    for interval in (
        [sandwich(battles, fitted, cluster=cluster) for cluster in ("prompt", "battle")],
        [bootstrap(battles, fitted, samples=400, cluster=cluster) for cluster in ("prompt", "battle")],
    ):
        by_prompt, by_battle = (np.subtract(*one.bounds()[::-1]) for one in interval)
        assert (by_prompt > 1.3 * by_battle).all()


def test_seeds_decide_the_draws() -> None:
    battles = simulated()
    fitted = fit(battles)
    one, same, other = (bootstrap(battles, fitted, samples=50, seed=seed).draws for seed in (4, 4, 5))
    assert (one == same).all()
    assert not (one == other).any()


def test_an_anchor_has_no_width() -> None:
    battles = simulated()
    lower, upper = bootstrap(battles, fit(battles), samples=50).bounds(anchor=("m2", 1100.0))
    assert (lower[2], upper[2]) == pytest.approx((1100, 1100))
    assert (upper[[0, 1, 3]] > lower[[0, 1, 3]]).all()


def test_separable_data_and_separable_resamples_stay_finite() -> None:
    a = [0] * 8 + [1] * 6 + [2] * 6
    b = [1] * 4 + [2] * 4 + [2] * 3 + [3] * 3 + [3] * 6
    battles = Battles.of(["w", "x", "y", "z"], a, b, [1.0] * 8 + [1, 0, 0.5] * 2 + [1, 0] * 3)
    fitted = fit(battles)
    drawn = bootstrap(battles, fitted, samples=300, cluster="battle")
    assert np.isfinite(drawn.draws).all()
    assert np.abs(drawn.draws).max() < 12
    assert drawn.draws[:, 0].min() > drawn.draws[:, 1:].mean()


def test_disconnected_resamples_are_drawn_again_and_counted() -> None:
    # the only bridge between two pairs lies on one prompt, which a resample misses with probability near 1/e
    a = [0] * 9 + [1, 1] + [2] * 8
    b = [1] * 9 + [2, 2] + [3] * 8
    cluster = [*range(9), 9, 9, *range(10, 18)]
    battles = Battles.of(list("abcd"), a, b, [0, 0.5, 1] * 3 + [1, 0] + [0, 1] * 4, cluster=cluster)
    drawn = bootstrap(battles, fit(battles), samples=100)
    assert drawn.redrawn > 10
    assert "drawn again" in drawn.notes()[0]
    assert np.isfinite(drawn.draws).all()


def test_hopeless_connections_are_an_error() -> None:
    a = np.arange(12)
    battles = Battles.of([f"m{i:02}" for i in range(13)], a, a + 1, np.full(12, 0.5), cluster=a)
    with pytest.raises(ValueError, match="use the sandwich interval"):
        bootstrap(battles, fit(battles), samples=20)


def test_groups_that_never_met_are_resampled_on_their_own() -> None:
    rng = np.random.default_rng(0)
    a = np.array([0, 2] * 60)
    battles = Battles.of(list("abcd"), a, a + 1, rng.integers(0, 3, 120) / 2)
    fitted = fit(battles)
    drawn = bootstrap(battles, fitted, samples=200, cluster="battle")
    assert drawn.draws[:, 0] == pytest.approx(-drawn.draws[:, 1])
    with pytest.raises(ValueError, match="never met"):
        drawn.difference("a", "c")


def test_resamples_that_cannot_differ_make_no_interval() -> None:
    cancelling = [("x", "y", "model_a"), ("x", "y", "model_b")] * 12  # on every prompt a win each: no resample differs
    a, b, winner = zip(*cancelling, strict=True)
    columns = {"model_a": a, "model_b": b, "winner": winner}
    battles = Battles.from_columns({**columns, "prompt_id": [t // 2 for t in range(24)]})
    still = bootstrap(battles, fit(battles), samples=20)
    assert np.isinf(still.bounds()).all()
    assert "no interval for x, y: every resample gave the same rating" in still.notes()[0]
    apart = Battles.from_columns({**columns, "prompt_id": list(range(24))})
    moving = bootstrap(apart, fit(apart), samples=200)
    assert np.isfinite(moving.bounds()).all()
    assert moving.notes() == ()


def test_percentiles_of_few_prompts_move_outwards() -> None:
    """Phi(-sqrt(n / (n - 1)) t), with t of n - 1 degrees of freedom from the table."""
    for n, t in ((10, 2.262), (20, 2.093)):
        assert _tail(0.95, n) == pytest.approx(NormalDist().cdf(-np.sqrt(n / (n - 1)) * t), abs=2e-5)
    assert _tail(0.95, 1e6) == pytest.approx(0.025, abs=1e-5)


def test_few_upsets_have_the_interval_of_the_sandwich() -> None:
    # x loses one of 12 battles, which one resample in e leaves out, and another draws three times
    battles = Battles.of(["x", "y"], [0] * 12, [1] * 12, [1] * 11 + [0], cluster=np.arange(12))
    drawn = bootstrap(battles, fit(battles), samples=400)
    robust = sandwich(battles, fit(battles))
    assert np.isfinite(drawn.bounds()).all()
    assert drawn.difference("x", "y") == robust.difference("x", "y")
    assert "the interval of x, y is the sandwich's: fewer than 10 upsets crossed" in drawn.notes()[0]
    assert np.isfinite(drawn.draws).all()
    enough = Battles.of(["x", "y"], [0] * 60, [1] * 60, [1] * 50 + [0] * 10, cluster=np.arange(60))
    assert np.isfinite(bootstrap(enough, fit(enough), samples=100).bounds()).all()


def test_a_divide_in_the_data_has_the_ends_of_the_likelihood() -> None:
    battles = Battles.of(["x", "y", "z"], [0] * 20 + [1] * 20, [1] * 10 + [2] * 30, [1] * 20 + [1, 0] * 10)
    fitted = fit(battles)
    drawn, robust = (
        bootstrap(battles, fitted, samples=200, cluster="battle"),
        sandwich(battles, fitted, cluster="battle"),
    )
    (_, low, high), (_, expected, _) = drawn.difference("x", "y"), robust.difference("x", "y")
    assert high == np.inf
    assert low == pytest.approx(expected, abs=15)
    assert drawn.settled() is not None
    assert drawn.settled().tolist() == [False, True, True]
