"""The difference of two win rates against one baseline: paired, by hand and beside the rates themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arenaloop.ratings.rate_difference import rate_difference
from arenaloop.ratings.win_rate import Annotations, win_rates


def annotated(preferences: dict[str, list[float]], lengths: bool = True) -> Annotations:
    """Preferences for each model on prompts 0, 1, …; NaN where one has no outcome."""
    n = len(next(iter(preferences.values())))
    rows = [(m, p, y) for m, ys in enumerate(preferences.values()) for p, y in enumerate(ys)]
    model, prompt, preference = (np.array(column) for column in zip(*rows, strict=True))
    rng = np.random.default_rng(1)
    draw = rng.integers(20, 300, (2, len(rows))).astype(float) if lengths else np.full((2, len(rows)), np.nan)
    return Annotations("base", tuple(preferences), tuple(range(n)), model, prompt, preference, *draw)


def drawn(seed: int, n: int, *, apart: float = 0.0) -> dict[str, list[float]]:
    """Two models on prompts that are easy or hard for both, with soft preferences."""
    rng = np.random.default_rng(seed)
    ease = rng.beta(1.0, 1.0, n)
    return {
        name: (1.0 + np.clip(ease + shift + rng.normal(0.0, 0.1, n), 0.0, 1.0)).tolist()
        for name, shift in (("one", apart), ("two", 0.0))
    }


def test_golden_by_hand() -> None:
    ys = {"one": [2.0, 1.75, 1.0, 1.5, 2.0, 1.25], "two": [1.5, 1.75, 1.25, 1.0, 2.0, 1.0]}
    found = rate_difference(annotated(ys, lengths=False), "one", "two")
    apart = np.array(ys["one"]) - np.array(ys["two"])
    assert found.win_rate == pytest.approx(100 * apart.mean()) == pytest.approx(16.666667)
    assert found.standard_error == pytest.approx(100 * apart.std(ddof=1) / np.sqrt(6))
    assert (found.prompts, found.left_out) == (6, 0)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < found.win_rate < found.upper
    assert (found.lc_win_rate, found.lc_lower, found.lc_upper) == (None, None, None)
    turned = rate_difference(annotated(ys, lengths=False), "two", "one")
    assert (turned.win_rate, turned.lower, turned.upper) == pytest.approx((-found.win_rate, -found.upper, -found.lower))
    wider = rate_difference(annotated(ys, lengths=False), "one", "two", level=0.99)
    assert wider.lower is not None
    assert wider.lower < found.lower


def test_prompts_without_an_outcome_of_both_are_left_out() -> None:
    ys = {"one": [2.0, 1.0, 2.0, np.nan, 1.0], "two": [1.0, 1.0, 2.0, 2.0, np.nan], "three": [1.0] * 5}
    found = rate_difference(annotated(ys), "one", "two", control="length")
    assert (found.prompts, found.left_out) == (3, 2)
    assert found.win_rate == pytest.approx(100 / 3)
    assert found.lc_lower is None  # two wins and a loss each bound nothing


def test_hard_prompts_are_hard_for_both() -> None:
    """The interval is far narrower than that of independent samples, and with length control both rates' difference."""
    some = annotated(drawn(0, 150, apart=0.1))
    first, second = sorted(win_rates(some, control="length", samples=200), key=lambda row: row.model)
    found = rate_difference(some, "one", "two", control="length", samples=200)
    assert first.win_rate is not None
    assert second.win_rate is not None
    assert first.lc_win_rate is not None
    assert second.lc_win_rate is not None
    assert found.win_rate == pytest.approx(first.win_rate - second.win_rate)
    assert found.lc_win_rate == pytest.approx(first.lc_win_rate - second.lc_win_rate)
    told: list[list[Any]] = [
        [(one.lower, one.upper) for one in (found, first, second)],
        [(one.lc_lower, one.lc_upper) for one in (found, first, second)],
    ]
    for ends, one, two in told:
        width, first_width, second_width = (upper - lower for lower, upper in (ends, one, two))
        assert width < 0.5 * math.hypot(first_width, second_width)
        assert ends[0] > 0
    assert rate_difference(some, "one", "two", control="length", samples=200) == found


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        found = rate_difference(annotated(drawn(seed, 40), lengths=False), "one", "two")
        assert found.lower is not None
        assert found.upper is not None
        held += found.lower <= 0.0 <= found.upper
    assert held >= 186  # 95 % of 200, less the two and a half standard errors that chance takes


def test_rows_count_by_their_weight_within_a_prompt() -> None:
    ys = {"one": [2.0, 1.0, 2.0, 2.0], "two": [1.0, 1.0, 2.0, 1.0]}
    even = annotated(ys)
    weighed = replace(even, weight=np.array([3.0, 1.0, 1.0, 1.0] * 2))
    found = rate_difference(weighed, "one", "two")
    assert found.win_rate == pytest.approx(100 * (5 / 6 - 1 / 6))


@pytest.mark.parametrize(
    ("one", "two", "why"),
    [
        ("one", "one", "itself"),
        ("one", "base", "is the baseline"),
        ("none", "two", r"no model 'none' \(found: one, two"),
        ("one", "three", "no prompt on which both"),
    ],
)
def test_what_has_no_difference(one: str, two: str, why: str) -> None:
    some = annotated({"one": [2.0, 1.0], "two": [1.0, 1.0], "three": [np.nan, np.nan]})
    with pytest.raises(ValueError, match=why):
        rate_difference(some, one, two)
