"""Trainings by two processes: kill one, both, or the run that started them, go on, and compare with one process.

    python experiments/kill_nodes.py [--methods sft dpo reward_model] [--weights both spread] [--all] [--seed 0]

Each case is a training of a tiny model that ``torchrun`` starts as two processes over gloo on this machine, with the
weights in both or spread over them (FSDP2). One is killed with SIGKILL at a random step, the same training is started
again, and it ends in the weights that one process comes to; the largest difference is printed. It has to be below 1e-5,
else the exit code is 1. Beside it stands how far one process differs from itself where its passes are larger, which is
rounding alone. Victims take turns; `--all` has every one of them in every case, and none. CPU seconds are those of a
case, starting its processes included, but for those of a run that was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from killing import begin, kill

from arenaloop.config import METHODS, LaunchSettings, OptimSettings
from arenaloop.sandbox.target import build_target
from arenaloop.train.errand import Folder
from arenaloop.train.launch import launched

__all__ = ["CLOSE", "Case", "case", "weights_apart"]

CLOSE = 1e-5
STEPS = 24
WORDS = ("abc", "de", "fghij", "kl")
ROWS: dict[str, list[dict[str, Any]]] = {
    "sft": [{"prompt": f"say {word} {n}", "completion": word[::-1]} for word in WORDS for n in range(8)],
    "dpo": [{"prompt": f"say {w} {n}", "chosen": w[::-1], "rejected": w} for w in WORDS for n in range(8)],
}
ROWS["reward_model"] = ROWS["dpo"]
# much of a reward model's gradient cancels between two answers, and Adam makes whole steps of what rounding leaves
RATES = {"sft": 1e-3, "dpo": 1e-3, "reward_model": 1e-4}
VICTIMS = ("rank-1", "both", "run", "rank-0")


@dataclass(frozen=True)
class Case:
    """A training: by which method, whether its weights are spread, and who is killed."""

    method: str
    spread: bool
    killed: str


def settings_of(one: Case, world: int, passes: int = 2) -> OptimSettings:
    """An odd number of rows a step, in passes of two: one process has a pass more than the other."""
    return METHODS[one.method].model_validate(
        {
            "batch_size": 7,
            "micro_batch": passes,
            "max_steps": STEPS,
            "learning_rate": RATES[one.method],
            "checkpoint_every": 2,
            "log_every": 1,
            "device": "cpu",
            "threads": 1,
            "fsdp": one.spread and world > 1,
        }
    )


def start_of(folder: Path) -> Path:
    """The tiny model that all cases start from."""
    path = folder / "start"
    return path if path.is_dir() else build_target(path, 0, width=32, layers=2, heads=2)


def together(one: Case, folder: Path) -> None:
    """The training by two processes, in the folder of its case."""
    launched(
        LaunchSettings(nproc_per_node=2),
        folder / "launch" / "out",
        one.method,
        start_of(folder.parent),
        ROWS[one.method],
        folder / "out",
        settings_of(one, 2),
        seed=0,
        on_step=lambda *_: None,
        on_note=print,
    )


class Victim:
    """A run, of which the process is killed that is to be: itself, or those that it has started."""

    def __init__(self, run: subprocess.Popen[bytes], folder: Folder, who: str) -> None:
        self._run, self._folder, self._who = run, folder, who

    def poll(self) -> int | None:
        """The run's exit code."""
        return self._run.poll()

    def wait(self) -> int | None:
        """Wait for the run's end."""
        return self._run.wait()

    def send_signal(self, number: int, /) -> None:
        """Kill whom it is to be."""
        ranks = {each["rank"]: int(each["pid"]) for each in self._folder.processes()}
        named = {"run": [self._run.pid], "both": [*ranks.values()]}
        for pid in named.get(self._who) or [ranks[int(self._who[-1])]]:
            with suppress(ProcessLookupError):  # it has gone with the first one
                os.kill(pid, number)


def weights_apart(one: Path, other: Path) -> float:
    """The largest difference of two models' weights."""
    from safetensors.torch import load_file

    first, second = (load_file(path / "model.safetensors") for path in (one, other))
    assert sorted(first) == sorted(second)
    return max(float((first[name].float() - second[name].float()).abs().max()) for name in first)


def case(one: Case, folder: Path, rng: random.Random) -> tuple[float, float, list[str]]:
    """Train, kill, go on; the difference from one process, that of one from itself, and what the runs have said.

    Raises:
        RuntimeError: a run that nobody killed has not ended well, or one was killed too late.
    """
    from arenaloop.train.methods import training  # needs torch, which the runs that are killed do without

    folder.mkdir(parents=True)
    start_of(folder.parent)
    line = [
        sys.executable,
        __file__,
        "--case",
        json.dumps([one.method, one.spread, one.killed]),
        "--folder",
        str(folder),
    ]
    place = Folder(folder / "launch" / "out")

    def steps() -> int:
        return place.steps.read_bytes().count(b"\n") if place.steps.exists() else -1

    if one.killed != "none":
        victim = Victim(begin(line, folder / "killed.log"), place, one.killed)
        if not kill(victim, steps, rng.randint(3, STEPS // 2), 0.0):
            raise RuntimeError(f"{one}: ended before it was killed: {(folder / 'killed.log').read_text()[-2000:]}")
    if begin(line, folder / "whole.log").wait() != 0:
        raise RuntimeError(f"{one}: {(folder / 'whole.log').read_text()[-2000:]}")
    for name, passes in (("alone", 2), ("passes", 7)):
        settings = settings_of(one, 1, passes)
        done = training(one.method, start_of(folder.parent), ROWS[one.method], folder / name, settings, seed=0)
        assert done.steps == STEPS
    said = [path.read_text() for path in (folder / "killed.log", folder / "whole.log") if path.exists()]
    return weights_apart(folder / "alone", folder / "out"), weights_apart(folder / "alone", folder / "passes"), said


def main(arguments: Sequence[str] | None = None) -> None:
    """All cases in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=[*ROWS], choices=[*ROWS])
    parser.add_argument("--weights", nargs="+", default=["both", "spread"], choices=["both", "spread"])
    parser.add_argument("--all", action="store_true", help="every victim in every case, and none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case is not None:  # the run of one case, which is killed
        together(Case(*json.loads(options.case)), options.folder)
        return
    print("| method | weights | killed | largest difference | one process, other passes | CPU s |")
    print("|---|---|---|---|---|---|", flush=True)
    rng, turns, fine = random.Random(options.seed), cycle(VICTIMS), True
    with tempfile.TemporaryDirectory() as folder:
        for method in options.methods:
            for weights in options.weights:
                for killed in ("none", *VICTIMS) if options.all else (next(turns),):
                    before = _cpu()
                    one = Case(method, weights == "spread", killed)
                    apart, rounding, _ = case(one, Path(folder) / f"{method}-{weights}-{killed}", rng)
                    fine &= apart < CLOSE
                    where = "spread" if one.spread else "in both"
                    print(
                        f"| {method} | {where} | {killed} | {apart:.1e} | {rounding:.1e} | {_cpu() - before:.0f} |",
                        flush=True,
                    )
    sys.exit(not fine)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
