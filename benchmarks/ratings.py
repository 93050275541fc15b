"""Ratings side by side with the field: CPU seconds, one run, one table.

    OMP_NUM_THREADS=1 python benchmarks/ratings.py [--repeats 6] [--folder DIR] [--slow]

Peers are timed where they are installed and named where they are not: evalica, choix, arena-rank (only with --slow: it
needs ten seconds a fit), and FastChat's published procedure, written anew on scipy as most leaderboards run it (unique
results with counts, L-BFGS, multinomial bootstrap of the counts). Contenders take turns; every cell is the median
of the repeats, with the smallest and the largest. Times start at a frame of strings (pandas for FastChat's procedure
and arena-rank, polars for the others), or at a Parquet file where the row says so; choix has no reader of its own and
gets our counts, so its rows hold our reading too.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.data.formats import battles_from_frame, read_battles
from arenaloop.ratings.bootstrap import bootstrap
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, count_wins, fit, fit_batch, fit_wins
from arenaloop.ratings.intervals import sandwich

if TYPE_CHECKING:
    import pandas as pd

OUTCOME = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5}


def simulated(models: int, battles: int, prompts: int, seed: int = 0) -> pl.DataFrame:
    """A Chatbot-Arena-like frame of strings."""
    rng = np.random.default_rng(seed)
    strength = np.sort(rng.normal(0, 0.7, models))
    a = rng.integers(0, models, battles)
    b = (a + rng.integers(1, models, battles)) % models
    won = rng.random(battles) < 1 / (1 + np.exp(strength[b] - strength[a]))
    tie = rng.random(battles)
    winner = np.where(tie < 0.1, 2, np.where(tie < 0.2, 3, 1 - won.astype(int)))
    names = pl.Series([f"organisation/model-{i:03}-instruct" for i in range(models)])
    return pl.DataFrame(
        {
            "prompt_id": pl.Series([f"question-{i:07}" for i in range(prompts)]).gather(
                rng.integers(0, prompts, battles)
            ),
            "model_a": names.gather(a),
            "model_b": names.gather(b),
            "winner": pl.Series(list(OUTCOME)).gather(winner),
        }
    )


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one run, all threads together."""
    gc.collect()
    start = time.process_time()
    run()
    return time.process_time() - start


class Table:
    """Prints rows as they come and keeps the medians."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.medians: dict[tuple[str, str], float] = {}

    def rows(self, what: str, contenders: dict[str, Callable[[], object]]) -> None:
        """Time the contenders in turn, so that a busy spell meets all of them, in a new order every round.

        Whoever runs after a peer that has just freed much memory pays for getting it back from the system.
        """
        rng = np.random.default_rng(0)
        names = list(contenders)
        times: dict[str, list[float]] = {who: [] for who in contenders}
        for run in contenders.values():
            run()
        for _ in range(self.repeats):
            for place in rng.permutation(len(names)):
                times[names[place]].append(seconds(contenders[names[place]]))
        for who, taken in times.items():
            self.medians[what, who] = median(taken)
            print(f"{what:52} {who:12} {median(taken):8.3f} {min(taken):8.3f} … {max(taken):.3f}", flush=True)

    def ratio(self, what: str, theirs: str, goal: float) -> None:
        """Say how many times faster we are than `theirs`."""
        if (what, theirs) in self.medians:
            ratio = self.medians[what, theirs] / self.medians[what, "ours"]
            print(f"    {theirs} / ours: {ratio:.2f} (goal: at least {goal:g})")

    def limit(self, what: str, goal: float) -> None:
        """Say how we stand to a limit in CPU seconds."""
        print(f"    ours: {self.medians[what, 'ours']:.2f} s (goal: at most {goal:g} s)")


def installed(name: str) -> bool:
    """Whether a peer can be imported; says so when not."""
    if importlib.util.find_spec(name) is None:
        print(f"    ({name} is not installed: its rows are missing)")
        return False
    return True


def with_evalica(frame: pl.DataFrame, **settings: object) -> dict[str, float]:
    """Strengths by evalica, in nats."""
    import evalica

    winners = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    by_name = {name: winners[score] for name, score in OUTCOME.items()}
    outcome = [by_name[name] for name in frame["winner"].to_list()]
    scores = evalica.bradley_terry(frame["model_a"].to_list(), frame["model_b"].to_list(), outcome, **settings).scores
    return dict(zip(scores.index, np.log(scores.to_numpy()), strict=True))


def with_choix(wins: np.ndarray, **settings: object) -> np.ndarray:
    """Strengths by choix's I-LSR, in nats."""
    import choix

    return choix.ilsr_pairwise_dense(wins, **settings)


