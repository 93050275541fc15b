"""Drift figures by hand, and the rules that stop."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.judge_drift import Limits, gold_agreement, meta_drift, score_drift, stopped, warnings
from arenaloop.ratings.meta_rewards import seat_weights


def test_scores() -> None:
    found = score_drift(
        [5, 5, 4.5, None, 1, None, None], ["ok", "ok", "ok", "unparsed", "ok", "refused", "unparsed"],
        [10, 20, 30, 999, 40, 0, 5], most=5,
    )  # fmt: skip
    assert (found.asked, found.failed) == (7, {"unparsed": 2, "refused": 1})
    assert found.failure_rate == pytest.approx(3 / 7)
    assert found.mean == pytest.approx(15.5 / 4)
    assert found.histogram == {1: 1, 4.5: 1, 5: 2}
    assert (found.commonest, found.commonest_share, found.perfect) == (5, 0.5, 0.5)
    assert (found.non_integer, found.mean_length) == (0.25, 25)
    assert found.to_json()["histogram"] == {"1": 1, "4.5": 1, "5": 2}
    empty = score_drift([], [], [], most=5)
    assert (empty.failure_rate, empty.mean, empty.commonest, empty.perfect) == (None, None, None, None)


def test_meta_verdicts() -> None:
    scores = [[4.0, 2.0, 2.0]]
    r = np.zeros((1, 3, 3), dtype=int)
    r[0, 0, 1], r[0, 1, 0], r[0, 2, 0] = 1, 1, -1  # follows, does not, follows
    r[0, 1, 2], r[0, 2, 1] = 1, 1  # equal scores, first seat both times
    found = meta_drift(r, scores, 6, seat_weights(r))
    assert (found.asked, found.decided, found.failure_rate) == (6, 5, pytest.approx(1 / 6))
    assert found.follows_score == pytest.approx(2 / 3)
    assert (found.first_seat, found.first_seat_equal) == (0.8, 1.0)
    assert found.first_weight == pytest.approx(0.2)
    none = meta_drift(np.zeros((0, 2, 2)), np.zeros((0, 2)), 0, seat_weights(np.zeros((0, 2, 2))))
    assert (none.follows_score, none.first_seat, none.first_seat_equal, none.failure_rate) == (None,) * 4
    # judgements that fill up a matrix have no score, and no verdict either
    padded = np.zeros((1, 4, 4), dtype=int)
    padded[:, :3, :3] = r
    assert meta_drift(padded, [[*scores[0], np.nan]], 6, seat_weights(r)) == found


def test_agreement_with_the_truth() -> None:
    found = gold_agreement([5, 3, 3, 1], [1.0, 0.5, 0.2, 0.2], ["a", "a", "a", "b"])
    assert found["judge_pairwise"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert found["judge_spearman"] == pytest.approx(np.corrcoef([4, 2.5, 2.5, 1], [4, 3, 1.5, 1.5])[0, 1])
    assert gold_agreement([1.0], [1.0], ["a"]) == {"judge_spearman": None, "judge_pairwise": None}


def test_stop_rules() -> None:
    limits = Limits()
    assert stopped(limits, 5.0, 0.95, prompts=10, equal=9) == {"one_score": "95.0% of all scores are 5"}
    why = "all answers have equal scores on 10 of 10 prompts"
    assert stopped(limits, None, None, prompts=10, equal=10) == {"no_pair": why}
    assert stopped(Limits(one_score=None, no_pair=None), 5.0, 1.0, prompts=10, equal=10) == {}
    assert stopped(limits, None, None, prompts=0, equal=0) == {}
    r = np.ones((1, 2, 2), dtype=int)
    seats = meta_drift(r, [[3.0, 3.0]], 2, seat_weights(r))
    told = list(warnings(limits, seats, 2.5))
    assert told[0].startswith("between equal scores the meta-judge names the first seat in 100.0%")
    assert told[1] == "answers are 2.5 times as long as those of the first iteration"
    r[0, 1, 0] = -1
    assert "follows the higher score in 100.0%" in next(
        warnings(limits, meta_drift(r, [[4, 3]], 2, seat_weights(r)), None)
    )
    assert list(warnings(limits, None, None)) == []
