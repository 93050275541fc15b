"""Does choosing training rows by battles matter, or would any rows do?

    python experiments/random_selection.py [--seeds 10 11 12 13 14] [--split test] [--small]

From the same SFT-I0 and over the same slice of prompts, three SFT stages that differ in nothing but their rows:

    battles   the best response on the prompts that the target lost by at least k (the recipe's own selection)
    winners   the best response by the same battles, on as many prompts drawn at random
    random    a random opponent's response on as many prompts drawn at random: no battle has a say

The same number of rows, replayed demonstrations, steps and seeds. Prints gold accuracy per seed, and the paired
differences with 95 % t-intervals over seeds.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gold import demo_settings, gold_accuracy, over_seeds

from arenaloop.arena.matchmaking import all_pairs
from arenaloop.calls.answers import Contestant
from arenaloop.data.selection import PromptScores, random_rows, sft_row, sft_rows
from arenaloop.recipes.arena_learning_plan import ArenaLearning, cut_slices
from arenaloop.recipes.parts import Arena, battle, prompt_scores
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.store import Store
from arenaloop.train.methods import training
from arenaloop.types import derive_seed


def battle_scores(recipe: ArenaLearning, store: Store, target: Contestant, ids: Sequence[str]) -> list[PromptScores]:
    """Let all contestants battle on the slice and score their responses."""
    fighters = [target, *recipe.opponents]
    arena = Arena(store, recipe.judge, recipe.settings)
    return list(prompt_scores(battle(arena, fighters, ids, all_pairs([c.name for c in fighters])), store))


def one_seed(seed: int, split: str, out: Path, changes: Sequence[str]) -> dict[str, float]:
    """All arms of one seed."""
    s = demo_settings(seed, split, *changes)
    recipe = build_arena_learning(s, out)
    out.mkdir(parents=True)
    with Store(out / "arena.db") as store:
        store.add_prompts([*recipe.pool, *recipe.test])
        store.flush()
        recipe.prepare()
        first = out / "SFT-I0"
        training("sft", recipe.start, recipe.demonstrations, first, s.sft_init_training, seed=derive_seed("I0", seed))
        start = recipe.target("SFT-I0", first)
        figures = {"SFT-I0": gold_accuracy(recipe, store, "SFT-I0", first)}
        scored = battle_scores(recipe, store, start, cut_slices(recipe, s.rounds * len(s.stages))[0])
        rng = random.Random(derive_seed("control", seed))
        chosen: list[Mapping[str, Any]] = list(sft_rows(scored, target="SFT-I0", k=s.k_sft[0]).rows)
        anywhere = rng.sample(scored, len(chosen))
        winners = sft_rows(anywhere, target="SFT-I0", k=0.0).rows
        names = [c.name for c in recipe.opponents]
        anyone = [sft_row(p.prompt, p.responses[rng.choice(names)].texts) for p in anywhere]
        replay = random_rows(recipe.demonstrations, round(s.sft_replay * len(chosen)), derive_seed("replay", seed))
        for arm, rows in (("battles", chosen), ("winners", winners), ("random", anyone)):
            training("sft", first, [*rows, *replay], out / arm, s.sft, seed=derive_seed("arm", seed))
            figures[arm] = gold_accuracy(recipe, store, arm, out / arm)
        figures["rows"] = len(chosen)
    return figures


if __name__ == "__main__":
    over_seeds(
        __doc__,
        one_seed,
        arms=("SFT-I0", "battles", "winners", "random"),
        differences=(("battles", "random"), ("battles", "winners"), ("battles", "SFT-I0"), ("random", "SFT-I0")),
    )
