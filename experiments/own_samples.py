"""What experiments on learning from own answers share: a policy, its samples, pairs of them, and runs over seeds.

The policy is the small world's SFT-I1 after 60 of its 100 steps, so that something is left to learn: half of its
answers at temperature 1, or a little more, are right. The gold utility is known for every answer.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from gold import SMALL, arguments, demo_settings, interval, parsed

from arenaloop.config import OptimSettings, RewardModelSettings
from arenaloop.config.rl import SampleSettings
from arenaloop.jsonl import JsonRow
from arenaloop.recipes import arena_learning
from arenaloop.sandbox.tasks import draw, utility
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.store import Store
from arenaloop.train import rollouts
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import Encoded
from arenaloop.train.methods import training
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.rewards import RewardModel, likelihoods, load_reward_model
from arenaloop.types import derive_seed

__all__ = [
    "LONGEST",
    "READ",
    "SIZES",
    "Answered",
    "Preference",
    "Sizes",
    "clean",
    "fine_tuned",
    "flipped",
    "greedy",
    "likelihood",
    "pairs",
    "prompts",
    "ranked_right",
    "reward_model",
    "sampled",
    "scores",
    "study",
]

READ = OptimSettings(max_length=64, threads=1, micro_tokens=8192)
"""How trained models are read."""

LONGEST = 24
"""Tokens of an answer at most; none of the world's needs more."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large an experiment is.

    Attributes:
        pool: prompts whose samples are compared, to train on.
        test: held-out prompts.
        steps: of the reward model's training.
        iterations: roll-outs of reinforcement learning.
        asked: prompts of each, with 4 answers to each prompt.
        changes: to the demo that makes the policy.
    """

    pool: int
    test: int
    steps: int
    iterations: int
    asked: int
    changes: tuple[str, ...]


SIZES = {
    False: Sizes(9000, 1000, 500, 24, 64, ("data.prompts=sandbox:prompts?n=2000&split=train", "sft.max_steps=60")),
    True: Sizes(150, 24, 8, 4, 8, SMALL),
}
"""The experiments' sizes, and those with which one is over in seconds; their figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and samples of the policy, with their gold utilities."""

    prompt: str
    texts: tuple[str, ...]
    gold: tuple[float, ...]


def fine_tuned(seed: int, out: Path, sizes: Sizes) -> Path:
    """The policy of a seed: SFT on demonstrations, battles on 2,000 prompts, SFT on what was lost."""
    settings = demo_settings(seed, "dev", "rounds=1", "stages=[sft]", *sizes.changes)
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / "arena.db") as store:
        arena_learning.run(build_arena_learning(settings, out), store, out)
    return out / "checkpoints" / "SFT-I1"


def prompts(count: int, seed: int, split: str) -> list[str]:
    """Prompts of a split in a draw of their own, clear of the seed's plain one.

    Of the train split about one in a hundred is among the policy's demonstrations; the others share nothing with them.
    """
    shown = {task.prompt.last_user for task in draw(2000 if split == "train" else 0, seed, split)}
    return [task.prompt.last_user for task in draw(count, derive_seed("own", seed), split, exclude=shown)]


def sampled(policy: Path, asked: Sequence[str], n: int, seed: int, temperature: float = 1.0) -> list[Answered]:
    """Samples of a policy to prompts."""
    settings = SampleSettings(samples=n, max_new_tokens=LONGEST, max_length=64, temperature=temperature, threads=1)
    model = load_policy(policy, settings)
    rows = rollouts.encode_prompts(model.encoder(settings), [{"prompt": one} for one in asked], settings).asked
    found = rollouts.sample(model, rows, settings, derive_seed("own samples", seed))
    answers: list[Answered] = []
    for at, prompt in enumerate(asked):
        texts = found.texts[at * n : (at + 1) * n]
        answers.append(Answered(prompt, tuple(texts), tuple(_gold(prompt, text) for text in texts)))
    return answers


def greedy(policy: Path, asked: Sequence[str]) -> np.ndarray:
    """Gold utilities of a policy's greedy answers: (prompts,)."""
    return np.array([one.gold[0] for one in sampled(policy, asked, 1, 0, temperature=1e-3)])


OneSeed = Callable[[int, str, Path, Sizes], dict[str, Any]]
"""(seed, split, a directory of its own, sizes) → figures by name. What it trained there is not trained again."""


def study(
    description: str | None,
    one_seed: OneSeed,
    columns: Mapping[str, str],
    differences: Sequence[tuple[str, str]],
    extra: Callable[[argparse.Namespace, list[dict[str, Any]]], None] | None = None,
    seeds: Sequence[int] = (20, 21, 22, 23, 24),
) -> None:
    """Run an experiment over the seeds of the command line; print a row a seed, the means and the paired differences.

    Args:
        description: the experiment's docstring.
        one_seed: does one seed; to its figures come `cpu_s`, the CPU seconds of all of it.
        columns: figures to print, in order, with their formats.
        differences: (first, second) pairs of figures to compare, which are shares.
        extra: told the options and all seeds' figures at the end.
        seeds: to run by default.
    """
    parser = arguments(description, seeds)
    parser.add_argument("--out", type=Path, help="kept: what is finished there is not done again")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at once, each a process of one thread")
    options = parsed(parser)
    columns = {**columns, "cpu_s": ".0f"}
    with ExitStack() as stack:
        options.out = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work = partial(_once, one_seed, options.split, options.out, options.small, Path(sys.argv[0]).stem)
        done: Iterator[dict[str, Any]] = map(work, options.seeds)
        if options.jobs > 1:
            spawn = multiprocessing.get_context("spawn")
            done = stack.enter_context(ProcessPoolExecutor(options.jobs, spawn)).map(work, options.seeds)
        print("| seed |", " | ".join(columns), "|")
        print("|--|" + "--|" * len(columns), flush=True)
        table = []
        for seed, figures in zip(options.seeds, done, strict=True):
            table.append(figures)
            _print_row(seed, figures, columns)
        _print_row("mean", {name: float(np.mean([each[name] for each in table])) for name in columns}, columns)
        print()
        for first, second in differences:
            print(f"{first} - {second}: {interval([each[first] - each[second] for each in table])}")
        if extra is not None:
            extra(options, table)


