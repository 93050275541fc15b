"""Settings of the recipes, a file each, over what every recipe has (`run`)."""

from arenaloop.config.recipes.arena_learning import ArenaLearningSettings, DataSettings
from arenaloop.config.recipes.run import RecipeSettings, TargetSettings

__all__ = ["ArenaLearningSettings", "DataSettings", "RecipeSettings", "TargetSettings"]
