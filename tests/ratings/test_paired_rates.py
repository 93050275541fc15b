"""Differences of paired shares: at the edges, by hand, and how often the interval holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.ratings.paired_rates import clustered_difference
from arenaloop.ratings.rates import Rate, clustered_rate


def difference(one: list[float], two: list[float], cluster: list[int] | None = None) -> Rate:
    whole = np.ones(len(one))
    return clustered_difference(np.array(one), whole, np.array(two), whole, np.array(cluster or range(len(one))))


def test_nine_of_nine_against_none_leaves_room() -> None:
    found = difference([1.0] * 9, [0.0] * 9)
    end = clustered_rate(np.ones(9), np.ones(9), np.arange(9)).lower
    assert end is not None
    assert (found.value, found.upper) == (1.0, 1.0)
    assert found.lower == pytest.approx(1 - math.sqrt(2) * (1 - end))
    assert found.lower == pytest.approx(0.475, abs=1e-3)


def test_no_difference_in_any_row_is_not_known_to_be_none() -> None:
    """Also where both are right of some rows and wrong of others, which correlate fully."""
    for each in ([1.0] * 9, [1.0] * 5 + [0.0] * 4):
        found = difference(each, each)
        assert found.value == 0.0
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower < -0.1 < 0.1 < found.upper


def test_newcombes_formula_by_hand() -> None:
    """Cells 20, 12, 2, 16 of 50: phi corrected (320 - 24 - 25) / sqrt(32 18 22 28)."""
    one, two = [1.0] * 32 + [0.0] * 18, [1.0] * 20 + [0.0] * 12 + [1.0] * 2 + [0.0] * 16
    found = difference(one, two)
    whole, rows = np.ones(50), np.arange(50)
    a, b = clustered_rate(np.array(one), whole, rows), clustered_rate(np.array(two), whole, rows)
    assert a.lower is not None
    assert a.upper is not None
    assert b.lower is not None
    assert b.upper is not None
    phi = (20 * 16 - 12 * 2 - 25) / math.sqrt(32 * 18 * 22 * 28)
    low, high = 0.64 - a.lower, b.upper - 0.44
    assert found.value == pytest.approx(0.2)
    assert found.lower == pytest.approx(0.2 - math.sqrt(low**2 - 2 * phi * low * high + high**2))
    # the score intervals allow for Student's t, so it is a little wider than the published 0.0562 to 0.3292
    assert (found.lower, found.upper) == pytest.approx((0.0562, 0.3292), abs=0.01)


def test_rows_of_one_cluster_tell_as_much_as_one() -> None:
    twice = difference([1.0] * 18, [0.0] * 18, [n // 2 for n in range(18)])
    assert twice.lower == pytest.approx(difference([1.0] * 9, [0.0] * 9).lower)


@pytest.mark.parametrize(("n", "right", "both"), [(9, 0.9, 0.3), (20, 0.95, 0.6), (60, 0.6, 0.5)])
def test_it_holds_the_truth_in_95_of_100(n: int, right: float, both: float) -> None:
    """`both`: how often the second is as the first; else it is a coin."""
    rng = np.random.default_rng(n)
    held = []
    for _ in range(600):
        one = (rng.random(n) < right).astype(float)
        two = np.where(rng.random(n) < both, one, (rng.random(n) < 0.5).astype(float))
        found = clustered_difference(one, np.ones(n), two, np.ones(n), np.arange(n))
        assert found.lower is not None
        assert found.upper is not None
        held.append(found.lower <= right - (both * right + (1 - both) * 0.5) <= found.upper)
    assert np.mean(held) >= 0.935


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=2, max_size=30))
def test_the_interval_has_width_holds_the_difference_and_turns_with_it(rows: list[tuple[float, float]]) -> None:
    one, two = [a for a, _ in rows], [b for _, b in rows]
    found, back = difference(one, two), difference(two, one)
    assert found.value is not None
    assert found.lower is not None
    assert found.upper is not None
    assert -1.0 <= found.lower <= found.value <= found.upper <= 1.0
    assert found.lower < found.upper
    assert back.lower == pytest.approx(-found.upper)


def test_a_single_cluster_has_no_interval() -> None:
    assert difference([1.0, 1.0], [0.0, 0.0], [0, 0]).lower is None
    assert difference([], []).value is None
