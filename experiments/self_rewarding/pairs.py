"""What fewer meetings of judgements cost: ``meta.pairs`` all, a tournament, or k others each.

    python experiments/self_rewarding/pairs.py [--seeds 10 11 12] [--split test] [--jobs 2] [--out DIR] [--small]

First simulated, in seconds: 11 judgements of unequal worth (normal), a meta-judge that is right in a known share of its
verdicts, each by itself, or names the first seat instead in a fifth of them.

    calls            verdicts asked for of each answer
    best, worst      share of answers whose chosen judgement is the best one, whose rejected one is the worst
    right            share whose chosen judgement is better than the rejected one
    lead             of the chosen over the rejected one, in standard deviations of a judgement's worth

Then in the small world: M2 of a run of `full.py` (the same ``--out`` finds it) compares 11 of its judgements of an
answer to each of 150 prompts with each other, all pairs; the verdicts that fewer meetings ask for are among those.

    chosen, rejected as by all pairs
    right            pairs whose chosen judgement is nearer to the truth, of those in which one is
    nearer           by how many points the chosen judgement is nearer to the truth than the rejected one
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1]))

from gold import arguments
from over_seeds import Figures, over_seeds
from self_rewarding.bench import Bench, judged_parts
from self_rewarding.full import AT_ONCE, META
from self_rewarding.tables import Shown, table

from arenaloop.jsonl import JsonRow, read_rows
from arenaloop.judges.parsers import parser_for
from arenaloop.ratings.meta_rewards import meta_pairs, meta_rewards, swiss_round, swiss_rounds
from arenaloop.sandbox import roles
from arenaloop.types import Completion, derive_seed

N = 11
"""Judgements of each answer, as in the paper."""

PAIRS: tuple[Any, ...] = ("all", 8, 6, "tournament", 4, 2)
"""Values of `meta.pairs`, by falling cost."""

SCORE = parser_for("score")
ACCURACIES = (0.6, 0.75, 0.9)
SEAT = 0.2
"""Share of the simulated verdicts that name the first seat, whatever sits there."""


def _asked(full: npt.NDArray[np.int8], pairs: Any, seed: int) -> npt.NDArray[np.int8]:
    """Of all verdicts on one answer's judgements those that are asked for; 0 elsewhere."""
    n, kept = len(full), np.zeros_like(full)

    def ask(met: Sequence[tuple[int, int]]) -> None:
        for m, other in met:
            kept[m, other], kept[other, m] = full[m, other], full[other, m]

    if pairs != "tournament":
        ask(list(meta_pairs(n, pairs, seed)))
        return kept
    met: set[tuple[int, int]] = set()
    for round_ in range(swiss_rounds(n)):
        points = (kept == 1).sum(axis=1) + (kept == -1).sum(axis=0)
        drawn = swiss_round(points.tolist(), met, derive_seed("round", seed, round_))
        met |= {*drawn}
        ask(drawn)
    return kept


def simulated(accuracy: float, pairs: Any, answers: int = 1000, seed: int = 0) -> dict[str, float]:
    """Figures of one way to meet, of a meta-judge of known accuracy."""
    rng = np.random.default_rng(seed)
    worth = rng.normal(size=(answers, N))
    lead = np.sign(worth[:, :, None] - worth[:, None, :])
    right = rng.random(lead.shape) < accuracy
    full = np.where(rng.random(lead.shape) < SEAT, 1, np.where(right, lead, -lead)).astype(np.int8)
    full[:, range(N), range(N)] = 0
    kept = np.stack([_asked(one, pairs, derive_seed("answer", seed, at)) for at, one in enumerate(full)])
    rewards = meta_rewards(kept)
    values = np.where(rewards.met, rewards.rewards, np.nan)
    chosen, rejected = np.nanargmax(values, axis=1), np.nanargmin(values, axis=1)
    each = np.arange(answers)
    gap = worth[each, chosen] - worth[each, rejected]
    return {
        "calls": float((kept != 0).sum() / answers),
        "best": float((chosen == worth.argmax(axis=1)).mean()),
        "worst": float((rejected == worth.argmin(axis=1)).mean()),
        "right": float((gap > 0).mean()),
        "lead": float(gap.mean()),
    }


