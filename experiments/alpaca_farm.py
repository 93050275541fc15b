"""Nine methods and their controls on one budget: what they gain, and whether simulated evaluation tells it.

    python experiments/alpaca_farm.py [--seeds 10 11 12 13 14] [--split test] [--jobs 2] [--out DIR] [--small]

Each seed is a whole run of `examples/alpaca_farm_sandbox.yaml`: a start fine-tuned on demonstrations, many with
a bad habit (`sandbox.players.habit`); pairs of its own answers labelled by the synthetic pool (a quarter of the labels
turned); every method from that start; and every policy against the start on held-out prompts, judged from both seats.
Controls: greedy decoding of the start is SFT itself; NLL on the same chosen texts is FeedME; PPO by the gold reward and
by a random one; best of 16 by the start's likelihood.

Prints the gold accuracy a seed, paired differences with 95 % t-intervals over seeds, a table of methods (win rates in
percent against the start, by the judge and by the truth, with CPU seconds), which methods are non-inferior to the start
by three points, the rank correlation of both rankings, and the relations of the paper's table, one by one. The settings
were chosen on the dev prompts of seeds 1 and 2.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gold import interval
from own_samples import READ, Answered, Sizes, likelihoods_of, study

from arenaloop.config import AlpacaFarmSettings, override, read_yaml, validate
from arenaloop.ratings.agreement import spearman
from arenaloop.ratings.student import t_quantile
from arenaloop.recipes import alpaca_farm
from arenaloop.specs.recipes.alpaca_farm import build_alpaca_farm
from arenaloop.store import Store
from arenaloop.train.policy import Policy, load_policy
from arenaloop.types import Message

EXAMPLE = Path(__file__).parents[1] / "examples" / "alpaca_farm_sandbox.yaml"
HERE = Path(__file__).parent
SMALL = (
    *("data.sft=sandbox:demonstrations?n=200", "data.preference=sandbox:prompts?n=120&split=train"),
    *("data.unlabeled=sandbox:prompts?n=64&split=train", "sft.max_steps=20", "reward_model.max_steps=5"),
)
START = "ALPACA_FARM_START"
"""The environment variable that tells the reward `likelihood`, which is loaded by itself, where the start stands."""
BEST, RANDOM = "Best of 16 by likelihood", "PPO, random reward"
MARGIN = 3.0
"""Points of gold accuracy by which a method may be worse than the start and still count as no worse."""
METHODS = (*read_yaml(EXAMPLE)["methods"], BEST, RANDOM)
RELATIONS = (  # of the paper's table, simulated
    ("PPO", "Expert iteration"),
    ("Best of 16", "Expert iteration"),
    ("Expert iteration", "SFT"),
    ("SFT", "FeedME"),
    ("SFT", "Quark"),
    ("Quark", "Reward conditioning"),
    ("FeedME", "Reward conditioning"),
)


def likelihood(asked: Sequence[list[Message]], answers: Sequence[str]) -> list[float | None]:
    """The start's log-probability of each answer, per root of its tokens; none before there is a start."""
    start = Path(os.environ[START])
    if not (start / "config.json").is_file():
        return [None] * len(answers)
    rows = [Answered(prompt[-1]["content"], (answer,), (0.0,)) for prompt, answer in zip(asked, answers, strict=True)]
    return list(likelihoods_of(_start(start), rows)[:, 0])


@functools.cache
def _start(path: Path) -> Policy:
    return load_policy(path, READ)


def one_seed(seed: int, split: str, out: Path, sizes: Sizes) -> dict[str, Any]:
    """Figures of one run, by method: ``NAME`` is the gold accuracy, ``NAME/…`` the rest."""
    small = sizes.test < 500
    values = override(read_yaml(EXAMPLE), [f"seed={seed}", *(SMALL if small else ())])
    values["data"]["evaluation"] = f"sandbox:prompts?n={40 if small else 800}&split={split}"
    values["methods"] |= {
        BEST: {"method": "best_of_n", "n": 16, "reward": f"python:{HERE / 'alpaca_farm.py'}:likelihood"},
        RANDOM: values["methods"]["PPO, gold reward"] | {"reward": f"python:{HERE / 'reinforcement.py'}:noise"},
    }
    os.environ[START] = str(out / "run" / "checkpoints" / "SFT")
    for one in values["methods"].values():
        if small:
            few = {"iterations": 1, "rollout_batch": 8, "step_batch": 8, "samples": 2, "max_steps": 3, "stop_cut": 1.0}
            training = one.get("training", {})
            one |= {"training": training | {key: few[key] for key in few.keys() & training.keys()}} if training else {}
    settings = validate(AlpacaFarmSettings, values, str(EXAMPLE))
    run = out / "run"
    recipe = build_alpaca_farm(settings, run)
    run.mkdir(parents=True, exist_ok=True)
    with Store(run / "arena.db") as store:
        result = alpaca_farm.run(recipe, store, run)
    figures: dict[str, Any] = {row["name"]: row["gold_accuracy"] for row in result.stages if row["name"] != "RM"}
    for row in result.summary["methods"]:
        name = row["method"]
        figures |= {f"{name}/{key}": row[key] for key in ("win_rate", "gold_win_rate", "cpu_seconds", "rows")}
    figures["labels"] = result.summary["labels"]["pairs"]
    figures["spearman"] = result.summary["rank_correlation"]["spearman"]
    return figures


