"""The recipes by name: the settings that their files are checked against, and how they are built, planned and run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from arenaloop.config import ArenaLearningSettings, RecipeSettings, override, validate
from arenaloop.errors import ConfigError, nearest
from arenaloop.specs.recipes import arena_learning

if TYPE_CHECKING:
    from arenaloop.recipes.observer import Observer
    from arenaloop.recipes.stage import Outline, Result
    from arenaloop.store import Store

__all__ = ["RECIPES", "Recipe", "demo_settings", "recipe_named"]


@dataclass(frozen=True)
class Recipe:
    """A recipe as the command line knows it; ``sandbox/demos/NAME.yaml`` are its settings in the small world.

    Attributes:
        about: one line.
        settings: what its file holds.
        build: (settings, run directory, whether only the plan is wanted) → everything that it works on. Refuses what
            cannot run to its end, and writes nothing.
        outline: what was built → what it will do.
        run: (what was built, arena file, run directory, observer) → the result; also resumes.
    """

    about: str
    settings: type[RecipeSettings]
    build: Callable[[Any, Path, bool], Any]
    outline: Callable[[Any], Outline]
    run: Callable[[Any, Store, Path, Observer], Result]


RECIPES: Mapping[str, Recipe] = {
    "arena_learning": Recipe(
        "the target battles stronger models and learns from what it lost",
        ArenaLearningSettings,
        arena_learning.build_arena_learning,
        arena_learning.outline,
        arena_learning.run,
    ),
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
    text = resources.files("arenaloop.sandbox").joinpath("demos", f"{name}.yaml").read_text(encoding="utf-8")
    values = json.dumps(override(yaml.safe_load(text), changes)).replace("split=test", f"split={split}")
    return validate(kind, json.loads(values), "demo")
