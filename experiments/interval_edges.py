"""Do 95 % intervals hold the truth where they are hardest: ladders without upsets, few prompts, newcomers, champions?

    python experiments/interval_edges.py [--repeats 400] [--only ladder]
    python experiments/interval_edges.py --boards [--repeats 200]

Battles are simulated from Bradley-Terry strengths, so that the truth is known. Four kinds of arena:

* ``ladder``: two strong models, one far below, two weak ones far below that; often no upset crosses a step.
* ``tiny``: every pair meets on two to five prompts.
* ``newcomer``: an arena of 100 prompts and more that one of the models met on two to five of them.
* ``champion``: one model far above ten equal ones on 50 prompts.

A line says how often the intervals of ratings held the truth, for the worst model and on the mean (an open end holds
whatever lies there), which share of them had one end only, which had none (and a note), how often those with two ends
held, and the median width of those. The same for the bootstrap with ``--interval bootstrap``. Ratings are from the mean
of the models that the battles place, as those of a leaderboard are (`separation.settled`), and what is from the mean of
a group alone is held against that. From the mean of all, a newcomer would move everyone by what nobody knows.

``--boards`` does the same for 5 and 10 models, equal or on a ladder of 100 and 400 points a step, with two battles of
every pair on every prompt that end alike in half of the cases; and says how often the intervals of pairs held, on how
many boards those of all neighbours at once did, all ranks, and on how many some pair was wrongly called separated.

``--thresholds`` halves and doubles, one at a time, the constants by which `ratings.evidence` trusts a variance, and
says for each kind of arena what is left: the least share held, over arenas and models, and the share without any end.
With 200 repetitions, in percent, of ``tiny`` and ``newcomer``, measured before ends followed skewness and with the
newcomer in the mean (as they were: 96.5, 13.5 and 95.0, 36.7):

    LEAST_DOF    halved 96.5,  7.0 | 95.0,  7.7    doubled 96.5, 52.5 | 95.0, 60.2
    FEW_DOF      halved 96.5, 13.5 | 94.5, 36.7    doubled 96.5, 13.5 | 97.0, 36.7
    LEAST_UPSET  halved 96.5, 13.5 | 95.0, 36.7    doubled 96.5, 27.4 | 95.0, 42.0
    LOW_SIDE     halved 96.5, 13.5 | 95.5, 36.7    doubled 96.5, 13.5 | 95.0, 36.7

and LONE_DOF and CANCELLED change nothing: what intervals hold does not hang on any of them, only how many there are.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

import numpy as np

from arenaloop.ratings import evidence
from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bootstrap import Bootstrap, bootstrap
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit
from arenaloop.ratings.evidence import contrasts
from arenaloop.ratings.intervals import Intervals, sandwich
from arenaloop.ratings.order import board_order

Arena = tuple[str, FloatArray, list[tuple[int, int, int]]]
"""A name, strengths in nats, and battles: prompt and two models."""


def arenas() -> Iterator[Arena]:
    """All arenas, by kind."""
    for gap, prompts in ((2.5, 10), (3.5, 20), (4.5, 40)):
        strengths = np.array([gap + 0.1, gap - 0.1, 0.0, 0.1 - gap, -0.1 - gap])
        yield f"ladder of {gap * ELO_PER_NAT:.0f} points, {prompts} prompts", strengths, everyone(5, prompts)
    for models, prompts, votes in (
        *((2, 2, 4), (2, 3, 4), (2, 5, 4), (2, 3, 1), (2, 5, 1)),
        *((4, 3, 1), (4, 5, 1), (6, 3, 1), (6, 5, 1)),
    ):
        name = f"tiny: {models} models, {prompts} prompts, {votes} votes each"
        yield name, np.linspace(-0.3, 0.3, models), everyone(models, prompts) * votes
    for models, prompts, few in ((5, 100, 2), (5, 100, 3), (5, 100, 5), (3, 100, 2), (3, 200, 3)):
        battles = [row for row in everyone(models, prompts) if row[2] != models - 1 or row[0] < few]
        yield f"newcomer on {few} of {prompts} prompts, {models} models", np.linspace(-0.4, 0.4, models), battles
    for gap in (3.0, 5.0):
        yield f"champion by {gap * ELO_PER_NAT:.0f} points", np.array([gap, *[0.0] * 10]), everyone(11, 50)


def everyone(models: int, prompts: int) -> list[tuple[int, int, int]]:
    """Every pair once on every prompt."""
    return [(p, i, j) for p in range(prompts) for i, j in itertools.combinations(range(models), 2)]


def fought(arena: Arena, repeat: int, times: int = 1, alike: float = 0.0) -> Battles:
    """Battles of one repetition, each so many times, of which the later end as the first in a share of `alike`."""
    _, strengths, rows = arena
    cluster, a, b = np.array(rows).T
    chance = 1.0 / (1.0 + np.exp(strengths[b] - strengths[a]))
    rng = np.random.default_rng([17, repeat])
    won = [rng.random(len(a)) < chance]
    for _ in range(times - 1):
        won.append(np.where(rng.random(len(a)) < alike, won[0], rng.random(len(a)) < chance))
    names = [f"m{i:02}" for i in range(len(strengths))]
    again = np.tile(np.arange(len(a)), times)
    return Battles.of(names, a[again], b[again], np.concatenate(won), cluster=cluster[again])


def placed(spread: Intervals | Bootstrap, strengths: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The truth of what a leaderboard's intervals are of, and their ends, all of shape (K,), on the Elo scale."""
    origin, theta, truth = spread.settled(), spread.fit.theta, np.full(len(strengths), np.nan)
    for piece, reference, _ in spread.fit.scales(mean=0.0, origin=origin):
        for codes, base in contrasts(spread.evidence, piece, reference):
            own = theta[base].mean() - theta[reference].mean()
            truth[codes] = strengths[codes] - strengths[base].mean() + own
    return ELO_PER_NAT * truth, *spread.bounds(mean=0.0, origin=origin)