def told(options: argparse.Namespace, table: Sequence[Mapping[str, Any]]) -> None:
    """The methods' table, the correlation of both rankings, and the paper's relations."""
    print(f"\n{table[0]['labels']:.0f} labelled pairs; means over {len(table)} seeds, ± half of the 95 % t-interval\n")
    print("| method | simulated win rate | by the truth | gold accuracy | rows | CPU s |\n|--|--|--|--|--|--|")
    shown = sorted(METHODS, key=lambda name: -_mean(table, f"{name}/gold_win_rate"))
    for name in shown:
        cells = [_half(table, f"{name}/{key}") for key in ("win_rate", "gold_win_rate")]
        accuracy = _half([{name: 100 * row[name]} for row in table], name)
        rest = [f"{_mean(table, f'{name}/{key}'):.0f}" for key in ("rows", "cpu_seconds")]
        print("|", " | ".join([name, *cells, accuracy, *rest]), "|")
    print(f"\nnon-inferior to SFT in gold accuracy (the lower end above -{MARGIN:.0f} points):")
    for name in shown:
        points = [100 * (row[name] - row["SFT"]) for row in table]
        held = "yes" if np.mean(points) - _width(points) > -MARGIN else "not shown"
        print(f"{name}: {held}, {np.mean(points):+.1f} ± {_width(points):.1f}")
    print("\nSpearman, simulated against the truth:")
    controls = {"PPO, gold reward", BEST, RANDOM}
    for title, names in (("all", METHODS), ("without controls", [one for one in METHODS if one not in controls])):
        each = [spearman(*_both([row], names)) for row in table]
        rng = np.random.default_rng(0)
        drawn = [spearman(*_both([table[at] for at in rng.integers(0, len(table), len(table))], names))
                 for _ in range(2000)]  # fmt: skip
        low, high = np.percentile([one for one in drawn if one is not None], [2.5, 97.5])
        print(
            f"{title}: of the means {spearman(*_both(table, names)):.3f} (seeds resampled: {low:.3f} … {high:.3f}); "
            f"within a seed {interval_of([one for one in each if one is not None])}"
        )
    print("\nthe paper's relations, by the truth (gold accuracy):")
    for better, worse in RELATIONS:
        differences = [row[better] - row[worse] for row in table]
        held = "same" if np.mean(differences) > 0 else "opposite"
        print(f"{better} > {worse}: {held}, {interval(differences)}")


def _both(table: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Mean win rates of the methods, simulated and by the truth."""
    simulated, true = ([_mean(table, f"{name}/{key}") for name in names] for key in ("win_rate", "gold_win_rate"))
    return simulated, true


def interval_of(values: Sequence[float]) -> str:
    """Mean, half of the t-interval over seeds, and range."""
    return f"{np.mean(values):.3f} ± {_width(values):.3f} ({min(values):.3f} … {max(values):.3f})"


def _width(values: Sequence[float]) -> float:
    """Half of the 95 % t-interval of a mean over seeds; infinite for one seed."""
    if len(values) < 2:
        return float("inf")
    return float(t_quantile(0.95, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def _mean(table: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([row[key] for row in table]))


def _half(table: Sequence[Mapping[str, Any]], key: str) -> str:
    values = [float(row[key]) for row in table]
    return f"{np.mean(values):.1f} ± {_width(values):.1f}"


if __name__ == "__main__":
    study(
        __doc__,
        one_seed,
        dict.fromkeys(("SFT", *METHODS), ".3f"),
        [*((name, "SFT") for name in METHODS), ("PPO, gold reward", RANDOM), ("Best of 16", BEST)],
        told,
        seeds=(10, 11, 12, 13, 14),
    )
