"""The registry: every recipe is checked, planned and known by its file, and no finished directory is trained again."""

from __future__ import annotations

from pathlib import Path

import pytest

from arenaloop.config import ArenaLearningSettings, RecipeSettings, override, validate
from arenaloop.errors import ConfigError
from arenaloop.recipes.arena_learning_plan import inputs_key
from arenaloop.specs.recipes import RECIPES, demo_settings, recipe_named
from arenaloop.specs.recipes.arena_learning import build_arena_learning


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_demo_that_can_be_planned(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    settings = demo_settings(name, "seed=3", split="dev")
    assert isinstance(settings, recipe.settings)
    assert (settings.recipe, settings.seed) == (name, 3)
    assert settings.rated_on is None or "split=dev" in settings.rated_on
    outline = recipe.outline(recipe.build(settings, tmp_path / "out", True))
    assert outline.stages
    assert sum(calls for _, _, calls in outline.calls) > 0
    assert len(recipe.about.splitlines()) == 1
    assert [key for key, field in recipe.settings.model_fields.items() if not field.description] == []
    assert not (tmp_path / "out").exists()


def test_unknown_names_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml: recipe 'arena_lerning' is not known .*did you mean 'arena_l"):
        recipe_named("arena_lerning", "x.yaml")
    for name in (None, 3, ["arena_learning"]):
        with pytest.raises(ConfigError, match="is not known"):
            recipe_named(name, "x.yaml")
    with pytest.raises(ConfigError, match="expected test or dev"):
        demo_settings("arena_learning", split="train")


def test_the_key_of_the_inputs_stays_as_it_was_in_the_first_version(tmp_path: Path) -> None:
    """Another key would train the stages of every finished directory again."""
    settings = demo_settings("arena_learning")
    assert isinstance(settings, ArenaLearningSettings)
    assert inputs_key(build_arena_learning(settings, tmp_path)) == "f491ac589fd33ad8598eacf35e2337a2"


def test_a_recipe_without_a_final_leaderboard_tells_no_prompts() -> None:
    values = {"recipe": "other", "name": "x", "judge": "sandbox:judge", "target": {"model": "hf:x"}}
    assert validate(RecipeSettings, override(values, []), "x.yaml").rated_on is None
