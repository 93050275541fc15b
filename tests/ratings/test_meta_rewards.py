"""Rewards of judgements: a golden worked by hand, symmetries, a slow second implementation, and the time it takes."""

from __future__ import annotations

import math
import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit_wins
from arenaloop.ratings.meta_rewards import (
    battle_matrix,
    meta_pairs,
    meta_rewards,
    most_varied,
    seat_weights,
    swiss_round,
    swiss_rounds,
)

# three judgements: (first, second) → who won
GOLDEN = np.zeros((1, 3, 3), dtype=int)
for (m, n), won in {(0, 1): 1, (1, 0): -1, (0, 2): 1, (2, 0): 1, (1, 2): 1, (2, 1): 0}.items():
    GOLDEN[0, m, n] = won

OUTCOMES = st.tuples(st.integers(1, 4), st.integers(2, 5)).flatmap(
    lambda shape: arrays(np.int8, (shape[0], shape[1], shape[1]), elements=st.sampled_from([-1, 0, 1]))
)


def test_golden_battle_matrix_and_rewards() -> None:
    weights = seat_weights(GOLDEN)
    assert (int(weights.won_first), int(weights.won_second)) == (4, 1)
    assert (float(weights.first), float(weights.second)) == pytest.approx((0.2, 0.8))
    assert battle_matrix(GOLDEN, weights)[0] == pytest.approx(np.array([[0, 1, 0.2], [0, 0, 0.2], [0.2, 0, 0]]))
    found = meta_rewards(GOLDEN)
    assert found.rewards[0] == pytest.approx([1.0948, -0.7906, -0.3042], abs=1e-4)
    assert 1000 + ELO_PER_NAT * found.rewards[0] == pytest.approx([1190.19, 862.65, 947.16], abs=0.01)
    assert meta_rewards(GOLDEN, l2=0.1).rewards[0] == pytest.approx([0.8556, -0.6347, -0.2208], abs=1e-4)
    assert meta_rewards(GOLDEN, l2=0.001).rewards[0] == pytest.approx([1.1315, -0.8135, -0.3180], abs=1e-4)


def by_hand(outcomes: np.ndarray, scope: str, floor: float) -> list[np.ndarray]:
    """Battle matrices, from the words of the paper, call by call."""
    calls = [
        (p, m, n) for p in range(len(outcomes)) for m in range(outcomes.shape[1]) for n in range(outcomes.shape[1])
    ]
    calls = [(p, m, n) for p, m, n in calls if m != n]
    matrices = []
    for p in range(len(outcomes)):
        counted = [outcomes[c] for c in calls if scope == "global" or c[0] == p]
        first, second = counted.count(1), counted.count(-1)
        w1 = second / (first + second) if first + second else 0.5
        w1 = min(max(w1, floor), 1 - floor)
        wins = np.zeros(outcomes.shape[1:])
        for q, m, n in calls:
            if q == p and outcomes[q, m, n] == 1:
                wins[m, n] += w1
            if q == p and outcomes[q, m, n] == -1:
                wins[n, m] += 1 - w1
        matrices.append(wins)
    return matrices


@given(OUTCOMES, st.sampled_from(["global", "response"]), st.sampled_from([0.0, 0.1, 0.5]))
def test_two_implementations_agree(outcomes: np.ndarray, scope: str, floor: float) -> None:
    expected = by_hand(outcomes, scope, floor)
    found = battle_matrix(outcomes, seat_weights(outcomes, scope, floor))  # type: ignore[arg-type]
    assert found == pytest.approx(np.stack(expected))
    rewards = meta_rewards(outcomes, scope=scope, floor=floor).rewards  # type: ignore[arg-type]
    for wins, eps in zip(expected, rewards, strict=True):
        met = (wins + wins.T).any(axis=1)
        # a stationary point of the concave objective is its maximum
        p = 1 / (1 + np.exp(-(eps[:, None] - eps[None, :])))
        assert (wins - (wins + wins.T) * p).sum(axis=1) - 0.01 * eps == pytest.approx(np.zeros(len(wins)), abs=1e-6)
        assert eps[~met] == pytest.approx(np.zeros((~met).sum()))
        if met.all() and len(set(fit_wins(wins, l2=0.01).component)) == 1:
            assert fit_wins(wins, l2=0.01).theta == pytest.approx(eps, abs=1e-6)


@given(OUTCOMES, st.randoms(use_true_random=False))
def test_relabelled_judgements_keep_their_rewards(outcomes: np.ndarray, random: object) -> None:
    order = np.random.default_rng(random.randint(0, 99)).permutation(outcomes.shape[1])  # type: ignore[attr-defined]
    found = meta_rewards(outcomes).rewards
    assert meta_rewards(outcomes[:, order][:, :, order]).rewards == pytest.approx(found[:, order], abs=1e-6)


