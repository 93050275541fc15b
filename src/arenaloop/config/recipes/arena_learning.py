"""Settings of Arena Learning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from arenaloop.config.base import Settings
from arenaloop.config.cleaning import CleaningSettings
from arenaloop.config.guards import GuardSettings, HeldOutSettings
from arenaloop.config.judging import ModelSpec
from arenaloop.config.recipes.run import RecipeSettings
from arenaloop.config.rl import PPOSettings
from arenaloop.config.training import DPOSettings, RewardModelSettings, SFTSettings

__all__ = ["ArenaLearningSettings", "DataSettings", "RatingSettings"]


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


class RatingSettings(Settings):
    """How the final leaderboard rates; the paper's way: {interval: bootstrap, cluster: battle, score: median}."""

    interval: Literal["sandwich", "bootstrap"] = "sandwich"
    """of 95 %"""
    cluster: Literal["prompt", "battle"] = "prompt"
    """what counts as independent: prompts, with all battles on them, or single battles"""
    samples: int = Field(100, ge=10)
    """resamples of a bootstrap"""
    score: Literal["estimate", "median"] = "estimate"
    """a rating is the maximum-likelihood estimate, or the median of a bootstrap's resamples"""

    @model_validator(mode="after")
    def _a_median_needs_resamples(self) -> RatingSettings:
        if self.score == "median" and self.interval != "bootstrap":
            raise ValueError("rating.score: the median is a bootstrap's: rating.interval: bootstrap")
        return self

    def options(self, seed: int) -> dict[str, Any]:
        """The same as arguments of `arena.leaderboard.leaderboard`."""
        return {**self.model_dump(), "seed": seed}


class ArenaLearningSettings(RecipeSettings):
    """Arena Learning (Luo et al. 2024, arXiv 2407.10627): the flywheel of battles and training."""

    recipe: Literal["arena_learning"]
    """which recipe this file is for"""
    name: str = "arena_learning"
    """names the default run directory"""
    rounds: int = Field(3, ge=0)
    """rounds after SFT-I0"""
    stages: tuple[Literal["sft", "dpo", "ppo"], ...] = ("sft", "dpo", "ppo")
    """stages of a round, in order, each on its own slice of prompts; `ppo` trains a reward model first"""
    opponents: tuple[ModelSpec, ...] = Field(min_length=1)
    """those it learns from"""
    opponents_by_round: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] | None = Field(None, min_length=1)
    """names of the opponents that a round learns from (the last entry serves all later rounds); those that no round
    names are validated against and rated only; null = all of them, in every round"""
    data: DataSettings
    """prompts and demonstrations"""
    held_out: HeldOutSettings | None = None
    """a judge and prompts that training never sees, by which every stage is rated; null = none"""
    guards: GuardSettings = GuardSettings()
    """when training is stopped before its last stage"""
    battle_mode: Literal["all_pairs", "target_vs_each", "split"] = "all_pairs"
    """who meets on a prompt: all contestants (the paper), the target and each opponent, or the target and one opponent,
    each of whom has an even share of the slice"""
    k_sft: tuple[float, ...] = Field((3.0, 1.0, 1.0), min_length=1)
    """SFT keeps prompts that the target lost by at least this, by round (the last value serves all later rounds); in
    the judge's unit, points of 1 to 10 or shares of 1"""
    k_dpo: tuple[float, ...] = Field((2.0, 2.0, 2.0), min_length=1)
    """DPO keeps pairs at least this far apart, by round, in the judge's unit"""
    k_rm: tuple[float, ...] = Field((0.0,), min_length=1)
    """the reward model keeps pairs at least this far apart, by round, in the judge's unit; equal ones never"""
    rejected: Literal["worst", "target", "all_pairs_over_k"] = "worst"
    """whose answer a pair rejects; `all_pairs_over_k`: every pair far enough apart, not the best answer's alone"""
    rm_pairs: Literal["both", "battles", "own"] = "both"
    """what the reward model learns from: battles of all contestants (the paper), the target's own answers, or both"""
    rm_samples: int = Field(4, ge=2)
    """the target's own answers to each prompt of a reward model's slice; the first battles the second, and so on"""
    rm_temperature: float = Field(1.0, gt=0)
    """at which those are sampled"""
    allow_truncated_chosen: bool = False
    """whether an answer that was cut off may be learned from"""
    sft_init: Literal["base", "previous_sft", "previous_best"] = "base"
    """where the SFT of each round starts"""
    sft_replay: float = Field(0.0, ge=0)
    """D0 rows mixed into each later SFT, as a share of its selected rows"""
    accumulate: bool | Literal["reselect"] = True
    """train on the rows of all rounds so far, each by its own battles and threshold; `reselect` = all by this round's
    threshold; false = on this round's only"""
    ppo_prompts: Literal["all", "slice"] | None = None
    """the prompts of all PPO's slices so far, or of the round's own; null = as `accumulate` has it of rows"""
    rm_init: Literal["target", "base"] = "target"
    """where reward models start: the newest target, or `target.model` (the paper's: Mistral-7B)"""
    anchor: tuple[str, float] | None = None
    """a contestant of the final leaderboard and the rating it is held at"""
    rating: RatingSettings = RatingSettings()
    """how the final leaderboard rates"""
    sft_init_training: SFTSettings = SFTSettings()
    """training of SFT-I0"""
    sft: SFTSettings = SFTSettings()
    """training of later SFT stages"""
    dpo: DPOSettings = DPOSettings()
    """training of DPO stages"""
    reward_model: RewardModelSettings = RewardModelSettings(learning_rate=1e-6, batch_size=64)
    """training of reward models, each from `rm_init`"""
    ppo: PPOSettings = PPOSettings(learning_rate=1e-7)
    """training of PPO stages, on the prompts of their slices, by the round's reward model"""

    @model_validator(mode="after")
    def _stages_make_sense(self) -> ArenaLearningSettings:
        if not self.stages or len(set(self.stages)) != len(self.stages):
            raise ValueError("stages: each of sft, dpo and ppo at most once, and at least one")
        return self

    def accumulates(self, kind: str) -> bool:
        """Whether a kind of stage is trained on what earlier rounds had for it, too."""
        if kind == "ppo" and self.ppo_prompts is not None:
            return self.ppo_prompts == "all"
        return bool(self.accumulate)

    @property
    def rated_on(self) -> str:
        """See `RecipeSettings.rated_on`."""
        return self.data.test
