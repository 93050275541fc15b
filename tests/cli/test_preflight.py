"""Every server is asked once before anything is trained or bought; what is wrong with it ends the run there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_farm import FARM
from small_recipe import RECIPE
from small_self import SELF

torch.set_num_threads(1)

Command = Callable[..., Any]


def refused(arenaloop: Command, tmp_path: Path, values: dict[str, Any], who: str) -> list[str]:
    """Run a recipe that a server ends before its first stage; the lines that it prints."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(values))))
    result = arenaloop("run", "recipe.yaml", "--out", "out")
    assert result.code == 4, result.lines
    assert result.lines[-1].startswith(f"arenaloop: {who}: its first call failed, and nothing else was asked: HTTP 401")
    assert not (tmp_path / "out" / "checkpoints").exists()  # nothing is trained
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["stages"] == []
    return list(result.lines)


@pytest.mark.parametrize("opponents", [["sandbox:scholar", "sandbox:novice"], ["sandbox:scholar"]])
def test_a_dead_judge_ends_a_recipe(arenaloop: Command, served: Any, tmp_path: Path, opponents: list[str]) -> None:
    served.answer = lambda body: 401
    values = RECIPE | {"judge": f"{served.url}#m", "opponents": opponents}
    refused(arenaloop, tmp_path, values, "judge m")
    assert len(served.heard) <= 2


@pytest.mark.parametrize("recipe", [SELF, FARM | {"methods": {"DPO": FARM["methods"]["DPO"]}}], ids=["self", "farm"])
def test_a_dead_judge_ends_a_recipe_without_opponents(
    arenaloop: Command, served: Any, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    served.answer = lambda body: 401
    data = {name: spec for name, spec in recipe["data"].items() if name != "unlabeled"}
    refused(arenaloop, tmp_path, recipe | {"judge": f"{served.url}#m", "data": data}, "judge m")
    assert len(served.heard) == 1


def test_a_dead_held_out_judge_and_a_dead_opponent_end_a_recipe(
    arenaloop: Command, served: Any, tmp_path: Path
) -> None:
    served.answer = lambda body: 401 if body["model"] == "bad" else "Scores: 7 5"
    second = {"judge": f"{served.url}#bad", "prompts": "sandbox:prompts?n=4&split=dev"}
    refused(arenaloop, tmp_path, RECIPE | {"judge": f"{served.url}#good", "held_out": second}, "judge bad")
    opponent = [f"{served.url}#bad"]
    refused(arenaloop, tmp_path, RECIPE | {"opponents": opponent}, "model bad")


@pytest.mark.parametrize(
    ("who", "more"),
    [("judge m", ("--pairs", "optimal:4")), ("model a", ("--pairs", "optimal:4")), ("model a", ("--batch",))],
)
def test_a_dead_server_ends_a_battle_that_knows_no_first_pair(
    arenaloop: Command, served: Any, tmp_path: Path, who: str, more: tuple[str, ...]
) -> None:
    served.answer = lambda body: 401
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    spec = "sandbox:scholar" if who == "judge m" else f"{served.url}#a"
    models = ("--model", f"a={spec}", "--model", "b=sandbox:novice", "--prompts", "prompts.jsonl")
    result = arenaloop("battle", *models, "--judge", f"{served.url}#m", "--out", "out", *more)
    assert result.code == 4, result.lines
    assert f"{who}: its first call failed, and nothing else was asked: HTTP 401" in result.lines[-1]
    assert len(served.heard) <= 2


def test_what_is_asked_first_is_asked_once(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    models = ("--model", f"a={served.url}#a", "--model", "b=sandbox:novice", "--prompts", "prompts.jsonl")
    command = ("battle", *models, "--judge", f"{served.url}#m", "--out", "out", "--pairs", "optimal:2")
    assert arenaloop(*command).code == 0
    heard = len(served.heard)
    assert heard == 2 + 4 + 1  # answers, both seats of two battles, and one comparison before them
    assert arenaloop(*command).code == 0
    assert len(served.heard) == heard