@given(OUTCOMES)
def test_exchanged_seats_change_nothing(outcomes: np.ndarray) -> None:
    """Every verdict with its seats exchanged: the same wins, from the other seat, whose weight has moved with them."""
    found, other = meta_rewards(outcomes), meta_rewards(-outcomes.transpose(0, 2, 1))
    assert other.rewards == pytest.approx(found.rewards, abs=1e-6)
    assert (other.weights.first, other.weights.second) == pytest.approx((found.weights.second, found.weights.first))


def test_edges() -> None:
    nothing = np.zeros((2, 3, 3), dtype=int)
    found = meta_rewards(nothing)
    assert not found.met.any()
    assert not found.rewards.any()
    assert float(found.weights.first) == float(found.weights.second) == 0.5
    # the first seat wins all: a win from it says nothing, unless a floor is set
    always = np.ones((1, 3, 3), dtype=int)
    assert not meta_rewards(always).rewards.any()
    assert float(seat_weights(always, floor=0.2).first) == pytest.approx(0.2)
    # a judgement that never loses stays finite
    best = np.zeros((1, 3, 3), dtype=int)
    best[0, 0, 1] = best[0, 0, 2] = 1
    best[0, 1, 0] = best[0, 2, 0] = -1
    assert np.isfinite(meta_rewards(best).rewards).all()
    # one answer's judgements, padded to the size of another's, have what they have alone
    padded = np.zeros((1, 5, 5), dtype=int)
    padded[:, :3, :3] = GOLDEN
    assert meta_rewards(padded).rewards[0, :3] == pytest.approx(meta_rewards(GOLDEN).rewards[0])
    assert meta_rewards(padded).met.tolist() == [[True, True, True, False, False]]
    assert meta_rewards(np.zeros((0, 3, 3), dtype=int)).rewards.shape == (0, 3)
    weights = seat_weights(np.concatenate([GOLDEN, always]), "response")
    assert weights.first.tolist() == pytest.approx([0.2, 0.0])


@pytest.mark.parametrize(
    ("outcomes", "options", "says"),
    [
        (np.zeros((3, 3)), {}, r"shape \(P, N, N\)"),
        (np.full((1, 2, 2), 2), {}, "outcomes are 1"),
        (GOLDEN, {"l2": 0.0}, "l2 must be positive"),
        (GOLDEN, {"floor": 0.6}, "between 0 and 0.5"),
    ],
)
def test_refusals(outcomes: np.ndarray, options: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        meta_rewards(outcomes, **options)  # type: ignore[arg-type]


def test_most_varied_answer() -> None:
    nan = math.nan
    assert most_varied([[3, 3, 3], [1, 5, 3], [2, 4, 3]], [0, 0, 0]) == 1
    assert most_varied([[1, 5], [5, 1], [2, 4]], [7, 3, 0]) == 1  # a tie: the lower lot
    assert most_varied([[3, 3], [4, 4]], [0, 1]) is None
    assert most_varied(np.array([[3, nan], [4, nan], [1, 2]]), [0, 1, 2]) == 2  # one score does not vary
    assert most_varied([[nan, nan]], [0]) is None
    assert most_varied(np.zeros((0, 3)), []) is None


@given(st.integers(2, 13), st.integers(2, 12), st.integers(0, 9))
def test_each_judgement_meets_k_others(n: int, k: int, seed: int) -> None:
    pairs = list(meta_pairs(n, k, seed))
    assert len(set(pairs)) == len(pairs)
    assert all(0 <= i < j < n for i, j in pairs)
    met = [sum(i in pair for pair in pairs) for i in range(n)]
    wanted = min(k, n - 1)
    assert set(met) <= {wanted, wanted - (n % 2 and wanted % 2)}
    if k >= n - 1:
        assert pairs == list(combinations(range(n), 2)) == list(meta_pairs(n, "all", seed))


@given(st.integers(2, 12), st.integers(0, 5))
def test_a_swiss_tournament_finds_the_best_and_the_worst(n: int, seed: int) -> None:
    points, met = [0.0] * n, set[tuple[int, int]]()
    for round_ in range(swiss_rounds(n)):
        pairs = swiss_round(points, met, 10 * seed + round_)
        assert not met & {*pairs}
        assert len({i for pair in pairs for i in pair}) == 2 * len(pairs)  # nobody twice in a round
        met |= {*pairs}
        for _, better in pairs:
            points[better] += 1  # the higher index is always better
    assert len(met) <= swiss_rounds(n) * (n // 2)
    if n & (n - 1) == 0:  # without a bye one wins all, one loses all
        assert points.index(max(points)) == n - 1
        assert points.index(min(points)) == 0


def test_five_thousand_prompts_take_less_than_a_second() -> None:
    rng = np.random.default_rng(0)
    quality = rng.normal(size=(5_000, 11))
    first = 1 / (1 + np.exp(-(quality[:, :, None] - quality[:, None, :]) - 0.5))
    outcomes = np.where(rng.random(first.shape) < first, 1, -1)
    start = time.process_time()
    rewards = meta_rewards(outcomes).rewards
    assert time.process_time() - start < 1.0  # of the processor, whoever else is busy; a fifth of it as measured
    assert np.corrcoef(rewards.ravel(), quality.ravel())[0, 1] > 0.8
