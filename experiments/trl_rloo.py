"""Does TRL learn from our rewards: its RLOO, started by an exported launch.sh, on rewards of a reward server.

    python experiments/trl_rloo.py [--seeds 20 21 22] [--split test] [--out DIR] [--jobs 1] [--small]

For each seed SFT-I0 of the policy of `own_samples`, a Llama of the small world that has imitated and not battled, so
that much is left to learn; then, as commands in processes of their own:

    arenaloop export PROMPTS --to trl --launch --out DIR
    arenaloop reward-server --reward sandbox:gold --prompts DIR/prompts.jsonl --out DIR --port 0
    METHOD=rloo bash DIR/launch.sh POLICY --max_steps 20 ...

TRL 1.16 samples 8 answers to each of 32 prompts a step, and takes one optimiser step. A row a seed: mean reward of the
first and of the last five steps by TRL's own log, gold accuracy of greedy answers to held-out prompts before and after,
the share of rewards that were flagged, how many answers the server was asked about, and how many it had to score. CPU
seconds are of all processes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from own_samples import LONGEST, Sizes, fine_tuned, greedy, prompts, study

STEPS = 20
SAMPLES = 8
AT_ONCE = 64
"""Answers of one forward pass."""


@contextmanager
def rewards(folder: Path) -> Iterator[str]:
    """A reward server of its own process; yields its endpoint."""
    command = [sys.executable, "-m", "arenaloop", "reward-server", "--reward", "sandbox:gold", "--port", "0"]
    with subprocess.Popen(
        [*command, "--prompts", str(folder / "prompts.jsonl"), "--out", str(folder / "rewards")],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()  # an interruption is ignored by what a shell runs in the background


def launched(policy: Path, asked: list[str], folder: Path, steps: int, seed: int, per_step: int) -> dict[str, Any]:
    """Train; TRL's log by step, and what the server says of its work."""
    source = folder / "asked.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    source.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in asked))
    run = [sys.executable, "-m", "arenaloop"]
    out = folder / "launch"
    subprocess.run([*run, "export", source, "--to", "trl", "--launch", "--out", out, "--force"], check=True)
    with rewards(out) as url:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        told = {"METHOD": "rloo", "GPUS": "1", "SAMPLES": str(SAMPLES), "PATH": path, "ARENALOOP_REWARD_URL": url}
        flags: dict[str, object] = {
            "max_steps": steps,
            "seed": seed,
            "use_cpu": True,
            "bf16": False,
            "dtype": "float32",
            "gradient_checkpointing": False,
            "per_device_train_batch_size": AT_ONCE,
            "gradient_accumulation_steps": per_step * SAMPLES // AT_ONCE,
            "max_completion_length": LONGEST,
            "learning_rate": 4e-4,
            "lr_scheduler_type": "constant",
            "beta": 0.0,
            "save_strategy": "steps",
            "save_steps": steps,
            "disable_tqdm": True,
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        subprocess.run(
            ["bash", out / "launch.sh", policy, *words], env=os.environ | told, check=True, stdout=subprocess.DEVNULL
        )
        with urllib.request.urlopen(url.replace("/get_reward", "/health")) as reply:
            health: dict[str, Any] = json.loads(reply.read())
    state = json.loads((out / "out" / f"checkpoint-{steps}" / "trainer_state.json").read_text())
    log = [row for row in state["log_history"] if "reward" in row]
    return {"log": log, "health": health, "checkpoint": out / "out"}


def one_seed(seed: int, split: str, out: Path, sizes: Sizes) -> dict[str, Any]:
    """The figures of a seed."""
    policy = fine_tuned(seed, out, sizes).with_name("SFT-I0")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    full = sizes.test >= 1000
    steps, per_step = (STEPS, 32) if full else (2, 8)
    asked = prompts(steps * per_step, seed, "train")
    held = prompts(sizes.test, seed, split)
    done = launched(policy, asked, out.with_name(f"{out.name}-trl"), steps, seed, per_step)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    values = [row["reward"] for row in done["log"]]
    few = 5 if full else 1
    return {
        "first": float(np.mean(values[:few])),
        "last": float(np.mean(values[-few:])),
        "greedy_before": float(greedy(policy, held).mean()),
        "greedy_after": float(greedy(done["checkpoint"], held).mean()),
        "steps": len(values),
        "answers": done["health"]["rows"],
        "flagged": done["health"]["failed"] / max(1, done["health"]["rows"]),
        "trl_cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def main() -> None:
    """Run the study."""
    columns = {
        "first": ".3f",
        "last": ".3f",
        "greedy_before": ".3f",
        "greedy_after": ".3f",
        "steps": ".0f",
        "answers": ".0f",
        "flagged": ".1%",
        "trl_cpu_s": ".0f",
    }
    study(__doc__, one_seed, columns, [("last", "first"), ("greedy_after", "greedy_before")], seeds=(20, 21, 22))


if __name__ == "__main__":
    main()
