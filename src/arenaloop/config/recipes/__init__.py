"""Settings of the recipes, a file each, over what every recipe has (`run`)."""

from arenaloop.config.recipes.alpaca_farm import AlpacaFarmSettings, FarmDataSettings, FarmMethodSettings
from arenaloop.config.recipes.arena_learning import ArenaLearningSettings, DataSettings
from arenaloop.config.recipes.run import MachineSettings, RecipeSettings, TargetSettings

__all__ = [
    "AlpacaFarmSettings",
    "ArenaLearningSettings",
    "DataSettings",
    "FarmDataSettings",
    "FarmMethodSettings",
    "MachineSettings",
    "RecipeSettings",
    "TargetSettings",
]
