"""Training beside TRL and transformers, by turns in one run: CPU seconds, medians with the smallest and the largest.

    python benchmarks/training.py [--repeats 5] [--only head rows sampling ppo]
    python benchmarks/training.py --tiny
    python benchmarks/training.py --device cuda

    head      log-probabilities at a vocabulary of 131,072, forward and backward: by blocks of it against whole logits,
              in processes of their own; peak memory beyond inputs and gradients, and CPU seconds
    rows      SFT, DPO and a reward model against TRL's trainers: same model, rows, batch and number of steps. "Steps"
              are the last half of the steps, one line of logging included; "whole" is everything in either process but
              imports: loading, tokenising, the reference's log-probabilities, all steps, saving
    sampling  answers of mixed lengths against `transformers.generate`; several samples of a prompt of 200 tokens,
              with its reading shared and without
    ppo       a roll-out of 64 prompts x 4 answers, with its shares of sampling, scoring, crediting and updating

The models are untrained and tiny (0.5 M parameters), so their words mean nothing; one torch thread. `--tiny` and
`--device cuda` fill the table of real sizes instead (`training_sizes.py`), the one with models that a CPU trains.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from figures import Figure, Laps, cpu, pairs_of_words, spread, table, train_by_trl

from arenaloop.config import METHODS, PPOSettings
from arenaloop.models.decoding import Continuation, decode
from arenaloop.sandbox.target import build_target
from arenaloop.sandbox.tasks import draw
from arenaloop.train import methods
from arenaloop.train.session import Reward

ROWS, BATCH = 320, 32


def head(repeats: int, start: Path) -> list[Figure]:
    """Compare both ways, each time in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {"blocks": [], "whole": []}
    for _ in range(repeats):
        for way, rows in found.items():
            command = [sys.executable, str(Path(__file__).with_name("training_head.py")), way]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for way, rows in found.items():
        print(f"head, {way}: {spread([r['mb'] for r in rows], '{:,.0f}')} MB, {spread([r['cpu'] for r in rows])} CPU s")
    both = list(zip(found["blocks"], found["whole"], strict=True))
    return [
        Figure.most("head, memory: blocks / whole logits", [a["mb"] / b["mb"] for a, b in both], 0.25),
        Figure.most("head, CPU s: blocks / whole logits", [a["cpu"] / b["cpu"] for a, b in both], 1.3),
    ]


def rows(repeats: int, start: Path) -> list[Figure]:
    """Our trainers and TRL's on the same rows."""
    pairs = pairs_of_words(ROWS, 8, 60)
    chats = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs]
    steps, figures = ROWS // BATCH, []
    common: dict[str, Any] = {"learning_rate": 1e-4, "max_length": 512}
    ours: dict[str, Any] = {**common, "batch_size": BATCH, "epochs": 1, "threads": 1, "checkpoint_every": 0}
    theirs = {**common, "per_device_train_batch_size": BATCH, "num_train_epochs": 1, "use_cpu": True, "bf16": False}
    known: dict[str, Any] = dict(METHODS)
    for name in ("sft", "dpo", "reward_model"):
        data = chats if name == "sft" else pairs
        settings = known[name](**ours, log_every=steps // 2, **({"held_out": 0.0} if name == "reward_model" else {}))
        each: dict[str, list[float]] = {"our": [], "their": [], "ours": [], "theirs": []}
        for turn in range(repeats):
            laps, out = Laps(), start.parent / f"{name}-{turn}"
            each["ours"].append(
                cpu(partial(methods.training, name, start, data, out, settings, seed=0, on_step=laps.ours))
            )
            each["our"].append(laps.between(steps // 2, steps))
            laps, out = Laps(), start.parent / f"{name}-{turn}-trl"
            asked = {**theirs, "logging_steps": steps // 2}
            each["theirs"].append(cpu(partial(train_by_trl, name, start, data, out, laps.theirs(), **asked)))
            each["their"].append(laps.between(steps // 2, steps))
        print(
            f"{name}: CPU s a step ours {spread([s / steps * 2 for s in each['our']], '{:.3f}')}, TRL "
            f"{spread([s / steps * 2 for s in each['their']], '{:.3f}')}; whole: ours {spread(each['ours'])}, TRL "
            f"{spread(each['theirs'])}"
        )
        by_step = [b / a for a, b in zip(each["our"], each["their"], strict=True)]
        whole = [b / a for a, b in zip(each["ours"], each["theirs"], strict=True)]
        figures.append(Figure.least(f"{name}, steps a second: ours / TRL", by_step, 1.1))
        figures.append(Figure(f"{name}, whole training: TRL's CPU s / ours", whole))
    return figures


def sampling(repeats: int, start: Path) -> list[Figure]:
    """Our decoding against `generate`, and a long prompt read once for eight samples against eight times."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

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
    return [
        Figure.least("sampling, 64 answers of 8 to 96 tokens: generate / ours", [b / a for a, b in pairs], 1.3),
        Figure.least("8 samples of a 200-token prompt: read 8 times / once", [b / a for a, b, _ in triples], 2),
        Figure("8 samples of a 200-token prompt: one by one / once", [c / a for a, _, c in triples]),
    ]


def ppo(repeats: int, start: Path) -> list[Figure]:
    """CPU seconds of a roll-out of 64 prompts x 4 answers of at most 13 tokens, two passes of two steps."""
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

    out = start.parent / "ppo"
    methods.training("ppo", start, prompts, out, settings, seed=0, reward=Reward(score, "a"), on_step=step)
    told = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][1:]
    phases = ("sampling", "scoring", "crediting", "update")
    whole = [sum(line[f"seconds/{phase}"] for phase in phases) for line in told]
    shares = {
        phase: median([line[f"seconds/{phase}"] / total for line, total in zip(told, whole, strict=True)])
        for phase in phases
    }
    print("ppo, shares of its wall time: " + ", ".join(f"{phase} {share:.0%}" for phase, share in shares.items()))
    return [Figure.most("ppo, CPU s a roll-out of 64 prompts x 4 answers", seconds[1:], 3)]


PARTS = {"head": head, "rows": rows, "sampling": sampling, "ppo": ppo}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--tiny", action="store_true", help="the table of real sizes, with sizes for a CPU")
    parser.add_argument("--device", choices=["cuda"], help="the table of real sizes, on this device")
    arguments = parser.parse_args()
    if arguments.tiny or arguments.device:
        import training_sizes

        training_sizes.run("cpu" if arguments.tiny else arguments.device)
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        start = build_target(Path(folder) / "start", 0)
        figures = [figure for name in arguments.only for figure in PARTS[name](arguments.repeats, start)]
    print()
    print(table(figures))


if __name__ == "__main__":
    main()
