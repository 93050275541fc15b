"""Settings of AlpacaFarm."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from arenaloop.config.base import Settings, validate
from arenaloop.config.judging import ModelSpec
from arenaloop.config.optim import OptimSettings
from arenaloop.config.recipes.alpaca_farm_parity import Choice, compared, with_parity
from arenaloop.config.recipes.run import RecipeSettings
from arenaloop.config.rl import SampleSettings
from arenaloop.config.training import METHODS, RewardModelSettings, SFTSettings
from arenaloop.errors import ConfigError

__all__ = ["AlpacaFarmSettings", "FarmAnnotatorSettings", "FarmDataSettings", "FarmMethodSettings"]

REWARD_MODEL = "reward_model"
ANNOTATORS = "annotators"
"""The judge that stands for the pool of annotators."""


class FarmDataSettings(Settings):
    """The splits, and what becomes of rows that stand in two of them."""

    sft: str
    """conversations that the start of all methods learns from, or sandbox:demonstrations?n=…"""
    preference: str
    """prompts whose answers are compared in pairs; with `labels: file`, the labelled pairs themselves"""
    unlabeled: str | None = None
    """prompts without labels, for methods that sample answers of their own"""
    validation: str | None = None
    """prompts (with `labels: file`, labelled pairs) whose pairs are not learned from, but measure RM and DPO"""
    evaluation: str
    """held-out prompts on which every policy meets the baseline"""
    people: str | None = None
    """a label file, FILE or FILE#column=value: what people say of the policies' and the baseline's answers"""
    overlap: Literal["refuse", "leave_out", "share"] = "refuse"
    """rows of one split that ask what another does: refuse to run; leave them out of the one that learns; or leave out
    those alone that ask evaluation or validation prompts"""


class FarmAnnotatorSettings(Settings):
    """Who labels the pairs, and how noisy labels are; null = as the pool has it."""

    pool: str = "alpaca_farm"
    """a shipped pool (`alpaca_farm`; `synthetic`, of a small world), a pool's YAML file, or one judge's SPEC"""
    model: ModelSpec | None = None
    """the model behind members that name none: its SPEC, or YAML file"""
    preset: Literal["p_sim", "p_eval"] | None = None
    """p_sim: a quarter of the labels turned, one seat; p_eval: none turned, both seats"""
    p_label_flip: float | None = Field(None, ge=0, le=0.5)
    """how often a label is turned; twice as often it is drawn without a call"""
    noise_model: Literal["uniform_flip", "length", "difficulty"] | None = None
    """what a drawn label says"""
    seat_mode: Literal["both_orders", "seeded", "compat"] | None = None
    """which seats are asked"""

    def changes(self) -> dict[str, Any]:
        """What is set beside the pool and its model."""
        return self.model_dump(exclude={"pool", "model"}, exclude_none=True)


class FarmMethodSettings(Settings):
    """One way to learn from the pairs, under the name that tables show."""

    method: Literal[
        "feedme", "reward_conditioning", "dpo", "best_of_n", "expert_iteration", "ppo", "rloo", "quark", "sft"
    ]
    """how; `sft` trains once more on the demonstrations"""
    reward: str = REWARD_MODEL
    """of methods that sample: `reward_model`, the one trained on the pairs; or the SPEC of a reward"""
    n: int = Field(16, ge=1)
    """samples of best_of_n"""
    training: Mapping[str, Any] = Field(default_factory=dict)
    """settings of the method's training, where they differ from its defaults"""

    @model_validator(mode="after")
    def _fits(self) -> FarmMethodSettings:
        if self.method == "best_of_n":
            if self.training:
                raise ValueError("best_of_n trains nothing: it has no training settings")
            return self
        if not self.samples and self.reward != REWARD_MODEL:
            raise ValueError(f"{self.method} learns from rows; a reward does nothing there")
        try:
            validate(METHODS[self.method], dict(self.training), "training")
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def samples(self) -> bool:
        """Whether it scores answers of the policy's own."""
        return self.method == "best_of_n" or issubclass(METHODS[self.method], SampleSettings)

    @property
    def asks_reward_model(self) -> bool:
        """Whether it needs the run's own."""
        return self.samples and REWARD_MODEL in (self.reward, self.training.get("value_start"))

    @property
    def learns(self) -> bool:
        """Whether there are new weights."""
        return self.method != "best_of_n"

    @property
    def settings(self) -> OptimSettings:
        """Those of the training, whole."""
        return validate(METHODS[self.method], dict(self.training), "training")


