"""Do 95 % intervals hold the truth where they are hardest: ladders without upsets, few prompts, newcomers, champions?

    python experiments/interval_edges.py [--repeats 400] [--only ladder]

Battles are simulated from Bradley-Terry strengths, so that the truth is known. Four kinds of arena:

* ``ladder``: two strong models, one far below, two weak ones far below that; often no upset crosses a step.
* ``tiny``: every pair meets on two to five prompts.
* ``newcomer``: an arena of 100 prompts and more that one of the models met on two to five of them.
* ``champion``: one model far above ten equal ones on 50 prompts.

A line says how often the intervals of centred ratings held the truth, for the worst model and on the mean (an open end
holds whatever lies there), which share of them had one end only, which had none (and a note), how often those with two
ends held, and the median width of those. The same for the bootstrap with ``--interval bootstrap``.

``--thresholds`` halves and doubles, one at a time, the constants by which `ratings.evidence` trusts a variance, and
says for each kind of arena what is left: the least share held, over arenas and models, and the share without any end.
With 200 repetitions, in percent, of ``tiny`` and ``newcomer`` (as they are: 96.5, 13.5 and 95.0, 36.7):

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
from arenaloop.ratings.bootstrap import bootstrap
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit
from arenaloop.ratings.intervals import sandwich

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


def ends(arena: Arena, repeats: int, interval: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The truth, and both ends in each repetition, on the Elo scale."""
    _, strengths, rows = arena
    cluster, a, b = np.array(rows).T
    truth = ELO_PER_NAT * (strengths - strengths.mean())
    chance = 1.0 / (1.0 + np.exp(strengths[b] - strengths[a]))
    names = [f"m{i:02}" for i in range(len(strengths))]
    lower, upper = np.zeros((2, repeats, len(names)))
    for repeat in range(repeats):
        won = np.random.default_rng([17, repeat]).random(len(a)) < chance
        battles = Battles.of(names, a, b, won, cluster=cluster)
        fitted = fit(battles)
        spread = sandwich(battles, fitted) if interval == "sandwich" else bootstrap(battles, fitted, seed=repeat)
        lower[repeat], upper[repeat] = spread.bounds(mean=0.0)
    return truth, lower, upper


def coverage(arena: Arena, repeats: int, interval: str) -> str:
    """One line of the table."""
    truth, lower, upper = ends(arena, repeats, interval)
    held = (lower <= truth) & (truth <= upper)
    known = np.isfinite(lower).astype(int) + np.isfinite(upper)
    two = known == 2
    inner = f"{100 * held[two].mean():5.1f}" if two.any() else "    –"
    width = f"{np.median((upper - lower)[two]):5.0f}" if two.any() else "    –"
    share = [f"{100 * (known == n).mean():5.1f}" for n in (1, 0)]
    return f"{100 * held.mean(axis=0).min():5.1f} {100 * held.mean():5.1f} {' '.join(share)} {inner} {width}"


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
    settings = parser.parse_args()
    if settings.thresholds:
        sensitivity(settings.repeats, settings.only)
        return
    print(f"{'arena':48} worst  mean one-sided none two-sided width")
    for arena in arenas():
        if arena[0].startswith(settings.only):
            print(f"{arena[0]:48} {coverage(arena, settings.repeats, settings.interval)}", flush=True)


if __name__ == "__main__":
    main()
