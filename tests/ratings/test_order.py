"""What a board's order is worth: worked by hand, by definition, and by simulation."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.ratings import pair_errors as errors_room
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bootstrap import bootstrap
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit
from arenaloop.ratings.intervals import sandwich
from arenaloop.ratings.order import Order, board_order, closure
from arenaloop.ratings.pair_errors import PairErrors, pair_errors
from arenaloop.ratings.power import prompts_to_separate
from arenaloop.ratings.simultaneous import joint_level


def drawn(theta: list[float], battles: int, seed: int, prompts: int = 0, ties: float = 0.0) -> Battles:
    """`battles` of random pairs; on `prompts` that suit models by a standard deviation of half a nat, if any."""
    rng = np.random.default_rng(seed)
    strength, size = np.array(theta), len(theta)
    a = rng.integers(0, size, battles)
    b = (a + rng.integers(1, size, battles)) % size
    odds = strength[a] - strength[b]
    prompt = None
    if prompts:
        prompt = rng.integers(0, prompts, battles)
        suits = rng.normal(0.0, 0.5, (prompts, size))
        odds = odds + suits[prompt, a] - suits[prompt, b]
    won = (rng.random(battles) < 1.0 / (1.0 + np.exp(-odds))).astype(float)
    won[rng.random(battles) < ties] = 0.5
    return Battles.of([f"m{i:02d}" for i in range(size)], a, b, won, cluster=prompt)


def order_of(battles: Battles, **settings: float) -> Order:
    fitted = fit(battles)
    cluster = "battle" if battles.cluster is None else "prompt"
    units = battles.clusters or len(battles)
    codes = np.argsort(-np.nan_to_num(fitted.theta, nan=-np.inf), kind="stable").tolist()
    return board_order(sandwich(battles, fitted, cluster=cluster), codes, units, **settings)


def known(covariance: np.ndarray) -> PairErrors:
    own = np.diag(covariance)
    error = np.sqrt(own[:, None] + own[None, :] - 2 * covariance)
    np.fill_diagonal(error, np.inf)
    size = len(own)
    return PairErrors(error, np.full((size, size), np.inf), np.zeros((size, size), bool), covariance, None)


def test_independent_differences_need_sidaks_level() -> None:
    """Four models in two pairs that share nothing: 0.95^(1/2) each."""
    chosen = np.zeros((4, 4), bool)
    chosen[0, 1] = chosen[2, 3] = True
    assert joint_level(known(np.eye(4)), chosen) == pytest.approx(0.95**0.5, abs=0.0015)
    chosen[2, 3] = False
    assert joint_level(known(np.eye(4)), chosen) == 0.95


def test_all_pairs_of_equals_need_the_studentised_range() -> None:
    """q(0.05; 3, infinity) = 3.314 (Tukey's tables), over the root of two; of ten means 4.474."""
    for size, range_quantile in ((3, 3.314), (10, 4.474)):
        level = joint_level(known(np.eye(size)), ~np.eye(size, dtype=bool))
        critical = NormalDist().inv_cdf((1 + level) / 2)
        assert critical == pytest.approx(range_quantile / 2**0.5, rel=0.01)


def test_differences_that_are_one_need_no_more_than_one() -> None:
    """Models 1 and 2 move as one against model 0: their two differences from it are the same question."""
    covariance = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0 - 1e-9], [0.0, 1.0 - 1e-9, 1.0]])
    chosen = np.zeros((3, 3), bool)
    chosen[0, 1] = chosen[0, 2] = True
    assert joint_level(known(covariance), chosen) == pytest.approx(0.95, abs=0.003)


def test_two_models_by_hand() -> None:
    """60 wins of 100 between two: log-odds 0.405, standard error 1 / sqrt(100 x 0.24); one difference, one interval."""
    battles = Battles.of(["a", "b"], np.zeros(100, int), np.ones(100, int), np.r_[np.ones(60), np.zeros(40)])
    found = order_of(battles)
    (only,) = found.neighbours
    assert only.difference == pytest.approx(ELO_PER_NAT * np.log(1.5), abs=1e-6)
    assert only.error == pytest.approx(ELO_PER_NAT / np.sqrt(24), rel=0.02)
    assert (only.joint_lower, only.joint_upper) == (only.lower, only.upper)
    # 0.405 is 1.99 standard errors before the correction for small samples, which takes it below Student's 1.98
    assert only.separated == (only.lower > 0)
    assert found.tier.tolist() == [1, 1 + only.separated]
    assert (found.lower.tolist(), found.upper.tolist()) == (([1, 2], [1, 2]) if only.separated else ([1, 1], [2, 2]))


def test_neighbours_are_what_intervals_and_power_say_of_them() -> None:
    battles = drawn([0.6, 0.5, 0.0, -0.6], 1500, 3, prompts=150)
    spread = sandwich(battles, fit(battles))
    found = order_of(battles)
    for n in found.neighbours:
        names = battles.models[n.above], battles.models[n.below]
        assert (n.difference, n.lower, n.upper) == pytest.approx(spread.difference(*names), abs=0.02)
        near = spread.difference(*names, level=found.neighbour_level)[1]  # the end towards 0
        far = spread.difference(*names, level=found.pair_level)[2]  # the end away from it, whoever is chosen
        assert (n.joint_lower, n.joint_upper) == pytest.approx((near, far), abs=0.02)
        if n.separated:
            assert n.more is None
        else:
            more = prompts_to_separate(spread, *names, level=found.neighbour_level).more
            assert n.more == pytest.approx(more, rel=1e-3)
    assert 0.95 < found.neighbour_level < found.pair_level


