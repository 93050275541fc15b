"""Others in the judge's place, from the same file: a judge behind a server, and a trained reward model.

With length control they are the control that Meta-Rewarding is measured against.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
from small_recipe import TRAINING
from small_self import SELF, build, run, settings

from arenaloop.config import RewardModelSettings
from arenaloop.jsonl import JsonRow
from arenaloop.sandbox.judge import SandboxJudge
from arenaloop.sandbox.server import running_server
from arenaloop.sandbox.target import build_target
from arenaloop.sandbox.tasks import draw
from arenaloop.specs.rewards import reward
from arenaloop.store import Store
from arenaloop.train.methods import training
from arenaloop.types import Request

torch.set_num_threads(1)

ONE = ("iterations=1", "data.prompts=sandbox:prompts?n=8", "rho=[0.3]", "checkpoints.by=self")
DEV = "data.validation=sandbox:prompts?n=3&split=dev"


def rows_of(out: Path) -> list[JsonRow]:
    return [json.loads(line) for line in (out / "data" / "M2.jsonl").read_text("utf-8").splitlines()]


def test_a_served_judge_in_the_models_place(tmp_path: Path) -> None:
    """It is asked as often as the model itself would be, never twice, and its scores are the pairs' margins."""
    gold, heard, lock = SandboxJudge(noise=0.7), Counter[str](), threading.Lock()

    def judge(request: Request) -> str:
        with lock:
            heard[request.messages[-1]["content"]] += 1
        said = gold.complete(request)
        assert isinstance(said, str)
        return said

    with running_server({"judge": judge}) as url:
        scorer = {"spec": f"{url}#judge", "template": "rubric", "sampling": {"temperature": 0.7, "max_tokens": 256}}
        recipe, own = build(settings(SELF, *ONE, DEV, "checkpoints.keep=2", scorer=scorer), tmp_path)
        result = run(tmp_path, recipe)
        asked = heard.total()
        again, _ = build(settings(SELF, *ONE, DEV, "checkpoints.keep=2", scorer=scorer), tmp_path)
        assert run(tmp_path, again).stages == result.stages
        assert heard.total() == asked
    assert own == []  # the model judges nothing
    assert all("Points from 0 to 5" in text or "Score:" in text for text in heard)
    assert set(heard.values()) == {3}  # votes
    rows = rows_of(tmp_path)
    assert rows
    with Store(tmp_path / "arena.db", readonly=True) as store:
        for row in rows:
            by_answer: dict[str, list[float]] = {}
            for key in row["verdicts"]:
                one = store.judgement(key)
                assert one is not None
                assert one.score is not None
                by_answer.setdefault(one.response_hash, []).append(one.score)
            means = sorted(sum(scores) / len(scores) for scores in by_answer.values())
            assert row["margin"] == pytest.approx(means[1] - means[0])
    tried = result.summary["stages"][1]["selection"]["checkpoint"]
    assert tried["by"] == "mean score by the scorer"
    assert [one["n"] for one in tried["tried"]] == [3, 3]


def test_a_reward_model_in_the_models_place(tmp_path: Path) -> None:
    start, model = tmp_path / "start", tmp_path / "reward"
    build_target(start, 0, width=32, layers=1, heads=4)
    pairs = [
        {"prompt": task.prompt.last_user, "chosen": task.answer, "rejected": "zzz"} for task in draw(24, 1, "train")
    ]
    plain = {key: value for key, value in TRAINING.items() if key != "log_every"}
    training("reward_model", start, pairs, model, RewardModelSettings(**plain, epochs=2, held_out=0.2), seed=0)
    out = tmp_path / "run"
    recipe, own = build(settings(SELF, *ONE, f"reward=reward:{model}"), out)
    result = run(out, recipe)
    assert own == []
    rows = rows_of(out)
    assert rows
    scorer = reward(f"reward:{model}")
    for row in rows:
        sides = [row[side][0]["content"] for side in ("chosen", "rejected")]
        one, two = scorer.score([row["prompt"]] * 2, sides)
        assert one is not None
        assert two is not None
        assert row["margin"] == pytest.approx(one - two, abs=1e-5)
        assert row["margin"] > 0
    (gate,) = result.summary["stages"][1]["selection"]["judging"]["gates"]
    assert (gate["rule"], gate["source"]) == ("order", "truth")
