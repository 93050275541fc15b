"""Arena Learning whole, in the small world: nine slices, three rounds of SFT, DPO, reward model and PPO.

    python experiments/arena_learning/full.py [--seeds 15 16 17 18 19] [--split test] [--controls | --gates]
                                              [--jobs 2] [--out DIR] [--small]

The demo's settings, but for half as many prompts again and, as reward models want many pairs, eight of the target's own
answers to each prompt of theirs instead of four, learned from at a quarter of the demo's rate (``--rate``).
Per stage: gold accuracy, its rating by the judge that makes the data, and its rating by another judge on other prompts;
neither that judge nor those prompts are ever trained on. Then whether each round is above the last, whether DPO and PPO
are within 3 points of what they start from, and how reward models rank pairs that they have not seen.

With ``--controls`` round 1 is also trained in other ways, from the same checkpoints and the same battles, each as many
steps. From SFT-I0, instead of the rows of SFT-I1:

    winners         the best response by the same battles, on as many prompts drawn at random
    random          a random opponent's response on as many prompts drawn at random: no battle has a say
    one: NAME       what battles with that opponent alone select: its response, where the target lost

and from SFT-I1, on the pairs of DPO-I1: ``chosen``, cross-entropy on the chosen answers alone; ``dpo alone``, without
that term. With ``--gates`` the reward models are measured on more pairs than the run holds out: of 4 samples to each of
600 test prompts by the policy that each starts from, all pairs that differ in gold, beside that policy's likelihood.
With the same ``--out`` both find the run that was made before.

All figures are printed with 95 % t-intervals over seeds; differences are paired. Settings were chosen on dev prompts
with seeds 0 to 2, but for that rate: it was lowered after a run of seeds 10 to 14 at the demo's, and the seeds are new.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))

from arena_learning.bench import Bench, gate, other_judge
from gold import SMALL, arguments
from over_seeds import Figures, differences, figure, mean, over_seeds, told
from own_samples import READ, likelihood, pairs, prompts, ranked_right, sampled, scores

from arenaloop.config import SFTSettings
from arenaloop.data.selection import sft_row, sft_rows
from arenaloop.specs.data import load_prompts
from arenaloop.train.rewards import load_reward_model
from arenaloop.types import derive_seed

WHOLE = (
    "stages=[sft,dpo,ppo]",
    "anchor=[scholar,1000]",
    "data.prompts=sandbox:prompts?n=18000&split=train",
    "rm_samples=8",
)
"""What differs from the demo."""

TINY = (*WHOLE, *SMALL, "rm_samples=2", "ppo.iterations=2", "ppo.rollout_batch=32", "ppo.step_batch=32")

RATE = 0.0005
"""Learning rate of the reward models: a quarter of the demo's, at which they over-fit their few thousand pairs."""

ROUNDS = 3
MARGIN = -3.0
"""Points of gold accuracy that a stage may lose and count as no worse."""


def _changes(small: bool, rate: float) -> tuple[str, ...]:
    return (*(TINY if small else WHOLE), f"reward_model.learning_rate={rate}")


def whole(seed: int, split: str, out: Path, small: bool, rate: float = RATE) -> Figures:
    """The run of one seed: every stage's figures, and those of its reward models."""
    with Bench.opened(seed, split, out, _changes(small, rate)) as bench:
        _rate_held_out(bench, seed, "dev" if split == "test" else "test")
        for stage in bench.result.stages:
            if stage["name"].startswith("RM"):
                bench.figures[stage["name"]] = {**gate(bench.trained[stage["name"]]), "rows": stage["rows"]}
        return bench.figures


def _rate_held_out(bench: Bench, seed: int, split: str) -> None:
    """Rate the stages by another judge, on prompts that the run has never seen."""
    asked = load_prompts(f"sandbox:prompts?n=200&split={split}", derive_seed("held out", seed) % 2**31).prompts
    seen = {prompt.id for prompt in (*bench.recipe.pool, *bench.recipe.test)}
    fresh = [prompt for prompt in asked if prompt.id not in seen]
    bench.store.add_prompts(fresh)
    bench.store.flush()
    judged = Bench(
        replace(bench.recipe, test=fresh), bench.store, bench.out, bench.result, bench.trained, bench.figures
    )
    judged.rate(list(bench.figures), by=other_judge(), figure="held-out rating")


