"""What the experiments share: the demo's settings, gold accuracy of a checkpoint, and an interval over seeds."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from arenaloop.config import ArenaLearningSettings
from arenaloop.ratings.student import t_quantile
from arenaloop.recipes.arena_learning_plan import ArenaLearning
from arenaloop.recipes.parts import Arena, test
from arenaloop.specs import recipes
from arenaloop.store import Store

__all__ = ["SMALL", "arguments", "demo_settings", "gold_accuracy", "interval", "over_seeds", "parsed"]

SMALL = (
    "rounds=1",
    "data.prompts=sandbox:prompts?n=160&split=train",
    "data.test=sandbox:prompts?n=50&split=test",
    "sft_init_training.max_steps=50",
    "sft.max_steps=5",
    "dpo.max_steps=5",
)
"""Changes to the demo's settings with which an experiment is over in seconds; its figures mean nothing."""


def demo_settings(seed: int, split: str, *overrides: str) -> ArenaLearningSettings:
    """The demo's own settings under another seed, rated on one split of held-out prompts."""
    settings = recipes.demo_settings("arena_learning", f"seed={seed}", *overrides, split=split)
    assert isinstance(settings, ArenaLearningSettings)
    return settings


def gold_accuracy(recipe: ArenaLearning, store: Store, name: str, checkpoint: Path) -> float:
    """Share of held-out prompts that a checkpoint answers with top utility, greedy decoding."""
    arena = Arena(store, recipe.judge, recipe.settings)
    share = test(arena, recipe.target(name, checkpoint), recipe.test, recipe.utility)["gold_accuracy"]
    assert share is not None
    return share


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % t-interval over seeds, of shares, in points."""
    points = 100 * np.asarray(values)
    half = t_quantile(0.95, len(points) - 1) * points.std(ddof=1) / np.sqrt(len(points))
    return f"{points.mean():+.1f} points, 95 % interval {points.mean() - half:+.1f} to {points.mean() + half:+.1f}"


def over_seeds(
    description: str | None,
    one_seed: Callable[[int, str, Path, Sequence[str]], Mapping[str, float]],
    arms: Sequence[str],
    differences: Sequence[tuple[str, str]],
) -> None:
    """Run an experiment over the seeds of the command line; print a line a seed and the paired differences.

    Args:
        description: the experiment's docstring.
        one_seed: (seed, split, a new directory's path, changes to the demo) → gold accuracy by arm, and ``rows``.
        arms: which to print, in order.
        differences: (first, second) pairs of arms to compare.
    """
    options = parsed(arguments(description, [10, 11, 12, 13, 14]))
    print("seed   rows", *(f"{arm:>8}" for arm in arms), flush=True)
    table = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            figures = one_seed(seed, options.split, Path(folder) / "run", SMALL if options.small else ())
        table.append(figures)
        print(f"{seed:4}  {figures['rows']:5.0f}", *(f"{figures[arm]:8.1%}" for arm in arms), flush=True)
    for first, second in differences:
        print(f"{first} - {second}: {interval([f[first] - f[second] for f in table])}")


def arguments(description: str | None, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """What every experiment over seeds is told on the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--small", action="store_true", help="a tiny world, to see whether it runs")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options; an interval takes two seeds."""
    options = parser.parse_args()
    if len(options.seeds) < 2:
        sys.exit("give at least 2 seeds")
    return options
