"""Training beside TRL and transformers, by turns in one run: CPU seconds, medians with the smallest and the largest.

    python benchmarks/training.py [--repeats 5] [--only head rows sampling ppo]

    head      log-probabilities at a vocabulary of 131,072, forward and backward: by chunks against whole logits,
              in processes of their own; peak memory beyond inputs and gradients, and CPU seconds
    rows      optimiser steps of SFT, DPO and a reward model against TRL's trainers, same rows, batch and model
    sampling  answers of mixed lengths against `transformers.generate`; several samples of a prompt of 200 tokens,
              with its reading shared and without
    ppo       one roll-out of 64 prompts x 4 answers, with its shares of sampling, scoring and updating

The models are untrained and tiny (2 layers, width 64), so their words mean nothing; one torch thread.
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
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from arenaloop.config import METHODS, PPOSettings
from arenaloop.models.decoding import Continuation, decode
from arenaloop.sandbox.target import build_target
from arenaloop.sandbox.tasks import draw
from arenaloop.train import methods
from arenaloop.train.head import Head, score_hidden, score_logits
from arenaloop.train.session import Reward

POSITIONS, WIDTH, VOCABULARY = 768, 512, 131_072


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Median, smallest and largest."""
    return f"{form.format(median(values))} ({form.format(min(values))}–{form.format(max(values))})"


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a piece of work."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


# ---------------------------------------------------------------------- the head


