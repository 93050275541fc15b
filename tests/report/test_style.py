"""The report's table of length and style."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import run_tournament
from arenaloop.calls.answers import Contestant
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.controlled_rates import controlled_rates
from arenaloop.report.documents import Documents
from arenaloop.report.style import style_table
from arenaloop.store import Store
from arenaloop.types import Prompt, Request


def played(out: Path) -> Documents:
    out.mkdir()
    prompts = [Prompt.of(f"question {n}") for n in range(20)]

    def plain(request: Request) -> str:
        return "x" * (5 + int(request.messages[-1]["content"].split()[-1]) % 7)

    def fancy(request: Request) -> str:
        return "# h\n- **i**\n" + "y" * (int(request.messages[-1]["content"].split()[-1]) % 3)

    plan = BattlePlan(
        contestants=[
            Contestant("plain", ScriptedModel("plain", plain)),
            Contestant("fancy", ScriptedModel("fancy", fancy)),
        ],
        judge=BuiltinJudge("longest"),
        prompt_ids=[p.id for p in prompts],
        schedule=Schedule((("plain", "fancy"),)),
    )
    with Store(out / "arena.db") as store:
        store.add_prompts(prompts)
        store.flush()
        board = run_tournament(plan, store, out).leaderboard
    return Documents(out, "", {}, board.to_dict(), {})


def test_means_and_rates_by_model_in_the_board_s_order(tmp_path: Path) -> None:
    documents = played(tmp_path / "run")
    found = style_table(documents)
    assert found is not None
    assert found.columns[0] == "model"
    rows = {row[0]: row[1:] for row in found.rows}
    assert [row[0] for row in found.rows] == ["fancy", "plain"]
    assert rows["fancy"][1:4] == ["1.0", "1.0", "1.0"]
    assert rows["plain"][:4] == [round(float(np.mean([5 + n % 7 for n in range(20)]))), "0.0", "0.0", "0.0"]
    assert rows["fancy"][4] == "100.0 %"
    assert "equal length" in found.note


def test_without_an_arena_file_there_is_no_table(tmp_path: Path) -> None:
    documents = played(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "battles.jsonl").write_bytes((tmp_path / "run" / "battles.jsonl").read_bytes())
    assert style_table(replace(documents, directory=tmp_path / "elsewhere")) is None


def test_a_model_that_wins_by_length_alone_wins_half_at_equal_length() -> None:
    rng = np.random.default_rng(0)
    length = rng.normal(0.3, 0.3, 4000)
    won = (rng.random(4000) < 1 / (1 + np.exp(-3 * length))).astype(float)
    battles = Battles.of(["a", "b"], np.zeros(4000, int), np.ones(4000, int), won, covariates={"length": length})
    rates = controlled_rates(battles, ["length"])
    assert rates is not None
    assert won.mean() > 0.65
    assert rates == pytest.approx([0.5, 0.5], abs=0.03)
    assert rates.sum() == pytest.approx(1.0)
    none = Battles.of(["a", "b"], [0, 0], [1, 1], [1.0, 0.0], covariates={"length": [0.0, 0.0]})
    assert controlled_rates(none, ["length"]) is None
