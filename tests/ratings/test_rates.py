"""Clustered shares and kappas."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.ratings.rates import UNKNOWN, clustered_rate, kappa, kappa_rate
from arenaloop.ratings.student import t_quantile


def rate(values: list[float], cluster: list[int] | None = None):
    part = np.array(values, dtype=float)
    return clustered_rate(part, np.ones_like(part), np.array(cluster or range(len(values))))


def test_without_clusters_it_is_wilsons_interval_at_a_slightly_smaller_n() -> None:
    """Textbook (Newcombe 1998, table I, method 3): 81 of 263 gives 0.2553 to 0.3662."""
    found = rate([1.0] * 81 + [0.0] * 182)
    assert found.value == pytest.approx(81 / 263)
    # linearised variance p(1-p)/(n-1), and t of 262 degrees of freedom for z: a touch wider
    assert found.lower == pytest.approx(0.2553, abs=0.0008)
    assert found.upper == pytest.approx(0.3662, abs=0.0008)
    assert found.lower < 0.2553
    assert found.upper > 0.3662


def documented(y: list[float], level: float = 0.95) -> tuple[float, float]:
    """The interval as docs/ratings.md has it, step by step, of one row for each prompt."""
    n, p = len(y), statistics.fmean(y)
    v = statistics.variance(y) / n
    rows = min(p * (1 - p) / v, max(n, p * (1 - p) / (v + 1 / (2 * n * (n - 1)))))
    z = statistics.NormalDist().inv_cdf(0.5 + level / 2)
    m = rows * (z / t_quantile(level, n - 1)) ** 2
    middle, half = p + z * z / (2 * m), z * math.sqrt(p * (1 - p) / m + z * z / (4 * m * m))
    return (middle - half) / (1 + z * z / m), (middle + half) / (1 + z * z / m)


def test_the_documented_example_to_the_last_digit() -> None:
    """Ten probabilities of a judge; the figures stand in docs/ratings.md."""
    y = [0.05, 0.95, 0.3, 0.8, 0.6, 0.45, 0.9, 0.2, 0.7, 0.55]
    found = rate(y)
    assert (found.value, found.standard_error) == pytest.approx((0.55, 0.0951607), abs=5e-8)
    assert (found.lower, found.upper) == pytest.approx((0.298488, 0.778310), abs=5e-7)
    assert (found.lower, found.upper) == pytest.approx(documented(y), abs=1e-9)


@given(st.lists(st.floats(0.01, 0.99).map(lambda x: round(x, 2)), min_size=3, max_size=60))
def test_of_one_row_for_each_prompt_the_interval_is_the_documented_one(y: list[float]) -> None:
    if len(set(y)) > 1:
        found = rate(y)
        assert (found.lower, found.upper) == pytest.approx(documented(y), abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_at_the_ends_the_interval_is_not_empty(value: float) -> None:
    found = rate([value] * 20)
    assert found.value == value
    assert found.lower is not None
    assert found.upper is not None
    assert found.upper - found.lower == pytest.approx(0.18, abs=0.03)  # the rule of three gives 0.15
    assert 0.0 <= found.lower <= found.value <= found.upper <= 1.0


def test_copies_within_a_prompt_tell_nothing_new() -> None:
    single = rate([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    copied = rate([x for x in (1.0, 0.0, 1.0, 1.0, 0.0, 1.0) for _ in range(10)], [i // 10 for i in range(60)])
    assert (copied.value, copied.lower, copied.upper) == pytest.approx((single.value, single.lower, single.upper))
    assert (single.n, copied.n) == (6, 60)


def test_one_cluster_tells_no_interval_and_none_tells_nothing() -> None:
    one = rate([1.0, 0.0], [0, 0])
    assert (one.value, one.lower, one.upper, one.n) == (0.5, None, None, 2)
    assert rate([]) == UNKNOWN
    assert clustered_rate(np.zeros(3), np.zeros(3), np.arange(3)) == UNKNOWN


def test_complement_turns_the_interval() -> None:
    found = rate([1.0, 1.0, 0.0, 1.0]).scaled(100.0)
    turned = found.complement(100.0)
    assert turned.value == pytest.approx(25.0)
    assert found.lower is not None
    assert found.upper is not None
    assert turned.lower == pytest.approx(100.0 - found.upper)
    assert turned.upper == pytest.approx(100.0 - found.lower)
    assert turned.standard_error == found.standard_error


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 6)), min_size=1, max_size=40))
def test_the_interval_holds_the_share(rows: list[tuple[float, int]]) -> None:
    found = rate([r[0] for r in rows], [r[1] for r in rows])
    if found.lower is not None and found.upper is not None:
        assert 0.0 <= found.lower <= found.value + 1e-12
        assert found.value - 1e-12 <= found.upper <= 1.0


def test_it_covers_as_often_as_it_says() -> None:
    """400 draws of 40 prompts with 1 to 4 correlated rows each, true share 0.85: 95 % within 3 standard errors."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        own = rng.beta(0.85 * 4, 0.15 * 4, size=40)
        size = rng.integers(1, 5, size=40)
        found = clustered_rate(rng.binomial(size, own).astype(float), size.astype(float), np.arange(40))
        assert found.lower is not None
        assert found.upper is not None
        covered += found.lower <= 0.85 <= found.upper
    assert 0.917 <= covered / 400 <= 0.983