def _nine() -> dict[str, FarmMethodSettings]:
    names = {
        "FeedME": "feedme",
        "Reward conditioning": "reward_conditioning",
        "DPO": "dpo",
        "Best of 16": "best_of_n",
        "Expert iteration": "expert_iteration",
        "PPO": "ppo",
        "Quark": "quark",
    }
    return {name: FarmMethodSettings.model_validate({"method": method}) for name, method in names.items()}


class AlpacaFarmSettings(RecipeSettings):
    """AlpacaFarm (Dubois et al. 2023, arXiv 2305.14387): methods that learn from pairwise feedback, on one budget."""

    recipe: Literal["alpaca_farm"]
    """which recipe this file is for"""
    parity: Literal["alpaca_farm"] | None = None
    """alpaca_farm: what the published code chose, wherever this file sets nothing else; `--explain` lists it"""
    name: str = "alpaca_farm"
    """names the default run directory"""
    data: FarmDataSettings
    """the splits"""
    labels: Literal["simulated", "gold", "file"] = "simulated"
    """who labels the pairs: the annotators, the truth (in a small world that knows it), or they stand in the file"""
    annotators: FarmAnnotatorSettings = FarmAnnotatorSettings()
    """who labels the pairs, if labels are simulated"""
    eval_pairs: int = Field(0, ge=0)
    """labelled pairs that are not learned from, where there is no `data.validation`: RM and DPO are measured on them"""
    samples: int = Field(2, ge=2)
    """answers of the fine-tuned start to each preference prompt; each is compared with the next"""
    sampling_temperature: float = Field(1.0, gt=0)
    """at which they, and the samples of best_of_n, are drawn"""
    sft: SFTSettings = SFTSettings()
    """training of the start of all methods"""
    reward_model: RewardModelSettings = RewardModelSettings()
    """training of the reward model"""
    methods: Mapping[str, FarmMethodSettings] = Field(default_factory=_nine)
    """what is compared, by the name that tables show"""
    opponents: tuple[ModelSpec, ...] = ()
    """further models that meet the baseline, as they are"""
    baseline: str = "SFT"
    """whom all are compared with: SFT, or an opponent's name"""

    @model_validator(mode="before")
    @classmethod
    def _at_parity(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("parity") == "alpaca_farm":
            return with_parity(values, {name: {"method": method.method} for name, method in _nine().items()})
        return values

    @model_validator(mode="after")
    def _names_differ(self) -> AlpacaFarmSettings:
        if taken := {"SFT", "RM"} & set(self.methods):
            raise ValueError(f"methods: {min(taken)} is a stage's own name")
        if bad := [name for name in self.methods if not name.strip() or "/" in name or name.startswith(".")]:
            raise ValueError(f"methods: {bad[0]!r} cannot name a checkpoint's directory")
        return self

    @property
    def rated_on(self) -> str:
        """See `RecipeSettings.rated_on`."""
        return self.data.evaluation

    @property
    def needs_reward_model(self) -> bool:
        """Whether some method asks it."""
        return any(one.asks_reward_model for one in self.methods.values())

    def beside_parity(self) -> list[tuple[Choice, str]]:
        """What AlpacaFarm's code chose where our defaults are others, each with what stands here."""
        trained: dict[str, list[Mapping[str, Any]]] = {}
        for one in self.methods.values():
            if one.learns:
                trained.setdefault(one.method, []).append(one.settings.model_dump())
        return list(compared(self.model_dump(), trained))

    @cached_property
    def evaluators(self) -> FarmAnnotatorSettings | None:
        """The pool that decides evaluation battles, p_eval where nothing else is said; None where a judge does."""
        if self.judge.spec != ANNOTATORS:
            return None
        options = dict(self.judge.options)
        pool = {} if "pool" in options else self.annotators.model_dump(include={"pool", "model"}, exclude_unset=True)
        return validate(FarmAnnotatorSettings, {"preset": "p_eval", **pool, **options}, "judge annotators, options")

    @model_validator(mode="after")
    def _evaluators_fit(self) -> AlpacaFarmSettings:
        try:
            pool = self.evaluators
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if pool is not None and self.seats != "both":
            raise ValueError("seats is a judge's: with judge annotators set seat_mode in its options")
        return self
