"""Designs of paired comparisons: balance, A-optimal choice worked by hand, and rank-one updates against inversion."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.ratings.crossings import components
from arenaloop.ratings.design import (
    Covariance,
    Design,
    Unit,
    balanced,
    information,
    reliability,
    round_robin,
    unit_information,
)


def connected(models: int, pairs: list[tuple[int, int]]) -> bool:
    met = np.zeros((models, models))
    for i, j in pairs:
        met[i, j] = met[j, i] = 1
    return len(set(components(met)[0].tolist())) == 1


def spread(counts: list[int]) -> int:
    return max(counts) - min(counts)


def counted(units: list[Unit], models: int) -> np.ndarray:
    fought = np.zeros((models, models))
    for unit in units:
        fought[unit.first, unit.second] += 1
        fought[unit.second, unit.first] += 1
    return fought


# ---------------------------------------------------------------------- uniform


@given(st.integers(2, 13), st.integers(0, 5))
def test_a_round_robin_is_balanced_and_connected_from_the_start(models: int, seed: int) -> None:
    pairs = [(int(i), int(j)) for i, j in round_robin(models, seed)]
    assert sorted(pairs) == list(combinations(range(models), 2))
    for n in range(1, len(pairs) + 1):
        often = Counter(model for pair in pairs[:n] for model in pair)
        assert spread([often[m] for m in range(models)]) <= 1 + models % 2
        if n >= models - 1:
            assert connected(models, pairs[:n])


@given(st.integers(2, 8), st.integers(1, 30), st.integers(1, 400), st.integers(0, 5))
def test_a_balanced_sample_uses_pairs_and_prompts_within_one(models: int, prompts: int, n: int, seed: int) -> None:
    units = balanced(models, prompts, n, seed)
    many = models * (models - 1) // 2
    assert len(units) == len(set(units)) == min(n, many * prompts)
    pairs, used = Counter((u.first, u.second) for u in units), Counter(u.prompt for u in units)
    assert spread([pairs[pair] for pair in combinations(range(models), 2)]) <= 1
    assert spread([used[p] for p in range(prompts)]) <= 1
    assert balanced(models, prompts, n + 7, seed)[: len(units)] == units  # fewer are the beginning of more


def test_a_model_is_not_tied_to_its_prompts() -> None:
    """8 models and 4 prompts, as many as there are games in a round: no seat at the table has one prompt for itself."""
    for seed in range(10):
        units = balanced(8, 4, 28, seed)
        seen = Counter((model, u.prompt) for u in units for model in (u.first, u.second))
        assert all(sum(seen[model, p] > 0 for p in range(4)) >= 2 for model in range(8))
        assert max(seen.values()) <= 6


# ---------------------------------------------------------------------- information and its inverse


def test_information_by_hand() -> None:
    """Odds of 3 to 1 give p (1 - p) = 3/16, even odds 1/4."""
    strengths = np.array([np.log(3.0), 0.0, 0.0])
    assert unit_information(strengths)[0, 1] == pytest.approx(3 / 16)
    fought = np.array([[0.0, 16, 0], [16, 0, 8], [0, 8, 0]])
    assert information(strengths, fought) == pytest.approx(np.array([[3.0, -3, 0], [-3, 5, -2], [0, -2, 2]]))


def test_covariance_without_a_ridge_to_speak_of_is_the_pseudo_inverse() -> None:
    laplacian = information(np.array([0.3, -0.2, 0.0, 1.0]), np.ones((4, 4)))
    covariance = Covariance(laplacian, 1e-6)
    assert covariance.matrix == pytest.approx(np.linalg.pinv(laplacian), abs=1e-4)
    assert covariance.trace == pytest.approx(np.trace(np.linalg.pinv(laplacian)), abs=1e-4)


@settings(max_examples=50)
@given(st.integers(2, 7), st.integers(0, 1000))
def test_rank_one_updates_agree_with_inversion(models: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    strengths = rng.normal(size=models)
    fought = np.triu(rng.integers(0, 4, (models, models)), 1).astype(float)
    fought += fought.T
    updated = Covariance(information(strengths, fought), 0.5)
    first, second = round_robin(models, seed).T
    weight = unit_information(strengths)[first, second]
    for _ in range(12):
        q = int(rng.integers(len(first)))
        i, j = int(first[q]), int(second[q])
        gain, before = float(updated.gains(weight, first, second)[q]), updated.trace
        updated.add(i, j, float(weight[q]))
        fought[i, j] += 1
        fought[j, i] += 1
        assert updated.trace == pytest.approx(before - gain, rel=1e-9)
    direct = Covariance(information(strengths, fought), 0.5)
    assert updated.matrix == pytest.approx(direct.matrix, rel=1e-8, abs=1e-10)
    assert updated.gains(weight, first, second) == pytest.approx(direct.gains(weight, first, second), rel=1e-8)


def test_reliability_by_hand() -> None:
    """Two models: their gap d has variance 1 / (n/4), each centred strength +-d/2 a quarter of that, here 0.0025."""
    fought = np.array([[0.0, 400.0], [400.0, 0.0]])
    close = np.array([0.005, -0.005])
    assert reliability(close, fought, ridge=1e-9) == pytest.approx(0.005**2 / (0.005**2 + 0.0025), rel=1e-4)
    assert reliability(np.zeros(2), fought) == 0.0
    assert reliability(np.array([1.0, -1.0]), 10 * fought) > reliability(np.array([1.0, -1.0]), fought) > 0.99


# ---------------------------------------------------------------------- A-optimal


def test_the_least_known_pair_is_chosen() -> None:
    """Equal models; 0-1 met 8 times, 0-2 and 1-2 not often: more of 0-1 tells least."""
    design = Design(3, 100, seed=0, explore=0.0)
    fought = np.array([[0.0, 8, 1], [8, 0, 2], [1, 2, 0]])
    (unit,) = design.optimal(1, np.zeros(3), fought)
    assert (unit.first, unit.second) == (0, 2)


def test_gains_by_hand() -> None:
    """Three equal models in a row, 0-1-2, four battles each: L = [[1, -1, 0], [-1, 2, -1], [0, -1, 1]].

    L^+ has the resistances 1, 1 and 2. Its eigenvectors (1, 0, -1)/sqrt 2 and (1, -2, 1)/sqrt 6 have the eigenvalues 1
    and 1/3, so that |L^+ v|^2 is 2 for e0 - e2, and 1/2 + (9/6)/9 = 2/3 for e0 - e1. A battle of weight 1/4 then gains
    1/4 * 2 / (1 + 2/4) = 1/3 between the ends, and 1/4 * 2/3 / (1 + 1/4) = 2/15 along the row.
    """
    row = np.array([[1.0, -1, 0], [-1, 2, -1], [0, -1, 1]])
    covariance = Covariance(row, 1e-9)
    gains = covariance.gains(np.full(3, 0.25), np.array([0, 1, 0]), np.array([1, 2, 2]))
    assert gains == pytest.approx([2 / 15, 2 / 15, 1 / 3], rel=1e-6)


def test_one_batch_is_not_put_on_one_pair() -> None:
    design = Design(4, 100, seed=0, explore=0.0)
    units = design.optimal(60, np.zeros(4), np.zeros((4, 4)))
    assert set(Counter((u.first, u.second) for u in units).values()) == {10}


def test_near_models_meet_more_often_than_far_ones() -> None:
    design = Design(4, 1000, seed=0, explore=0.0)
    units = design.optimal(400, np.array([-3.0, -2.9, 2.9, 3.0]), np.zeros((4, 4)))
    often = Counter((u.first, u.second) for u in units)
    assert often[0, 1] > often[0, 2]
    assert connected(4, list(often))


def test_the_choice_beats_the_uniform_one_on_what_it_minimises() -> None:
    strengths = np.linspace(-3, 3, 8)
    best = counted(Design(8, 500, seed=1, explore=0.0).optimal(800, strengths, np.zeros((8, 8))), 8)
    even = counted(balanced(8, 500, 800, 1), 8)
    chosen, uniform = (Covariance(information(strengths, fought), 1e-3).trace for fought in (best, even))
    assert chosen < 0.8 * uniform


def test_what_will_hardly_be_decided_is_worth_less() -> None:
    """Model 3 has failed as often as not: the weight of its battles halves, and with it their gain."""
    decided = np.ones((4, 4))
    decided[3] = decided[:, 3] = 0.02
    units = Design(4, 100, seed=0, explore=0.0).optimal(1, np.zeros(4), np.full((4, 4), 10.0), decided)
    assert 3 not in units[0][:2]


@settings(max_examples=25)
@given(
    st.integers(2, 6),
    st.integers(1, 12),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.sampled_from([0.0, 0.25, 1.0]),
    st.integers(0, 3),
)
def test_a_design_never_repeats_and_goes_on_where_it_was(
    models: int, prompts: int, sizes: list[int], explore: float, seed: int
) -> None:
    strengths = np.linspace(0, 2, models)
    total = prompts * models * (models - 1) // 2
    design = Design(models, prompts, seed=seed, explore=explore)
    units = design.uniform(models)
    for size in sizes:
        again = Design(models, prompts, seed=seed, explore=explore)
        again.restore(units, turn=design.turn, steered=design.steered)
        one, two = (d.optimal(size, strengths, counted(units, models)) for d in (design, again))
        assert one == two
        assert again.turn == design.turn
        units = [*units, *one]
    assert len(units) == len(set(units)) == design.size == min(total, models + sum(sizes))
    assert all(0 <= u.first < u.second < models and 0 <= u.prompt < prompts for u in units)
    assert design.room == total - len(units)
    assert (design.asked == counted(units, models)).all()


def test_fewer_battles_are_the_beginning_of_more() -> None:
    few, many = (Design(5, 40, seed=3).optimal(n, np.linspace(0, 1, 5), np.zeros((5, 5))) for n in (30, 90))
    assert many[:30] == few


def test_a_share_goes_on_uniformly() -> None:
    """Of 80 battles a quarter is the beginning of the round-robin, whatever the strengths."""
    design = Design(6, 50, seed=0, explore=0.25)
    design.optimal(80, np.linspace(-5, 5, 6), np.zeros((6, 6)))
    assert design.turn == 20
    assert design.asked[np.triu_indices(6, 1)].min() >= 1  # 15 pairs, all met


def test_prompts_are_used_evenly_and_a_model_meets_each_before_it_meets_one_again() -> None:
    design = Design(6, 30, seed=0)
    units = [*design.uniform(30), *design.optimal(60, np.linspace(-1, 1, 6), np.zeros((6, 6)))]
    by_prompt = Counter(u.prompt for u in units)
    assert spread([by_prompt[p] for p in range(30)]) <= 2
    by_model = Counter((m, u.prompt) for u in units for m in (u.first, u.second))
    assert max(by_model.values()) <= 2  # 30 battles a model on 30 prompts


def test_another_seed_chooses_other_battles() -> None:
    assert Design(5, 50, seed=0).uniform(20) != Design(5, 50, seed=1).uniform(20)


# ---------------------------------------------------------------------- batches


def results(models: int, each: float, spread: float) -> np.ndarray:
    """Win weights of `each` battles a pair that went just as equally spaced strengths say."""
    strengths = np.linspace(0, spread, models)
    return each / (1.0 + np.exp(strengths[None, :] - strengths[:, None])) * (1.0 - np.eye(models))


def test_batches_are_uniform_until_the_ratings_are_reliable() -> None:
    design, other = Design(6, 500, seed=0), Design(6, 500, seed=0)
    assert design.batch(np.zeros((6, 6)), np.zeros((6, 6))) == other.uniform(100)
    alike = results(6, 20, 0.05)  # as much spread as luck would give
    assert design.batch(alike, alike + alike.T) == other.uniform(100)
    assert design.steered == 0
    apart = results(6, 40, 4.0)
    design.batch(apart, apart + apart.T)
    assert (design.steered, design.turn) == (100, 250)  # half of them uniform
    assert design.asked[0, 1] > design.asked[0, 5]
    design.batch(alike, alike + alike.T)
    assert design.steered == 200  # once begun, it goes on


def test_batches_grow_with_what_was_fought() -> None:
    assert len(Design(40, 500, seed=0).batch(np.zeros((40, 40)), np.zeros((40, 40)))) == 160
    design = Design(4, 5000, seed=0)
    design.uniform(3000)
    assert len(design.batch(results(4, 10, 1.0), np.full((4, 4), 10.0))) == 300


def test_undecided_battles_count_a_little() -> None:
    """A model nearly all of whose battles fail is asked more often than its like, but by far not without end."""
    design = Design(6, 5000, seed=0, explore=0.0, reliable=0.0)
    design.uniform(1500)  # 100 a pair
    wins = results(6, 100, 2.0)
    failed = wins.copy()
    failed[2] *= 0.01
    failed[:, 2] *= 0.01
    before = design.asked.sum(axis=1)
    design.batch(failed, failed + failed.T)
    more = design.asked.sum(axis=1) - before
    assert more[2] > more[3]
    for _ in range(20):
        wins = results(6, 1, 2.0) * design.asked
        wins[2] *= 0.01
        wins[:, 2] *= 0.01
        design.batch(wins, wins + wins.T)
    asked = design.asked.sum(axis=1)
    assert asked[2] < 2.5 * asked[3]