def ranks_by_definition(above: np.ndarray) -> tuple[list[int], list[int]]:
    """The best and worst place of each model in all orders that agree with what is certain."""
    size = len(above)
    best, worst = [size] * size, [1] * size
    for order in itertools.permutations(range(size)):
        place = {code: k for k, code in enumerate(order, start=1)}
        if all(place[i] < place[j] for i, j in np.argwhere(above)):
            best = [min(best[c], place[c]) for c in range(size)]
            worst = [max(worst[c], place[c]) for c in range(size)]
    return best, worst


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(20, 900), size=st.integers(2, 5))
def test_ranks_are_those_of_all_orders_that_agree_with_what_is_certain(seed: int, count: int, size: int) -> None:
    theta = np.random.default_rng(seed).normal(0, 1.0, size).tolist()
    found = order_of(drawn(theta, count, seed))
    best, worst = ranks_by_definition(found.above)
    assert (found.lower.tolist(), found.upper.tolist()) == (best, worst)
    assert not (found.above & found.above.T).any()
    assert all(n.joint_lower <= n.lower <= n.upper <= n.joint_upper for n in found.neighbours)
    assert found.tier.max() <= size


def test_what_is_above_something_is_above_all_below_that() -> None:
    above = np.zeros((4, 4), bool)
    above[0, 1] = above[1, 2] = above[2, 3] = True
    assert closure(above).tolist() == np.triu(np.ones((4, 4), bool), 1).tolist()


def test_many_models_are_judged_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    battles = drawn(np.linspace(-1, 1, 12).tolist(), 6000, 5, prompts=600)
    spread = sandwich(battles, fit(battles))
    exact = pair_errors(spread)
    monkeypatch.setattr(errors_room, "_EXACT", 4)
    bounded = pair_errors(spread)
    off = ~np.eye(12, dtype=bool)
    assert bounded.error[off] == pytest.approx(exact.error[off], rel=1e-3)
    assert (bounded.dof[off] > 0.5 * exact.dof[off]).all()
    assert exact.skew is not None
    assert bounded.skew == pytest.approx(exact.skew, abs=0.06)


def test_pools_that_never_met_are_ordered_each_by_itself() -> None:
    one, two = drawn([1.0, 0.0, -1.0], 600, 1), drawn([1.0, -1.0], 300, 2)
    names = ["a0", "a1", "a2", "b0", "b1"]
    a, b = (np.concatenate([getattr(one, side), getattr(two, side) + 3]) for side in "ab")
    found = order_of(Battles.of(names, a, b, np.concatenate([one.score_a, two.score_a])))
    assert [(n.above, n.below) for n in found.neighbours] == [(0, 1), (1, 2), (3, 4)]
    assert found.tier.tolist() == [1, 2, 3, 1, 2]
    assert (found.lower.tolist(), found.upper.tolist()) == ([1, 2, 3, 1, 2], [3, 4, 5, 4, 5])


def test_an_undefeated_model_is_above_those_that_its_record_says() -> None:
    """60:0 against each of three equals cannot be of an equal; 3:0 can."""
    rest = drawn([0.0, 0.0, 0.0], 600, 4)
    for wins, rank in ((60, 1), (1, 4)):
        a = np.concatenate([rest.a, np.full(3 * wins, 3)])
        b = np.concatenate([rest.b, np.repeat([0, 1, 2], wins)])
        battles = Battles.of(["x", "y", "z", "champion"], a, b, np.concatenate([rest.score_a, np.ones(3 * wins)]))
        found = order_of(battles)
        champion = battles.models.index("champion")
        assert (found.lower[champion], found.upper[champion]) == (1, rank)
        first = found.neighbours[0]
        assert first.above == champion
        assert first.separated == (wins == 60)
        assert first.upper == np.inf


def test_the_bootstrap_says_about_what_the_sandwich_says() -> None:
    battles = drawn([0.8, 0.3, 0.0, -0.8], 4000, 6, prompts=400)
    fitted = fit(battles)
    order = np.argsort(-fitted.theta).tolist()
    ours = board_order(sandwich(battles, fitted), order, battles.clusters)
    theirs = board_order(bootstrap(battles, fitted, samples=800), order, battles.clusters)
    for one, other in zip(ours.neighbours, theirs.neighbours, strict=True):
        assert other.separated == one.separated
        assert other.joint_upper - other.joint_lower == pytest.approx(one.joint_upper - one.joint_lower, rel=0.12)
    assert theirs.lower.tolist() == ours.lower.tolist()


def test_of_equals_hardly_any_are_separated_and_all_ranks_are_open() -> None:
    """150 boards of six equals: 5 % may separate somebody, four standard errors more are 12 %."""
    wrong = missed = 0
    for seed in range(150):
        found = order_of(drawn([0.0] * 6, 600, 1000 + seed))
        wrong += any(n.separated for n in found.neighbours)
        missed += bool((found.lower > 1).any() or (found.upper < 6).any())
    assert wrong <= 18
    assert missed <= 18
