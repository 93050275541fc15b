"""Gates by hand: what is right, what counts, and when a gate is passed."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.judge_gates import gate, meta_accuracy, order_accuracy, whole_points
from arenaloop.ratings.rates import UNKNOWN, Rate, clustered_rate


def test_order_of_pairs_that_differ() -> None:
    found = order_accuracy([1.0, 0.5, 0.2, 0.4], [0.2, 0.5, 0.8, 0.1], ["a", "b", "c", "d"])
    assert (found.value, found.n) == (pytest.approx(2 / 3), 3)  # the second pair has no order
    alone = order_accuracy([1.0, 1.0], [0.0, 0.0], ["a", "a"])
    assert (alone.value, alone.lower) == (1.0, None)  # one prompt is one observation
    assert order_accuracy([], [], []) == UNKNOWN
    assert order_accuracy([0.5], [0.5], ["a"]) == UNKNOWN


def test_verdicts_that_name_the_nearer_score() -> None:
    r = np.zeros((2, 3, 3), dtype=int)
    # the truth is 4: judgement 0 (score 4) is right, 1 (score 5) and 2 (score 3) are one off
    r[0, 0, 1], r[0, 1, 0] = 1, 1  # right; wrong
    r[0, 1, 2], r[0, 2, 1] = 1, -1  # equally far off: neither counts
    r[0, 2, 0] = -1  # right
    r[1, 0, 1], r[1, 0, 2] = -1, 1  # the truth is 1, the scores 5 and 1: right; the third has no score
    scores = [[4.0, 5.0, 3.0], [5.0, 1.0, np.nan]]
    found = meta_accuracy(r, scores, [4.0, 1.0], ["p", "q"])
    by_hand = clustered_rate(np.array([1.0, 0.0, 1.0, 1.0]), np.ones(4), np.array([0, 0, 0, 1]))
    assert found == by_hand
    assert (found.value, found.n) == (0.75, 4)
    assert meta_accuracy(np.zeros((0, 0, 0)), np.zeros((0, 0)), [], []) == UNKNOWN
    unknown = meta_accuracy(r[:1], scores[:1], [np.nan], ["p"])
    assert unknown == UNKNOWN


@pytest.mark.parametrize("seat", [1, -1])
def test_who_names_one_seat_always_is_right_half_the_time(seat: int) -> None:
    rng = np.random.default_rng(0)
    r = np.full((40, 5, 5), seat)
    r[:, np.arange(5), np.arange(5)] = 0
    found = meta_accuracy(r, rng.integers(0, 6, (40, 5)), rng.integers(0, 6, 40), [str(p) for p in range(40)])
    assert found.value == pytest.approx(0.5)
    assert gate("meta", "verdicts", found, 0.5, "truth").passed is False


def test_a_gate_asks_for_the_lower_end() -> None:
    good = gate("meta", "verdicts", Rate(0.62, 0.55, 0.69, 0.03, 200), 0.5, "labelled")
    assert good.passed
    assert good.why == "0.620 of 200 verdicts are right on the labelled set (0.550 to 0.690); the limit is 0.5"
    weak = gate("order", "pairs", Rate(0.62, 0.49, 0.74, 0.06, 40), 0.5, "truth")
    assert (weak.passed, weak.n, weak.to_json()["value"]) == (False, 40, 0.62)
    assert gate("order", "pairs", Rate(1.0, None, None, None, 3), 0.5, "truth").passed is False
    none = gate("order", "pairs", UNKNOWN, 0.5, "truth")
    assert (none.passed, none.source, none.why) == (None, None, "not measured: of no pairs the order is known")
    assert gate("order", "pairs", UNKNOWN, 0.5, None).why == "not measured: the truth is not known here"


def test_points_of_a_rubric_are_whole() -> None:
    assert [whole_points(u, (0.0, 5.0)) for u in (0.0, 0.1, 0.49, 0.5, 0.85, 1.0)] == [0, 1, 2, 3, 4, 5]
    assert whole_points(0.5, (1.0, 10.0)) == 6
    assert whole_points(0.3, (0.0, 1.0)) == pytest.approx(0.3)
