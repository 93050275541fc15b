"""Trainings that several processes do for a run: how they are started, watched, answered and ended."""

from __future__ import annotations

import json
import os
import random
import shlex
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kill_nodes
import pytest
from kill_nodes import CLOSE, Case
from safetensors.torch import load_file

from arenaloop.config import LaunchSettings, RLOOSettings, SFTSettings, validate
from arenaloop.errors import ConfigError, InputError, StoppedError
from arenaloop.models.reward import Reward
from arenaloop.train import launched as ranks
from arenaloop.train.errand import Folder
from arenaloop.train.launch import command_line, launched
from arenaloop.train.methods import training

ROWS = [{"prompt": f"say {word} {n}", "completion": word[::-1]} for word in ("abc", "de") for n in range(4)]
PROMPTS = [{"prompt": f"say {'abcdefgh'[n % 8]} {n}"} for n in range(8)]


def settings(**changes: Any) -> LaunchSettings:
    return validate(LaunchSettings, {"nproc_per_node": 2, **changes}, "launch")


def instead(tmp_path: Path, code: str) -> LaunchSettings:
    """A launcher that does something else than its line says; `folder` is the folder that it is given."""
    script = tmp_path / "instead.py"
    script.write_text(f"import json, os, signal, sys\nfolder = sys.argv[-1]\n{code}\n")
    return settings(nproc_per_node=1, command=f"{sys.executable} {script} {{command}}")


def train(
    launch: LaunchSettings,
    out: Path,
    on_step: Callable[[int, int, Mapping[str, float]], None] = lambda *_: None,
    notes: list[str] | None = None,
) -> Any:
    folder = out.parent / "launch" / out.name
    told = [] if notes is None else notes
    return launched(
        launch, folder, "sft", "start", ROWS, out, SFTSettings(), seed=0, on_step=on_step, on_note=told.append
    )


# ------------------------------------------------------------------ how they are started


def test_one_node_finds_a_port_by_itself(tmp_path: Path) -> None:
    line = command_line(settings(), tmp_path)
    assert line[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert line[3:] == [
        *("--nnodes", "1", "--nproc-per-node", "2", "--standalone", "--max-restarts", "0"),
        *("-m", "arenaloop.train.launched", str(tmp_path)),
    ]  # fmt: skip


def test_several_nodes_meet_where_they_are_told(tmp_path: Path) -> None:
    both = settings(nnodes=2, rdzv_endpoint="node1:29500", arguments=["--local-addr", "x"])
    assert both.world == 4
    line = command_line(both, tmp_path / "SFT-I0")
    told = " ".join(line)
    assert "--nnodes 2" in told
    assert "--rdzv-backend c10d --rdzv-endpoint node1:29500 --rdzv-id SFT-I0" in told
    assert "--standalone" not in told
    assert line[-5:-3] == ["--local-addr", "x"]


def test_a_command_has_the_line_as_its_arguments_or_as_one_of_them(tmp_path: Path) -> None:
    plain = command_line(settings(), tmp_path / "a b")
    assert command_line(settings(command="srun -N1 {command}"), tmp_path / "a b") == ["srun", "-N1", *plain]
    line = command_line(settings(command="ssh node1 'cd /runs && {command}'"), tmp_path / "a b")
    assert line[:2] == ["ssh", "node1"]
    assert shlex.split(line[2]) == ["cd", "/runs", "&&", *plain]


def test_accelerate_is_told_the_same(tmp_path: Path) -> None:
    told = " ".join(
        command_line(settings(launcher="accelerate", nnodes=2, rdzv_endpoint="node1:29500"), tmp_path / "RM")
    )
    assert "accelerate.commands.launch --num_machines 2 --num_processes 4" in told
    assert "--main_process_ip node1 --main_process_port 29500" in told


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"nnodes": 2}, "2 nodes need rdzv_endpoint"),
        ({"rdzv_endpoint": "node1"}, "expected HOST:PORT"),
        ({"rdzv_endpoint": "node1:99999"}, "expected HOST:PORT"),
        ({"command": "srun torchrun"}, r"\{command\} is missing"),
        ({"command": "{command}"}, r"\{command\} is missing"),
        ({"command": "srun '{command}"}, "No closing quotation"),
        ({"nprocs": 2}, "unknown key 'nprocs'"),
    ],
)
def test_what_cannot_be_started_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        settings(**changes)


# ------------------------------------------------------------------ a training


