"""Settings of Meta-Rewarding."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from arenaloop.config.base import Settings
from arenaloop.config.judging import SamplingSettings
from arenaloop.config.recipes.self_gates import MetaGateSettings
from arenaloop.config.recipes.self_rewarding import JudgesItselfSettings, SelfJudgeSettings, _listed
from arenaloop.config.training import DPOSettings, SFTSettings

__all__ = ["MetaRewardingSettings", "MetaSettings"]


def _pairs(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """One line for all that may stand there, where each kind would tell its own."""
    try:
        return check(value)
    except ValidationError:
        raise ValueError(f"expected all, tournament, or a whole number of at least 1, not {value!r}") from None


class MetaSettings(Settings):
    """How the model judges its judgements, and what it learns from that."""

    begin: int = Field(1, ge=1)
    """the first iteration that learns from judgements"""
    iterations: int = Field(2, ge=1)
    """in how many iterations, from `begin`, judgements are learned from; unless it is set, no more than there are"""
    template: str = "meta"
    """meta, the path of a template file of layout judgements, or sandbox:winner"""
    sampling: SamplingSettings = SamplingSettings()
    """decoding of verdicts on judgements: greedy"""
    reask: int = Field(0, ge=0)
    """how often a verdict that cannot be read is asked again, warmer; unread ones count for neither"""
    pairs: Annotated[Literal["all", "tournament"] | Annotated[int, Field(ge=1)], WrapValidator(_pairs)] = "all"
    """which judgements of an answer meet, each pair in both orders: all, in a Swiss tournament of log2 of their number
    rounds, or each about k others"""
    weight_scope: Literal["global", "response"] = "global"
    """over what the seats' weights are taken: all verdicts of an iteration, or those on one answer"""
    weight_floor: float = Field(0.0, ge=0, le=0.5)
    """the least that a win from a seat weighs"""
    l2: float = Field(0.01, gt=0)
    """ridge of the judgements' Bradley-Terry strengths"""
    max_chosen: Annotated[tuple[Annotated[int, Field(ge=1)] | None, ...], BeforeValidator(_listed)] = (1100, 1000)
    """characters; a pair whose chosen judgement is longer is dropped, by iteration; null = none is"""
    require_score_diff: bool = False
    """drop pairs of judgements that give the same score, instead of counting them"""
    max_share: float | None = Field(None, ge=0, le=1)
    """the largest share of the training rows that pairs of judgements may have; null = no limit"""

    @model_validator(mode="after")
    def _some_lengths(self) -> MetaSettings:
        if not self.max_chosen:
            raise ValueError("max_chosen: at least one value")
        return self

    def learns_in(self, iteration: int) -> bool:
        """Whether an iteration, from 1, learns from judgements."""
        return self.begin <= iteration < self.begin + self.iterations


class MetaRewardingSettings(JudgesItselfSettings):
    """Meta-Rewarding Language Models (Wu et al. 2024, arXiv 2407.19594): a model also learns from how it judges."""

    recipe: Literal["meta_rewarding"]
    """which recipe this file is for"""
    name: str = "meta_rewarding"
    """names the default run directory"""
    iterations: int = Field(4, ge=1)
    """rounds of answering, judging and training after M1"""
    samples: int = Field(7, ge=2)
    """answers to each prompt"""
    sampling: SamplingSettings = SamplingSettings(temperature=0.8, top_p=0.95, max_tokens=1024)
    """decoding of those answers"""
    self_judge: SelfJudgeSettings = SelfJudgeSettings(votes=11, sampling=SamplingSettings(temperature=0.8, top_p=0.95))
    """how the model judges its answers"""
    rho: Annotated[tuple[Annotated[float, Field(ge=0)] | None, ...], BeforeValidator(_listed)] = (0.0, 0.32, 0.32, 0.4)
    """length control by iteration (the last value serves all later ones): how much of the scores' range counts as
    equal, so that the shortest of the best is chosen and the longest of the worst rejected; null = off"""
    max_chosen: Annotated[tuple[Annotated[int, Field(ge=1)] | None, ...], BeforeValidator(_listed)] = (2500, None)
    """a pair whose chosen answer is longer is dropped, by iteration; null = none is"""
    meta: MetaSettings = MetaSettings()
    """how the model judges its judgements"""
    gates: MetaGateSettings = MetaGateSettings()
    """what must be shown of the judgements before they are learned from"""
    sft: SFTSettings = SFTSettings(learning_rate=5e-8, batch_size=32, epochs=10)
    """training of M1"""
    dpo: DPOSettings = DPOSettings(learning_rate=5e-6, batch_size=32, beta=0.1, epochs=10)
    """training of later models"""

    @model_validator(mode="after")
    def _judgements_to_compare(self) -> MetaRewardingSettings:
        if self.self_judge.votes < 2:
            raise ValueError("self_judge.votes: one judgement of an answer has no other one to be compared with")
        if self.scorer is not None or self.reward is not None:
            raise ValueError("meta compares the model's own judgements: with scorer or reward take self_rewarding")
        return self

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> MetaRewardingSettings:
        left = self.iterations - self.meta.begin + 1
        if "iterations" not in self.meta.model_fields_set and 1 <= left < self.meta.iterations:
            meta = self.meta.model_copy(update={"iterations": left})
            object.__setattr__(self, "meta", meta)  # settings are frozen once this is through
        return self