def _print_row(name: object, figures: Mapping[str, float], columns: Mapping[str, str]) -> None:
    print(f"| {name} |", " | ".join(format(figures[column], form) for column, form in columns.items()), "|", flush=True)


def _once(one_seed: OneSeed, split: str, out: Path, small: bool, name: str, seed: int) -> dict[str, Any]:
    """The figures of a seed, from the file that holds them if it is there."""
    place = out / f"{'small-' if small else ''}{split}-{seed}"
    kept = place / f"{name}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    place.mkdir(parents=True, exist_ok=True)
    before = time.process_time()
    figures = one_seed(seed, split, place, SIZES[small])
    kept.write_text(json.dumps({**figures, "cpu_s": time.process_time() - before}))
    return {**figures, "cpu_s": time.process_time() - before}


Preference = Callable[[str, str, float, float], bool]
"""Whether of a prompt's answer the first is said to be the better one: (first, second, their gold) → the label."""


def clean(first: str, second: str, of_first: float, of_second: float) -> bool:
    """The truth."""
    return of_first > of_second


def flipped(share: float, seed: int) -> Preference:
    """The truth, but for a share of the labels: which, the two texts decide."""

    def label(first: str, second: str, of_first: float, of_second: float) -> bool:
        one, other = sorted((first, second))
        wrong = random.Random(derive_seed("flip", seed, one, other)).random() < share
        return (of_first > of_second) != wrong

    return label


def pairs(answered: Sequence[Answered], most: int, seed: int, label: Preference = clean) -> list[JsonRow]:
    """Pairs of different samples of a prompt whose gold differs, at most so many of each prompt, with their labels."""
    rows: list[JsonRow] = []
    for one in answered:
        worth = dict(zip(one.texts, one.gold, strict=True))
        apart = [(a, b) for a, b in combinations(worth, 2) if worth[a] != worth[b]]
        rng = random.Random(derive_seed("pairs", seed, one.prompt))
        for a, b in rng.sample(apart, min(most, len(apart))):
            chosen, rejected = (a, b) if label(a, b, worth[a], worth[b]) else (b, a)
            rows.append({"prompt": one.prompt, "chosen": chosen, "rejected": rejected})
    return rows


def reward_model(
    start: Path, rows: Sequence[JsonRow], out: Path, sizes: Sizes, seed: int, *, prior: bool
) -> RewardModel:
    """A reward model from pairs, over the start's own likelihood, or plain: a head at the end of the turn."""
    settings = RewardModelSettings(
        readout="mean" if prior else "last",
        prior="policy_logprob" if prior else "none",
        held_out=0,
        max_length=64,
        batch_size=32,
        max_steps=sizes.steps,
        optimizer="muon",
        learning_rate=0.002,
        adam_beta2=0.98,
        threads=1,
        micro_tokens=8192,
    )
    training("reward_model", start, rows, out, settings, seed=derive_seed("reward model", seed))
    return load_reward_model(out, READ)


def scores(model: RewardModel, answered: Sequence[Answered]) -> np.ndarray:
    """What a reward model says of each sample: (prompts, n)."""
    n = len(answered[0].texts)
    return np.array(model.score_rows(_rows(model, answered), READ)).reshape(-1, n)


def likelihood(policy: Path, answered: Sequence[Answered]) -> np.ndarray:
    """A policy's log-probability per root of the tokens of each sample: (prompts, n)."""
    return likelihoods_of(load_policy(policy, READ), answered)


def likelihoods_of(model: Policy, answered: Sequence[Answered]) -> np.ndarray:
    """As `likelihood`, of a policy that is loaded."""
    table = TokenTable(_rows(model, answered), model.pad_id)
    return likelihoods(model, table, READ).double().numpy().reshape(len(answered), -1)


def ranked_right(answered: Sequence[Answered], measured: Sequence[JsonRow], values: np.ndarray) -> float:
    """Share of pairs of which the better answer has the higher value; equal values are half right."""
    of = {
        (one.prompt, text): value
        for one, row in zip(answered, values, strict=True)
        for text, value in zip(one.texts, row, strict=True)
    }
    lead = [of[row["prompt"], row["chosen"]] - of[row["prompt"], row["rejected"]] for row in measured]
    return float((0.5 + 0.5 * np.sign(lead)).mean())


def _gold(prompt: str, text: str) -> float:
    worth = utility(prompt, text)
    assert worth is not None  # every prompt is of the small world
    return worth


def _rows(model: Any, answered: Sequence[Answered]) -> list[Encoded]:
    """The tokens of all samples, in order."""
    encoder = model.encoder(READ)
    rows: list[Encoded] = []
    for one in answered:
        for text in one.texts:
            row = encoder.encode(
                [{"role": "user", "content": one.prompt}], [{"role": "assistant", "content": text}], "last", text
            )
            assert isinstance(row, Encoded), row
            rows.append(row)
    return rows
