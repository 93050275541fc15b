"""Settings of the recipes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from arenaloop.config.base import Settings
from arenaloop.config.judging import JudgeSpec, ModelSpec, SamplingSettings
from arenaloop.config.training import DPOSettings, SFTSettings

__all__ = ["ArenaLearningSettings", "DataSettings", "TargetSettings"]


class TargetSettings(Settings):
    """The model being improved."""

    model: str
    """where training starts: hf:ID_OR_PATH, or sandbox:target for a fresh tiny model"""
    revision: str | None = None
    """commit or branch of a hub model"""
    sampling: SamplingSettings = SamplingSettings(max_tokens=1024)
    """decoding in battles"""
    chunk_size: int = Field(32, ge=1)
    """prompts per batch"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """of the weights while answering"""
    device: str | None = None
    """a torch device; null = the first GPU, or the CPU"""
    options: dict[str, Any] = Field(default_factory=dict)
    """width, layers, … of a sandbox target"""


class DataSettings(Settings):
    """What is trained on and tested on."""

    demonstrations: str
    """D0: conversations that SFT-I0 learns from (JSONL with `messages`), or sandbox:demonstrations?n=…"""
    prompts: str
    """the pool that is cut into slices, one per later stage, or sandbox:prompts?n=…&split=train"""
    test: str
    """held-out prompts on which every stage is rated"""
    validation: str | None = None
    """held-out prompts that decide which stage of a round was best; null = the round's last stage is taken as best"""
    max_prompts_per_slice: int | None = Field(None, ge=1)
    """null = the pool divided evenly"""


class ArenaLearningSettings(Settings):
    """Arena Learning (Luo et al. 2024, arXiv 2407.10627): the flywheel of battles and training."""

    recipe: Literal["arena_learning"]
    """which recipe this file is for"""
    name: str = "arena_learning"
    """names the default run directory"""
    seed: int = 0
    """seed of everything that is drawn"""
    rounds: int = Field(3, ge=0)
    """rounds after SFT-I0"""
    stages: tuple[Literal["sft", "dpo"], ...] = ("sft", "dpo")
    """stages of a round, in order, each with battles on its own slice of prompts"""
    target: TargetSettings
    """the model being improved"""
    opponents: tuple[ModelSpec, ...] = Field(min_length=1)
    """those it learns from"""
    judge: JudgeSpec
    """who decides, in training and on the test set alike"""
    data: DataSettings
    """prompts and demonstrations"""
    battle_mode: Literal["all_pairs", "target_vs_each"] = "all_pairs"
    """the paper lets all contestants meet"""
    merge: Literal["mean", "agree_or_tie", "two_battles"] = "mean"
    """how two seats become a battle"""
    one_seat_failed: Literal["drop_battle", "use_one"] = "drop_battle"
    """what becomes of a pair of which one seat alone was decided"""
    k_sft: tuple[float, ...] = Field((3.0, 1.0, 1.0), min_length=1)
    """SFT keeps prompts that the target lost by at least this, by round (the last value serves all later rounds)"""
    k_dpo: tuple[float, ...] = Field((2.0, 2.0, 2.0), min_length=1)
    """DPO keeps pairs at least this far apart, by round"""
    rejected: Literal["worst", "target"] = "worst"
    """whose answer a DPO pair rejects"""
    allow_truncated_chosen: bool = False
    """whether an answer that was cut off may be learned from"""
    allow_missing: bool = False
    """go on where a recorded opponent lacks answers"""
    sft_init: Literal["base", "previous_sft", "previous_best"] = "base"
    """where the SFT of each round starts"""
    sft_replay: float = Field(0.0, ge=0)
    """D0 rows mixed into each later SFT, as a share of its selected rows"""
    accumulate: bool = True
    """train on the rows of all rounds so far, as they were selected then; false = on this round's only"""
    anchor: tuple[str, float] | None = None
    """a contestant of the final leaderboard and the rating it is held at"""
    concurrency: int | None = Field(None, ge=1)
    """seatings in progress at once; null = what the endpoints allow"""
    budget_usd: float | None = Field(None, gt=0)
    """US dollars that the run directory may cost in all; null = no limit"""
    budget_calls: int | None = Field(None, ge=1)
    """calls that may be sent in all; null = no limit"""
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
