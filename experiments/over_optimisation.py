"""When is a reward model followed too far? Gold against the reward that is chosen by, with true and with wrong labels.

    python experiments/over_optimisation.py [--seeds 20 21 22] [--split test] [--jobs 2] [--out DIR] [--small]

For each seed: the policy of `own_samples`; pairs of its own samples to 9,000 prompts; and three reward models:

    clean    labels by gold utility; a plain model: a head at the end of the turn, no prior
    flips    the same, a quarter of the labels turned round
    prior    labels by gold utility; the start's likelihood as prior, as in `reward_model_gate.py` (with the same --out
             it is that very model)

Then

    best of n    the exact curve for n = 1 … 64 from one set of 64 samples to each of 300 held-out prompts: what the
                 choice is worth in gold utility
    PPO          with `kl_coef` 0 against the model of the flipped labels: gold utility of the answers by roll-out

Prints a row a seed, the curves' means and, with 95 % t-intervals over seeds, by how much gold is lower at the end than
at its peak. Where the peak lies is decided on one half of the prompts (of PPO: of each roll-out's prompts) and its
height is measured on the other: the highest of many noisy figures is too high. `over_optimisation.png` goes to --out.
The settings were chosen on the dev prompts of seed 10; seeds 20 to 22 on the test prompts are what is reported.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
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

MODELS = ("clean", "flips", "prior")
CHOICES, FLIPS = 64, 0.25
WINDOW = 4
"""Roll-outs whose answers are taken together, since one has but a few hundred."""
SHOWN = (1, 2, 4, 8, 16, 32, 64)


def one_seed(seed: int, split: str, out: Path, sizes: Sizes) -> dict[str, Any]:
    """All figures of one seed."""
    policy = fine_tuned(seed, out, sizes)
    compared = sampled(policy, prompts(sizes.pool, seed, "train"), 4, seed)
    answered = sampled(policy, prompts(min(sizes.test, 300), seed, split), CHOICES, seed)
    figures: dict[str, Any] = {}
    labels = {"clean": clean, "flips": flipped(FLIPS, seed), "prior": clean}
    for name in MODELS:
        rows = pairs(compared, 6, seed, labels[name])
        place = out / ("rm" if name == "prior" else f"rm-{name}")
        model = reward_model(policy, rows, place, sizes, seed, prior=name == "prior")
        by = scores(model, answered)
        figures |= {f"gold by {name}": _curve(by, answered), f"score by {name}": _curve(by, answered, by)}
        figures |= {name: figures[f"gold by {name}"][-1], f"falls {name}": _fall(by, answered)}
    figures["one"] = figures["gold by clean"][0]
    figures |= _followed(policy, out, seed, sizes)
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


def _followed(policy: Path, out: Path, seed: int, sizes: Sizes) -> dict[str, Any]:
    """PPO without a penalty against the reward model of the flipped labels: gold and score by roll-out."""
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
    scored = reward(f"reward:{out / 'rm-flips'}")
    rows = [{"prompt": prompt} for prompt in asked]
    training("ppo", policy, rows, out / "ppo-flips", settings, seed=derive_seed("rl", seed), reward=scored)
    gold, score, nats = [], [], []
    for path in sorted((out / "ppo-flips" / "rollouts").glob("*.jsonl.gz")):
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
        "ppo gold": each.mean(axis=1).tolist(),
        "ppo score": [float(value) for value in score],
        "ppo kl": [float(value) for value in nats],
        "ppo first": float(means[0]),
        "ppo peak": float(means.max()),
        "peak at": float(blocks[int(means.argmax())] + (WINDOW + 1) / 2),
        "ppo last": float(means[-1]),
        "falls ppo": float(np.mean(falls)),
    }


def more(options: argparse.Namespace, table: list[dict[str, Any]]) -> None:
    """Falls with their intervals, the curves' means, and the plot."""
    for name, where in (*((name, "n = 64") for name in MODELS), ("ppo", "the last roll-outs")):
        print(f"gold at the peak - at {where}, {name}: {interval([each[f'falls {name}'] for each in table])}")
    print("\n| n |", " | ".join(map(str, SHOWN)), "|")
    print("|--|" + "--|" * len(SHOWN))
    for name in (f"{what} by {model}" for what in ("gold", "score") for model in MODELS):
        means = np.mean([each[name] for each in table], axis=0)
        print(f"| {name} |", " | ".join(f"{means[n - 1]:.3f}" for n in SHOWN), "|")
    for name in ("ppo gold", "ppo score", "ppo kl"):
        means = np.mean([each[name] for each in table], axis=0)
        at = np.unique(np.linspace(0, len(means) - 1, len(SHOWN)).astype(int))
        print(f"{name} by roll-out:", ", ".join(f"{i + 1}: {means[i]:.3f}" for i in at))
    _plot(options.out / "over_optimisation.png", table)


def _plot(path: Path, table: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    n = np.arange(1, CHOICES + 1)
    for name, color in zip(MODELS, ("tab:blue", "tab:red", "tab:green"), strict=True):
        _band(left, n, [each[f"gold by {name}"] for each in table], color, name)
        _band(middle, n, [each[f"score by {name}"] for each in table], color, name)
    for axes, what in ((left, "gold utility of the best of n"), (middle, "its score, standardised")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("n")
        axes.set_title(what)
        axes.legend()
    rollouts = np.arange(1, len(table[0]["ppo gold"]) + 1)
    _band(right, rollouts, [each["ppo gold"] for each in table], "tab:red", "gold utility")
    right.set_xlabel("roll-out")
    right.set_title("PPO against flips, kl_coef 0")
    scored = right.twinx()
    _band(scored, rollouts, [each["ppo score"] for each in table], "tab:gray", "score (right axis)")
    right.legend(handles=[right.lines[0], scored.lines[0]], loc="upper right")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"wrote {path}")


def _band(axes: Any, x: np.ndarray, curves: Sequence[Sequence[float]], color: str, label: str) -> None:
    """The mean over seeds, and its 95 % t-interval."""
    values = np.array(curves)
    mean = values.mean(axis=0)
    half = t_quantile(0.95, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    axes.plot(x, mean, color=color, label=label)
    axes.fill_between(x, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    study(
        __doc__,
        one_seed,
        dict.fromkeys(("one", *MODELS, "ppo first", "ppo peak"), ".3f") | {"peak at": ".0f", "ppo last": ".3f"},
        (("clean", "one"), ("flips", "one"), ("prior", "one"), ("flips", "clean")),
        more,
        seeds=(20, 21, 22),
    )
