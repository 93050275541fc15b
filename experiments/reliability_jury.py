"""Juries weighed without labels: is the board closer to the truth than by majority, and what do the judges weigh?

    python experiments/reliability_jury.py [--seeds 50] [--prompts 40] [--models 8]

Worlds with known strengths: every pair of models meets on every prompt, from both seats, before five judges. How much
better one answer is than the other differs from prompt to prompt; a judge sees that with its own slope, and has its own
liking for the first seat. Three boards are made of the same votes: by rule reliability, by majority of each seating,
and with all votes alike. A board's error is the root mean square of its strengths against the true ones, after the one
factor that fits best, since how far a board is stretched is the judges' matter. Differences are of the same worlds,
with 95 % intervals of their mean (Student's t); below zero the jury of rule reliability is closer to the truth.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import numpy.typing as npt

from arenaloop.ratings import bradley_terry
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.reliability import fit_reliability
from arenaloop.ratings.student import t_quantile

Array = npt.NDArray[np.float64]
SEATS = (0.3, 0.0, -0.2, 0.0, 0.2)
WORLDS = {
    "one coin": (1.5, 1.5, 1.5, 1.5, 0.0),
    "all unlike": (2.0, 1.5, 1.0, 0.5, 0.0),
    "two coins": (1.5, 1.5, 1.5, 0.0, 0.0),
    "one turned": (1.5, 1.5, 1.5, 1.5, -0.7),
    "equal": (1.2, 1.2, 1.2, 1.2, 1.2),
}
"""Slopes of the five judges, in nats of their odds per nat of strength."""
WITHIN = 0.5
"""Standard deviation, in nats, of a model's answers around its strength."""


def votes(
    slopes: tuple[float, ...], models: int, prompts: int, seed: int
) -> tuple[Array, Battles, npt.NDArray[np.int64]]:
    """True strengths, every judge's vote on every seating, and whose it is; judges of one seating stand together."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.0, 0.5, models)
    truth -= truth.mean()
    first, second = (x.ravel() for x in np.meshgrid(np.arange(models), np.arange(models), indexing="ij"))
    first, second = first[first != second], second[first != second]
    quality = truth + rng.normal(0.0, WITHIN, (prompts, models))
    better = (quality[:, first] - quality[:, second]).ravel()
    odds = better[:, None] * np.array(slopes) + np.array(SEATS)
    won = (rng.random(odds.shape) < 1.0 / (1.0 + np.exp(-odds))).astype(np.float64)
    judges = len(slopes)
    battles = Battles.of(
        [f"m{i}" for i in range(models)],
        np.tile(np.repeat(first, judges), prompts),
        np.tile(np.repeat(second, judges), prompts),
        won.ravel(),
        cluster=np.repeat(np.arange(prompts), len(first) * judges),
    )
    return truth, battles, np.tile(np.arange(judges), prompts * len(first))


def error(found: Array, truth: Array) -> float:
    """Root mean square of the strengths' errors, after the factor that fits best."""
    factor = float(found @ truth) / max(float(found @ found), 1e-12)
    return float(np.sqrt(np.mean((factor * found - truth) ** 2)))


def boards(slopes: tuple[float, ...], models: int, prompts: int, seed: int) -> tuple[list[float], list[float]]:
    """Errors of the three boards of one world, and the judges' weights."""
    truth, battles, judge = votes(slopes, models, prompts, seed)
    names = [f"j{n}" for n in range(len(slopes))]
    joint = fit_reliability(battles, judge, names)
    if not joint.converged:
        raise RuntimeError(f"seed {seed}: no convergence in {joint.steps} steps")
    judges = len(slopes)
    share = battles.score_a.reshape(-1, judges).mean(axis=1)
    assert battles.cluster is not None
    every = slice(None, None, judges)
    majority = Battles.of(
        battles.models, battles.a[every], battles.b[every], (share > 0.5).astype(np.float64),
        cluster=battles.cluster[every],
    )  # fmt: skip
    found = [joint.intervals.fit.theta, bradley_terry.fit(majority).theta, bradley_terry.fit(battles).theta]
    return [error(theta, truth) for theta in found], [one.weight for one in joint.judges]


def told(values: Array) -> str:
    """A mean with its 95 % interval, in thousandths of a nat."""
    half = t_quantile(0.95, len(values) - 1.0) * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return f"{1000 * mean:+.1f} ({1000 * (mean - half):+.1f} … {1000 * (mean + half):+.1f})"


def main(seeds: int, prompts: int, models: int) -> None:
    """Print a line for each world."""
    print(f"{seeds} worlds each, {models} models on {prompts} prompts; errors in thousandths of a nat")
    heads = f"{'error':>5} {'against majority':>22} {'against all alike':>22}"
    print(f"{'':11} {heads}  weights (mean); worst judge's highest")
    for name, slopes in WORLDS.items():
        runs = [boards(slopes, models, prompts, seed) for seed in range(seeds)]
        errors, weights = np.array([run[0] for run in runs]), np.array([run[1] for run in runs])
        worst = int(np.argmin(slopes))
        print(
            f"{name:11} {1000 * errors[:, 0].mean():5.1f} {told(errors[:, 0] - errors[:, 1]):>22} "
            f"{told(errors[:, 0] - errors[:, 2]):>22}  {' '.join(f'{w:.2f}' for w in weights.mean(axis=0))}; "
            f"{weights[:, worst].max():.2f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--models", type=int, default=8)
    given = parser.parse_args()
    main(given.seeds, given.prompts, given.models)
