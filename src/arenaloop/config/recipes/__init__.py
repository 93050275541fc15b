"""Settings of the recipes, a file each, over what every recipe has (`run`)."""

from arenaloop.config.recipes.alpaca_farm import AlpacaFarmSettings, FarmDataSettings, FarmMethodSettings
from arenaloop.config.recipes.arena_learning import ArenaLearningSettings, DataSettings
from arenaloop.config.recipes.machine import GPUSettings, MachineSettings
from arenaloop.config.recipes.meta_rewarding import MetaRewardingSettings, MetaSettings
from arenaloop.config.recipes.run import RecipeSettings, TargetSettings
from arenaloop.config.recipes.self_gates import CheckpointSettings, GateSettings, MetaGateSettings
from arenaloop.config.recipes.self_rewarding import (
    JudgesItselfSettings,
    LimitSettings,
    SelfDataSettings,
    SelfJudgeSettings,
    SelfRewardingSettings,
)

__all__ = [
    "AlpacaFarmSettings",
    "ArenaLearningSettings",
    "CheckpointSettings",
    "DataSettings",
    "FarmDataSettings",
    "FarmMethodSettings",
    "GPUSettings",
    "GateSettings",
    "JudgesItselfSettings",
    "LimitSettings",
    "MachineSettings",
    "MetaGateSettings",
    "MetaRewardingSettings",
    "MetaSettings",
    "RecipeSettings",
    "SelfDataSettings",
    "SelfJudgeSettings",
    "SelfRewardingSettings",
    "TargetSettings",
]
