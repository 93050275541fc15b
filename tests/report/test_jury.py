"""What the page says of the members of a jury that were fitted with the ratings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from parsed_page import read

from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.jury import Jury
from arenaloop.ratings.reliability import JudgeFit
from arenaloop.report import write_report
from arenaloop.report.jury import jury_table
from arenaloop.types import Prompt

from .conftest import Script, play_into


def test_judges_by_their_slopes_with_intervals() -> None:
    judges = [
        JudgeFit("coin", 1200, 0.5, 0.02, -0.1, 0.14, 0.02, 0.2, None, None),
        JudgeFit("sharp\nname", 1200, 0.812, 1.1, 1.0, 1.2, 1.0, -0.25, -0.35, -0.15),
    ]
    table = jury_table({"judges": [asdict(one) for one in judges], "level": 0.95})
    assert table is not None
    assert table.rows == [
        ["sharp name", "1.00", "+1.10", "+1.00 … +1.20", "-0.25", "-0.35 … -0.15", "81.2 %", "1,200"],
        ["coin", "0.02", "+0.02", "-0.10 … +0.14", "+0.20", "–", "50.0 %", "1,200"],
    ]


@pytest.mark.parametrize("board", [{}, {"judges": None}, {"judges": 5}, {"judges": [3]}])
def test_other_boards_have_no_such_table(board: dict[str, object]) -> None:
    assert jury_table(board) is None
    odd = jury_table({"judges": [{"name": {}, "slope": "x"}]})
    assert odd is not None
    assert odd.rows[0][1:] == ["–"] * 7


def test_the_page_of_a_run_by_rule_reliability_shows_it(tmp_path: Path) -> None:
    players: dict[str, Script] = {
        "a": lambda r: "a" + r.messages[-1]["content"],
        "bb": lambda r: "bb" + r.messages[-1]["content"],
        "ccc": lambda r: "ccc" + r.messages[-1]["content"],
    }
    judges = [BuiltinJudge(name) for name in ("shortest", "longest", "first")]
    prompts = [Prompt.of(f"question {n}") for n in range(6)]
    run = play_into(tmp_path / "run", players, None, prompts, judge_object=Jury(judges, rule="reliability"))
    write_report(run)
    page = read(run)
    for words in ("What the judges are worth", "votes of 3 fitted judges", "What the order is worth", "Agreement"):
        assert words in page.text
