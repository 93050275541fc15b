from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit
from arenaloop.ratings.clusters import effective_clusters
from arenaloop.ratings.covariates import fit_controlled
from arenaloop.ratings.intervals import information_inverse, sandwich, win_probabilities
from arenaloop.ratings.power import prompts_to_separate
from arenaloop.ratings.student import t_quantile


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
    monkeypatch.setattr("arenaloop.ratings.clusters._DENSE_ENTRIES", 35)  # seven prompts at a time
    blocks = sandwich(battles, fit(battles))
    assert blocks.covariance == pytest.approx(whole.covariance, abs=1e-12)
    assert blocks.evidence.clusters == pytest.approx(whole.evidence.clusters)
    assert effective_clusters(battles, "prompt") - 1.0 == pytest.approx(whole.evidence.clusters)


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
    assert "too few prompts for an interval of a, b" in result.notes()[0]
    assert np.isinf(result.bounds()).all()
    once = Battles.of(["a", "b"], [0], [1], [0.5])
    result = sandwich(once, fit(once), cluster="battle")
    assert "no interval for a, b: the battles bound it at neither end" in result.notes()[0]
    assert np.isinf(result.bounds()).all()


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


def champion(opponents: int = 10, prompts: int = 50) -> Battles:
    """One model that won every battle, and equals who won and lost in turn: `prompts` battles of every pair."""
    rng = np.random.default_rng(1)
    rows = [(p, i, j) for p in range(prompts) for i, j in itertools.combinations(range(opponents + 1), 2)]
    cluster, a, b = np.array(rows).T
    won = np.where(a == 0, 1, rng.integers(0, 2, len(a)))
    names = ["champion", *(f"m{i}" for i in range(opponents))]
    return Battles.of(names, a, b, won, cluster=cluster)


@pytest.mark.parametrize("wins", [1, 2, 10, 500])
def test_an_unbeaten_record_is_bounded_where_it_has_a_chance_of_one_in_twenty(wins: int) -> None:
    """0.05^(1/n) is the chance of a win at which n wins in a row have probability 5 % (exact binomial, one-sided)."""
    battles = Battles.of(["x", "y"], [0] * wins, [1] * wins, [1] * wins, cluster=np.arange(wins))
    result = sandwich(battles, fit(battles))
    _, lower, upper = result.difference("x", "y")
    p = 0.05 ** (1 / wins)
    assert lower == pytest.approx(ELO_PER_NAT * np.log(p / (1 - p)), abs=0.02)
    assert upper == np.inf
    assert result.difference("y", "x")[1:] == (-np.inf, pytest.approx(-lower, abs=0.02))
    assert np.isinf(result.standard_error(0, 1))
    assert prompts_to_separate(result, "x", "y").needed is None


def test_a_champion_of_500_to_0_leads_ten_equals_by_at_least_888_points() -> None:
    battles = champion()
    result = sandwich(battles, fit(battles))
    origin = result.settled()
    assert origin is not None
    assert origin.tolist() == [False] + [True] * 10
    lower, upper = result.bounds(origin=origin)
    assert lower[0] - 1000 == pytest.approx(888.5, abs=4)
    assert upper[0] == np.inf
    assert np.isfinite([lower[1:], upper[1:]]).all()
    # measured from the mean of all, which the champion moves, the equals have an upper end only
    lower, upper = result.bounds()
    assert lower[0] - 1000 == pytest.approx(888.5 * 10 / 11, abs=4)
    assert (lower[1:] == -np.inf).all()
    assert np.isfinite(upper[1:]).all()
    assert "champion is one-sided, open above" in result.notes(origin=origin)[0]
    assert "is the mean of m0, m1" in result.notes(origin=origin)[1]


def test_battles_of_one_pair_on_one_prompt_count_once_across_a_divide() -> None:
    once = Battles.of(["x", "y"], [0] * 20, [1] * 20, [1] * 20, cluster=np.arange(20))
    thrice = Battles.of(["x", "y"], [0] * 60, [1] * 60, [1] * 60, cluster=np.repeat(np.arange(20), 3))
    one, three = (sandwich(battles, fit(battles)).difference("x", "y") for battles in (once, thrice))
    assert three[1] == pytest.approx(one[1], abs=0.02)
    independent = sandwich(thrice, fit(thrice), cluster="battle").difference("x", "y")
    assert independent[1] > one[1] + 100


