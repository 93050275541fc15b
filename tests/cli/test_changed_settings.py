"""Plans after changed settings, beside what the judge's server was sent: what is trained anew asks anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_farm import FARM
from small_recipe import RECIPE
from small_self import SELF

from arenaloop.report.spending import dollars
from arenaloop.sandbox.server import running_server, sandbox_contestants
from arenaloop.types import Request

torch.set_num_threads(1)

Command = Callable[..., Any]
TEST = "sandbox:prompts?n=4&split=test"
ARENA = RECIPE | {
    "data": RECIPE["data"]
    | {"prompts": "sandbox:prompts?n=12", "demonstrations": "sandbox:demonstrations?n=48", "test": TEST}
}
FARM_OF_TWO = FARM | {
    "methods": {name: FARM["methods"][name] for name in ("DPO", "Best of 4")},
    "data": FARM["data"] | {"preference": "sandbox:prompts?n=16", "unlabeled": None, "evaluation": TEST},
}


class Judge:
    """A server's judge, and how many requests it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.sent = 0
        self._judge = sandbox_contestants()["judge"]

    def __call__(self, request: Request) -> Any:
        self.sent += 1
        return self._judge(request)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    one = Judge()
    with running_server(sandbox_contestants() | {"judge": one}) as url:
        one.url = url
        yield one


class Directory:
    """A recipe's run directory; every run is planned before, and its plan held to what the judge is sent."""

    def __init__(self, arenaloop: Command, judge: Judge, values: dict[str, Any], file: Path) -> None:
        self._call, self._judge, self._file = arenaloop, judge, file
        self._begun = False
        spec = {"spec": f"{judge.url}#judge", "price": {"input": 1.0, "output": 1.0}}
        file.write_text(yaml.safe_dump(json.loads(json.dumps(values | {"judge": spec}))))

    def plan(self, *changes: str) -> dict[str, Any]:
        """The verdicts that are planned, and the stages that are to be trained."""
        result = self._call("run", self._file, "--out", "out", *_set(changes), "--dry-run", "--json")
        assert result.code == 0, result.lines
        parts = json.loads(result.out)["parts"]
        asked = [part for part in parts if not part["here"]]
        assert sum(part["usd"] for part in asked) > 0 or not any(part["calls"] for part in asked)
        return {
            "calls": sum(part["calls"] for part in asked),
            "trained": [part["stage"] for part in parts if part["what"] == "training" and part["tokens_in"]],
        }

    def run(self, *changes: str) -> dict[str, Any]:
        """Plan and run; the plan, with what was sent."""
        planned, before = self.plan(*changes), self._judge.sent
        result = self._call("run", self._file, "--out", "out", *_set(changes), "--no-preflight")
        assert result.code == 0, result.lines
        summary = json.loads(Path("out/summary.json").read_text())
        assert f"this run took {summary['calls']:,} calls · $" in result.out
        assert f"<dt>Money</dt><dd>${dollars(summary['usd'])}</dd>" in Path("out/report.html").read_text()
        sent = self._judge.sent - before
        assert sent <= planned["calls"]  # equal texts are judged once
        if self._begun and planned["calls"]:
            told = " ".join(" ".join(result.lines).split())
            assert f"at most {planned['calls']} judge calls (left, equal pairs of texts are asked once)" in told
        self._begun = True
        return planned | {"sent": sent}


def _set(changes: tuple[str, ...]) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def test_arena_learning(arenaloop: Command, judge: Judge, tmp_path: Path) -> None:
    run = Directory(arenaloop, judge, ARENA, tmp_path / "recipe.yaml")
    first = run.run()
    assert first["trained"] == ["SFT-I0", "SFT-I1", "DPO-I1"]
    assert run.plan() == {"calls": 0, "trained": []}
    changed = run.run("dpo.learning_rate=0.002")
    assert changed["trained"] == ["DPO-I1"]  # the others stand, and so do their battles
    assert 0 < changed["calls"] < first["calls"]
    assert run.run() == {"calls": 0, "trained": [], "sent": 0}  # that of the first settings stands beside, and returns
    more = run.plan("data.test=sandbox:prompts?n=6&split=test")
    assert more["trained"] == []
    assert more["calls"] > 0
    assert run.plan("k_sft=[0.5]")["trained"] == ["SFT-I1", "DPO-I1"]
    assert run.plan("judge.template=score_first")["trained"] == ["SFT-I1", "DPO-I1"]
    shutil.rmtree(tmp_path / "out" / "checkpoints" / "DPO-I1")  # lost, and not only by its settings
    assert run.plan()["trained"] == ["DPO-I1"]


def test_alpaca_farm(arenaloop: Command, judge: Judge, tmp_path: Path) -> None:
    run = Directory(arenaloop, judge, FARM_OF_TWO, tmp_path / "recipe.yaml")
    assert run.run()["trained"] == ["SFT", "RM", "DPO"]
    changed = run.run("methods.DPO.training.learning_rate=0.01")
    assert changed["trained"] == ["DPO"]
    assert changed["calls"] == 2 * 4  # of its battles with SFT; those of the other method stand
    assert run.plan("samples=4")["trained"] == ["RM", "DPO"]


def test_self_rewarding(arenaloop: Command, judge: Judge, tmp_path: Path) -> None:
    run = Directory(
        arenaloop,
        judge,
        SELF | {"data": SELF["data"] | {"test": TEST}, "reward": "sandbox:gold"},
        tmp_path / "recipe.yaml",
    )
    assert run.run()["trained"] == ["M1", "M2", "M3"]
    changed = run.run("dpo.learning_rate=0.002")
    assert changed["trained"] == ["M2", "M3"]
    assert run.plan("sft.epochs=2")["trained"] == ["M1", "M2", "M3"]
