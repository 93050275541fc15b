"""What a leaderboard's order is worth: do the flags, the ranks and the differences hold what they say?

    python experiments/board_worth.py                         planted boards, and how often claims are wrong
    python experiments/board_worth.py --peer COMMAND          the same files by another program (arenakit 0.1.1)

*Wrong* is a board on which some pair is called separated that is level, or stands the other way round, in truth. Ranks
are held where the interval holds every rank that the model could have in truth (models that are level share theirs).
*Percentiles* are those of each model's rank over draws, as most programs tell it (`ratings.drawn_ranks`).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from board_worlds import PLANTED, Votes, planted, truth_of, votes

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit
from arenaloop.ratings.intervals import sandwich

WORLDS = {
    "6 equals, 1,500 votes": (np.zeros(6), 1500, 300, 0.0),
    "6 equals, 120 prompts of 10 votes": (np.zeros(6), 1200, 120, 0.7),
    "4 pairs of equals, 3,000 votes": (np.repeat([0.9, 0.4, 0.1, -0.4], 2), 3000, 600, 0.0),
    "10 models, 200 prompts of 20 votes": (np.linspace(0.8, -0.8, 10), 4000, 200, 0.5),
    "20 models, 8,000 votes": (np.repeat(np.linspace(1.0, -1.0, 10), 2), 8000, 2000, 0.3),
}


def hold(name: str, repeats: int) -> list[str]:
    """One row: share of wrong boards; ranks held, all, each, and by percentiles; differences held.

    These are of fixed pairs, and of neighbours: by their own intervals, by those of all at once, and on whole boards.
    """
    theta, count, prompts, suits = WORLDS[name]
    truth = truth_of(theta, suits, 0.1)
    level = np.abs(truth[:, None] - truth[None, :]) < 1e-9
    above = (truth[:, None] > truth[None, :]) & ~level
    best, worst = 1 + above.sum(axis=0), len(theta) - above.sum(axis=1)
    wrong, ranks, each, drawn_each, fixed, beside, within, together = ([] for _ in range(8))
    for seed in range(repeats):
        rng = np.random.default_rng([seed, list(WORLDS).index(name)])
        drawn = votes(theta, count, rng, prompts=prompts, suits=suits)
        board = leaderboard(drawn.battles(people=False))
        assert board.worth is not None
        order = board.worth.order
        real = [ELO_PER_NAT * float(truth[n.above] - truth[n.below]) for n in order.neighbours]
        wrong.append(
            any(n.separated and not gap * n.difference > 1e-6 for n, gap in zip(order.neighbours, real, strict=True))
        )
        held = (order.lower <= best) & (order.upper >= worst)
        ranks.append(bool(held.all()))
        each.append(held.mean())
        low, high = board.worth.drawn
        drawn_each.append(((low <= best) & (high >= worst)).mean())
        inside = [n.joint_lower < gap < n.joint_upper for n, gap in zip(order.neighbours, real, strict=True)]
        within.append(np.mean(inside))
        together.append(all(inside))
        beside.append(np.mean([n.lower < gap < n.upper for n, gap in zip(order.neighbours, real, strict=True)]))
        fixed.append(_fixed(drawn, truth))
    figures = [
        _share(list(map(float, found))) for found in (wrong, ranks, each, drawn_each, fixed, beside, within, together)
    ]
    return [name, *figures]


def _fixed(drawn: Votes, truth: FloatArray) -> float:
    """Share of all pairs, chosen beforehand, whose own interval holds the truth."""
    battles = drawn.battles(people=False)
    spread = sandwich(battles, fit(battles))
    held = []
    for i in range(len(truth)):
        for j in range(i):
            _, lower, upper = spread.difference(battles.models[i], battles.models[j])
            held.append(lower < ELO_PER_NAT * float(truth[i] - truth[j]) < upper)
    return float(np.mean(held))


def _share(found: list[float]) -> str:
    """Mean in percent, with two standard errors."""
    values = np.array(found, dtype=float)
    return f"{100 * values.mean():.1f} ±{200 * values.std(ddof=1) / math.sqrt(len(values)):.1f}"


def flagged(board: str, repeats: int) -> list[str]:
    """One row: on how many boards the planted flag is raised, and it alone; and what else is raised."""
    wanted = {PLANTED[board]} - {None}
    right = raised = 0
    others: dict[str, int] = {}
    for seed in range(repeats):
        found = leaderboard(planted(board, seed).battles())
        assert found.worth is not None
        names = {flag.name for flag in found.worth.flags}
        right += names == wanted
        raised += wanted <= names
        for name in names - wanted:
            others[name] = others.get(name, 0) + 1
    told = ", ".join(f"{name} {100 * many / repeats:.1f} %" for name, many in sorted(others.items())) or "none"
    return [board, PLANTED[board] or "none", f"{100 * raised / repeats:.1f} %", f"{100 * right / repeats:.1f} %", told]


LARGE = "20 models, 50,000 votes"


def compare(command: str, board: str, seed: int) -> list[str]:
    """One row: both programs on one CSV: pairs separated, ranks that differ, the seat's effect, CPU seconds."""
    if board == LARGE:
        drawn = votes(np.linspace(1.0, -1.0, 20), 50_000, np.random.default_rng(seed))
    else:
        drawn = planted(board, seed)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "votes.csv"), Path(folder, "audit.json")
        drawn.write(path)
        theirs_seconds, _ = _timed([command, "audit", str(path), "--json", str(out), "--cluster", "battle"])
        audit = json.loads(out.read_text())
        ours_seconds, told = _timed(
            [sys.executable, "-m", "arenaloop", "rank", str(path), "--cluster", "battle", "--json"]
        )
        ours = json.loads(told)
    probes = {probe["name"]: probe for probe in audit["probes"]}
    theirs = {(p["upper"], p["lower"]) for p in probes["separation"]["detail"]["pairs"] if p["resolved_simultaneous"]}
    mine = {(d["above"], d["below"]) for d in ours["differences"] if d["separated"]}
    ranks = {row["model"]: (row["rank_lower"], row["rank_upper"]) for row in ours["leaderboard"]}
    drawn_ranks = ours["rank_percentiles"]
    theirs_ranks = {row["model"]: row["rank_ci"] for row in audit["leaderboard"]}
    apart, alike = (
        max(abs(told[model][k] - ends[k]) for model, ends in theirs_ranks.items() for k in (0, 1))
        for told in (ranks, drawn_ranks)
    )
    seats = ours["seat"]["value"], probes["position_bias"]["value"]
    seat = "–" if None in seats else f"{seats[0]:+.4f}, {seats[1]:+.4f}"
    same = "the same" if theirs == mine else f"{len(mine - theirs)} more, {len(theirs - mine)} fewer"
    cpu = f"{ours_seconds:.2f}, {theirs_seconds:.2f} ({theirs_seconds / ours_seconds:.0f} times)"
    return [board, f"{len(mine)} of {len(ours['differences'])}", same, str(apart), str(alike), seat, cpu]


def _timed(command: list[str]) -> tuple[float, str]:
    """CPU seconds of a command, start-up included, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def _print(titles: list[str], rows: Iterable[list[str]]) -> None:
    print("| " + " | ".join(titles) + " |")
    print("|" + "--|" * len(titles), flush=True)
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=250)
    parser.add_argument("--peer", help="a command with the verb `audit`")
    options = parser.parse_args()
    if options.peer:
        boards = [LARGE, *(board for board in PLANTED if board != "two pools")]
        titles = [
            "board",
            "separated",
            "by the other",
            "ranks apart",
            "percentiles of ranks apart",
            "seat, nats: ours, theirs",
            "CPU s: ours, theirs",
        ]
        _print(titles, (compare(options.peer, board, 1) for board in boards))
        return
    titles = ["board", "planted", "raised", "it alone", "others"]
    _print(titles, (flagged(board, options.repeats) for board in PLANTED))
    titles = [
        "world",
        "wrong",
        "all ranks held",
        "each rank held",
        "by percentiles",
        "pairs held",
        "neighbours held by their own",
        "by those of all at once",
        "all neighbours held",
    ]
    _print(titles, (hold(world, options.repeats) for world in WORLDS))


if __name__ == "__main__":
    main()