def test_ends_are_open_where_the_battles_set_no_bound() -> None:
    # a > {b, c} > d: b and c met both ways, nobody ever crossed
    a = [0] * 6 + [0] * 6 + [1] * 6 + [1] * 6 + [2] * 6
    b = [1] * 6 + [2] * 6 + [2] * 6 + [3] * 6 + [3] * 6
    battles = Battles.of(list("abcd"), a, b, [1] * 12 + [1, 0] * 3 + [1] * 12)
    result = sandwich(battles, fit(battles), cluster="battle")
    lower, upper = result.bounds()
    assert np.isfinite(lower).tolist() == [True, False, False, False]
    assert np.isfinite(upper).tolist() == [False, False, False, True]
    lower, upper = result.bounds(anchor=("b", 0.0))
    assert np.isfinite(lower).tolist() == [True, True, True, False]
    assert np.isfinite(upper).tolist() == [False, True, True, True]
    assert lower[1] == upper[1] == 0.0
    assert any("no interval for b, c" in note for note in result.notes())


def test_a_newcomer_on_two_prompts_has_no_interval_and_takes_none_from_others() -> None:
    rng = np.random.default_rng(2)
    rows = [(p, i, j) for p in range(100) for i, j in itertools.combinations(range(4), 2) if j < 3 or p < 2]
    cluster, a, b = np.array(rows).T
    # the newcomer won every battle on one prompt and lost every one on the other
    won = np.where(b == 3, cluster, rng.integers(0, 2, len(a)))
    battles = Battles.of(["a", "b", "c", "new"], a, b, won, cluster=cluster)
    result = sandwich(battles, fit(battles))
    origin = result.settled()
    lower, upper = result.bounds(origin=origin)
    assert np.isinf([lower[3], upper[3]]).all()
    assert (upper[:3] - lower[:3] < 100).all()
    assert "too few prompts for an interval of new" in " ".join(result.notes(origin=origin))
    assert np.isinf(result.difference("a", "new")[1:]).all()
    assert np.isfinite(result.difference("a", "b")).all()


def test_one_heavy_prompt_is_not_many() -> None:
    """Thirty prompts of a battle each, and one of two hundred that are all won: it alone carries the rating."""
    cluster = np.array([*range(30), *[30] * 200])
    battles = Battles.of(["x", "y"], [0] * 230, [1] * 230, [1, 0] * 15 + [1] * 200, cluster=cluster)
    result = sandwich(battles, fit(battles))
    assert result.evidence.clusters.max() < 0.5
    assert np.isinf(result.bounds()).all()


@pytest.mark.parametrize("noise", [0, 1])
def test_battles_that_cancel_out_on_every_prompt_are_no_certainty(noise: int) -> None:
    """Cycles, and a judge that votes for a seat: each prompt's scores sum to zero, or nearly."""
    cycle = ([0, 1, 2], [1, 2, 0], [1, 1, 1])
    seat = ([0, 0], [1, 1], [1, 0])
    for a, b, won in (cycle, seat):
        score = np.array(won * 60, dtype=float)
        score[:noise] = 0.5
        many = len(a)
        battles = Battles.of(list("abc")[: max(b) + 1], a * 60, b * 60, score, cluster=np.repeat(np.arange(60), many))
        result = sandwich(battles, fit(battles))
        assert np.isinf(result.bounds()).all()
        assert "the battles on each prompt cancel out that tell it" in result.notes()[0]


def test_a_partly_cancelling_judge_is_not_surer_than_independent_battles() -> None:
    rng = np.random.default_rng(0)
    prompts = 400
    seat = rng.random(prompts) < 0.75  # votes for the first seat on these prompts, else for a model, in both games
    model = rng.integers(0, 2, prompts)
    score = np.stack([np.where(seat, 1, model), np.where(seat, 0, model)], axis=1).ravel()
    battles = Battles.of(["a", "b"], [0] * 800, [1] * 800, score, cluster=np.repeat(np.arange(prompts), 2))
    fitted = fit(battles)
    by_prompt, by_battle = (sandwich(battles, fitted, cluster=c) for c in ("prompt", "battle"))
    assert by_prompt.covariance[0, 0] < 0.7 * by_battle.covariance[0, 0]
    assert by_prompt.standard_error(0, 1) == pytest.approx(by_battle.standard_error(0, 1), rel=0.01)


