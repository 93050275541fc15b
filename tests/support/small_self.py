"""Small runs of Self-Rewarding and Meta-Rewarding: a tiny target, trained for real, whose judging is scripted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from small_recipe import RECIPE, TRAINING

from arenaloop.config import JudgesItselfSettings, override, validate
from arenaloop.judges.meta import MetaJudge
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.judges.templates import load_template
from arenaloop.models.scripted import ScriptedModel
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.self_rewarding import run as run_recipe
from arenaloop.recipes.self_rewarding_plan import SelfRewarding
from arenaloop.recipes.stage import Result
from arenaloop.sandbox.judge import SandboxJudge
from arenaloop.specs.recipes import RECIPES
from arenaloop.specs.recipes.self_rewarding import build_self_rewarding
from arenaloop.store import Store
from arenaloop.types import Completion, Request

Spoil = Callable[[Request], Completion | None]

# the target reads 2,048 characters, which the shipped templates' words alone take
SCORE, WINNER = (str(Path(__file__).parent / "templates" / f"small_{name}.jinja") for name in ("score", "winner"))
SELF: dict[str, Any] = {
    "recipe": "self_rewarding",
    "target": RECIPE["target"],
    "judge": RECIPE["judge"],
    "data": {
        "demonstrations": "sandbox:demonstrations?n=96",
        "prompts": "sandbox:prompts?n=16",
        "test": "sandbox:prompts?n=4&split=test",
    },
    "sampling": {"temperature": 1.0, "max_tokens": 12},
    "self_judge": {"template": SCORE},
    "allow_truncated": True,  # so few steps do not teach it to stop
    "sft": TRAINING | {"epochs": 3},
    "dpo": TRAINING | {"epochs": 2, "learning_rate": 0.0005, "beta": 0.1, "nll_weight": 1.0},
}
META = SELF | {
    "recipe": "meta_rewarding",
    "iterations": 2,
    "samples": 3,
    "self_judge": {"template": SCORE, "votes": 3, "sampling": {"temperature": 1.0}},
    "meta": {"template": WINNER, "iterations": 1},
    "gates": {"meta": None},  # so few verdicts show nothing
    "dpo": SELF["dpo"] | {"max_length": 2048, "epochs": 1},
}


def settings(base: dict[str, Any], *changes: str, **more: Any) -> JudgesItselfSettings:
    kind = RECIPES[base["recipe"]].settings
    checked = validate(kind, override({**base, **more}, changes), "recipe.yaml")
    assert isinstance(checked, JudgesItselfSettings)
    return checked


def build(checked: JudgesItselfSettings, out: Path, spoil: Spoil | None = None) -> tuple[SelfRewarding, list[Request]]:
    """The recipe, in which a script judges as the target would, and what that script was asked."""
    gold, heard = SandboxJudge(noise=0.7), list[Request]()

    def say(request: Request) -> str | Completion:
        heard.append(request)
        spoilt = None if spoil is None else spoil(request)
        return gold.complete(request) if spoilt is None else spoilt

    def scripted(name: str, path: Path) -> ScriptedModel:
        return ScriptedModel(name, say, version=[name, (path / "model.safetensors").is_file()])

    recipe = build_self_rewarding(checked, out)
    own = checked.self_judge.sampling.build()
    score, winner = load_template(SCORE, layout="answer"), load_template(WINNER, layout="judgements")
    return replace(
        recipe,
        rubric=lambda name, path: RubricJudge(scripted(name, path), score, sampling=own, name=name),
        meta=None if recipe.meta is None else lambda name, path: MetaJudge(scripted(name, path), winner, name=name),
    ), heard


def run(out: Path, recipe: SelfRewarding, heard: Observer | None = None) -> Result:
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / "arena.db") as store:
        return run_recipe(recipe, store, out, heard)
