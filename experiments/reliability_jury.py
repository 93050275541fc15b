"""Juries weighed without labels: is the board closer to the truth than by majority, and what do the judges weigh?

    python experiments/reliability_jury.py [--seeds 50] [--prompts 40] [--models 8]
    python experiments/reliability_jury.py --boards 250      do ranks and differences of such boards hold?

Worlds with known strengths: every pair of models meets on every prompt, from both seats, before five judges. How much
better one answer is than the other differs from prompt to prompt; a judge sees that with its own slope, and has its own
liking for the first seat. Three boards are made of the same votes: by rule reliability, by majority of each seating,
and with all votes alike. A board's error is the root mean square of its strengths against the true ones, after the one
factor that fits best, since how far a board is stretched is the judges' matter. Differences are of the same worlds,
with 95 % intervals of their mean (Student's t); below zero the jury of rule reliability is closer to the truth.

With `--boards` strengths are given (four pairs of equals, or eight in a line), the truth is the fit of 3,000 prompts,
and it is counted on how many boards some pair is called separated that is level or stands the other way round, all
ranks are held, all differences of neighbours at once, all slopes and seats at once, and how many pairs by themselves.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import numpy.typing as npt

from arenaloop.ratings import bradley_terry
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import ELO_PER_NAT
from arenaloop.ratings.order import board_order
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


LADDERS = {
    "four pairs of equals": np.repeat([0.6, 0.2, -0.2, -0.6], 2),
    "eight in a line": np.linspace(0.5, -0.5, 8),
}


def votes(
    slopes: tuple[float, ...], models: int, prompts: int, seed: int, truth: Array | None = None
) -> tuple[Array, Battles, npt.NDArray[np.int64]]:
    """True strengths, every judge's vote on every seating, and whose it is; judges of one seating stand together."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.0, 0.5, models) if truth is None else truth
    truth = truth - truth.mean()
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


def held(truth: Array, slopes: tuple[float, ...], prompts: int, repeats: int) -> list[list[float]]:
    """Of each board: wrong, all ranks, neighbours at once, judges at once, share of the pairs held by themselves."""
    names = [f"j{n}" for n in range(len(slopes))]
    _, battles, judge = votes(slopes, len(truth), 3000, 10**6, truth)
    limit = fit_reliability(battles, judge, names)
    theta = limit.intervals.fit.theta
    theta = np.array([theta[truth == value].mean() for value in truth])  # those that are level are so
    apart = ELO_PER_NAT * (theta[:, None] - theta[None, :])
    best, worst = 1 + (apart > 1e-9).sum(axis=0), len(theta) - (apart > 1e-9).sum(axis=1)
    found = []
    for seed in range(repeats):
        _, battles, judge = votes(slopes, len(truth), prompts, seed, truth)
        joint = fit_reliability(battles, judge, names)
        spread = joint.intervals
        order = board_order(spread, np.argsort(-spread.fit.theta).tolist(), prompts)
        real = [float(apart[n.above, n.below]) for n in order.neighbours]
        beside = list(zip(order.neighbours, real, strict=True))
        pairs = []
        for i in range(len(truth)):
            for j in range(i):
                _, lower, upper = spread.difference(battles.models[i], battles.models[j])
                pairs.append(lower < apart[i, j] < upper)
        judges = [
            low is not None and high is not None and low < value < high
            for one, other in zip(joint.judges, limit.judges, strict=True)
            for low, value, high in (
                (one.slope_joint_lower, other.slope, one.slope_joint_upper),
                (one.seat_joint_lower, other.seat, one.seat_joint_upper),
            )
        ]
        found.append(
            [
                float(any(n.separated and gap * n.difference <= 1e-6 for n, gap in beside)),
                float(((order.lower <= best) & (order.upper >= worst)).all()),
                float(all(n.joint_lower < gap < n.joint_upper for n, gap in beside)),
                float(all(judges)),
                float(np.mean(pairs)),
            ]
        )
    return found


def coverage(repeats: int, prompts: int) -> None:
    """Print a line for each ladder and jury, in percent with two standard errors."""
    print(f"{repeats} boards each, {prompts} prompts; percent with two standard errors")
    print("wrong, all ranks held, neighbours at once, judges at once, pairs by themselves")
    for ladder, truth in LADDERS.items():
        for name in ("one coin", "all unlike", "equal"):
            found = np.array(held(truth, WORLDS[name], prompts, repeats))
            error = 200 * found.std(axis=0, ddof=1) / math.sqrt(repeats)
            cells = (f"{100 * mean:5.1f} ±{two:.1f}" for mean, two in zip(found.mean(axis=0), error, strict=True))
            print(f"{ladder:21} {name:11} {'  '.join(cells)}", flush=True)


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
    parser.add_argument("--boards", type=int, default=0)
    given = parser.parse_args()
    if given.boards:
        coverage(given.boards, given.prompts)
    else:
        main(given.seeds, given.prompts, given.models)