@pytest.mark.slow
def test_a_launched_training_is_that_of_this_process_and_asks_the_run_for_scores(start: Path, tmp_path: Path) -> None:
    own = RLOOSettings(
        rollout_batch=8, samples=2, step_batch=8, max_new_tokens=4, iterations=2, learning_rate=1e-3, threads=1
    )
    asked: list[int] = []

    def score(prompts: Any, answers: Any) -> list[float]:
        asked.append(len(answers))
        return [float(len(answer)) for answer in answers]

    # what torchrun would start, once and without it
    launch = instead(tmp_path, "os.execv(sys.executable, [sys.executable, *sys.argv[-3:]])")
    steps: list[tuple[int, int]] = []
    notes: list[str] = []
    done = launched(
        launch,
        tmp_path / "launch" / "RLOO",
        "rloo",
        start,
        PROMPTS,
        tmp_path / "out",
        own,
        seed=3,
        on_step=lambda step, total, figures: steps.append((step, total)),
        on_note=notes.append,
        reward=Reward(score, "length"),
    )
    assert len(asked) == 2
    assert steps[-1][0] == steps[-1][1] == done.steps
    assert done.path == tmp_path / "out"
    again = training("rloo", start, PROMPTS, tmp_path / "out", own, seed=3, reward=Reward(score, "length"))
    assert (again.steps, again.metrics) == (done.steps, done.metrics), "the same training, and finished"
    assert len(asked) == 2
    alone = training("rloo", start, PROMPTS, tmp_path / "alone", own, seed=3, reward=Reward(score, "length"))
    first, second = (load_file(path / "model.safetensors") for path in (done.path, alone.path))
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_of_a_training_that_is_through_nothing_is_started(start: Path, tmp_path: Path) -> None:
    own, launch = SFTSettings(epochs=1, threads=1), settings(command="/nowhere/srun {command}")
    done = training("sft", start, ROWS, tmp_path / "SFT-I1", own, seed=3)

    def again(seed: int, **changes: Any) -> Any:
        folder, changed = tmp_path / "launch" / "SFT-I1", own.model_copy(update=changes)
        told: list[str] = []
        return launched(
            launch, folder, "sft", start, ROWS, tmp_path / "SFT-I1", changed, seed=seed,
            on_step=lambda *_: None, on_note=told.append,
        )  # fmt: skip

    assert again(3) == done
    assert again(3, log_every=2) == done
    assert not (tmp_path / "launch").exists()
    with pytest.raises(ConfigError, match="/nowhere/srun cannot be started"):
        again(4)


# ------------------------------------------------------------------ how they end


def ended(tmp_path: Path, code: str) -> str:
    """What is said of a training whose processes have left these files; checked that it goes on."""
    with pytest.raises(StoppedError) as caught:
        train(instead(tmp_path, code), tmp_path / "checkpoints" / "SFT-I1")
    return str(caught.value)


KILLED = """
for rank, end in ((0, {"end": "gone", "text": "another process of this training is gone", "ended": 2}), (1, {})):
    json.dump({"rank": rank, "host": "h"} | end, open(f"{folder}/rank-{rank}.json", "w"))
open(f"{folder}/rank-1.log", "w").write("one\\ntorch.OutOfMemoryError: CUDA out of memory\\n\\n")
print("Root Cause (first observed failure):\\n  rank      : 1 (local_rank: 1)\\n  exitcode  : -9 (pid: 3)")
sys.exit(1)
"""


def test_a_killed_process_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    told = ended(tmp_path, KILLED)
    assert told.startswith("SFT-I1: process 1 of 1 was killed (SIGKILL); the end of its log: torch.OutOfMemoryError: ")
    assert "launch/SFT-I1/rank-1.log" in told


def test_what_a_process_refuses_is_refused(tmp_path: Path) -> None:
    code = """
json.dump({"rank": 0, "end": "refused", "text": "no row is left", "ended": 1}, open(f"{folder}/rank-0.json", "w"))
sys.exit(2)
"""
    with pytest.raises(InputError, match=r"^no row is left$"):
        train(instead(tmp_path, code), tmp_path / "checkpoints" / "SFT-I1")


def test_the_first_one_that_failed_is_told_of(tmp_path: Path) -> None:
    code = """
for rank, at in ((0, 5), (1, 4)):
    told = {"rank": rank, "end": "failed", "text": f"ValueError: {rank}", "ended": at}
    json.dump(told, open(f"{folder}/rank-{rank}.json", "w"))
sys.exit(1)
"""
    assert ended(tmp_path, code).startswith("SFT-I1: process 1 of 1 failed: ValueError: 1 (its log: ")


