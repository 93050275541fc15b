"""Settings of Arena Learning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from arenaloop.config.base import Settings
from arenaloop.config.cleaning import CleaningSettings
from arenaloop.config.judging import ModelSpec
from arenaloop.config.recipes.run import RecipeSettings
from arenaloop.config.training import DPOSettings, SFTSettings

__all__ = ["ArenaLearningSettings", "DataSettings"]


class DataSettings(Settings):
    """What is trained on and tested on."""

    demonstrations: str
    """D0: conversations that SFT-I0 learns from (JSONL with `messages`), or sandbox:demonstrations?n=…"""
    prompts: str
    """the pool that is cut into slices, one per later stage, or sandbox:prompts?n=…&split=train"""
    test: str
    """held-out prompts on which every stage is rated"""
    validation: str | None = None
    """held-out prompts, not the test's, that decide which stage of a round was best; null = its last stage is"""
    cleaning: CleaningSettings | None = None
    """how the pool is cleaned before it is cut; null = it is taken as it is, {} = as the paper does"""
    max_prompts_per_slice: int | None = Field(None, ge=1)
    """null = the pool divided evenly"""


class ArenaLearningSettings(RecipeSettings):
    """Arena Learning (Luo et al. 2024, arXiv 2407.10627): the flywheel of battles and training."""

    recipe: Literal["arena_learning"]
    """which recipe this file is for"""
    name: str = "arena_learning"
    """names the default run directory"""
    rounds: int = Field(3, ge=0)
    """rounds after SFT-I0"""
    stages: tuple[Literal["sft", "dpo"], ...] = ("sft", "dpo")
    """stages of a round, in order, each with battles on its own slice of prompts"""
    opponents: tuple[ModelSpec, ...] = Field(min_length=1)
    """those it learns from"""
    data: DataSettings
    """prompts and demonstrations"""
    battle_mode: Literal["all_pairs", "target_vs_each"] = "all_pairs"
    """the paper lets all contestants meet"""
    k_sft: tuple[float, ...] = Field((3.0, 1.0, 1.0), min_length=1)
    """SFT keeps prompts that the target lost by at least this, by round (the last value serves all later rounds); in
    the judge's unit, points of 1 to 10 or shares of 1"""
    k_dpo: tuple[float, ...] = Field((2.0, 2.0, 2.0), min_length=1)
    """DPO keeps pairs at least this far apart, by round, in the judge's unit"""
    rejected: Literal["worst", "target"] = "worst"
    """whose answer a DPO pair rejects"""
    allow_truncated_chosen: bool = False
    """whether an answer that was cut off may be learned from"""
    sft_init: Literal["base", "previous_sft", "previous_best"] = "base"
    """where the SFT of each round starts"""
    sft_replay: float = Field(0.0, ge=0)
    """D0 rows mixed into each later SFT, as a share of its selected rows"""
    accumulate: bool = True
    """train on the rows of all rounds so far, each by its own battles and threshold; false = on this round's only"""
    anchor: tuple[str, float] | None = None
    """a contestant of the final leaderboard and the rating it is held at"""
    sft_init_training: SFTSettings = SFTSettings()
    """training of SFT-I0"""
    sft: SFTSettings = SFTSettings()
    """training of later SFT stages"""
    dpo: DPOSettings = DPOSettings()
    """training of DPO stages"""

    @model_validator(mode="after")
    def _stages_make_sense(self) -> ArenaLearningSettings:
        if not self.stages or len(set(self.stages)) != len(self.stages):
            raise ValueError("stages: each of sft and dpo at most once, and at least one")
        return self

    @property
    def rated_on(self) -> str:
        """See `RecipeSettings.rated_on`."""
        return self.data.test
