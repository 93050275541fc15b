"""The small Arena Learning run that tests of the recipe, of its plan and of its stages share."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arenaloop.config import ArenaLearningSettings, override, validate
from arenaloop.recipes import arena_learning
from arenaloop.recipes.arena_learning_plan import ArenaLearning
from arenaloop.recipes.stage import Result
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.store import Store

TRAINING: dict[str, Any] = {
    "optimizer": "muon", "learning_rate": 0.01, "batch_size": 16, "threads": 1, "max_length": 64,
    "schedule": "linear", "device": "cpu", "group_by_length": False, "log_every": 2,
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "recipe": "arena_learning",
    "rounds": 1,
    "stages": ["sft", "dpo"],
    "target": {
        "model": "sandbox:target",
        "sampling": {"max_tokens": 12},
        "chunk_size": 16,
        "device": "cpu",
        "options": {"width": 32, "layers": 1, "heads": 4},
    },
    "opponents": ["sandbox:scholar", "sandbox:novice"],
    "judge": {"spec": "sandbox:judge", "options": {"noise": 0.5}},
    "data": {
        "demonstrations": "sandbox:demonstrations?n=96",
        "prompts": "sandbox:prompts?n=40",
        "test": "sandbox:prompts?n=12&split=test",
    },
    "k_sft": [1.0],
    "k_dpo": [1.0],
    "sft_init": "previous_best",
    "sft_init_training": TRAINING | {"epochs": 2},
    "sft": TRAINING | {"epochs": 1},
    "reward_model": TRAINING | {"epochs": 1, "prior": "policy_logprob", "readout": "mean"},
    "ppo": {
        "iterations": 2,
        "rollout_batch": 8,
        "samples": 2,
        "step_batch": 8,
        "max_length": 64,
        "max_new_tokens": 12,
        "learning_rate": 0.0005,
        "threads": 1,
        "device": "cpu",
        "stop_cut": 1.0,
    },
    "dpo": TRAINING | {"epochs": 1, "learning_rate": 0.0005, "beta": 0.1, "nll_weight": 1.0},
}


def settings(*changes: str) -> ArenaLearningSettings:
    return validate(ArenaLearningSettings, override(RECIPE, changes), "recipe.yaml")


def run(out: Path, *changes: str, change: Callable[[ArenaLearning], ArenaLearning] = lambda recipe: recipe) -> Result:
    checked = settings(*changes)
    recipe = change(build_arena_learning(checked, out))
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / "arena.db") as store:
        return arena_learning.run(recipe, store, out)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def lasting(document: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without what depends on the clock or on the invocation."""
    plain = copy.deepcopy(dict(document))
    for key in ("seconds", "cached", "calls", "tokens_in", "tokens_out"):
        plain.pop(key)
    for stage in plain["stages"]:
        for key in ("seconds", "calls", "tokens_in", "tokens_out"):
            stage.pop(key)
    for table in plain["tables"]:
        if table["title"] == "Counts":
            table["rows"] = [row[:5] for row in table["rows"]]
    return plain
