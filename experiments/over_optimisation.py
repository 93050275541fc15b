"""When is a reward model followed too far? Gold against the reward that is chosen by, with true and with wrong labels.

    python experiments/over_optimisation.py [--seeds 20 21 22] [--split test] [--jobs 2] [--out DIR] [--small]

For each seed: the policy of `own_samples`; pairs of its own samples to 9,000 prompts; and four reward models, two
readings by two sets of labels:

    plain clean    a head at the end of the turn, no prior; labels by gold utility
    plain flips    the same, a quarter of the labels turned round
    prior clean    the start's likelihood as prior, as in `reward_model_gate.py` (with the same --out it is that very
                   model); labels by gold utility
    prior flips    the same, a quarter of the labels turned round

Then, by each of them,

    best of n      the exact curve for n = 1 … 64 from one set of 64 samples to each of 300 held-out prompts: what the
                   choice is worth in gold utility
    PPO            with `kl_coef` 0: gold utility of the answers by roll-out

Prints a row a seed; a table of each, means over seeds; and with 95 % t-intervals over seeds by how much gold is lower
at the end than at its peak, and how much more so with flipped labels than with true ones. Where a peak lies is decided
on one half of the prompts (of PPO: of each roll-out's prompts) and its height is measured on the other: the highest of
many noisy figures is too high. `over_optimisation.png` goes to --out. The settings were chosen on the dev prompts of
seed 10; seeds 20 to 22 on the test prompts are what is reported.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gold import interval
from own_samples import (
    LONGEST,
    Answered,
    Sizes,
    clean,
    fine_tuned,
    flipped,
    pairs,
    prompts,
    reward_model,
    sampled,
    scores,
    study,
)

from arenaloop.config import PPOSettings
from arenaloop.models.best_of_n import mean_curve
from arenaloop.ratings.student import t_quantile
from arenaloop.sandbox.tasks import utility
from arenaloop.specs.rewards import reward
from arenaloop.train.methods import training
from arenaloop.types import derive_seed


@dataclass(frozen=True, slots=True)
class Model:
    """A reward model: its directory, whether it reads over the start's likelihood, whether labels are turned."""

    place: str
    prior: bool
    flips: bool


MODELS = {
    "plain clean": Model("rm-clean", prior=False, flips=False),
    "plain flips": Model("rm-flips", prior=False, flips=True),
    "prior clean": Model("rm", prior=True, flips=False),
    "prior flips": Model("rm-prior-flips", prior=True, flips=True),
}
CHOICES, FLIPS = 64, 0.25
WINDOW = 4
"""Roll-outs whose answers are taken together, since one has but a few hundred."""
SHOWN = (1, 2, 4, 8, 16, 32, 64)
COLORS = dict(zip(MODELS, ("tab:cyan", "tab:red", "tab:blue", "tab:orange"), strict=True))


def one_seed(seed: int, split: str, out: Path, sizes: Sizes) -> dict[str, Any]:
    """All figures of one seed."""
    policy = fine_tuned(seed, out, sizes)
    compared = sampled(policy, prompts(sizes.pool, seed, "train"), 4, seed)
    answered = sampled(policy, prompts(min(sizes.test, 300), seed, split), CHOICES, seed)
    figures: dict[str, Any] = {}
    for name, kind in MODELS.items():
        rows = pairs(compared, 6, seed, flipped(FLIPS, seed) if kind.flips else clean)
        model = reward_model(policy, rows, out / kind.place, sizes, seed, prior=kind.prior)
        by = scores(model, answered)
        figures[f"gold by {name}"], figures[f"score by {name}"] = _curve(by, answered), _curve(by, answered, by)
        figures |= {name: figures[f"gold by {name}"][-1], f"falls {name}": _fall(by, answered)}
        figures |= {f"{what}, {name}": value for what, value in _followed(policy, out, kind, seed, sizes).items()}
    figures["one"] = figures["gold by plain clean"][0]
    return figures


def _curve(by: np.ndarray, answered: Sequence[Answered], worth: np.ndarray | None = None) -> list[float]:
    """What the best of 1 … n is worth, by default in gold."""
    values = [one.gold for one in answered] if worth is None else worth.tolist()
    return mean_curve(list(zip(by.tolist(), values, strict=True)))[0]


def _fall(by: np.ndarray, answered: Sequence[Answered]) -> float:
    """Gold at the peak less gold at n = 64, the peak found on the other half of the prompts."""
    found = []
    for half in (0, 1):
        other, own = (_curve(by[h::2], answered[h::2]) for h in (1 - half, half))
        found.append(own[int(np.argmax(other))] - own[-1])
    return float(np.mean(found))


