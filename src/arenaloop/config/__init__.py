"""What a user may set: pydantic models, read from YAML, `--set key=value` overrides and nothing else.

Every model forbids unknown keys and names the nearest valid one. Environment variables carry endpoints and keys, never
methods. The resolved settings are saved as ``config.yaml`` in every run directory.
"""

from arenaloop.config.annotators import AnnotateSettings, AnnotatorSettings, PoolSettings
from arenaloop.config.base import Settings, dump_values, dump_yaml, override, read_yaml, validate
from arenaloop.config.cleaning import CleaningSettings
from arenaloop.config.guards import GuardSettings, HeldOutSettings
from arenaloop.config.judging import (
    AuditSettings,
    BatchSettings,
    BattleSettings,
    BestOfNSettings,
    HumanSettings,
    JudgedSettings,
    JudgeSettings,
    ModelSettings,
    PriceList,
    PriceSettings,
    RunSettings,
    SamplingSettings,
)
from arenaloop.config.optim import LoraSettings, OptimSettings, RowSettings
from arenaloop.config.recipes import (
    AlpacaFarmSettings,
    ArenaLearningSettings,
    DataSettings,
    FarmDataSettings,
    FarmMethodSettings,
    JudgesItselfSettings,
    LimitSettings,
    MachineSettings,
    MetaRewardingSettings,
    MetaSettings,
    RecipeSettings,
    SelfDataSettings,
    SelfJudgeSettings,
    SelfRewardingSettings,
    TargetSettings,
)
from arenaloop.config.rl import (
    ExpertIterationSettings,
    PolicyGradientSettings,
    PPOSettings,
    QuarkSettings,
    RLOOSettings,
    RolloutSettings,
    SampleSettings,
)
from arenaloop.config.self_instruct import NewPromptSettings, SelfInstructSettings
from arenaloop.config.testset import TestSetSettings
from arenaloop.config.training import (
    METHODS,
    DPOSettings,
    FeedMESettings,
    RewardConditioningSettings,
    RewardModelSettings,
    SFTSettings,
)

__all__ = [
    "METHODS",
    "AlpacaFarmSettings",
    "AnnotateSettings",
    "AnnotatorSettings",
    "ArenaLearningSettings",
    "AuditSettings",
    "BatchSettings",
    "BattleSettings",
    "BestOfNSettings",
    "CleaningSettings",
    "DPOSettings",
    "DataSettings",
    "ExpertIterationSettings",
    "FarmDataSettings",
    "FarmMethodSettings",
    "FeedMESettings",
    "GuardSettings",
    "HeldOutSettings",
    "HumanSettings",
    "JudgeSettings",
    "JudgedSettings",
    "JudgesItselfSettings",
    "LimitSettings",
    "LoraSettings",
    "MachineSettings",
    "MetaRewardingSettings",
    "MetaSettings",
    "ModelSettings",
    "NewPromptSettings",
    "OptimSettings",
    "PPOSettings",
    "PolicyGradientSettings",
    "PoolSettings",
    "PriceList",
    "PriceSettings",
    "QuarkSettings",
    "RLOOSettings",
    "RecipeSettings",
    "RewardConditioningSettings",
    "RewardModelSettings",
    "RolloutSettings",
    "RowSettings",
    "RunSettings",
    "SFTSettings",
    "SampleSettings",
    "SamplingSettings",
    "SelfDataSettings",
    "SelfInstructSettings",
    "SelfJudgeSettings",
    "SelfRewardingSettings",
    "Settings",
    "TargetSettings",
    "TestSetSettings",
    "dump_values",
    "dump_yaml",
    "override",
    "read_yaml",
    "validate",
]
