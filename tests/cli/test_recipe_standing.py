"""Recipes that are looked at before they are through: what a stop writes, and what others read of one that goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_farm import FARM
from small_recipe import RECIPE
from small_self import META, SELF

from arenaloop.recipes.observer import Observer
from arenaloop.specs.recipes import RECIPES
from arenaloop.store import Store

torch.set_num_threads(1)

Command = Callable[..., Any]
RESULTS = ("battles.jsonl", "leaderboard.json", "summary.json", "report.html")
DATA = {"prompts": "sandbox:prompts?n=12", "test": "sandbox:prompts?n=8&split=test"}
ARENA = RECIPE | {"stages": ["sft"], "data": RECIPE["data"] | DATA, "sft_init_training": RECIPE["sft"]}
FARM_OF_ONE = FARM | {"methods": {"DPO": FARM["methods"]["DPO"]}, "data": FARM["data"] | {"unlabeled": None}}


def written(tmp_path: Path, values: dict[str, Any], name: str = "recipe.yaml") -> Path:
    path = tmp_path / name
    path.write_text(yaml.safe_dump(json.loads(json.dumps(values))))
    return path


def document(out: Path, name: str) -> dict[str, Any]:
    found = json.loads((out / name).read_text())
    assert isinstance(found, dict)
    return found


def test_a_stopped_recipe_leaves_a_board_and_a_report(arenaloop: Command, tmp_path: Path) -> None:
    recipe, out = written(tmp_path, ARENA), tmp_path / "out"
    begun_with: list[str] = []

    def run(calls: int, code: int = 4) -> dict[str, Any]:
        result = arenaloop("run", recipe, "--out", "out", "--set", f"budget_calls={calls}", "--json")
        assert result.code == code, result.lines
        begun_with.append(" ".join(" ".join(result.lines).split()))
        found = json.loads(result.out)
        assert found == document(out, "summary.json")
        return dict(found)

    training = run(60)
    assert [stage["name"] for stage in training["stages"]] == ["SFT-I0"]
    assert training["progress"].startswith("1 of 2 stages through, ")
    assert "SFT-I1 was begun" in training["prose"][0]
    planned = arenaloop("run", recipe, "--out", "out", "--dry-run", "--json")
    assert "  1 of 2 stages are through; what is left:" in planned.lines
    left = json.loads(planned.out)
    assert left["through"] == ["SFT-I0"]
    assert next(p["tokens_in"] for p in left["parts"] if p["what"] == "training") == 0
    assert left["total"]["calls"] > 0
    board = document(out, "leaderboard.json")
    assert 0 < board["battles"] == training["battles_decided"]
    assert any("on the test set none is decided yet" in note for note in board["notes"])
    table = next(one for one in training["tables"] if one["title"] == "How far it is")
    assert [row[:2] for row in table["rows"]][-1] == ["leaderboard", "to come"]
    judged = [json.loads(line) for line in (out / "battles.jsonl").read_text().splitlines()]
    assert {row["model_a"] for row in judged} | {row["model_b"] for row in judged} >= {"scholar", "novice"}
    rated = run(121)
    assert rated["progress"].startswith("2 of 2 stages through, ")
    board = document(out, "leaderboard.json")
    assert not any("test set" in note for note in board["notes"])
    assert "not finished: 2 of 2 stages through" in (out / "report.html").read_text()
    for name in RESULTS:  # as if it had been killed
        (out / name).unlink()
    _others_read(arenaloop, out)
    before = begun_with[0]
    final = run(1_000, 0)
    at_most, left = (int(re.findall(r"at most ([\d,]+) judge calls", one)[0]) for one in (before, begun_with[-1]))
    assert 0 < left < at_most
    assert "(left, equal pairs of texts are asked once)" in begun_with[-1]
    assert "(equal pairs of texts are asked once)" in before
    assert "progress" not in final
    assert "stopped" not in final
    board_of_all = document(out, "leaderboard.json")
    assert not any("not finished" in note for note in board_of_all["notes"])
    planned = arenaloop("run", recipe, "--out", "out", "--dry-run")
    told = f"  all 2 stages through · all {final['battles_decided']} battles decided · nothing to ask"
    assert planned.lines[-1] == told  # no table of what is to come
    other = arenaloop("run", recipe, "--out", "out", "--set", "judge.template=score_first", "--set", "budget_calls=1")
    assert other.code == 4
    (kept,) = (out / "earlier").iterdir()
    assert f"kept in {kept.relative_to(tmp_path)}; arenaloop run " in " ".join(" ".join(other.lines).split())
    assert document(kept, "leaderboard.json") == board_of_all
    assert document(out, "leaderboard.json")["battles"] < board_of_all["battles"]


def _others_read(arenaloop: Command, cut: Path) -> None:
    before = {path.name for path in cut.iterdir()}
    with Store(cut / "arena.db"):
        ranked = arenaloop("rank", "out", "--json")
        assert ranked.code == 0, ranked.lines
        board = json.loads(ranked.out)
        assert {"SFT-I0", "SFT-I1"} <= {row["model"] for row in board["leaderboard"]}
        assert any(note.startswith("not finished: 2 of 2 stages through, ") for note in board["notes"])
        assert arenaloop("winrate", "out", "--baseline", "SFT-I0").code == 0
        (cut.parent / "other.csv").write_text("model,rating,lower,upper\nSFT-I0,1100,1090,1110\nSFT-I1,900,890,910\n")
        assert arenaloop("agree", "out", "other.csv").code == 0
        watched = arenaloop("watch", "out", "--once")
        assert "out: going on" in watched.out
        assert "2 of 2 stages through, " in watched.out
        assert {path.name for path in cut.iterdir()} - {"arena.db-wal", "arena.db-shm"} <= before
        assert arenaloop("report", "out").out.strip() == "out/report.html"
        page = (cut / "report.html").read_text()
        assert "(it is going on)" in page
        assert "Learned from" in page
        assert "one process writes at a time" in arenaloop("rejudge", "out").lines[-1]
    assert arenaloop("rejudge", "out").code == 3  # some were never asked for
    assert document(cut, "summary.json")["stopped"] == "its process was cut off"


class _Interrupted(Observer):
    def __init__(self, at: str) -> None:
        self._at = at

    def phase(self, stage: str, doing: str) -> None:
        if stage == self._at:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("values", "at", "says"),
    [
        (FARM_OF_ONE, "evaluation", "2 of 2 stages through, 0 of 12 battles decided"),
        (SELF, "M2", "1 of 3 stages through, 0 of 12 battles decided"),
        (META, "M1", "0 of 3 stages through, 0 of 12 battles decided"),
    ],
    ids=["alpaca_farm", "self_rewarding", "meta_rewarding"],
)
def test_every_recipe_says_how_it_stands(
    arenaloop: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], at: str, says: str
) -> None:
    found = RECIPES[values["recipe"]]
    stopping = replace(found, run=lambda built, store, out, watch: found.run(built, store, out, _Interrupted(at)))
    monkeypatch.setitem(RECIPES, values["recipe"], stopping)
    result = arenaloop("run", written(tmp_path, values), "--out", "out", "--json")
    assert result.code == 130, result.lines
    summary = json.loads(result.out)
    assert (summary["progress"], summary["stopped"]) == (says, "interrupted")
    assert all((tmp_path / "out" / name).is_file() for name in RESULTS)
    assert "The run is not through" in (tmp_path / "out" / "report.html").read_text()
    watched = arenaloop("watch", "out").out
    assert says in watched
    last, stages = list(found.stages(stopping.settings.model_validate(values)))[-1], summary["stages"]
    comes = f"no battle is decided yet; the leaderboard's, on held-out prompts, come after the last stage, {last}"
    assert summary["awaits"] == comes
    assert comes in " ".join(watched.split())
    assert all(f"\n{stage['name']} " in watched for stage in stages)
    for verb in (("rank", "out"), ("winrate", "out", "--baseline", "M0"), ("agree", "out", "out")):
        refused = arenaloop(*verb)
        assert refused.code == 2
        assert refused.lines[-1].startswith(f"arenaloop: out: {comes} (not finished: {says} (interrupted))")
    page = (tmp_path / "out" / "report.html").read_text()
    assert comes in page.replace("&#39;", "'")
    assert "figures board" not in page  # no empty table
