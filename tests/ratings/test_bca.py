"""BCa intervals: the textbook's example, what they are without bias and skew, and their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.ratings.bca import bca_interval, left_out

SPATIAL = [
    48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41,
]  # fmt: skip
"""Column A of the spatial test data of Efron and Tibshirani 1993, "An Introduction to the Bootstrap", table 14.1."""


def test_the_variance_of_the_spatial_test() -> None:
    """Theirs at 90 %: 115.8 … 259.6, from 2,000 resamples (section 14.3)."""
    data = np.array(SPATIAL, dtype=np.float64)
    rng = np.random.default_rng(0)
    draws = data[rng.integers(0, len(data), (20_000, len(data)))].var(axis=1)
    weights = left_out(len(data))
    jackknife = np.array([data[row > 0].var() for row in weights])
    assert float(data.var()) == pytest.approx(171.5, abs=0.05)
    assert bca_interval(draws, float(data.var()), jackknife, 0.9) == pytest.approx((115.8, 259.6), abs=4.0)
    assert float(np.quantile(draws, 0.95)) < 245.0  # plain percentiles stop short


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=30))
def test_without_bias_and_skew_it_is_the_percentiles(steps: list[float]) -> None:
    draws = np.concatenate([-np.cumsum(steps)[::-1], [0.0], np.cumsum(steps)])
    found = bca_interval(draws, 0.0, np.array([-1.0, 0.0, 1.0]), 0.9)
    assert found == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))


@given(st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=40), st.lists(st.floats(-9.0, 9.0), max_size=12))
def test_ends_are_ordered_and_among_the_draws(draws: list[float], jackknife: list[float]) -> None:
    some = np.array([*draws, math.nan])
    lower, upper = bca_interval(some, float(np.median(draws)), np.array([*jackknife, math.nan]), 0.95)
    assert min(draws) <= lower <= upper <= max(draws)


def test_no_resample_no_interval() -> None:
    assert all(map(math.isnan, bca_interval(np.array([math.nan]), 0.5, np.array([0.5]))))


@pytest.mark.parametrize(("units", "groups"), [(1, 1), (7, 7), (200, 200), (1234, 200)])
def test_each_unit_is_left_out_once(units: int, groups: int) -> None:
    weights = left_out(units)
    assert weights.shape == (groups, units)
    assert (weights == 0).sum(axis=0).tolist() == [1] * units
    assert (weights == 0).sum(axis=1).max() - (weights == 0).sum(axis=1).min() <= 1
