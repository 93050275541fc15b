"""What do chosen pairs gain over uniform ones, and do the intervals stay honest?

    python experiments/adaptive_pairing.py [--repetitions 400 120] [--prompt-effect 0.5] [--ties 0.25] [--curves]

Simulated arenas whose true ratings are equally spaced. A battle between i and j on prompt p has the win probability
sigma(theta_i - theta_j + u_ip - u_jp), with u drawn anew for every model and prompt (standard deviation
`--prompt-effect`, in nats), so that battles on one prompt cluster; a share `--ties` x 4 p (1 - p) of the battles are
ties. True ratings are those of infinitely many prompts and uniform pairs; 200 prompts are seen. Designs, on the same
number of judge calls:

    drawn     pairs and prompts drawn at random without repetition
    balanced  every pair and prompt equally often (`--pairs sample:N`); all others are compared with it
    greedy    A-optimal on the current fit from the first batch on, nothing uniform
    optimal   uniform until the ratings are reliable, then A-optimal with a uniform share (`--pairs optimal:N`)

Printed for each: the root mean squared error of ratings in Elo points; how much the printed variance of ratings falls
(balanced / design: what the intervals promise) and how much their mean squared error falls (what is true); and the
coverage of 95 % intervals of ratings and of differences of pairs, by the sandwich that leaderboards print. Each with a
standard error over repetitions. With `--curves`, for 30 models over 400 points: the battles until the mean Spearman
correlation with the true order is .98, and until 90 % of the pairs five places apart separate; ratios to balanced with
95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit, fit_wins
from arenaloop.ratings.design import Design, Unit, balanced, round_robin
from arenaloop.ratings.intervals import sandwich

DESIGNS = ("drawn", "balanced", "greedy", "optimal")
PROMPTS = 200
FIRST_SEED = 1000  # those below were used up in choosing the defaults


class World:
    """Models with true strengths, and prompts that suit some more than others."""

    def __init__(self, models: int, span: float, effect: float, ties: float, seed: int) -> None:
        self.rng = np.random.default_rng([seed, models, int(span)])
        self.strength = np.linspace(-0.5, 0.5, models) * span / ELO_PER_NAT
        self.suits = self.rng.normal(0.0, effect, (models, PROMPTS))
        self.ties = ties

    def fight(self, units: Sequence[Unit]) -> FloatArray:
        """Columns of battles: both models, the prompt, and what the first scored, shape (4, N)."""
        a, b, prompt = np.array(units).T
        logit = self.strength[a] - self.strength[b] + self.suits[a, prompt] - self.suits[b, prompt]
        p = 1.0 / (1.0 + np.exp(-logit))
        tie = self.ties * 4.0 * p * (1.0 - p)
        draw = self.rng.random(len(a))
        score = np.where(draw < tie, 0.5, np.where(draw < tie + p - tie / 2, 1.0, 0.0))
        return np.stack([a, b, prompt, score])


def true_ratings(models: int, span: float, effect: float) -> FloatArray:
    """Bradley–Terry ratings of uniform pairs on infinitely many prompts, by Gauss–Hermite quadrature, shape (K,)."""
    strength = np.linspace(-0.5, 0.5, models) * span / ELO_PER_NAT
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    gap = strength[:, None, None] - strength[None, :, None] + np.sqrt(2.0) * effect * nodes
    p = (1.0 / (1.0 + np.exp(-gap))) @ (weights / weights.sum())
    np.fill_diagonal(p, 0.0)
    return ELO_PER_NAT * fit_wins(p).theta


def run(design: str, world: World, models: int, battles: int, seed: int) -> FloatArray:
    """The battles of one arena, in the order in which they were fought, shape (4, N)."""
    if design == "drawn":
        pairs = round_robin(models, seed)
        drawn = np.random.default_rng([seed, 2]).choice(len(pairs) * PROMPTS, battles, replace=False)
        return world.fight([Unit(a, b, u % PROMPTS) for u in drawn for a, b in [pairs[u // PROMPTS]]])
    if design == "balanced":
        return world.fight(balanced(models, PROMPTS, battles, seed))
    greedy = design == "greedy"
    plan = (
        Design(models, PROMPTS, seed=seed, explore=0.0, reliable=0.0) if greedy else Design(models, PROMPTS, seed=seed)
    )
    wins, columns = np.zeros((models, models)), []
    while plan.size < battles:
        columns.append(world.fight(plan.batch(wins, wins + wins.T)))
        a, b = columns[-1][:2].astype(int)
        np.add.at(wins, (a, b), columns[-1][3])
        np.add.at(wins, (b, a), 1.0 - columns[-1][3])
    return np.concatenate(columns, axis=1)[:, :battles]


class Reading:
    """What a leaderboard says of the first battles of an arena."""

    def __init__(self, columns: FloatArray, models: int) -> None:
        a, b, prompt = columns[:3].astype(int)
        table = Battles.of([f"{i:03d}" for i in range(models)], a, b, columns[3], cluster=prompt)
        intervals = sandwich(table, fit(table))
        self.rating = ELO_PER_NAT * intervals.fit.theta
        self.variance = ELO_PER_NAT**2 * np.diag(intervals.covariance)
        lower, upper = intervals.bounds(mean=0.0)
        self.half = (upper - lower) / 2.0
        first, second = self.pairs = np.triu_indices(models, 1)
        self.gap = self.rating[second] - self.rating[first]
        half = np.zeros((models, models))
        for j, name in enumerate(intervals.fit.models):
            lower, upper = intervals.bounds(anchor=(name, 0.0))
            half[:, j] = (upper - lower) / 2.0
        self.half_gap = half[first, second]


def figures(columns: FloatArray, truth: FloatArray) -> list[float]:
    """Mean squared error, mean printed variance, coverage of ratings and of differences."""
    reading = Reading(columns, len(truth))
    first, second = reading.pairs
    error = reading.rating - truth
    gap_error = reading.gap - (truth[second] - truth[first])
    return [
        float(np.mean(error**2)),
        float(np.mean(reading.variance)),
        float(np.mean(np.abs(error) <= reading.half)),
        float(np.mean(np.abs(gap_error) <= reading.half_gap)),
    ]


def ratio(base: FloatArray, other: FloatArray) -> str:
    """Ratio of two means over repetitions with its standard error, by the delta method."""
    value = base.mean() / other.mean()
    parts = [x.std(ddof=1) / np.sqrt(len(x)) / x.mean() for x in (base, other)]
    return f"{value:.2f} ± {value * float(np.hypot(*parts)):.2f}"


def share(values: FloatArray) -> str:
    """A mean over repetitions with its standard error."""
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def table(models: int, span: float, budgets: Sequence[int], repetitions: int, effect: float, ties: float) -> None:
    """Print gain and coverage of every design at every budget."""
    truth = true_ratings(models, span, effect)
    found = {d: np.zeros((repetitions, len(budgets), 4)) for d in DESIGNS}
    for design in DESIGNS:
        for n, seed in enumerate(range(FIRST_SEED, FIRST_SEED + repetitions)):
            columns = run(design, World(models, span, effect, ties, seed), models, budgets[-1], seed)
            found[design][n] = [figures(columns[:, :battles], truth) for battles in budgets]
    for k, n in enumerate(budgets):
        for design in DESIGNS:
            f, base = found[design][:, k], found["balanced"][:, k]
            rmse = np.sqrt(f[:, 0].mean())
            print(
                f"| {models} over {span:g} | {n:,} | {design} | {rmse:.1f} | {ratio(base[:, 1], f[:, 1])} "
                f"| {ratio(base[:, 0], f[:, 0])} | {share(f[:, 2])} | {share(f[:, 3])} |",
                flush=True,
            )


def curves(models: int, span: float, battles: int, repetitions: int, effect: float, ties: float) -> None:
    """Print how many battles each design needs for the order, and to separate pairs five places apart."""
    steps = np.unique(np.geomspace(1000, battles, 30).astype(int))
    goals = (("mean Spearman .98", 0.98), ("90 % of 5-apart pairs separate", 0.9))
    found = {d: np.zeros((repetitions, len(steps), 2)) for d in DESIGNS[1:]}
    for design, values in found.items():
        for row, seed in enumerate(range(FIRST_SEED, FIRST_SEED + repetitions)):
            columns = run(design, World(models, span, effect, ties, seed), models, battles, seed)
            for k, n in enumerate(steps):
                reading = Reading(columns[:, :n], models)
                rank = np.argsort(np.argsort(reading.rating))
                apart = reading.pairs[1] - reading.pairs[0] == 5
                separate = (reading.gap > reading.half_gap)[apart]
                values[row, k] = np.corrcoef(rank, np.arange(models))[0, 1], separate.mean()
    rng = np.random.default_rng(0)
    draws = rng.integers(repetitions, size=(1000, 2, repetitions))
    for g, (goal, level) in enumerate(goals):
        for design, values in found.items():
            needed = crossing(values[:, :, g].mean(axis=0), steps, level)
            base = crossing(found["balanced"][:, :, g].mean(axis=0), steps, level)
            ratios = [
                crossing(found["balanced"][one, :, g].mean(axis=0), steps, level)
                / crossing(values[two, :, g].mean(axis=0), steps, level)
                for one, two in draws
            ]
            low, high = np.quantile(ratios, [0.025, 0.975])
            said = "" if design == "balanced" else f"{base / needed:.2f} ({low:.2f} … {high:.2f})"
            print(f"| {models} over {span:g} | {goal} | {design} | {needed:,.0f} | {said} |", flush=True)


def crossing(curve: FloatArray, steps: FloatArray, level: float) -> float:
    """Where a rising curve first reaches a level, between the steps on a logarithmic scale; NaN if it does not."""
    above = np.flatnonzero(curve >= level)
    if not above.size or above[0] == 0:
        return float("nan")
    k = above[0]
    part = (level - curve[k - 1]) / (curve[k] - curve[k - 1])
    return float(np.exp(np.log(steps[k - 1]) + part * np.log(steps[k] / steps[k - 1])))


def main() -> None:
    """Read the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, nargs=2, default=[400, 120], help="of 10 and of 30 models")
    parser.add_argument("--prompt-effect", type=float, default=0.5)
    parser.add_argument("--ties", type=float, default=0.25)
    parser.add_argument("--only", type=int, nargs=2, metavar=("MODELS", "SPAN"), help="one arena only")
    parser.add_argument("--curves", action="store_true")
    args = parser.parse_args()
    arenas = [(10, 400, (300, 1000, 3000)), (10, 1000, (300, 1000, 3000)), (30, 400, (1000, 3000, 10000))]
    arenas.append((30, 1000, (1000, 3000, 10000)))
    if args.curves:
        print("| models, Elo | goal | design | battles | saving |")
        curves(30, 400, 16000, args.repetitions[1], args.prompt_effect, args.ties)
        return
    print("| models, Elo | battles | design | RMSE | gain as printed | gain in truth | coverage ratings | pairs |")
    for models, span, budgets in arenas:
        if args.only in (None, [models, span]):
            table(models, span, budgets, args.repetitions[models > 10], args.prompt_effect, args.ties)


if __name__ == "__main__":
    main()
