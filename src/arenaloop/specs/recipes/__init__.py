"""The recipes by name, what a file or a command means by one, and their demos in the small world."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources

import yaml

from arenaloop.config import RecipeSettings, override, validate
from arenaloop.errors import ConfigError, nearest
from arenaloop.specs.recipes.alpaca_farm import RECIPE as ALPACA_FARM
from arenaloop.specs.recipes.arena_learning import RECIPE as ARENA_LEARNING
from arenaloop.specs.recipes.base import Recipe
from arenaloop.specs.recipes.self_rewarding import META_REWARDING, SELF_REWARDING

__all__ = ["RECIPES", "demo_settings", "recipe_named"]


RECIPES: Mapping[str, Recipe] = {
    "arena_learning": ARENA_LEARNING,
    "alpaca_farm": ALPACA_FARM,
    "self_rewarding": SELF_REWARDING,
    "meta_rewarding": META_REWARDING,
}


def recipe_named(name: object, where: str) -> Recipe:
    """The recipe that a file's ``recipe:`` key, or a command, names.

    Args:
        name: what stands there.
        where: which file or command, for the message.

    Raises:
        ConfigError: there is no such recipe.
    """
    if not isinstance(name, str) or name not in RECIPES:
        known = ", ".join(RECIPES)
        raise ConfigError(f"{where}: recipe {name!r} is not known{nearest(str(name), list(RECIPES))}; known: {known}")
    return RECIPES[name]


def demo_settings(name: str, *changes: str, split: str = "test") -> RecipeSettings:
    """A recipe's settings in the small world.

    Args:
        name: of the recipe.
        changes: ``key.path=value`` assignments.
        split: the held-out prompts to rate on, ``test`` or ``dev``.

    Raises:
        ConfigError: no such recipe or split, or a change of a setting that it has not.
    """
    kind = recipe_named(name, "demo").settings
    if split not in ("test", "dev"):
        raise ConfigError(f"--split {split}: expected test or dev{nearest(split, ['test', 'dev'])}")
    file = resources.files("arenaloop.sandbox").joinpath("demos", f"{name}.yaml")
    if not file.is_file():
        raise ConfigError(f"the recipe {name} has no demo yet; `arenaloop run` takes its own file")
    text = file.read_text(encoding="utf-8")
    values = json.dumps(override(yaml.safe_load(text), changes)).replace("split=test", f"split={split}")
    return validate(kind, json.loads(values), "demo")
