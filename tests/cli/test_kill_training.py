"""SIGKILL in the middle of a training, in a process of its own; the same command then ends with the same bits."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from arenaloop.cli import main
from arenaloop.sandbox.judge import read_answer_prompt
from arenaloop.sandbox.target import build_target

torch.set_num_threads(1)

Command = Callable[..., Any]
CONCURRENCY = 2
SETTINGS = (
    "iterations=3", "rollout_batch=8", "samples=2", "max_new_tokens=6", "learning_rate=1e-3", "warmup_steps=0",
    "kl_target=0.5", "checkpoint_every=1", "stop_cut=1", "threads=1", "device=cpu",
)  # fmt: skip


def kill_here(*_: Any, **__: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def in_a_process(arguments: list[str], at: Callable[[], None], born: Callable[[int], None]) -> int:
    """Run the command in a fork of this process, which sets its own trap; the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            at()
            sys.argv = ["arenaloop", *arguments]
            main()
        finally:
            os._exit(99)
    born(child)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def in_a_checkpoint() -> None:
    """Half of the file is written."""

    def half(content: Any, file: Any) -> None:
        file.write(b"half a checkpoint")
        file.flush()
        kill_here()

    setattr(torch, "save", half)  # noqa: B010 - a trap, of another type


def in_the_models_saving() -> None:
    """The weights are written aside, and no tokenizer yet."""
    PreTrainedTokenizerBase.save_pretrained = kill_here  # type: ignore[method-assign]


@pytest.mark.parametrize("method", ["ppo", "rloo", "quark"])
def test_a_killed_training_ends_as_an_unbroken_one_and_pays_no_verdict_twice(
    arenaloop: Command, served: Any, tmp_path: Path, method: str
) -> None:
    start = build_target(tmp_path / "start", 0, width=16, layers=1, heads=2)
    asked: Counter[str] = Counter()
    child, deadly = 0, 0

    def answer(body: dict[str, Any]) -> str:
        read = read_answer_prompt(body["messages"][-1]["content"])
        assert read is not None
        asked[json.dumps(read)] += 1
        if child and asked.total() == deadly:
            os.kill(child, signal.SIGKILL)
        return f"Fine.\n\nScore: {sum(map(ord, read[1][0])) % 50 / 10}"

    def born(pid: int) -> None:
        nonlocal child
        child = pid

    served.answer = answer
    (tmp_path / "judge.yaml").write_text(f"spec: {served.url}#judge\nconcurrency: {CONCURRENCY}\n")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"go {n}"}) + "\n" for n in range(8)))
    arguments = [
        *("train", method, "--model", f"hf:{start}", "--data", "prompts.jsonl", "--reward", "judge:judge.yaml"),
        *(part for each in SETTINGS for part in ("--set", each)),
    ]
    whole = arenaloop(*arguments, "--out", "whole")
    assert whole.code == 0, whole.lines
    questions, once = set(asked), asked.total()
    assert once == len(questions)

    asked.clear()
    again = [*arguments, "--out", "broken"]
    deadly = 12  # in the second roll-out
    assert in_a_process(again, lambda: None, born) == signal.SIGKILL
    assert list((tmp_path / "broken" / "rollouts").glob("*.gz"))
    child = 0
    assert in_a_process(again, in_a_checkpoint, lambda _: None) == signal.SIGKILL
    assert (tmp_path / "broken" / "checkpoint.tmp").read_bytes() == b"half a checkpoint"
    assert in_a_process(again, in_the_models_saving, lambda _: None) == signal.SIGKILL
    assert (tmp_path / "broken" / ".saving" / "model.safetensors").exists()
    ended = arenaloop(*again)
    assert ended.code == 0, ended.lines
    assert set(asked) == questions
    # once each, but for what was in flight or just answered at the one kill among the calls
    assert asked.total() - once <= 2 * CONCURRENCY
    one, other = (kept(tmp_path / name) for name in ("whole", "broken"))
    assert one == other


def kept(out: Path) -> list[Any]:
    """Weights, unpacked roll-outs, and metrics without seconds."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    packed = sorted((out / "rollouts").glob("*.gz"))
    assert len(packed) == 3
    return [
        (out / "model.safetensors").read_bytes(),
        [gzip.decompress(path.read_bytes()) for path in packed],
        [{name: value for name, value in row.items() if "seconds" not in name} for row in rows],
    ]
