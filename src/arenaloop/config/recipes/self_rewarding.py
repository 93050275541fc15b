"""Settings of Self-Rewarding, and what Meta-Rewarding shares with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from arenaloop.config.base import Settings
from arenaloop.config.judging import JudgeSpec, ModelSpec, SamplingSettings
from arenaloop.config.recipes.run import RecipeSettings
from arenaloop.config.recipes.self_gates import CheckpointSettings, GateSettings
from arenaloop.config.self_instruct import SeededSettings
from arenaloop.config.training import DPOSettings, SFTSettings

__all__ = ["JudgesItselfSettings", "LimitSettings", "SelfDataSettings", "SelfJudgeSettings", "SelfRewardingSettings"]


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class SelfDataSettings(Settings):
    """What is learned from and measured on."""

    demonstrations: str | None = None
    """IFT: conversations that M1 learns to answer from, or sandbox:demonstrations?n=…; null = none"""
    judgements: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """EFT: files of judgements that M1 learns to judge from, as conversations that end with one, or as
    conversations that end with an answer and a column `judgement`; sandbox:evaluations?n=…, sandbox:comparisons?n=…;
    none, and no demonstrations: M1 is the target as it is"""
    ranked: str | None = None
    """Open Assistant's message trees (JSONL), whose replies people have ranked: the best ones join the demonstrations,
    from which M0 learns; M0 judges the replies to other prompts, and M1 learns from judgements in people's order"""
    ranked_demonstrations: int = Field(3200, ge=0)
    """prompts of `ranked` whose best replies are demonstrations; the others are judged"""
    most_of_score: float = Field(0.4, gt=0, le=1)
    """the largest share of one score among those judgements; more of it are left out"""
    prompts: str | None = None
    """fresh prompts, cut into one slice for each iteration, or sandbox:prompts?n=…&split=train; null = only those of
    self_instruct"""
    self_instruct: SeededSettings | None = None
    """new prompts, which a model writes after `seeds` before the first iteration, and which join `prompts`; null =
    none"""
    validation: str | None = None
    """held-out prompts by which an iteration's best checkpoint is chosen; null = its last one is its model"""
    test: str
    """held-out prompts on which every model is rated"""

    @model_validator(mode="after")
    def _some_prompts(self) -> SelfDataSettings:
        if self.prompts is None and self.self_instruct is None:
            raise ValueError("'prompts' is missing (or self_instruct, by which a model writes new ones)")
        return self


class SelfJudgeSettings(Settings):
    """How the model judges."""

    template: str = "rubric"
    """rubric, the path of a template file of layout answer, or sandbox:score"""
    sampling: SamplingSettings = SamplingSettings(temperature=0.7, top_p=0.9)
    """decoding of judgements"""
    votes: int = Field(3, ge=1)
    """judgements of each answer; its score is the mean of those that can be read"""
    min_scores: int = Field(1, ge=1)
    """an answer with fewer scores is left out"""
    reask: int = Field(0, ge=0)
    """how often a judgement that cannot be read is asked again, warmer"""

    @model_validator(mode="after")
    def _enough_votes(self) -> SelfJudgeSettings:
        if self.min_scores > self.votes:
            raise ValueError(f"min_scores {self.min_scores}: more than there are votes ({self.votes})")
        return self


class LimitSettings(Settings):
    """Stop rules and warnings; null = off."""

    one_score: float | None = Field(0.9, gt=0, le=1)
    """share of one score value above which judgements are not learned from in this iteration"""
    no_pair: float | None = Field(0.9, gt=0, le=1)
    """share of prompts whose answers all have equal scores above which the run stops"""
    follow: float | None = Field(0.97, gt=0, le=1)
    """warn where the meta-judge follows the higher score more often"""
    seat: float | None = Field(0.9, ge=0.5, le=1)
    """warn where it names one seat more often between equal scores"""
    growth: float | None = Field(2.0, ge=1)
    """warn where answers are so many times as long as in the first iteration"""


