"""Which settings make a ranking by an LLM judge agree with one by people?

    python experiments/consistency.py [--worlds 60] [--out consistency.json] [--small]

Worlds are drawn (`consistency_world.py` says what is in one), each with models, two million votes of people on a stream
of prompts, rated with intervals, and an arena of an LLM judge on few prompts, rated by `arenaloop.ratings` as any run
is. The first cell is the base: 24 models, 500 prompts spread evenly over categories, every pair from both seats, a
judge that agrees with most people in 80 % of the battles that it decides, intervals by prompt. Every other one changes
what its name says. All cells see the same worlds.

Printed for each: how often the judge's battles name the answer that most people prefer; the four figures of
`arenaloop agree` against the votes; and what they hide: `wrong`, of the pairs that both lists separate, those that the
judge's puts the other way round, and `held`, how often its 95 % intervals hold the ratings that the same judge would
give on prompts without end. In percent, means over worlds with 95 % t-intervals.

Then: what share of pairs is separated, rightly and wrongly, by how far apart people see them and by how many prompts
there are; how far a favourite rises; and whether the arrays say what the package's own arena says, on the sandbox's
players and judge (`consistency_sandbox.py`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from consistency_arena import Board, Setting, limit, offline, rated
from consistency_sandbox import compare
from consistency_world import World, people_agree, truth, voted

from arenaloop.ratings.agreement import average_ranks, consistency, separation
from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.bradley_terry import ELO_PER_NAT
from arenaloop.ratings.student import t_quantile

VOTES = 2_000_000
FIRST_SEED = 500  # those below were used up in choosing how far apart models lie
GAPS = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 1000.0)
SMALL = (
    "base",
    "50 prompts",
    "favourite by 2",
    "length 3, controlled",
    "5,000 optimal",
    "80, scored alone",
    "8 models",
)


BASE = Setting()


def cells() -> dict[str, tuple[str, Setting]]:
    """Group and setting of every cell, by name."""

    def judge(**changes: float) -> Setting:
        return replace(BASE, judge=replace(BASE.judge, **changes))

    table: dict[str, dict[str, Setting]] = {"": {"base": BASE}}
    table["prompts"] = {f"{n:,} prompts": replace(BASE, prompts=n) for n in (50, 80, 200, 1000, 2000)}
    table["noise"] = {f"noise {x:g}": judge(noise=x) for x in (0.3, 0.6, 2.2, 5.0)} | {
        "noise 5, 2,000 prompts": replace(judge(noise=5.0), prompts=2000),
        "scores in whole points": judge(step=1.0),
        "20 % unreadable": judge(unparsed=0.2),
    }
    table["seat"] = {f"seat {x:g}, {seats}": replace(judge(seat=x), seats=seats) for x in (0.6, 3.0) for seats in SEATS}
    table["length"] = {
        f"length {x:g}{', controlled' if control else ''}": replace(judge(length=x), control=control)
        for x in (0.0, 1.5, 3.0, 6.0)
        for control in (False, True)
        if x or control
    } | {
        "length 3, unlike quality": replace(judge(length=3.0), linked=0.0),
        "length 3, unlike quality, controlled": replace(judge(length=3.0), linked=0.0, control=True),
        "length 3, 2,000 prompts": replace(judge(length=3.0), prompts=2000),
    }
    table["shared errors"] = {
        **{f"favourite by {x:g}": judge(favour=x) for x in (0.5, 1.0, 2.0)},
        "favourite by 1, 2,000 prompts": replace(judge(favour=1.0), prompts=2000),
        "blind to half of one's faults": judge(blind=0.5),
        **{f"taste {x:g}": judge(taste=x) for x in (0.1, 0.3, 0.6)},
        "taste 0.3, 2,000 prompts": replace(judge(taste=0.3), prompts=2000),
    }
    table["battles"] = {f"{n:,} sampled": replace(BASE, battles=n) for n in (1000, 5000, 20_000)} | {
        "18 prompts × all pairs": replace(BASE, prompts=18),
        "5,000 optimal": replace(BASE, battles=5000, design="optimal"),
    }
    table["choice of prompts"] = {
        "as people ask": replace(BASE, choice="stream"),
        "hard": replace(BASE, choice="hard"),
        "as people ask, 2,000": replace(BASE, choice="stream", prompts=2000),
        "hard, 2,000": replace(BASE, choice="hard", prompts=2000),
    }
    table["contestants"] = {f"{k} models": replace(BASE, models=k) for k in (8, 40)} | {
        "half as far apart": replace(BASE, spread=0.5),
        "twice as far apart": replace(BASE, spread=2.0),
    }
    table["interval"] = {f"interval: {name}": replace(BASE, interval=name) for name in INTERVALS}
    table["interval"]["interval: from one model's rating"] = replace(BASE, anchored=True)
    table["as published"] = {
        f"{n:,}, as published": replace(BASE, prompts=n, interval="resampled battles", anchored=True)
        for n in (80, 1000)
    } | {
        "80, from one model's rating": replace(BASE, prompts=80, anchored=True),
        "80, scored alone": replace(BASE, prompts=80, scores=True),
        "500, scored alone": replace(BASE, scores=True),
    }
    return {
        name: (group, setting)
        for group, some in table.items()
        for name, setting in some.items()
        if not group or setting != BASE
    }


SEATS = ("both", "drawn", "first")
INTERVALS = ("battle", "resampled prompts", "resampled battles")
HELD: tuple[str, ...] = (
    "base",
    "50 prompts",
    "80 prompts",
    "200 prompts",
    "noise 5",
    "length 3",
    "hard",
    "as people ask",
)
HELD += ("5,000 sampled", *(f"interval: {name}" for name in INTERVALS))
"""Cells whose intervals are held against the judge's own verdict on prompts without end."""


