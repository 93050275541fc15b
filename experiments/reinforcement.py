"""Does reinforcement learning work: does PPO with the true reward beat PPO with a random one?

    python experiments/reinforcement.py [--seeds 20 21 22 23 24] [--split test] [--jobs 2] [--out DIR] [--small]

For each seed the policy of `own_samples`; 24 roll-outs of 64 prompts that it has not seen, each prompt once; 4 answers
to each, and 4 optimiser steps a roll-out:

    start         the policy as it is
    ppo           PPO, rewarded with the gold utility of an answer
    ppo random    the same with a number in [0, 1) that prompt and answer decide and that means nothing
    rloo          RLOO with the gold utility: as many samples and steps, no value network

Prints gold accuracy of greedy answers to 1,000 held-out prompts, a row a seed, and the paired differences with 95 %
t-intervals over seeds; then the utility of samples at temperature 1, CPU seconds of each training, and accuracy by
family. The settings were chosen on the dev prompts of seed 10; seeds 20 to 24 on the test prompts are what is reported.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from own_samples import LONGEST, Sizes, fine_tuned, greedy, prompts, sampled, study

from arenaloop.config import PPOSettings, RLOOSettings
from arenaloop.models.reward import Reward
from arenaloop.sandbox.tasks import FAMILIES, utility
from arenaloop.train.methods import training
from arenaloop.types import Message, content_hash, derive_seed

ARMS = ("start", "ppo", "ppo random", "rloo")


def gold(asked: Sequence[list[Message]], answers: Sequence[str]) -> list[float | None]:
    """The gold utility of each answer."""
    return [utility(prompt[-1]["content"], answer) for prompt, answer in zip(asked, answers, strict=True)]


def noise(asked: Sequence[list[Message]], answers: Sequence[str]) -> list[float | None]:
    """A number in [0, 1) that the texts decide: equal answers to a prompt earn the same."""
    return [
        random.Random(derive_seed("noise", prompt[-1]["content"], answer)).random()
        for prompt, answer in zip(asked, answers, strict=True)
    ]


def settings(method: str, sizes: Sizes) -> PPOSettings | RLOOSettings:
    """The same samples and steps for both."""
    shared: dict[str, Any] = {
        "iterations": sizes.iterations,
        "samples": 4,
        "rollout_batch": 4 * sizes.asked,
        "step_batch": 2 * sizes.asked,
        "rollout_epochs": 2,
        "learning_rate": 1e-4,
        "warmup_steps": 2,
        "max_new_tokens": LONGEST,
        "max_length": 64,
        "threads": 1,
        "micro_tokens": 8192,
    }
    return PPOSettings(**shared) if method == "ppo" else RLOOSettings(**shared)


def one_seed(seed: int, split: str, out: Path, sizes: Sizes) -> dict[str, Any]:
    """All arms of one seed."""
    start = fine_tuned(seed, out, sizes)
    rows = [{"prompt": prompt} for prompt in prompts(sizes.asked * sizes.iterations, seed, "train")]
    held_out = prompts(sizes.test, seed, split)
    figures: dict[str, Any] = {}
    for arm in ARMS:
        trained, began = start, time.process_time()
        if arm != "start":
            method, reward = arm.split()[0], noise if arm.endswith("random") else gold
            trained, how = out / arm.replace(" ", "-"), settings(method, sizes)
            scored = Reward(reward, content_hash(reward.__name__))
            training(method, start, rows, trained, how, seed=derive_seed("rl", seed), reward=scored)
        figures[f"cpu {arm}"] = time.process_time() - began
        worth = greedy(trained, held_out)
        figures[arm] = float((worth == 1).mean())
        figures[f"utility {arm}"] = float(np.mean([one.gold for one in sampled(trained, held_out, 2, seed)]))
        families = np.array([prompt.partition(":")[0] for prompt in held_out])
        figures[f"families {arm}"] = {
            name: float((worth[families == name] == 1).mean()) for name in FAMILIES if (families == name).any()
        }
    return figures


def more(options: argparse.Namespace, table: list[dict[str, Any]]) -> None:
    """Means over seeds of what the first table leaves out."""
    print("\n| arm | utility of samples | CPU s | " + " | ".join(FAMILIES), "|")
    print("|--|--|--|" + "--|" * len(FAMILIES))
    for arm in ARMS:
        families = [
            [each[f"families {arm}"][name] for each in table if name in each[f"families {arm}"]] for name in FAMILIES
        ]
        shares = [f"{np.mean(shares):.0%}" if shares else "–" for shares in families]
        worth, cpu = (np.mean([each[f"{name} {arm}"] for each in table]) for name in ("utility", "cpu"))
        print(f"| {arm} | {worth:.3f} | {cpu:.0f} |", " | ".join(shares), "|")


if __name__ == "__main__":
    study(
        __doc__,
        one_seed,
        dict.fromkeys(ARMS, ".3f"),
        (("ppo", "ppo random"), ("ppo", "start"), ("ppo random", "start"), ("rloo", "start"), ("rloo", "ppo")),
        more,
    )
