"""Circles: counted by hand and one by one, predicted by the fit, found where they are planted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.ratings.arrays import sigmoid
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.cycles import count_cycles, cycles


def one_by_one(beats: np.ndarray) -> tuple[int, int]:
    met = beats | beats.T
    triads = [
        t
        for t in itertools.combinations(range(len(beats)), 3)
        if all(met[i, j] for i, j in itertools.combinations(t, 2))
    ]
    return len(triads), sum(
        any(beats[i, j] and beats[j, k] and beats[k, i] for i, j, k in (t, t[::-1])) for t in triads
    )


@given(seed=st.integers(0, 1000), size=st.integers(3, 9))
def test_circles_are_counted_as_one_by_one(seed: int, size: int) -> None:
    drawn = np.triu(np.random.default_rng(seed).integers(0, 3, (size, size)), 1)  # 0: did not meet
    beats = (drawn == 1) | (drawn == 2).T
    assert count_cycles(beats) == one_by_one(beats)


def pairs(probability: np.ndarray, each: int, seed: int | None, ties: float = 0.0) -> Battles:
    """`each` battles of every pair, drawn, or won exactly as often as expected."""
    rng = np.random.default_rng(seed)
    a, b, score = [], [], []
    for i, j in itertools.combinations(range(len(probability)), 2):
        won = (
            np.arange(each) < round(probability[i, j] * each) if seed is None else rng.random(each) < probability[i, j]
        )
        a += [i] * each
        b += [j] * each
        score += np.where(rng.random(each) < ties, 0.5, won.astype(float)).tolist()
    return Battles.of([f"m{i}" for i in range(len(probability))], np.array(a), np.array(b), np.array(score))


def circle(strong: float) -> np.ndarray:
    p = np.full((3, 3), 0.5)
    for i in range(3):
        p[i, (i + 1) % 3], p[(i + 1) % 3, i] = strong, 1 - strong
    return p


def test_three_in_a_circle_by_hand() -> None:
    """All are equals to the fit, by which one of four boards is a circle (two of eight orders of three pairs)."""
    battles = pairs(circle(0.7), 100, None)
    found = cycles(battles, fit(battles))
    assert (found.triads, found.cyclic) == (1, 1)
    assert found.expected == pytest.approx(0.25)
    assert sorted(found.certain) == [0, 1, 2]
    i, j, k = found.certain
    assert (j, k) == ((i + 1) % 3, (i + 2) % 3)
    few = pairs(circle(0.7), 10, None)
    assert cycles(few, fit(few)).certain is None


def test_the_expectation_is_that_of_boards_of_one_strength_per_model() -> None:
    theta = np.linspace(-0.5, 0.5, 8)
    p = sigmoid(theta[:, None] - theta[None, :])
    boards = [pairs(p, 25, seed, ties=0.3) for seed in range(150)]
    found = [cycles(board, fit(board)) for board in boards]
    cyclic, expected = (np.array([getattr(one, name) for one in found]) for name in ("cyclic", "expected"))
    error = cyclic.std(ddof=1) / np.sqrt(len(boards))
    # what a fit predicts of the board that it was fitted to is a little less than what boards have
    assert expected.mean() == pytest.approx(cyclic.mean(), abs=3 * error + 0.05 * cyclic.mean())
    inside = np.mean([one.lower <= one.cyclic <= one.upper for one in found])
    assert inside > 0.9
    assert not any(one.certain for one in found)


def test_fewer_than_three_models_have_no_triads() -> None:
    battles = Battles.of(["a", "b"], np.array([0, 0]), np.array([1, 1]), np.array([1.0, 0.0]))
    assert cycles(battles, fit(battles)) is None