class JudgesItselfSettings(RecipeSettings):
    """What recipes have in which a model learns from its own judgements."""

    iterations: int = Field(ge=1)
    """rounds of answering, judging and training after M1"""
    opponents: tuple[ModelSpec, ...] = ()
    """further models of the final leaderboard; nothing is learned from them"""
    data: SelfDataSettings
    """prompts, demonstrations and judgements"""
    prompts_per_iteration: int | None = Field(None, ge=1)
    """prompts of a slice; null = the prompts divided evenly"""
    samples: int = Field(ge=2)
    """answers to each prompt"""
    sampling: SamplingSettings
    """decoding of those answers"""
    self_judge: SelfJudgeSettings
    """how the model judges its answers"""
    scorer: JudgeSpec | None = None
    """another judge in the model's place: its SPEC or YAML, with a template of layout answer"""
    reward: str | None = None
    """a reward in the model's place: reward:PATH, python:FILE.py:FUNCTION, http://… or sandbox:gold"""
    rho: Annotated[tuple[Annotated[float, Field(ge=0)] | None, ...], BeforeValidator(_listed)]
    """length control by iteration (the last value serves all later ones): how much of the scores' range counts as
    equal, so that the shortest of the best is chosen and the longest of the worst rejected; null = off"""
    length_unit: Literal["chars", "tokens"] = "chars"
    """of lengths, for `rho` and `max_chosen`; tokens are the target's"""
    max_chosen: Annotated[tuple[Annotated[int, Field(ge=1)] | None, ...], BeforeValidator(_listed)] = (None,)
    """a pair whose chosen answer is longer is dropped, by iteration; null = none is"""
    allow_overlap: bool = False
    """take a `rho` above 0.5, and drop prompts of which one answer is picked twice"""
    equal_best: Literal["length", "spread"] = "length"
    """what decides between equal scores where `rho` is 0: lengths, or which scores vary least"""
    allow_truncated: bool = False
    """whether answers that were cut off are judged and learned from"""
    reference: Literal["round_init", "initial"] = "round_init"
    """DPO's reference: the model that each iteration starts from, or M1"""
    limits: LimitSettings = LimitSettings()
    """stop rules and warnings"""
    gates: GateSettings = GateSettings()
    """what must be shown of the judgements before they are learned from"""
    checkpoints: CheckpointSettings = CheckpointSettings()
    """which checkpoint of an iteration is its model, by `data.validation`"""
    sft: SFTSettings
    """training of M1"""
    dpo: DPOSettings
    """training of later models"""

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, values: Any) -> Any:
        """What a file leaves out of these mappings is as the recipe has it, not as the mapping has it elsewhere."""
        if not isinstance(values, Mapping):
            return values
        out = dict(values)
        for name in ("self_judge", "sft", "dpo"):
            default = cls.model_fields[name].default
            if isinstance(default, Settings) and isinstance(given := out.get(name), Mapping):
                out[name] = default.model_dump(exclude_unset=True) | dict(given)
        return out

    @model_validator(mode="after")
    def _one_judge_and_tiers_apart(self) -> JudgesItselfSettings:
        if self.scorer is not None and self.reward is not None:
            raise ValueError("scorer and reward both stand in the model's place: set one of them")
        if not self.rho or not self.max_chosen:
            raise ValueError("rho and max_chosen: at least one value each")
        largest = max((value for value in self.rho if value is not None), default=0.0)
        if largest > (1.0 if self.allow_overlap else 0.5):
            raise ValueError(
                f"rho {largest:g}: above 0.5 the best and the worst answers overlap "
                "(allow_overlap: true drops prompts of which one is picked twice)"
            )
        return self

    @property
    def rated_on(self) -> str:
        """See `RecipeSettings.rated_on`."""
        return self.data.test


class SelfRewardingSettings(JudgesItselfSettings):
    """Self-Rewarding Language Models (Yuan et al. 2024, arXiv 2401.10020): a model learns from its own scores."""

    recipe: Literal["self_rewarding"]
    """which recipe this file is for"""
    name: str = "self_rewarding"
    """names the default run directory"""
    iterations: int = Field(2, ge=1)
    """rounds of answering, judging and training after M1"""
    samples: int = Field(4, ge=2)
    """answers to each prompt"""
    sampling: SamplingSettings = SamplingSettings(temperature=0.7, top_p=0.9, max_tokens=1024)
    """decoding of those answers"""
    self_judge: SelfJudgeSettings = SelfJudgeSettings()
    """how the model judges its answers"""
    rho: Annotated[tuple[Annotated[float, Field(ge=0)] | None, ...], BeforeValidator(_listed)] = (None,)
    """length control by iteration (the last value serves all later ones): how much of the scores' range counts as
    equal, so that the shortest of the best is chosen and the longest of the worst rejected; null = off"""
    learn: Literal["dpo", "perfect"] = "dpo"
    """preference pairs by DPO, or fine-tuning on answers with a perfect score"""
    sft: SFTSettings = SFTSettings(learning_rate=5.5e-6, batch_size=16)
    """training of M1, and of later models where `learn` is perfect"""
    dpo: DPOSettings = DPOSettings(learning_rate=1e-6, batch_size=16, beta=0.1, epochs=1)
    """training of later models"""

    @model_validator(mode="after")
    def _perfect_is_known(self) -> SelfRewardingSettings:
        if self.learn == "perfect" and self.reward is not None:
            raise ValueError("learn perfect: a reward has no scale, so no score of it is perfect")
        return self
