"""The small AlpacaFarm run that tests of the recipe share: a tiny target, trained for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small_recipe import RECIPE, TRAINING

from arenaloop.config import AlpacaFarmSettings, override, validate
from arenaloop.recipes import alpaca_farm
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.stage import Result
from arenaloop.specs.recipes.alpaca_farm import build_alpaca_farm
from arenaloop.store import Store

ROWS = TRAINING | {"epochs": 1, "learning_rate": 0.001}
ROLLOUTS = {
    "iterations": 2, "rollout_batch": 16, "step_batch": 8, "samples": 2, "max_length": 64, "max_new_tokens": 8,
    "learning_rate": 1e-4, "threads": 1, "device": "cpu", "stop_cut": 1.0,
}  # fmt: skip
FARM: dict[str, Any] = {
    "recipe": "alpaca_farm",
    "target": RECIPE["target"],
    "judge": RECIPE["judge"],
    "labels": "gold",
    "data": {
        "sft": "sandbox:demonstrations?n=96",
        "preference": "sandbox:prompts?n=40",
        "unlabeled": "sandbox:prompts?n=16",
        "evaluation": "sandbox:prompts?n=12&split=test",
    },
    "sft": TRAINING | {"epochs": 2},
    "reward_model": ROWS,
    "methods": {
        "FeedME": {"method": "feedme", "training": ROWS},
        "Conditioned": {"method": "reward_conditioning", "training": ROWS},
        "DPO": {"method": "dpo", "training": ROWS},
        "Best of 4": {"method": "best_of_n", "n": 4},
        "Expert iteration": {"method": "expert_iteration", "training": ROWS | {"samples": 2, "max_new_tokens": 8}},
        "PPO": {"method": "ppo", "training": ROLLOUTS},
        "PPO, gold": {"method": "ppo", "reward": "sandbox:gold", "training": ROLLOUTS},
        "Quark": {"method": "quark", "training": ROLLOUTS | {"samples": 1}},
    },
}


def settings(*changes: str, **more: Any) -> AlpacaFarmSettings:
    return validate(AlpacaFarmSettings, override({**FARM, **more}, changes), "recipe.yaml")


class Heard(Observer):
    """Notes what is trained, and can stop a run where it is told to."""

    def __init__(self, stop_at: str = "") -> None:
        self.trained: list[str] = []
        self.notes: list[str] = []
        self._stop_at = stop_at

    def phase(self, stage: str, doing: str) -> None:
        if stage == self._stop_at:
            raise KeyboardInterrupt
        if doing == "training":
            self.trained.append(stage)

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(out: Path, checked: AlpacaFarmSettings, heard: Observer | None = None) -> Result:
    recipe = build_alpaca_farm(checked, out)
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / "arena.db") as store:
        return alpaca_farm.run(recipe, store, out, heard)
