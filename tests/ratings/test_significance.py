from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.ratings.significance import benjamini_hochberg, smallest_effect, two_sided
from arenaloop.ratings.student import t_quantile


@pytest.mark.parametrize(
    ("t", "dof", "p"),
    [
        (12.706205, 1, 0.05),  # tables of Student's t
        (4.302653, 2, 0.05),
        (2.228139, 10, 0.05),
        (3.169273, 10, 0.01),
        (1.983972, 100, 0.05),
        (1.959964, math.inf, 0.05),
        (0.0, 7, 1.0),
        (1.0, 1, 0.5),  # 1 - 2 atan(1) / pi
        (math.inf, 5, 0.0),
    ],
)
def test_p_values_of_the_tables(t: float, dof: float, p: float) -> None:
    assert two_sided(t, dof) == pytest.approx(p, abs=1e-6)
    assert two_sided(-t, dof) == two_sided(t, dof)


@given(st.floats(0.01, 0.99), st.floats(3.0, 500.0))
def test_quantiles_and_p_values_are_each_other_s_inverse(level: float, dof: float) -> None:
    assert two_sided(t_quantile(level, dof), dof) == pytest.approx(1.0 - level, abs=2e-5)


def test_without_a_degree_of_freedom_there_is_no_p() -> None:
    with pytest.raises(ValueError, match="dof must be at least 1"):
        two_sided(1.0, 0.5)


def test_smallest_effect_by_hand() -> None:
    # the usual sample size: (1.959964 + 0.841621) standard errors
    assert smallest_effect(1.0, math.inf) == pytest.approx(2.801585, abs=1e-5)
    # 100 pairs: a share of one half has the standard error 0.05; t of 99: 1.984217 + 0.845230
    assert smallest_effect(0.05, 99) == pytest.approx(0.05 * (1.984217 + 0.845230), abs=1e-5)


def test_the_smallest_effect_is_found_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    n, hits, runs = 25, 0, 4000
    effect = smallest_effect(1.0 / math.sqrt(n), n - 1)
    for _ in range(runs):
        x = rng.normal(effect, 1.0, n)
        hits += two_sided(float(x.mean() / (x.std(ddof=1) / math.sqrt(n))), n - 1) <= 0.05
    # the two t quantiles are a close approximation of the noncentral t's
    assert hits / runs == pytest.approx(0.8, abs=0.02)


def test_benjamini_and_hochberg_s_own_example() -> None:
    """Their fifteen p-values (1995, section 3.2), of which four are rejected at 0.05."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
         1.0]  # fmt: skip
    q = benjamini_hochberg(p)
    assert np.count_nonzero(q <= 0.05) == 4
    assert q[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert q[4] == pytest.approx(min(0.0201 * 15 / 5, 0.0278 * 15 / 6, 0.0298 * 15 / 7, 0.0344 * 15 / 8))
    assert q[-1] == 1.0


def test_by_hand_in_any_order_and_where_there_is_no_test() -> None:
    # 0.04 * 3 / 2 = 0.06 is more than 0.05 * 3 / 3 = 0.05, which lowers it
    assert benjamini_hochberg([0.05, math.nan, 0.01, 0.04]) == pytest.approx([0.05, math.nan, 0.03, 0.05], nan_ok=True)
    assert benjamini_hochberg([]).shape == (0,)


@given(st.lists(st.floats(0.0, 1.0), max_size=20))
def test_adjusted_values_keep_the_order_and_are_never_smaller(p: list[float]) -> None:
    q = benjamini_hochberg(p)
    assert (q >= np.array(p) - 1e-12).all()
    assert (q <= 1.0).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(q[order]) >= -1e-12).all()
