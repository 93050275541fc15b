"""A judge as the reward of a training: its verdicts are kept in the training's directory and paid once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arenaloop.sandbox.target import build_target

Command = Callable[..., Any]
SETTINGS = ("samples=2", "max_new_tokens=8", "max_length=64", "epochs=1", "batch_size=8", "threads=1")


def test_a_training_that_goes_on_pays_no_verdict_again(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    start = build_target(tmp_path / "start", 0, width=16, layers=1, heads=2)
    served.answer = lambda body: f"Fine.\n\nScore: {len(served.heard) % 5}"
    (tmp_path / "judge.yaml").write_text(f"spec: {served.url}#judge\nconcurrency: 2\n")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"go {n}"}) + "\n" for n in range(8)))
    arguments = [
        *("train", "expert_iteration", "--model", f"hf:{start}", "--data", "prompts.jsonl", "--out", "out"),
        *("--reward", "judge:judge.yaml", *(part for each in SETTINGS for part in ("--set", each))),
    ]
    wrong = arenaloop(*arguments, "--set", "samples=0")
    assert wrong.code == 2
    assert served.heard == []  # settings are looked at before anything is paid
    stopped = arenaloop(*arguments, "--budget-calls", 7)
    assert stopped.code == 4
    assert "7 of 7 calls" in stopped.lines[-1]
    assert len(served.heard) == 7
    done = arenaloop(*arguments)
    assert done.code == 0, done.lines
    assert "of the best" in done.out
    asked = [json.dumps(body["messages"]) for body in served.heard]
    assert len(asked) == len(set(asked)) <= 17  # each answer once, and the trial
    assert (tmp_path / "out" / "arena.db").is_file()
    again = arenaloop(*arguments)
    assert again.code == 0
    assert len(served.heard) == len(asked)


def test_a_budget_without_a_judge_is_refused(arenaloop: Command, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    refused = arenaloop(
        *("train", "sft", "--model", "hf:nowhere", "--data", "rows.jsonl", "--out", "out", "--budget-calls", 3)
    )
    assert refused.code == 2
    assert "what a judge as reward costs" in refused.lines[-1]