def test_a_launcher_that_starts_nothing_is_told_of(tmp_path: Path) -> None:
    assert "before a process had begun: srun: error: no such partition (" in ended(
        tmp_path, "sys.exit('srun: error: no such partition')"
    )
    assert "before a process had begun: without a word" in ended(tmp_path, "")


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="launch: /nowhere/srun cannot be started"):
        train(settings(command="/nowhere/srun {command}"), tmp_path / "checkpoints" / "SFT-I1")


def test_processes_end_with_the_run(tmp_path: Path) -> None:
    code = """
open(f"{folder}/pid", "w").write(str(os.getpid()))
print(json.dumps({"step": 1, "total": 9, "figures": {"loss": 1.5}}), file=open(f"{folder}/steps.jsonl", "a"))
signal.pause()
"""

    def stop(step: int, total: int, figures: Mapping[str, float]) -> None:
        assert (step, total, figures) == (1, 9, {"loss": 1.5})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(instead(tmp_path, code), tmp_path / "checkpoints" / "SFT-I1", stop)
    folder = tmp_path / "checkpoints" / "launch" / "SFT-I1"
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)
    assert not (folder / "alive").exists()


def test_further_nodes_are_started_by_a_line_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    notes: list[str] = []
    with pytest.raises(ConfigError, match="/nowhere/python cannot be started"):
        train(settings(nnodes=2, rdzv_endpoint="localhost:1"), tmp_path / "SFT-I1", notes=notes)
    assert len(notes) == 1
    assert notes[0].startswith("SFT-I1: start this on each further node: /nowhere/python -m torch.distributed.run ")
    assert "--rdzv-endpoint localhost:1" in notes[0]


class LeftError(Exception):
    pass


@pytest.mark.parametrize("how", ["another", "silent", "none"])
def test_a_process_ends_when_the_run_is_gone(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    looks = 0

    def look(_: float) -> None:
        nonlocal looks
        looks += 1
        if how != "none" and looks < 4:
            folder.renew("mine", looks)
        elif how == "another":
            folder.renew("another", 0)

    def leave(code: int) -> None:
        raise LeftError(code)

    monkeypatch.setattr("arenaloop.train.launched.time.sleep", look)
    monkeypatch.setattr("arenaloop.train.launched.os._exit", leave)
    monkeypatch.setattr(ranks, "GONE_AFTER", 0.0 if how == "silent" else 1e9)
    if how == "silent":
        monkeypatch.setattr("arenaloop.train.launched.time.monotonic", lambda: float(looks // 4))
    with pytest.raises(LeftError, match="4"):
        ranks._end_with_the_run(folder, "mine")
    assert looks == {"another": 4, "silent": 4, "none": 6}[how]


def test_scores_are_asked_and_told_by_files(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    reward = folder.asking("id")
    assert reward.identity == "id"
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(reward.score([[{"role": "user", "content": "a"}]], ["b"])))
    asking.start()
    while (question := folder.read("ask-1.json")) is None:
        pass
    assert question == {"prompts": [[{"role": "user", "content": "a"}]], "answers": ["b"]}
    folder.write("told-1.json", {"scores": [None]})
    asking.join()
    assert found == [[None]]
    folder.write("told-2.json", {"error": "the budget is spent", "refused": False})
    with pytest.raises(StoppedError, match="the budget is spent"):
        reward.probe()


def test_a_folder_that_is_not_shared_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every node needs the same run directory"):
        Folder(tmp_path).errand()
    (tmp_path / "job.json").write_text(json.dumps({"method": "sft"}))
    with pytest.raises(ConfigError, match="every node needs the same run directory"):
        Folder(tmp_path).errand()


@pytest.mark.cluster
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("method", "spread", "killed"),
    [("dpo", True, "run"), ("reward_model", False, "rank-0")],  # `kill_nodes` is tested with rank 1 and both killed
)
def test_a_training_of_two_processes_that_was_killed_ends_as_that_of_one(
    method: str, spread: bool, killed: str, tmp_path: Path
) -> None:
    apart, _, said = kill_nodes.case(Case(method, spread, killed), tmp_path / "case", random.Random(0))
    assert apart < CLOSE
    assert len(said) == 2
    if killed.startswith("rank"):
        assert f"out: process {killed[-1]} of 2 was killed (SIGKILL)" in said[0]
    assert said[1] == "", "nothing is to be said of a training that goes on"
