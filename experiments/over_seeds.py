"""An experiment's seeds: worked side by side, kept as they end, and told with intervals over them."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from gold import parsed

from arenaloop.ratings.student import t_quantile

__all__ = ["Figures", "differences", "figure", "mean", "over_seeds", "told"]

Figures = dict[str, dict[str, float]]
"""By arm, or stage, what was measured of it."""

OneSeed = Callable[[int, str, Path, bool], Figures]
"""(seed, split, a directory of its own, whether small) → figures."""


def over_seeds(work: OneSeed, name: str, options: argparse.ArgumentParser) -> list[Figures]:
    """Do an experiment's seeds, as many at once as is asked for; a line each as it ends.

    With ``--out`` what is finished there is not done again; otherwise nothing is kept.
    """
    options.add_argument("--out", type=Path, help="kept: what is finished there is not done again")
    options.add_argument("--jobs", type=int, default=1, help="seeds at once, each a process of one thread")
    asked = parsed(options)
    with ExitStack() as stack:
        out = asked.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        once = partial(_once, work, name, asked.split, out, asked.small)
        done: Iterator[tuple[Figures, float]] = map(once, asked.seeds)
        if asked.jobs > 1:
            done = stack.enter_context(ProcessPoolExecutor(asked.jobs, get_context("spawn"))).map(once, asked.seeds)
        found = []
        for seed, (figures, cpu) in zip(asked.seeds, done, strict=True):
            print(f"{name}, seed {seed}: {cpu:.0f} CPU s", flush=True)
            found.append(figures)
    return found


def _once(work: OneSeed, name: str, split: str, out: Path, small: bool, seed: int) -> tuple[Figures, float]:
    place = out / f"{'small-' if small else ''}{split}-{seed}"
    kept = place.with_name(f"{place.name}-{name}.json")
    if not kept.is_file():
        before = time.process_time()
        figures = work(seed, split, place, small)
        kept.write_text(json.dumps({"figures": figures, "cpu_s": time.process_time() - before}, indent=1))
    told = json.loads(kept.read_text())
    return told["figures"], told["cpu_s"]


def figure(seeds: Sequence[Figures], arms: str | Sequence[str], name: str) -> np.ndarray:
    """A figure of an arm by seed, or the mean of several arms'."""
    each = (arms,) if isinstance(arms, str) else arms
    return np.array([np.mean([one[arm][name] for arm in each]) for one in seeds])


def mean(values: np.ndarray, digits: int = 1) -> tuple[float, float, float, str]:
    """The mean over seeds, the ends of its 95 % t-interval, and all three as text."""
    centre = float(values.mean())
    half = t_quantile(0.95, len(values) - 1.0) * float(values.std(ddof=1)) / len(values) ** 0.5
    return (
        centre,
        centre - half,
        centre + half,
        f"{centre:.{digits}f} ({centre - half:.{digits}f} to {centre + half:.{digits}f})",
    )


def differences(seeds: Sequence[Figures], first: str | Sequence[str], second: str | Sequence[str]) -> np.ndarray:
    """By how many points of gold accuracy one arm (or the mean of some) is above another, by seed."""
    return 100 * (figure(seeds, first, "gold") - figure(seeds, second, "gold"))


def told(values: np.ndarray) -> str:
    """A mean difference in points with its 95 % t-interval over seeds."""
    centre, lower, upper, _ = mean(values)
    return f"{centre:+.1f} ({lower:+.1f} to {upper:+.1f})"
