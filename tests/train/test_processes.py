"""Several processes train one model: the gradient of the whole batch, one set of files, and an end when one is gone."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import arenaloop
from arenaloop.config import PPOSettings, SFTSettings
from arenaloop.errors import ConfigError
from arenaloop.train.methods import training
from arenaloop.train.processes import Processes
from arenaloop.train.session import Reward

SCRIPT = Path(__file__).with_name("two_processes.py")
ROWS = [{"prompt": f"say {word} {n}", "completion": word[::-1]} for word in ("abc", "de", "fghij") for n in range(8)]
PROMPTS = [{"prompt": f"say {'abcdefgh'[n % 8]} {n}"} for n in range(20)]
PPO: dict[str, Any] = {
    "rollout_batch": 24,
    "samples": 2,
    "step_batch": 12,
    "max_new_tokens": 8,
    "iterations": 4,
    "learning_rate": 1e-3,
    "checkpoint_every": 1,
}
REWARD = """
import json, os, signal

def score(prompts, answers):
    with open(os.environ["ASKED"], "a") as file:
        file.write(json.dumps([os.environ["RANK"], len(answers)]) + "\\n")
    if os.environ.get("KILLED_AT") == str(sum(1 for _ in open(os.environ["ASKED"]))):
        os.kill(os.getpid(), signal.SIGKILL)
    return [float(len(answer)) for answer in answers]
"""


def launched(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Two processes of a program, started as users start them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=280)


def difference(one: Path, other: Path) -> float:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert sorted(first) == sorted(second)
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


@pytest.mark.slow
def test_two_processes_compute_what_one_does(start: Path, tmp_path: Path) -> None:
    done = launched(str(SCRIPT), str(start), str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))[7:])
    assert found.pop("world") == 2
    assert len(found) == 10
    for method, told in found.items():
        assert told["difference"] < 1e-12, (method, told)  # in float64
        assert told["figures"] < 2e-6, (method, told)
        assert told["norm"] == pytest.approx(told["expected_norm"], rel=1e-12), method
    settings = SFTSettings(epochs=2, batch_size=7, learning_rate=1e-3, log_every=1, keep_every=5)
    training("sft", start, ROWS, tmp_path / "alone", settings, seed=0)
    for name in ("shared", "spread"):
        assert difference(tmp_path / "alone", tmp_path / name) < 1e-5
        assert difference(tmp_path / "alone" / "policy-5", tmp_path / name / "policy-5") < 1e-5
        assert files(tmp_path / name) == files(tmp_path / "alone")
        for one, other in zip(lines(tmp_path / "alone"), lines(tmp_path / name), strict=True):
            assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.long
@pytest.mark.slow
def test_a_training_whose_first_process_is_killed_stops_and_goes_on(start: Path, tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(REWARD)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    asked, out = tmp_path / "asked", tmp_path / "out"
    command = ["-m", "arenaloop", "train", "ppo", "--model", f"hf:{start}", "--data", str(tmp_path / "prompts.jsonl")]
    command += ["--out", str(out), "--reward", f"python:{tmp_path / 'reward.py'}:score"]
    command += [word for name, value in PPO.items() for word in ("--set", f"{name}={value}")]
    killed = launched(*command, ASKED=str(asked), KILLED_AT="4")
    assert killed.returncode != 0
    said = [line for line in killed.stderr.splitlines() if line.startswith("arenaloop: ")]
    assert len(said) == 1, killed.stderr
    assert "another process of this training is gone" in said[0]
    assert [line["iteration"] for line in lines(out)] == [1, 2]
    done = launched(*command, ASKED=str(asked))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n") == 1, "one of them prints the result"

    def score(prompts: Any, answers: Any) -> list[float]:
        return [float(len(answer)) for answer in answers]

    training("ppo", start, PROMPTS, tmp_path / "alone", PPOSettings(**PPO), seed=0, reward=Reward(score, "length"))
    assert difference(tmp_path / "alone", out) < 1e-5
    assert files(out) == files(tmp_path / "alone")
    for one, other in zip(lines(tmp_path / "alone"), lines(out), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-3)
    for name in (f"rollouts/{n:06d}.jsonl.gz" for n in range(4)):
        texts = []
        for where in (out, tmp_path / "alone"):
            with gzip.open(where / name, "rt", encoding="utf-8") as file:
                texts.append([json.loads(line)["text"] for line in file])
        assert texts[0] == texts[1]
    calls = [json.loads(line) for line in asked.read_text().splitlines()]
    assert [rank for rank, _ in calls] == ["0"] * 7, "each start tries it; four roll-outs, and the one that was killed"


def test_fsdp_is_refused_where_it_cannot_be(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="fsdp spreads a model over several processes, and there is one"):
        training("sft", start, ROWS, tmp_path, SFTSettings(fsdp=True), seed=0)
    with pytest.raises(ConfigError, match="ppo cannot spread its model over processes; fsdp is for sft, dpo, rew"):
        training(
            "ppo", start, PROMPTS, tmp_path, PPOSettings(fsdp=True), seed=0, reward=Reward(lambda p, a: [], "none")
        )
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")  # as accelerate's configuration does
    with pytest.raises(ConfigError, match="fsdp spreads"):
        training("sft", start, ROWS, tmp_path, SFTSettings(), seed=0)
    assert not list(tmp_path.iterdir())


def test_one_process_alone_shares_with_nobody() -> None:
    alone = Processes()
    assert alone.first
    assert alone.once(lambda: 3) == 3
    assert alone.each([1, 2, 3], lambda n: n * n) == [1, 4, 9]
    assert alone.gathered("a") == ["a"]
    assert alone.sum_figures({"loss": torch.ones(())}) == {"loss": torch.ones(())}
    assert alone.any(True)
    assert not alone.any(False)


def test_who_knows_accelerate_and_torch_distributed() -> None:
    """One process without trackers gets by without them."""
    knows = re.compile(r"^( *)(?:import|from) (?:accelerate|torch\.distributed)\b", re.M)
    found = {
        path.name: {len(indent) for indent in knows.findall(path.read_text())}
        for path in Path(arenaloop.__file__).parent.rglob("*.py")
    }
    users = {name: indents for name, indents in found.items() if indents}
    assert sorted(users) == ["processes.py", "sharding.py", "trackers.py"]
    assert all(0 not in indents for indents in users.values()), "imported where they are needed"