def test_one_upset_in_a_hundred_leaves_few_degrees_of_freedom() -> None:
    """T battles at chance p: V has relative variance (1 - 4 q) / (T q), that of a chi-square with 2 T q / (1 - 4 q)."""
    battles = Battles.of(["x", "y"], [0] * 100, [1] * 100, [1] * 99 + [0], cluster=np.arange(100))
    result = sandwich(battles, fit(battles))
    q = 0.99 * 0.01
    judged = result.evidence.judge(result.covariance, np.array([0, 1]), np.array([1]))
    assert judged.backing[0] == pytest.approx(1 / (1 / 99 + (1 - 4 * q) / (100 * q) / 2), rel=1e-4)
    assert judged.backing[0] < 2.2
    assert judged.dof[0] == pytest.approx(99)  # what is rare skews the interval, and takes no quantile of few clusters
    assert judged.skew[0] == pytest.approx((1 - 2 * 0.99) / np.sqrt(100 * q), rel=0.01)


def record(wins: int, ties: int, losses: int, *, votes: int = 1) -> Battles:
    score = np.repeat([1.0, 0.5, 0.0], [wins * votes, ties * votes, losses * votes])
    return Battles.of(["x", "y"], [0] * len(score), [1] * len(score), score, cluster=np.arange(len(score)) // votes)


@pytest.mark.parametrize("ties", [False, True])
def test_a_better_record_never_has_a_lower_end(ties: bool) -> None:
    lows = []
    for won in range(80, 39, -1):
        rest = 80 - won
        battles = record(won, rest if ties else 0, 0 if ties else rest)
        lows.append(sandwich(battles, fit(battles)).difference("x", "y")[1])
    assert np.isfinite(lows).all()
    assert (np.diff(lows) < 0).all()


def test_79_of_80_are_bounded_about_where_the_exact_test_bounds_them() -> None:
    """Mid-P limits of 79 of 80; Clopper and Pearson's lower end is 455 points."""
    battles = record(79, 0, 1)
    _, lower, upper = sandwich(battles, fit(battles)).difference("x", "y")
    assert lower == pytest.approx(480, abs=10)
    assert 1100 < upper < 1350


@pytest.mark.parametrize(("gap", "prompts"), [(0.0, 80), (300.0, 40), (300.0, 80), (600.0, 80), (1000.0, 200)])
def test_lopsided_pairs_are_covered(gap: float, prompts: int) -> None:
    """Exactly, by the probability of each record of two models."""
    p = 1 / (1 + 10 ** (-gap / 400))
    chance = {n: math.comb(prompts, n) * p**n * (1 - p) ** (prompts - n) for n in range(prompts + 1)}
    held = 0.0
    for won, weight in chance.items():
        if weight > 1e-4:
            battles = record(won, 0, prompts - won)
            _, lower, upper = sandwich(battles, fit(battles)).difference("x", "y")
            held += weight * (lower <= gap <= upper)
    assert 0.93 < held / sum(weight for weight in chance.values() if weight > 1e-4) < 0.985


@pytest.mark.parametrize(
    ("strengths", "prompts", "votes"),
    [([3.6, 3.4, 0, -3.4, -3.6], 20, 1), ([-0.3, 0.3], 3, 4), ([-0.3, -0.1, 0.1, 0.3], 3, 1)],
)
def test_the_edges_are_covered(strengths: list[float], prompts: int, votes: int) -> None:
    """150 repetitions of three arenas of experiments/interval_edges.py, whose 400 cover 96 % and more."""
    theta = np.array(strengths)
    truth = ELO_PER_NAT * (theta - theta.mean())
    pairs = list(itertools.combinations(range(len(theta)), 2))
    cluster, a, b = np.array([(p, i, j) for p in range(prompts) for i, j in pairs] * votes).T
    rng = np.random.default_rng(5)
    held = []
    for _ in range(150):
        won = rng.random(len(a)) < 1 / (1 + np.exp(theta[b] - theta[a]))
        battles = Battles.of([f"m{i}" for i in range(len(theta))], a, b, won, cluster=cluster)
        lower, upper = sandwich(battles, fit(battles)).bounds(mean=0.0)
        held.append((lower <= truth) & (truth <= upper))
    assert np.mean(held, axis=0).min() >= 0.92


def joined(prompts: int, battles: int, seed: int = 0) -> tuple[Battles, dict[str, float]]:
    """Two groups of three models, 80 prompts of one battle each in both, and what joins them; and the truth."""
    rng = np.random.default_rng(seed)
    truth = dict(zip("abcxyz", (0.0, 0.4, 0.8, 0.2, 0.6, 1.0), strict=True))
    rows = []
    for group, first in (("abc", 0), ("xyz", 80)):
        for prompt in range(first, first + 80):
            one, other = rng.choice(list(group), 2, replace=False)
            rows.append((one, other, prompt))
    pairs = [(one, other) for one in "abc" for other in "xyz"]
    rows += [(*pairs[t % 9], 160 + t % prompts) for t in range(battles)]
    won = [rng.random() < 1 / (1 + np.exp(truth[two] - truth[one])) for one, two, _ in rows]
    ones, twos, ids = zip(*rows, strict=True)
    return Battles.from_names(ones, twos, np.array(won, dtype=np.float64), prompt_ids=ids), truth


@pytest.mark.parametrize("battles", [2, 18, 300])
@pytest.mark.parametrize("prompts", [1, 2])
def test_groups_joined_by_a_prompt_or_two_have_intervals_inside_and_none_across(prompts: int, battles: int) -> None:
    table, _ = joined(prompts, battles)
    fitted = fit(table)
    for result in (sandwich(table, fitted), fit_controlled(with_length(table), ["length"]).intervals):
        origin = result.settled()
        assert origin is not None
        assert "".join(np.array(table.models)[origin]) in ("abc", "xyz")
        outside = "xyz" if origin[0] else "abc"
        lower, upper = result.bounds(origin=origin)
        assert np.isfinite([lower, upper]).all()
        assert ((lower < result.fit.ratings(origin=origin)) & (result.fit.ratings(origin=origin) < upper)).all()
        assert np.isfinite(result.difference("a", "b")).all()
        assert np.isfinite(result.difference("y", "z")).all()
        assert np.isinf(result.difference("a", "x")[1:]).any()
        told = f"the intervals of {', '.join(outside)} are from their own mean"
        assert any(told in note for note in result.notes(origin=origin))
        assert not any("no interval" in note or "too few" in note for note in result.notes(origin=origin))


def with_length(table: Battles) -> Battles:
    return replace(table, covariates={"length": np.random.default_rng(1).normal(size=len(table))})


def test_three_prompts_join_groups() -> None:
    table, _ = joined(3, 90)
    result = sandwich(table, fit(table))
    assert result.settled() is None
    assert np.isfinite(result.bounds()).all()
    assert np.isfinite(result.difference("a", "x")).all()
    assert not any("own mean" in note for note in result.notes())


def test_intervals_inside_a_group_that_one_prompt_joins_hold_the_truth() -> None:
    """Each of 200 boards has six intervals from the mean of their group: 95 % of 1,200, within four standard errors."""
    held = []
    for seed in range(200):
        table, truth = joined(1, 30, seed)
        result = sandwich(table, fit(table))
        for group in ("abc", "xyz"):
            codes = [table.models.index(name) for name in group]
            origin = np.isin(np.arange(6), codes)
            lower, upper = result.bounds(origin=origin, mean=0.0)
            middle = np.mean([truth[name] for name in group])
            for name, code in zip(group, codes, strict=True):
                held.append(lower[code] <= ELO_PER_NAT * (truth[name] - middle) <= upper[code])
    assert np.mean(held) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / len(held)))


def test_one_battle_that_outweighs_all_is_no_lack_of_prompts() -> None:
    """A prompt adds to the variance by its squared weight: 5,000 of one battle are 25 million of 20,000 others."""
    score, weight = np.array([1.0, 0.0] * 10_000), np.ones(20_000)
    weight[7] = 5000.0
    for prompts, told in (
        (20_000, "no interval for x, y: their battles' weights differ so much"),
        (2, "too few prompts for an interval of x, y"),
    ):
        cluster = np.arange(20_000) % prompts
        battles = Battles.of(["x", "y"], [0] * 20_000, [1] * 20_000, score, cluster=cluster, weight=weight)
        result = sandwich(battles, fit(battles))
        assert np.isinf(result.bounds()).all()
        assert [note[: len(told)] for note in result.notes()] == [told]