def unique_results(data: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """FastChat's first step: distinct (a, b, outcome) rows with their counts, from a pandas frame."""
    import pandas as pd

    codes, models = pd.factorize(pd.concat([data["model_a"], data["model_b"]]))
    rows = np.full((len(data), 3), 1, dtype=np.int32)
    rows[:, :2] = codes.reshape(2, -1).T
    for outcome, code in (("model_a", 2), ("model_b", 0)):
        rows[data["winner"] == outcome, 2] = code
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    return distinct[:, :2], distinct[:, 2] / 2.0, counts.astype(float), len(models)


def by_lbfgs(pairs: np.ndarray, outcome: np.ndarray, weight: np.ndarray, models: int) -> np.ndarray:
    """FastChat's second step: L-BFGS-B (gradient tolerance 1e-6, 100 iterations at most) on base-10 strengths.

    Array for array what `bt_loss_and_grad` of its `rating_systems.py` does, scatter-add of the gradient included.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    slope = np.log(10.0)
    sides = np.array([1.0, -1.0])

    def loss(strength: np.ndarray) -> tuple[float, np.ndarray]:
        both = strength[pairs]
        p = expit(slope * (both[:, 0] - both[:, 1]))
        value = -((outcome * np.log(p) + (1.0 - outcome) * np.log(1.0 - p)) * weight).sum()
        gradient = np.zeros(models)
        np.add.at(gradient, pairs, (slope * (p - outcome) * weight)[:, None] * sides)
        return value, gradient

    options = {"maxiter": 100, "gtol": 1e-6}
    return slope * minimize(loss, np.zeros(models), jac=True, method="L-BFGS-B", options=options).x


def fastchat(data: pd.DataFrame, samples: int = 0) -> np.ndarray:
    """FastChat's procedure: the point fit, or `samples` multinomial resamples of the counts, in one process."""
    pairs, outcome, counts, models = unique_results(data)
    if not samples:
        return by_lbfgs(pairs, outcome, counts, models)
    total = int(counts.sum())
    drawn = np.random.default_rng(0).multinomial(total, counts / total, size=samples) / total
    return np.stack([by_lbfgs(pairs, outcome, weight, models) for weight in drawn])


def choix_loop(frame: pl.DataFrame, samples: int) -> list[np.ndarray]:
    """A plain loop: multinomial resamples of the counts, each fitted by choix."""
    battles = battles_from_frame(frame)
    size = len(battles.models)
    cell = (battles.a.astype(np.int64) * size + battles.b) * 3 + (2 * battles.score_a).astype(np.int64)
    counts = np.bincount(cell, minlength=3 * size * size)
    drawn = np.random.default_rng(0).multinomial(len(battles), counts / counts.sum(), size=samples)
    out = []
    for resample in drawn:
        by_outcome = resample.reshape(size, size, 3)
        score = by_outcome[:, :, 2] + by_outcome[:, :, 1] / 2.0
        out.append(with_choix(score + (by_outcome.sum(axis=2) - score).T))
    return out


def arena_rank_fit(data: pd.DataFrame) -> object:
    """arena-rank's fit with its sandwich interval."""
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    dataset = PairDataset.from_pandas(data)
    return BradleyTerry(n_competitors=dataset.n_competitors).compute_ratings_and_cis(dataset, significance_level=0.05)


def agreement(frame: pl.DataFrame) -> None:
    """Largest differences of the point estimates, in Elo points, each solver run to its own convergence."""
    battles = battles_from_frame(frame)
    ours = fit(battles)
    if installed("evalica"):
        theirs = with_evalica(frame, tolerance=1e-12, limit=10_000)
        theta = np.array([theirs[name] for name in ours.models])
        print(f"    |ours - evalica|: {ELO_PER_NAT * np.abs(theta - theta.mean() - ours.theta).max():.1e} Elo")
    if installed("choix"):
        theta = with_choix(count_wins(battles), tol=1e-12, max_iter=10_000)
        print(f"    |ours - choix|: {ELO_PER_NAT * np.abs(theta - theta.mean() - ours.theta).max():.1e} Elo")


def chord_against_refits(frame: pl.DataFrame, samples: int = 5) -> None:
    """How far chord-Newton bootstraps lie from full refits of the same resamples."""
    from arenaloop.ratings.resamples import Resampler, chord_steps

    battles = battles_from_frame(frame)
    fitted = fit(battles)
    resampler = Resampler(battles, fitted, "prompt")
    resampler.draw(np.random.default_rng(0), samples)
    theta, settled = chord_steps(resampler, fitted)
    far = max(
        np.abs(theta[r] - theta[r].mean() - fit_wins(resampler.wins(r)).theta).max()
        for r in range(samples)
        if settled[r]
    )
    print(f"    chord steps settle {settled.mean():.0%}; largest distance from full refits {ELO_PER_NAT * far:.4f} Elo")


def subprocess_cost(arguments: list[str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak MB of a command, start-up included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    code = (
        "import sys\n"
        "from arenaloop.cli import main\n"
        "sys.argv[0] = 'arenaloop'\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        # not ru_maxrss: a child inherits its parent's
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "sys.stderr.write(peak.split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu, wall, int(done.stderr.split()[-1]) / 1024


def command_rows(folder: Path, repeats: int) -> None:
    """Whole commands on files, start-up included."""
    frame = simulated(100, 1_000_000, 10_000)
    files = {name: folder / f"battles.{name}" for name in ("parquet", "csv", "jsonl")}
    frame.write_parquet(files["parquet"])
    frame.write_csv(files["csv"])
    frame.write_ndjson(files["jsonl"])
    simulated(100, 5_000_000, 10_000).write_parquet(folder / "five.parquet")
    for name, path in [*files.items(), ("parquet", folder / "five.parquet")]:
        costs = [subprocess_cost(["rank", str(path), "--json"]) for _ in range(repeats)]
        cpu, wall, megabytes = (median(column) for column in zip(*costs, strict=True))
        label = f"rank {'5M' if path.name.startswith('five') else '1M'} {name}, sandwich, start-up included"
        print(f"{label:52} {'ours':12} {cpu:8.3f} CPU s, {wall:.2f} s wall, {megabytes:.0f} MB", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--folder", type=Path, help="where to write test files (default: a temporary directory)")
    parser.add_argument("--slow", action="store_true", help="time arena-rank as well")
    options = parser.parse_args()
    table = Table(options.repeats)
    print(f"{os.cpu_count()} CPUs, polars on {pl.thread_pool_size()} threads; CPU seconds: median, smallest … largest")
    hundred = simulated(100, 1_000_000, 10_000)
    three = simulated(300, 1_000_000, 10_000)

    peers = {name: installed(name) for name in ("evalica", "choix", "scipy", "pandas")}
    data = hundred.to_pandas() if peers["pandas"] else None

    hundred = hundred.drop("prompt_id")  # neither peers nor bootstraps of battles read it

    what = "point fit, 100 models, 1M battles"
    contenders: dict[str, Callable[[], object]] = {"ours": lambda: fit(battles_from_frame(hundred))}
    if peers["evalica"]:
        contenders["evalica"] = lambda: with_evalica(hundred)
    if peers["choix"]:
        contenders["choix"] = lambda: with_choix(count_wins(battles_from_frame(hundred)))
    if peers["scipy"] and data is not None:
        contenders["FastChat"] = lambda: fastchat(data)
    table.rows(what, contenders)
    table.ratio(what, "evalica", 4.0)
    table.ratio(what, "choix", 1.0)
    agreement(hundred)
    if options.slow and data is not None and installed("arena_rank"):
        print(f"{what:52} {'arena-rank':12} {seconds(lambda: arena_rank_fit(data)):8.3f} (one run, compiling included)")
    if peers["choix"]:
        wins = count_wins(battles_from_frame(hundred))
        what = "100 fits of the counts alone, 100 models"
        table.rows(
            what,
            {
                "ours": lambda: [fit_wins(wins) for _ in range(100)],
                "choix": lambda: [with_choix(wins) for _ in range(100)],
            },
        )
        table.ratio(what, "choix", 1.0)

    what = "100 bootstraps of battles, 100 models, 1M"

    def resample_battles() -> object:
        fresh = battles_from_frame(hundred)
        return bootstrap(fresh, fit(fresh), samples=100, cluster="battle")

    contenders = {"ours": resample_battles}
    if peers["choix"]:
        contenders["choix loop"] = lambda: choix_loop(hundred, 100)
    if peers["scipy"] and data is not None:
        contenders["FastChat"] = lambda: fastchat(data, 100)
    table.rows(what, contenders)
    table.ratio(what, "FastChat", 10.0)
    table.ratio(what, "choix loop", 1.5)

    what = "point fit and sandwich by 10k prompts, 300 models, 1M"

    def robust() -> object:
        fresh = battles_from_frame(three)
        return sandwich(fresh, fit(fresh))

    table.rows(what, {"point fit": lambda: fit(battles_from_frame(three)), "sandwich": robust})
    share = table.medians[what, "sandwich"] / table.medians[what, "point fit"]
    print(f"    with the sandwich / point fit alone: {share:.2f} (goal: at most 3)")

    what = "1,000 bootstraps of 10k prompts, 300 models, 1M"

    def resample_prompts() -> object:
        fresh = battles_from_frame(three)
        return bootstrap(fresh, fit(fresh), samples=1000)

    table.rows(what, {"ours": resample_prompts})
    table.limit(what, 8.0)
    chord_against_refits(three)

    what = "5,000 ridge fits of 11 x 11"
    rng = np.random.default_rng(0)
    problems = rng.random((5000, 11, 11)) * (rng.random((5000, 11, 11)) < 0.5)
    table.rows(what, {"ours": lambda: fit_batch(problems, l2=0.01)})
    table.limit(what, 1.0)

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        path = folder / "five_million.parquet"
        simulated(100, 5_000_000, 10_000).write_parquet(path)
        what = "Parquet to leaderboard, 100 models, 5M battles"
        table.rows(what, {"ours": lambda: leaderboard(read_battles(path))})
        table.limit(what, 4.0)
        command_rows(folder, min(3, options.repeats))


if __name__ == "__main__":
    main()
