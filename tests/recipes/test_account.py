"""What a recipe says of itself: prose, tables and curves that a report shows without knowing the recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.ratings.battles import Battles
from arenaloop.recipes.account import account, stage_details, told
from arenaloop.recipes.stage import StageResult


def row(name: str, rating: float | None, key: str = "name") -> dict[str, Any]:
    ends = {} if rating is None else {"lower": rating - 10, "upper": rating + 10}
    return {key: name, "rating": rating, **ends}


def never(one: str, other: str) -> tuple[int, int, int]:
    return 0, 0, 0


def test_a_fall_is_called_a_fall_and_the_best_stage_is_named() -> None:
    stages = [row("SFT-I0", 900.0), row("DPO-I1", 1050.0), row("SFT-I2", 850.0)]
    opponents = [row("o", 1000.0, "model"), row("p", 1060.0, "model")]
    done, ended = told(stages, opponents, 1, never)
    assert done == (
        "One model was trained in 3 stages against 2 opponents, and every stage was rated on 1 test prompt."
    )
    assert ended == (
        "From SFT-I0 to SFT-I2 the rating fell by 50 points, from 900 to 850 (840 to 860); their intervals do not "
        "overlap. The best stage is DPO-I1 with 1050 (1040 to 1060). "
        "The best stage is rated above 1 of 2 opponents."
    )


def test_a_rise_is_told_with_the_battles_and_the_truth_behind_it() -> None:
    stages = [row("SFT-I0", 950.0) | {"gold_accuracy": 0.5}, row("DPO-I1", 1040.0) | {"gold_accuracy": 0.8}]
    heard: list[tuple[str, str]] = []

    def record(one: str, other: str) -> tuple[int, int, int]:
        heard.append((one, other))
        return 20, 4, 4

    ended = told(stages, [row("teacher", 1000.0, "model")], 30, record)[1]
    assert "From SFT-I0 to DPO-I1 the rating rose by 90 points, from 950 to 1040 (1030 to 1050)" in ended
    assert "and in 28 battles with each other the later one scored 79 %." in ended
    assert "By the truth, right answers went from 50 % to 80 %." in ended
    assert heard == [("DPO-I1", "SFT-I0")]


@pytest.mark.parametrize(
    ("stages", "ended"),
    [([row("s", None)], "No stage could be rated."), ([row("s", 1000.0)], "s is rated 1000 (990 to 1010).")],
)
def test_short_recipes(stages: list[dict[str, Any]], ended: str) -> None:
    assert told(stages, [], 5, never)[1] == ended


RESULT = StageResult(
    start="SFT-I0",
    rows=21,
    steps=4,
    rows_dropped={"too long": 3},
    metrics={"accuracy": 0.94},
    figures={"mean_length": 5.0, "gold_accuracy": 0.5, "validation_score": None},
    selection={
        "rows": 21,
        "dropped": {"equal texts": 2, "gap below k": 7},
        "chosen_by": {"SFT-I0": 1, "teacher": 20},
        "rejected_by": {},
        "gap_histogram": {"0": 7, "1": 2, "3": 21},
    },
)


def test_a_stage_accounts_for_its_rows() -> None:
    tables, curves = stage_details("DPO-I1", RESULT)
    assert [(table["title"], table["rows"]) for table in tables] == [
        ("Learned from", [["teacher", 20], ["SFT-I0", 1]]),
        ("Prompts dropped", [["gap below k", 7], ["equal texts", 2]]),
        ("Rows not fit for training", [["too long", 3]]),
        ("At the end of training", [["accuracy", 0.94]]),
    ]
    assert tables[-1]["note"] == "21 rows selected from battles; trained on 21 rows in 4 steps, starting from SFT-I0."
    ((gaps),) = curves
    assert [(point["x"], point["value"]) for point in gaps["series"][0]["points"]] == [(0, 7), (1, 2), (2, 0), (3, 21)]
    assert {one["stage"] for one in (*tables, *curves)} == {"DPO-I1"}
    shared = replace(
        RESULT, selection={**(RESULT.selection or {}), "credit": {"teacher": 15.5, "aide": 4.5, "SFT-I0": 1}}
    )
    learned = stage_details("DPO-I1", shared)[0][0]
    assert learned["columns"] == ["", "rows", "credit"]
    assert learned["rows"] == [["teacher", 20, 15.5], ["aide", 0, 4.5], ["SFT-I0", 1, 1]]
    assert "credit is shared" in learned["note"]
    (only,), none = stage_details("SFT-I0", StageResult("base", rows=100, steps=1))
    assert only["note"] == "trained on 100 demonstrations in 1 step, starting from base."
    assert none == []


def test_the_whole_account() -> None:
    board = leaderboard(Battles.of(["DPO-I1", "teacher"], [0, 0, 0], [1, 1, 1], [1.0, 0.0, 0.5]))
    said = account({"DPO-I1": RESULT}, board, 3, never, {})
    assert list(said) == ["stages", "prose", "tables", "curves"]
    (stage,) = said["stages"]
    assert stage["rating"] == board["DPO-I1"].rating
    assert (stage["mean_length"], stage["gold_accuracy"], stage["rows"]) == (5.0, 0.5, 21)
    rating, accuracy, gaps = said["curves"]
    assert rating["references"] == [{"name": "teacher", "value": board["teacher"].rating}]
    assert rating["series"][0]["points"][0]["upper"] == board["DPO-I1"].upper
    assert accuracy["unit"] == "%"
    assert gaps["stage"] == "DPO-I1"


def test_a_stage_of_which_nothing_was_measured() -> None:
    board = leaderboard(Battles.of(["s", "teacher"], [0], [1], [1.0]))
    (stage,) = account({"s": StageResult("base", rows=1, steps=1)}, board, 1, never, {})["stages"]
    assert (stage["mean_length"], stage["rating"]) == (None, board["s"].rating)