def controls(seed: int, split: str, out: Path, small: bool, rate: float = RATE) -> Figures:
    """Round 1 in other ways, from the checkpoints and battles of that seed's run."""
    with Bench.opened(seed, split, out, _changes(small, rate)) as bench:
        scored = bench.fought("SFT-I0", bench.slice("SFT-I1"))
        k = bench.settings.k_sft[0]
        count = len(sft_rows(scored, target="SFT-I0", k=k, seed=seed).rows)
        rng = random.Random(derive_seed("control", seed))
        anywhere = rng.sample(scored, count)
        names = [one.name for one in bench.recipe.opponents]
        bench.learn("winners", "SFT-I0", sft_rows(anywhere, target="SFT-I0", k=0.0, seed=seed).rows)
        anyone = [sft_row(one.prompt, one.responses[rng.choice(names)].texts) for one in anywhere]
        bench.learn("random", "SFT-I0", anyone)
        for opponent in bench.recipe.opponents:
            alone = bench.fought("SFT-I0", bench.slice("SFT-I1"), opponents=[opponent])
            rows = sft_rows(alone, target="SFT-I0", k=k, seed=seed).rows
            bench.learn(f"one: {opponent.name}", "SFT-I0", rows)
        selected = bench.rows_of("DPO-I1")
        s = bench.settings.dpo
        bench.learn("dpo alone", "SFT-I1", selected, method="dpo", nll_weight=0.0)
        shared = {key: value for key, value in s.model_dump().items() if key in SFTSettings.model_fields}
        chosen = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in selected]
        bench.train("chosen", "sft", "SFT-I1", chosen, SFTSettings(**shared), "DPO-I1")
        bench.rate(["SFT-I0", "SFT-I1", "DPO-I1", *(name for name in bench.figures if not name.endswith(("I2", "I3")))])
        return bench.figures


def gates(seed: int, split: str, out: Path, small: bool, rate: float = RATE) -> Figures:
    """The reward models of that seed's run, and their starts' likelihood, on pairs of samples with gold labels."""
    figures: Figures = {}
    with Bench.opened(seed, split, out, _changes(small, rate)) as bench:
        for name in [one["name"] for one in bench.result.stages if one["name"].startswith("RM")]:
            start = bench.trained[name.replace("RM", "DPO")]
            answered = sampled(start, prompts(40 if small else 600, seed, split), 4, seed)
            compared = pairs(answered, 6, seed)
            by = (scores(load_reward_model(bench.trained[name], READ), answered), likelihood(start, answered))
            own, likely = (ranked_right(answered, compared, values) for values in by)
            figures[name] = {"pairs": len(compared), "accuracy": own, "accuracy_likelihood": likely}
            figures[name] |= {"over_likelihood": own - likely}
    return figures


# ---------------------------------------------------------------------- what is printed


