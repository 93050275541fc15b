"""What the experiments share: the demo's settings, a command line, and an interval over seeds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from arenaloop.config import ArenaLearningSettings
from arenaloop.ratings.student import t_quantile
from arenaloop.specs import recipes

__all__ = ["SMALL", "arguments", "demo_settings", "interval", "parsed"]

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


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % t-interval over seeds, of shares, in points."""
    points = 100 * np.asarray(values)
    half = t_quantile(0.95, len(points) - 1) * points.std(ddof=1) / np.sqrt(len(points))
    return f"{points.mean():+.1f} points, 95 % interval {points.mean() - half:+.1f} to {points.mean() + half:+.1f}"


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