def ends(arena: Arena, repeats: int, interval: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The truth, and both ends in each repetition, on the Elo scale, shape (repeats, K)."""
    found = []
    for repeat in range(repeats):
        battles = fought(arena, repeat)
        fitted = fit(battles)
        spread = sandwich(battles, fitted) if interval == "sandwich" else bootstrap(battles, fitted, seed=repeat)
        found.append(placed(spread, arena[1]))
    truth, lower, upper = np.array(found).swapaxes(0, 1)
    return truth, lower, upper


def coverage(arena: Arena, repeats: int, interval: str) -> str:
    """One line of the table."""
    return summary(*ends(arena, repeats, interval))


def summary(truth: FloatArray, lower: FloatArray, upper: FloatArray) -> str:
    """How many intervals held, and of what kind they were; all of shape (repeats, K)."""
    held = (lower <= truth) & (truth <= upper)
    known = np.isfinite(lower).astype(int) + np.isfinite(upper)
    two = known == 2
    inner = f"{100 * held[two].mean():5.1f}" if two.any() else "    –"
    width = f"{np.median((upper - lower)[two]):5.0f}" if two.any() else "    –"
    share = [f"{100 * (known == n).mean():5.1f}" for n in (1, 0)]
    return f"{100 * held.mean(axis=0).min():5.1f} {100 * held.mean():5.1f} {' '.join(share)} {inner} {width}"


def boards(repeats: int) -> None:
    """Print what ratings, pairs and neighbours of whole boards hold."""
    for models, step, prompts in itertools.product((5, 10), (0, 100, 400), (30, 100, 300)):
        strengths: FloatArray = step / ELO_PER_NAT * np.arange(models, 0, -1, dtype=np.float64)
        name = f"{models} models, {step} points a step, {prompts} prompts"
        arena = name, strengths, everyone(models, prompts)
        above = strengths[:, None] > strengths[None, :]
        best, worst = 1 + above.sum(axis=0), models - above.sum(axis=1)
        of_models, of_pairs, of_boards = [], [], []
        for repeat in range(repeats):
            battles = fought(arena, repeat, times=2, alike=0.5)
            spread = sandwich(battles, fit(battles))
            of_models.append(placed(spread, strengths))
            for i, j in itertools.combinations(range(models), 2):
                _, low, high = spread.difference(battles.models[i], battles.models[j])
                of_pairs.append((low <= (j - i) * step <= high, np.isfinite([low, high]).all()))
            order = board_order(spread, np.argsort(-spread.fit.theta).tolist(), prompts)
            real = [(step * (n.below - n.above), n) for n in order.neighbours]
            of_boards.append(
                (
                    all(n.joint_lower <= gap <= n.joint_upper for gap, n in real),
                    ((order.lower <= best) & (order.upper >= worst)).all(),
                    any(n.separated and gap * n.difference <= 0.0 for gap, n in real),
                )
            )
        held, two = np.array(of_pairs).T
        inner = f"{100 * held[two].mean():5.1f}" if two.any() else "    –"
        pairs = f"{100 * held.mean():5.1f} {100 * two.mean():5.1f} {inner}"
        whole = " ".join(f"{100 * share:5.1f}" for share in np.mean(of_boards, axis=0))
        print(f"{name:48} {summary(*np.array(of_models).swapaxes(0, 1))} | {pairs} | {whole}", flush=True)


def sensitivity(repeats: int, only: str) -> None:
    """Print how often intervals held the truth under other thresholds."""
    names = [name for name in vars(evidence) if name.strip("_") in THRESHOLDS]
    print(f"{'threshold':16} {'value':>6} | {'least held, none':16} by kind")
    for name, factor in [("", 1.0), *itertools.product(names, (0.5, 2.0))]:
        usual = getattr(evidence, name, 0.0)
        if name:
            setattr(evidence, name, usual * factor)
        kinds: dict[str, list[tuple[float, float]]] = {}
        for arena in arenas():
            if arena[0].startswith(only):
                truth, lower, upper = ends(arena, repeats, "sandwich")
                held = ((lower <= truth) & (truth <= upper)).mean(axis=0).min()
                none = (np.isinf(lower) & np.isinf(upper)).mean()
                kinds.setdefault(arena[0].split()[0].strip(":"), []).append((100 * held, 100 * none))
        if name:
            setattr(evidence, name, usual)
        cells = [
            f"{kind} {min(h for h, _ in some):5.1f} {np.mean([n for _, n in some]):5.1f}"
            for kind, some in kinds.items()
        ]
        print(f"{name.strip('_') or 'as they are':16} {usual * factor:6.3g} | {' | '.join(cells)}", flush=True)


THRESHOLDS = ("LEAST_DOF", "FEW_DOF", "LONE_DOF", "CANCELLED", "LEAST_UPSET", "LOW_SIDE")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--only", default="", help="arenas whose name begins so")
    parser.add_argument("--interval", choices=("sandwich", "bootstrap"), default="sandwich")
    parser.add_argument("--thresholds", action="store_true")
    parser.add_argument("--boards", action="store_true")
    settings = parser.parse_args()
    if settings.boards:
        print(f"{'':48} {'ratings':38} | {'pairs':17} | boards")
        titles = "worst  mean one-sided none two-sided width | held  two-sided held | at once ranks wrong"
        print(f"{'board':48} {titles}")
        boards(settings.repeats)
        return
    if settings.thresholds:
        sensitivity(settings.repeats, settings.only)
        return
    print(f"{'arena':48} worst  mean one-sided none two-sided width")
    for arena in arenas():
        if arena[0].startswith(settings.only):
            print(f"{arena[0]:48} {coverage(arena, settings.repeats, settings.interval)}", flush=True)


if __name__ == "__main__":
    main()
