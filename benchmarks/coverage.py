"""How often 95 % intervals of ratings hold the truth, by simulation.

    python benchmarks/coverage.py [--repeats 400]

Models differ by prompt, so that battles on one prompt are no independent witnesses. The truth is the Bradley–Terry
strengths that infinitely many prompts would give, found by Newton on expected wins. A row says how often the intervals
of ratings and of all differences held it, with two standard errors of that share.
"""

from __future__ import annotations

import argparse

import numpy as np

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bootstrap import Bootstrap, bootstrap
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit, fit_wins
from arenaloop.ratings.intervals import Intervals, sandwich


def simulate(
    rng: np.random.Generator, models: int, prompts: int, per_prompt: int, spread: float, ties: float
) -> Battles:
    """Battles of `per_prompt` random pairs on each prompt; a model's strength varies by prompt with SD `spread`."""
    base = np.linspace(-1, 1, models)
    skill = base + spread * rng.standard_normal((prompts, models))
    cluster = np.repeat(np.arange(prompts), per_prompt)
    a = rng.integers(0, models, len(cluster))
    b = (a + rng.integers(1, models, len(cluster))) % models
    p = 1 / (1 + np.exp(skill[cluster, b] - skill[cluster, a]))
    score = np.where(rng.random(len(a)) < ties, 0.5, rng.random(len(a)) < p)
    return Battles.of([f"m{i:02}" for i in range(models)], a, b, score, cluster=cluster)


def truth(models: int, spread: float, ties: float) -> np.ndarray:
    """Strengths that the fit tends to, in nats, shape (K,)."""
    rng = np.random.default_rng(123)
    base = np.linspace(-1, 1, models)
    noise = np.sqrt(2) * spread * rng.standard_normal(200_000)
    apart = base[:, None] - base[None, :]
    expected = np.array([[np.mean(1 / (1 + np.exp(-d - noise))) for d in row] for row in apart])
    return fit_wins(ties / 2 + (1 - ties) * (expected + 1 - expected.T) / 2).theta


def shares(spreads: Intervals | Bootstrap, target: np.ndarray) -> tuple[float, float, float]:
    """Shares of the intervals of ratings and of differences that hold the truth, and of ratings that have no interval.

    An open end holds whatever lies there.
    """
    elo = ELO_PER_NAT * target

    def held(lower: np.ndarray, upper: np.ndarray, truth: np.ndarray) -> np.ndarray:
        none = np.isinf(lower) & np.isinf(upper)
        return np.where(none, np.nan, (lower <= truth) & (truth <= upper))

    one = held(*spreads.bounds(mean=0.0), elo)
    two: list[float] = []
    for j, name in enumerate(spreads.fit.models[1:], start=1):
        two += held(*spreads.bounds(anchor=(name, 0.0)), elo - elo[j])[:j].tolist()
    return _mean(one), _mean(np.array(two)), float(np.isnan(one).mean())


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def coverage(repeats: int, models: int, prompts: int, per_prompt: int, spread: float, cluster: str) -> None:
    """Print one row of the table."""
    ties = 0.2
    target = truth(models, spread, ties)
    held: dict[str, list[tuple[float, float, float]]] = {"sandwich": [], "uncorrected": [], "bootstrap": []}
    for repeat in range(repeats):
        battles = simulate(np.random.default_rng([7, repeat]), models, prompts, per_prompt, spread, ties)
        fitted = fit(battles)
        for name, correction in (("sandwich", True), ("uncorrected", False)):
            spreads = sandwich(battles, fitted, cluster=cluster, correction=correction)
            held[name].append(shares(spreads, target))
        held["bootstrap"].append(shares(bootstrap(battles, fitted, samples=400, seed=repeat, cluster=cluster), target))
    cells = []
    for values in held.values():
        table = 100 * np.array(values)
        error = 2 * np.nanstd(table, axis=0, ddof=1) / np.sqrt((~np.isnan(table)).sum(axis=0))
        mean = np.nanmean(table, axis=0)
        none = f" none {mean[2]:.0f} %" if mean[2] else ""
        cells.append(f"{mean[0]:6.1f} ±{error[0]:.1f} {mean[1]:6.1f} ±{error[1]:.1f}{none}")
    print(f"{models:6} {prompts:7} {per_prompt:10} {spread:6} {cluster:7} | " + " | ".join(cells), flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    repeats = parser.parse_args().repeats
    print("models prompts per_prompt spread cluster | sandwich: ratings, differences | uncorrected | bootstrap")
    clustered = [(4, 100, 6), (8, 100, 28), (12, 100, 3), (20, 100, 10), (8, 300, 12), (20, 500, 4)]
    for models, prompts, per_prompt in clustered:
        coverage(repeats, models, prompts, per_prompt, 1.0, "prompt")
    for models, prompts in ((4, 100), (8, 200), (12, 300), (20, 1000)):
        coverage(repeats, models, prompts, 1, 0.0, "battle")


if __name__ == "__main__":
    main()