def small_world(seed: int, split: str, place: Path, small: bool) -> Figures:
    """Figures of each way to meet, of one seed's M2 and its own judgements."""
    with Bench.opened(seed, split, place, small) as bench:
        asked = bench.slice(2)[: 8 if small else 150]
        rows: dict[Any, dict[str, JsonRow]] = {}
        for pairs in PAIRS:
            changes = ("iterations=1", f"prompts_per_iteration={len(asked)}", "dpo.max_steps=1", f"meta.pairs={pairs}")
            more = (f"self_judge.votes={N}", "meta.max_share=null", "meta.require_score_diff=false")
            arm = f"pairs {pairs}"
            recipe = bench.started(bench.recipe(arm, "meta_rewarding", *META, *AT_ONCE, *changes, *more), "self M2")
            bench.run(arm, replace(recipe, pool=asked, test=recipe.test[:4]))
            found = read_rows(place / arm / "data" / "M2.jsonl")
            rows[pairs] = {row["prompt_id"]: row for _, row in found if "judgements" in row}
        return {f"pairs {pairs}": _figures(bench, pairs, rows) for pairs in PAIRS}


def _figures(bench: Bench, pairs: Any, rows: dict[Any, dict[str, JsonRow]]) -> dict[str, float]:
    own, most = rows[pairs], rows["all"]
    both = [(own[prompt]["judgements"], most[prompt]["judgements"]) for prompt in own if prompt in most]
    nearer = [lead for lead in map(_nearer, own.values()) if lead is not None]
    calls = [bench.figures[f"pairs {one} M1"]["asked"] for one in (pairs, "all")]
    told = {"pairs": float(len(own)), "calls": calls[0] / calls[1]}
    shares = {
        "chosen": [a[0] == b[0] for a, b in both],
        "rejected": [a[1] == b[1] for a, b in both],
        "right": [lead > 0 for lead in nearer if lead != 0],
        "nearer": nearer,
    }
    return told | {key: float(np.mean(each)) for key, each in shares.items() if each}


def _nearer(row: JsonRow) -> float | None:
    """By how many points the chosen judgement is nearer to the truth."""
    prompt, given = judged_parts(row["prompt"][-1]["content"])[:2]
    points = roles.score(prompt, given)
    said = [SCORE.read(Completion(row[side][-1]["content"])) for side in ("chosen", "rejected")]
    if points is None or said[0] is None or said[1] is None:
        return None
    return abs(said[1] - points) - abs(said[0] - points)


def print_simulated() -> None:
    """What a noisy meta-judge keeps."""
    print("\n| meta-judge right, % | pairs | calls | best kept, % | worst kept, % | right, % | lead |")
    print("|--|--|--|--|--|--|--|")
    for accuracy in ACCURACIES:
        for pairs in PAIRS:
            told = simulated(accuracy, pairs)
            shares = (f"{100 * told[key]:.1f}" for key in ("best", "worst", "right"))
            print(
                f"| {100 * accuracy:.0f} | {pairs} | {told['calls']:.0f} |",
                " | ".join(shares),
                f"| {told['lead']:.2f} |",
            )


def print_small_world(seeds: Sequence[Figures]) -> None:
    """What the small world's own meta-judge keeps."""
    shares = {
        "calls": "calls, % of all",
        "chosen": "chosen as by all, %",
        "rejected": "rejected as by all, %",
        "right": "right, %",
    }
    columns = [Shown(key, title, 100, 1) for key, title in shares.items()]
    table(seeds, [*seeds[0]], [Shown("pairs", "pairs", 1, 0), *columns, Shown("nearer", "nearer, points")], "meetings")


if __name__ == "__main__":
    print_simulated()
    print_small_world(over_seeds(small_world, "pairs", arguments(__doc__, [10, 11, 12])))