def _followed(policy: Path, out: Path, kind: Model, seed: int, sizes: Sizes) -> dict[str, Any]:
    """PPO without a penalty against a reward model: gold, score and nats from the start, by roll-outs."""
    settings = PPOSettings(
        iterations=sizes.iterations,
        samples=4,
        rollout_batch=4 * sizes.asked,
        step_batch=2 * sizes.asked,
        kl_coef=0.0,
        learning_rate=3e-4,
        warmup_steps=2,
        max_new_tokens=LONGEST,
        max_length=64,
        threads=1,
        micro_tokens=8192,
    )
    asked = prompts(sizes.pool + sizes.asked * sizes.iterations, seed, "train")[sizes.pool :]
    scored = reward(f"reward:{out / kind.place}")
    rows = [{"prompt": prompt} for prompt in asked]
    place = out / f"ppo-{kind.place}"
    training("ppo", policy, rows, place, settings, seed=derive_seed("rl", seed), reward=scored)
    gold, score, nats = [], [], []
    for path in sorted((place / "rollouts").glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as file:
            said = [json.loads(line) for line in file]
        gold.append([utility(one["prompt"][-1]["content"], one["text"]) for one in said])
        score.append(np.mean([one["score"] for one in said]))
        nats.append(np.mean([one["kl"] for one in said]))
    each = np.array(gold, dtype=float)
    blocks = np.arange(0, len(each) - WINDOW + 1, WINDOW)
    windowed = np.array([each[at : at + WINDOW].mean(axis=0) for at in blocks])  # (blocks, answers)
    first = np.arange(each.shape[1]) // settings.samples % 2 == 0
    falls = []
    for half in (first, ~first):
        own = windowed[:, half].mean(axis=1)
        falls.append(own[int(np.argmax(windowed[:, ~half].mean(axis=1)))] - own[-1])
    means = windowed.mean(axis=1)
    return {
        "ppo gold": means.tolist(),
        "ppo score": [float(np.mean(score[at : at + WINDOW])) for at in blocks],
        "ppo kl": [float(np.mean(nats[at : at + WINDOW])) for at in blocks],
        "ppo start": float(each[0].mean()),
        "ppo last": float(means[-1]),
        "falls ppo": float(np.mean(falls)),
    }


def more(options: argparse.Namespace, table: list[dict[str, Any]]) -> None:
    """Falls with their intervals, the curves' means, and the plot."""

    def mean(name: str) -> np.ndarray:
        return np.mean([each[name] for each in table], axis=0)

    for told, key in (("n = 64", "falls {}"), ("PPO's last roll-outs", "falls ppo, {}")):
        falls = {name: [each[key.format(name)] for each in table] for name in MODELS}
        for name in MODELS:
            print(f"gold at the peak - at {told}, {name}: {interval(falls[name])}")
        for reading in ("plain", "prior"):
            more_so = np.subtract(falls[f"{reading} flips"], falls[f"{reading} clean"]).tolist()
            print(f"gold at the peak - at {told}, {reading} flips less {reading} clean: {interval(more_so)}")
    print("\n| best of n |", " | ".join(map(str, SHOWN)), "|")
    print("|--|" + "--|" * len(SHOWN))
    for name in (f"{what} by {model}" for what in ("gold", "score") for model in MODELS):
        print(f"| {name} |", " | ".join(f"{mean(name)[n - 1]:.3f}" for n in SHOWN), "|")
    blocks = [f"{WINDOW * at + 1}-{WINDOW * (at + 1)}" for at in range(len(mean("ppo gold, prior clean")))]
    print("\n| PPO, by roll-outs |", " | ".join(["first", *blocks]), "|")
    print("|--|--|" + "--|" * len(blocks))
    for name in MODELS:
        first = {"gold": f"{mean(f'ppo start, {name}'):.3f}"}
        for what in ("gold", "score", "kl"):
            by_block = " | ".join(f"{value:.3f}" for value in mean(f"ppo {what}, {name}"))
            print(f"| {what}, {name} | {first.get(what, '')} | {by_block} |")
    _plot(options.out / "over_optimisation.png", table)


def _plot(path: Path, table: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 2, figsize=(11, 10), layout="constrained", sharex="col", sharey="row")
    n = np.arange(1, CHOICES + 1)
    for name, color in COLORS.items():
        gold, score, nats = (
            np.array([each[f"ppo {what}, {name}"] for each in table]) for what in ("gold", "score", "kl")
        )
        rollouts = WINDOW * np.arange(gold.shape[1]) + (WINDOW + 1) / 2
        chosen = np.array([each[f"score by {name}"] for each in table])
        _band(axes[0, 0], n, np.array([each[f"gold by {name}"] for each in table]), color, name)
        _band(axes[1, 0], n, chosen - chosen[:, :1], color)
        for row, curves in zip(axes[:, 1], (gold, score - score[:, :1], nats), strict=True):
            _band(row, rollouts, curves, color)
    axes[2, 0].plot(n, np.log(n) - (n - 1) / n, color="black")
    for row, what in zip(axes, ("gold utility", "rise of the score, standardised", "nats from the start"), strict=True):
        row[0].set_ylabel(what)
    axes[0, 0].set_title("best of n")
    axes[0, 1].set_title("PPO without a penalty")
    axes[2, 0].set_xlabel("n")
    axes[2, 0].set_xscale("log", base=2)
    axes[2, 1].set_xlabel(f"roll-out (means of {WINDOW})")
    axes[0, 0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"wrote {path}")


def _band(axes: Any, x: np.ndarray, values: np.ndarray, color: str, label: str | None = None) -> None:
    """The mean over seeds, and its 95 % t-interval: (seeds, points)."""
    mean = values.mean(axis=0)
    half = t_quantile(0.95, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    axes.plot(x, mean, color=color, label=label)
    axes.fill_between(x, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    study(
        __doc__,
        one_seed,
        dict.fromkeys(("one", *MODELS, *(f"ppo last, {name}" for name in MODELS)), ".3f"),
        (*((name, "one") for name in MODELS), ("plain flips", "plain clean"), ("prior flips", "prior clean")),
        more,
        seeds=(20, 21, 22),
    )