def test_ties_say_that_the_share_is_near_one_half() -> None:
    """10 wins among 190 ties: the rows deviate by 0.109, so that 0.525 is known to 1.96 * 0.109 / sqrt(200)."""
    found = rate([1.0] * 10 + [0.5] * 190)
    assert found.lower is not None
    assert found.upper is not None
    assert found.upper - found.lower == pytest.approx(2 * 1.96 * 0.109 / np.sqrt(200), rel=0.15)
    assert found.lower > 0.5
    one = rate([1.0] + [0.5] * 199)  # a single win proves no lead
    assert one.lower is not None
    assert one.lower < 0.5


@pytest.mark.parametrize(
    ("prompts", "ties", "wins"),
    [(200, 0.95, 0.5), (200, 0.95, 1.0), (200, 0.98, 1.0), (200, 0.99, 0.8), (50, 0.9, 0.5), (20, 0.75, 0.8)],
)
def test_it_covers_among_ties(prompts: int, ties: float, wins: float) -> None:
    """400 draws of prompts that are mostly ties, the others won with probability `wins`: never below 92 %."""
    rng = np.random.default_rng(7)
    truth = 0.5 + (1.0 - ties) * (wins - 0.5)
    covered = 0
    for _ in range(400):
        tied, won = rng.random(prompts) < ties, rng.random(prompts) < wins
        found = rate(np.where(tied, 0.5, won).tolist())
        assert found.lower is not None
        assert found.upper is not None
        covered += found.lower <= truth <= found.upper
    assert covered / 400 >= 0.92


def test_kappa_of_a_textbook_table() -> None:
    """Two raters, 50 items (Cohen's kappa, the usual example): 20 yes/yes, 5, 10, 15 no/no gives 0.4."""
    table = np.array([[20.0, 0, 5], [0, 0, 0], [10, 0, 15]])
    assert float(kappa(table, linear=False)) == pytest.approx(0.4)
    assert float(kappa(table, linear=True)) == pytest.approx(0.4)  # without ties there is nothing to weigh
    tables = np.repeat(table[None] / 50.0, 50, axis=0)
    same = kappa_rate(tables, np.arange(50), linear=False, samples=50)
    assert same.value == pytest.approx(0.4)
    assert (same.lower, same.upper) == pytest.approx((0.4, 0.4))  # every prompt alike: nothing varies


def test_kappa_is_unknown_where_chance_explains_all() -> None:
    tables = np.zeros((5, 3, 3))
    tables[:, 0, 0] = 1.0
    assert kappa_rate(tables, np.arange(5), linear=False).value is None
    assert kappa_rate(np.zeros((5, 3, 3)), np.arange(5), linear=False) == UNKNOWN
    assert t_quantile(0.95, 4.0) == pytest.approx(2.7764, abs=1e-3)