class Reading(NamedTuple):
    """One world's figures of one cell in percent, NaN where there is none; `rises`: places that the favourite gains."""

    judge: float
    spearman: float
    human_agreement: float
    differentiation: float
    average: float
    wrong: float
    held: float
    rises: float


class Online(NamedTuple):
    """A world, its true strengths (K,) in Elo points, what votes say of them, and whom the judge may favour."""

    world: World
    truth: FloatArray
    votes: Board
    kin: int


def online(rng: np.random.Generator, setting: Setting, votes: int) -> Online:
    """A world whose favourite stands at a third from the top."""
    world = World.draw(rng, setting.models, setting.spread, setting.linked)
    strength = ELO_PER_NAT * truth(world)
    kin = int(np.argsort(-strength)[setting.models // 3])
    return Online(world, strength, rated(voted(rng, world, votes), Setting(interval="battle")), kin)


def read(seed: Sequence[int], setting: Setting, people: Online, ends: FloatArray | None) -> tuple[Reading, FloatArray]:
    """Figures of one arena, and by `GAPS` how many pairs there are, are separated rightly, and wrongly: (G, 3)."""
    board, agree = offline(np.random.default_rng([*seed, 1]), setting, people.world, people.kin)
    names = people.world.models
    found = consistency(board.scored(names), people.votes.scored(names))
    held = float("nan") if ends is None else 100.0 * np.mean((board.lower <= ends) & (ends <= board.upper))
    first, second = np.triu_indices(len(names), 1)
    told = separation(list(board.scored(names).values()))[first, second]
    gap = people.truth[first] - people.truth[second]
    bin_ = np.digitize(np.abs(gap), GAPS[1:-1])
    right, wrong = (np.bincount(bin_[told * np.sign(gap) == sign], minlength=len(GAPS) - 1) for sign in (1, -1))
    counts = np.stack([np.bincount(bin_, minlength=len(GAPS) - 1), right, wrong], axis=1)
    rank, true_rank = average_ranks(-board.rating), average_ranks(-people.truth)
    figures = (found.spearman, found.human_agreement, found.differentiation, found.average, found.wrongly_separated)
    known = [float("nan") if value is None else value for value in figures]
    rises = float(true_rank[people.kin] - rank[people.kin])
    return Reading._make([100.0 * agree, *known, float(held), rises]), counts.astype(np.float64)


def study(wanted: Mapping[str, tuple[str, Setting]], worlds: int, votes: int) -> tuple[dict[str, FloatArray], ...]:
    """Figures of every cell and world, shape (worlds, figures), and counts by gap, shape (worlds, G, 3), by cell."""
    figures: dict[str, list[Reading]] = {name: [] for name in wanted}
    counts: dict[str, list[FloatArray]] = {name: [] for name in wanted}
    for number in range(worlds):
        seed = (FIRST_SEED, number)
        met: dict[tuple[int, float, float], Online] = {}
        ends: dict[object, FloatArray] = {}
        for name, (_, setting) in wanted.items():
            kind = (setting.models, setting.spread, setting.linked)
            if kind not in met:
                met[kind] = online(np.random.default_rng([*seed, 0]), setting, votes)
            people = met[kind]
            asked = (setting.judge, setting.choice, setting.seats) if name in HELD else None
            if asked is not None and asked not in ends:
                ends[asked] = limit(np.random.default_rng([*seed, 2]), setting, people.world, people.kin)
            reading, by_gap = read(seed, setting, people, None if asked is None else ends[asked])
            figures[name].append(reading)
            counts[name].append(by_gap)
    return {n: np.array(rows) for n, rows in figures.items()}, {n: np.array(rows) for n, rows in counts.items()}


def spread_of(values: FloatArray) -> tuple[float, float] | None:
    """Mean over worlds and half its 95 % t-interval; None where fewer than two have a figure."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None
    return float(known.mean()), t_quantile(0.95, len(known) - 1.0) * float(known.std(ddof=1)) / len(known) ** 0.5


def shown(values: FloatArray) -> str:
    """A cell of the table."""
    found = spread_of(values)
    return "–" if found is None else f"{found[0]:.{2 if abs(found[0]) < 1 else 1}f} ±{found[1]:.2g}"


def gap_table(counts: Mapping[str, FloatArray], which: Sequence[str], column: int) -> None:
    """Print the share of pairs separated rightly (1) or wrongly (2), by how far apart people see them."""
    bins = [*(f"{low:g} to {high:g}" for low, high in pairwise(GAPS[:-1])), f"{GAPS[-2]:g} and more"]
    print("| arena | " + " | ".join(bins) + " |\n|---|" + "--:|" * len(bins))
    for name in which:
        if name in counts:
            share = 100.0 * counts[name][:, :, column].sum(axis=0) / counts[name][:, :, 0].sum(axis=0)
            print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in share) + " |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument("--out", type=Path, help="a JSON file for every world's figures")
    parser.add_argument("--small", action="store_true", help="a few cells and worlds, to see whether it runs")
    options = parser.parse_args()
    wanted = {name: cell for name, cell in cells().items() if not options.small or name in SMALL}
    worlds, votes = (3, 20_000) if options.small else (options.worlds, VOTES)
    figures, counts = study(wanted, worlds, votes)
    again, majority = people_agree(
        np.random.default_rng([FIRST_SEED, 0]), World.draw(np.random.default_rng(1), 24), 500
    )
    print(
        f"{worlds} worlds, {votes:,} votes in each; in {again:.1%} of the pairs that two people decide they agree, in"
    )
    print(f"{majority:.1%} of those that one decides he does with most people\n")
    columns = ("judge", "spearman", "human_agreement", "differentiation", "average", "wrong", "held")
    print("| arena | " + " | ".join(name.replace("_", " ") for name in columns) + " |\n|---|" + "--:|" * len(columns))
    for name, found in figures.items():
        print(f"| {name} | " + " | ".join(shown(found[:, Reading._fields.index(c)]) for c in columns) + " |")
    ladder = ["50 prompts", "80 prompts", "200 prompts", "base", "1,000 prompts", "2,000 prompts"]
    print("\nseparated rightly, by the difference in Elo points that people see\n")
    gap_table(counts, [*ladder, "noise 5, 2,000 prompts", "hard, 2,000"], 1)
    print("\nseparated wrongly\n")
    gap_table(counts, [*ladder, "length 3", "length 3, 2,000 prompts", "taste 0.3, 2,000 prompts", "hard, 2,000"], 2)
    print("\n| arena | places that the favourite gains |\n|---|--:|")
    for name in ("base", *(name for name, (group, _) in wanted.items() if group == "shared errors")):
        print(f"| {name} | {shown(figures[name][:, Reading._fields.index('rises')])} |")
    print()
    compare(*((4, 20, 2) if options.small else (8, 60, 10)))
    if options.out is not None:
        rows = [
            {
                "arena": name,
                "group": wanted[name][0],
                **{c: spread_of(v) for c, v in zip(Reading._fields, f.T, strict=True)},
            }
            for name, f in figures.items()
        ]
        options.out.write_text(json.dumps({"worlds": worlds, "votes": votes, "arenas": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
