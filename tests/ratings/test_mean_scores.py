"""Mean scores of single answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.ratings.mean_scores import Mean, Scored, mean_scores


def of(model: str, question: int, turn: int, score: float | None, judge: str | None = "j") -> Scored:
    return Scored(judge, model, question, turn, score)


def test_golden() -> None:
    """Two questions of two turns: deviations from 6 are 1 + 3 and -2 - 2, so se = sqrt(2 * (16 + 16)) / 4 = 2."""
    scores = [of("a", 1, 1, 7), of("a", 1, 2, 9), of("a", 2, 1, 4), of("a", 2, 2, 4)]
    (row,) = mean_scores(scores)
    assert row.mean == Mean(6.0, 2.0, 4)
    assert row.turns == {1: Mean(5.5, 1.5, 2), 2: Mean(6.5, 2.5, 2)}
    assert row.to_dict() == {
        "judge": "j", "model": "a", "mean": 6.0, "standard_error": 2.0, "scores": 4, "failed": 0,
        "turns": [
            {"turn": 1, "mean": 5.5, "standard_error": 1.5, "scores": 2},
            {"turn": 2, "mean": 6.5, "standard_error": 2.5, "scores": 2},
        ],
    }  # fmt: skip


def test_failed_scores_are_counted_and_in_no_mean() -> None:
    rows = mean_scores([of("a", 1, 1, 7), of("a", 2, 1, None), of("b", 1, 1, None), of("c", 1, 1, 8)])
    assert [(row.model, row.mean, row.failed) for row in rows] == [
        ("c", Mean(8.0, None, 1), 0),
        ("a", Mean(7.0, None, 1), 1),
        ("b", Mean(None, None, 0), 1),
    ]


def test_judges_are_kept_apart_and_turns_in_order() -> None:
    rows = mean_scores(
        [of("a", 1, turn, 5, judge) for judge, turns in (("few", [2]), ("many", [10, 2, 1])) for turn in turns]
    )
    assert [(row.judge, list(row.turns)) for row in rows] == [("many", [1, 2, 10]), ("few", [1, 2, 10])]
    assert rows[1].turns[1] == Mean(None, None, 0)
    assert mean_scores([of("a", 1, 1, 5, None)])[0].judge is None


@given(st.lists(st.floats(0, 10), min_size=2, max_size=30))
def test_with_one_turn_a_question_it_is_the_plain_standard_error(values: list[float]) -> None:
    mean = Mean.of([of("a", n, 1, value) for n, value in enumerate(values)])
    assert mean.value == pytest.approx(float(np.mean(values)))
    assert mean.standard_error == pytest.approx(float(np.std(values, ddof=1)) / math.sqrt(len(values)), abs=1e-9)