def print_whole(seeds: Sequence[Figures], rounds: int) -> None:
    """The stages, and what is claimed of rounds, stages and reward models."""
    stages = [name for name in seeds[0] if not name.startswith("RM")]
    print("\n| stage | rows | gold, % | rating | held-out judge's rating |\n|--|--|--|--|--|")
    for name in stages:
        shown = (mean(figure(seeds, name, what), 0)[3] for what in ("rating", "held-out rating"))
        rows = figure(seeds, name, "rows").mean()
        print(f"| {name} | {rows:,.0f} |", mean(100 * figure(seeds, name, "gold"))[3], "|", " | ".join(shown), "|")
    print("\n| difference | points of gold | rating | held-out judge's rating |\n|--|--|--|--|")
    last = ["SFT-I0", *(f"PPO-I{n}" for n in range(1, rounds + 1))]
    within = [pair for n in range(1, rounds + 1) for pair in ((f"DPO-I{n}", f"SFT-I{n}"), (f"PPO-I{n}", f"DPO-I{n}"))]
    for first, second in [*zip(last[1:], last, strict=False), *within]:
        ratings = (told(figure(seeds, first, r) - figure(seeds, second, r)) for r in ("rating", "held-out rating"))
        gained = differences(seeds, first, second)
        word = f"; no worse by 3 points: {'yes' if mean(gained)[1] > MARGIN else 'not shown'}"
        print(f"| {first} − {second} | {told(gained)}{'' if second in last else word} |", " | ".join(ratings), "|")
    print_models([{name: told for name, told in one.items() if name.startswith("RM")} for one in seeds])


def print_models(seeds: Sequence[Figures]) -> None:
    """How reward models rank pairs that they have not seen."""
    print("\n| reward model | pairs | ranked right, % | by the start's likelihood | difference |\n|--|--|--|--|--|")
    for label, some in [*((name, [name]) for name in seeds[0]), ("all", [*seeds[0]])]:
        count = figure(seeds, some, "pairs").mean()
        own, likely, over = (
            100 * figure(seeds, some, what) for what in ("accuracy", "accuracy_likelihood", "over_likelihood")
        )
        print(f"| {label} | {count:,.0f} | {own.mean():.1f} | {likely.mean():.1f} | {told(over)} |")


def print_controls(seeds: Sequence[Figures]) -> None:
    """Round 1 beside its controls."""
    single = [name for name in seeds[0] if name.startswith("one: ")]
    arms = ["SFT-I0", "SFT-I1", "winners", "random", *single, "DPO-I1", "chosen", "dpo alone", "PPO-I1"]
    print("\n| round 1 | rows | gold, % | rating on 200 prompts |\n|--|--|--|--|")
    for name in arms:
        rows = figure(seeds, name, "rows").mean()
        gold = mean(100 * figure(seeds, name, "gold"))[3]
        print(f"| {name} | {rows:,.0f} | {gold} | {mean(figure(seeds, name, 'rating'), 0)[3]} |")
    print("\n| difference | points of gold | rating |\n|--|--|--|")
    compared: list[tuple[str, str | list[str]]] = [
        *(("SFT-I1", name) for name in ("random", "winners", "SFT-I0")),
        *(("SFT-I1", name) for name in single),
        ("SFT-I1", single),
        *(("DPO-I1", name) for name in ("SFT-I1", "chosen", "dpo alone")),
        *((name, "SFT-I1") for name in ("chosen", "dpo alone")),
        *(("PPO-I1", name) for name in ("DPO-I1", "chosen", "SFT-I1")),
    ]
    for first, second in compared:
        rating: np.ndarray = figure(seeds, first, "rating") - figure(seeds, second, "rating")
        label = second if isinstance(second, str) else "mean of one opponent"
        print(f"| {first} − {label} | {told(differences(seeds, first, second))} | {told(rating)} |")


if __name__ == "__main__":
    parser, rated = arguments(__doc__, [15, 16, 17, 18, 19]), argparse.ArgumentParser(add_help=False)
    for one in (parser, rated):
        one.add_argument("--rate", type=float, default=RATE, help="learning rate of the reward models (%(default)s)")
    parser.add_argument("--controls", action="store_true", help="train round 1 in other ways, instead")
    small = "--small" in sys.argv
    parser.add_argument("--gates", action="store_true", help="measure the reward models on more pairs, instead")
    rate = rated.parse_known_args()[0].rate
    if "--controls" in sys.argv:
        print_controls(over_seeds(partial(controls, rate=rate), "controls", parser))
    elif "--gates" in sys.argv:
        print_models(over_seeds(partial(gates, rate=rate), "gates", parser))
    else:
        print_whole(over_seeds(partial(whole, rate=rate), "full", parser), 1 if small else ROUNDS)