def head_once(way: str) -> None:
    """One pass forward and backward, in this process: its peak over inputs and gradients in MB, and CPU seconds."""
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    weight = torch.empty(VOCABULARY, WIDTH).normal_(std=0.02).requires_grad_()
    targets = torch.randint(0, VOCABULARY, (POSITIONS,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def work() -> None:
        if way == "chunks":
            scores = score_hidden(hidden, Head(weight), targets)
        else:
            scores = score_logits(hidden @ weight.T, targets)
        (-scores.logprobs.mean()).backward()

    seconds = cpu(work)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    gradients = (weight.numel() + hidden.numel()) * 4 / 2**20
    print(json.dumps({"mb": peak - gradients, "cpu": seconds}))


def head(repeats: int) -> None:
    """Compare both ways."""
    found: dict[str, list[dict[str, float]]] = {"chunks": [], "whole": []}
    for _ in range(repeats):
        for way, rows in found.items():
            command = [sys.executable, __file__, "--head-once", way]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    memory = [a["mb"] / b["mb"] for a, b in zip(found["chunks"], found["whole"], strict=True)]
    seconds = [a["cpu"] / b["cpu"] for a, b in zip(found["chunks"], found["whole"], strict=True)]
    for way, rows in found.items():
        print(f"head, {way}: {spread([r['mb'] for r in rows], '{:,.0f}')} MB, {spread([r['cpu'] for r in rows])} CPU s")
    print(f"head, chunks / whole: memory {spread(memory)}, CPU {spread(seconds)}")


# ---------------------------------------------------------------------- rows


def texts(n: int, seed: int) -> list[str]:
    """Texts of 8 to 60 letters."""
    r = random.Random(seed)
    return ["".join(r.choices("abcdefghij klmno", k=r.randint(8, 60))) for _ in range(n)]


def rows(repeats: int, folder: Path) -> None:
    """Steps of our trainers and TRL's on the same rows."""
    from importlib import import_module

    datasets, trl = import_module("datasets"), import_module("trl")
    start = folder / "start"
    build_target(start, 0)
    asked, good, bad = texts(640, 0), texts(640, 1), texts(640, 2)
    pairs = [
        {
            "prompt": [{"role": "user", "content": q}],
            "chosen": [{"role": "assistant", "content": g}],
            "rejected": [{"role": "assistant", "content": b}],
        }
        for q, g, b in zip(asked, good, bad, strict=True)
    ]
    chats = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs]
    known: dict[str, Any] = dict(METHODS)
    common: dict[str, Any] = {"batch_size": 32, "learning_rate": 1e-4, "threads": 1, "checkpoint_every": 0}
    theirs: dict[str, Any] = {
        "per_device_train_batch_size": 32,
        "num_train_epochs": 1,
        "learning_rate": 1e-4,
        "report_to": [],
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": 1000,
        "disable_tqdm": True,
        "max_length": 512,
    }
    kinds: dict[str, tuple[list[dict[str, Any]], Any, Any, dict[str, Any]]] = {
        "sft": (chats, trl.SFTTrainer, trl.SFTConfig, {"completion_only_loss": True}),
        "dpo": (pairs, trl.DPOTrainer, trl.DPOConfig, {"precompute_ref_log_probs": True}),
        "reward_model": (pairs, trl.RewardTrainer, trl.RewardConfig, {}),
    }
    for name, (data, trainer, config, more) in kinds.items():
        ratios, ours, others = [], [], []
        for turn in range(repeats):
            extra: dict[str, Any] = {"held_out": 0.0} if name == "reward_model" else {}
            settings = known[name](**common, epochs=1, max_length=512, **extra)
            out = folder / f"{name}-{turn}"
            mine = cpu(partial(methods.training, name, start, data, out, settings, seed=0))
            made = trainer(
                model=str(start),
                args=config(output_dir=str(folder / "trl"), **theirs, **more),
                train_dataset=datasets.Dataset.from_list(data),
            )
            other = cpu(made.train)
            ours.append(mine)
            others.append(other)
            ratios.append(other / mine)
        print(
            f"{name}: ours {spread(ours)} CPU s for 20 steps, loading, encoding and saving included; TRL's train() "
            f"alone {spread(others)}; TRL / ours {spread(ratios)}"
        )


# ---------------------------------------------------------------------- sampling


def sampling(repeats: int, folder: Path) -> None:
    """Our decoding against `generate`, and a long prompt read once for eight samples against eight times."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    start = folder / "start"
    if not start.exists():
        build_target(start, 0)
    module = AutoModelForCausalLM.from_pretrained(start).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(start)
    r = random.Random(0)
    prompts = [[r.randint(20, 80) for _ in range(r.randint(5, 60))] for _ in range(64)]
    limits = [r.randint(8, 96) for _ in prompts]
    ends: frozenset[int] = frozenset()

    def own() -> None:
        todo = [Continuation(p, n, 1.0, seed=at) for at, (p, n) in enumerate(zip(prompts, limits, strict=True))]
        decode(module, todo, ends)

    def generate() -> None:
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        with torch.no_grad():
            module.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                max_new_tokens=max(limits),
                eos_token_id=None,
                pad_token_id=tokenizer.pad_token_id,
            )

    pairs = [(cpu(own), cpu(generate)) for _ in range(repeats + 1)][1:]
    print(f"sampling, 64 answers of 8 to 96 tokens: generate / ours {spread([b / a for a, b in pairs])}")
    long = [r.randint(20, 80) for _ in range(200)]

    def shared() -> None:
        decode(module, [Continuation(long, 8, 1.0, seed=n) for n in range(8)], ends)

    def apart() -> None:
        for n in range(8):
            decode(module, [Continuation(long, 8, 1.0, seed=n)], ends)

    def unshared() -> None:  # one batch, every prompt another: none can be shared
        several = [[n + 20, *long[1:]] for n in range(8)]
        decode(module, [Continuation(p, 8, 1.0, seed=n) for n, p in enumerate(several)], ends)

    triples = [(cpu(shared), cpu(unshared), cpu(apart)) for _ in range(repeats + 1)][1:]
    print(
        f"8 samples of a prompt of 200 tokens: read eight times in a batch / once "
        f"{spread([b / a for a, b, _ in triples])}; one by one / once {spread([c / a for a, _, c in triples])}"
    )


# ---------------------------------------------------------------------- PPO


def ppo(repeats: int, folder: Path) -> None:
    """CPU seconds of a roll-out of 64 prompts x 4 answers of at most 13 tokens, two passes of two steps."""
    start = folder / "start"
    if not start.exists():
        build_target(start, 0)
    prompts = [{"prompt": list(task.prompt.messages)} for task in draw(200, 3, "train")]
    seconds: list[float] = []
    last = time.process_time()

    def step(number: int, total: int, figures: Any) -> None:
        nonlocal last
        seconds.append(time.process_time() - last)
        last = time.process_time()

    settings = PPOSettings(
        iterations=repeats + 1, rollout_batch=256, samples=4, step_batch=128, max_new_tokens=13, threads=1
    )

    def score(asked: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
        return [float(answer.count("a")) for answer in answers]

    out = folder / "ppo"
    methods.training("ppo", start, prompts, out, settings, seed=0, reward=Reward(score, "a"), on_step=step)
    told = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][1:]
    phases = ("sampling", "scoring", "crediting", "update")
    whole = [sum(line[f"seconds/{phase}"] for phase in phases) for line in told]
    shares = {
        phase: median([line[f"seconds/{phase}"] / total for line, total in zip(told, whole, strict=True)])
        for phase in phases
    }
    print(
        f"ppo: {spread(seconds[1:])} CPU s a roll-out of 64 x 4; shares of its wall time: "
        + ", ".join(f"{phase} {share:.0%}" for phase, share in shares.items())
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["head", "rows", "sampling", "ppo"])
    parser.add_argument("--head-once", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.head_once:
        head_once(arguments.head_once)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("rows", rows), ("sampling", sampling), ("ppo", ppo)):
            if name in arguments.only:
                part(arguments.repeats, Path(folder))
    if "head" in arguments.only:
        head(arguments.repeats)


if __name__ == "__main__":
    main()
