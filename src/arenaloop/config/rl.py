"""Settings of the methods that learn from what the model itself says."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from arenaloop.config.optim import OptimSettings, RowSettings
from arenaloop.errors import ConfigError

__all__ = [
    "ExpertIterationSettings",
    "PPOSettings",
    "PolicyGradientSettings",
    "QuarkSettings",
    "RLOOSettings",
    "RolloutSettings",
    "SampleSettings",
]


FILTERS = ("top_p", "top_k", "min_p", "min_new_tokens", "min_tokens", "repetition_penalty", "stop", "stop_strings")
"""Settings of other samplers that cut what is drawn from."""


class SampleSettings(OptimSettings):
    """How answers are sampled from the model in training, and scored.

    They are drawn from the whole distribution: cutting it (top-p, top-k, stop strings) would train another model than
    the one that is sampled.
    """

    TRAINED_ON: ClassVar[str] = "prompts and a reward"
    LATER: ClassVar[frozenset[str]] = frozenset({"lora", "load_in"})

    samples: int = Field(default=1, ge=1)
    """answers to each prompt of a roll-out"""
    max_new_tokens: int = Field(default=300, ge=1)
    """tokens of an answer at most; prompts that leave no room for them in `max_length` are dropped; unless it is set,
    no more than half of `max_length`"""
    temperature: float = Field(default=1.0, gt=0)
    """of sampling, and so of every log-probability"""
    reward_clip: float | None = Field(default=None, gt=0)
    """scores are cut to this range; null = as they are"""
    unfinished_score: float | None = None
    """score of an answer that was cut at `max_new_tokens`; null = what the reward says"""

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, values: Any) -> Any:
        if isinstance(values, dict) and (name := next((one for one in FILTERS if one in values), None)):
            raise ValueError(
                f"{name} cannot be set: answers are drawn from the whole distribution (a cut one is another model than "
                "the one that is trained) and end at the end of turn or at max_new_tokens"
            )
        return values

    def within(self, window: int) -> Self:
        """The same for a window of so many tokens: an answer that was given no limit takes half of it at most."""
        tokens = self.max_new_tokens if "max_new_tokens" in self.model_fields_set else window // 2
        return self.model_copy(update={"max_new_tokens": min(tokens, self.max_new_tokens)})


class RolloutSettings(SampleSettings):
    """What the methods share that learn from the scores of each roll-out before the next.

    Defaults: AlpacaFarm (Dubois et al. 2023) and its published code.
    """

    iterations: int | None = Field(default=None, ge=1)
    """roll-outs; null = as many as ten passes over the prompts take"""
    rollout_batch: int = Field(default=512, ge=1)
    """answers per roll-out; unless it is set, no more than `samples` to every prompt"""
    step_batch: int = Field(default=256, ge=1)
    """answers per optimiser step; unless it is set, no more than a roll-out's"""
    learning_rate: float = Field(default=1e-5, gt=0)
    """peak learning rate"""
    schedule: Literal["cosine", "linear", "constant"] = "linear"
    """how the learning rate falls to zero after the warm-up, by roll-outs"""
    warmup_steps: int | None = Field(default=5, ge=0)
    """roll-outs of warm-up; overrides `warmup_ratio`"""
    adam_epsilon: float = Field(default=1e-5, gt=0)
    """added to the root of AdamW's second moment"""
    kl_coef: float = Field(default=0.0067, ge=0)
    """weight of the KL penalty towards the start, in units of the reward per nat"""
    kl_target: float | None = Field(default=None, gt=0)
    """nats per answer that the weight of the penalty is adapted to; null = the weight stays"""
    checkpoint_every: int = Field(default=20, ge=0)
    """roll-outs between the checkpoints that a resumed training starts from; 0 = none before the end"""
    log_every: int = Field(default=1, ge=1)
    """roll-outs per line of `metrics.jsonl`"""
    keep_every: int = Field(default=0, ge=0)
    """roll-outs between the models that are kept as `policy-N`, whole; 0 = none but the last"""
    stop_kl: float = Field(default=200.0, gt=0)
    """a training stops where an answer is this many nats from the start on average"""
    stop_distinct: float = Field(default=0.02, ge=0, le=1)
    """a training stops where the share of different answers is below this in three roll-outs in a row"""
    stop_cut: float = Field(default=0.95, gt=0, le=1)
    """a training stops where more than this share of answers is cut in three roll-outs in a row, not at the start"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "rollout_batch" in self.model_fields_set and self.rollout_batch % self.samples:
            raise ValueError(f"rollout_batch {self.rollout_batch} is no multiple of samples {self.samples}")
        if "step_batch" in self.model_fields_set and self.step_batch > self.rollout_batch:
            raise ValueError(f"step_batch {self.step_batch} is larger than rollout_batch {self.rollout_batch}")
        return self

    def sized(self, prompts: int) -> Self:
        """The same for so many prompts: batches that were not set are no larger than there are answers."""
        answers = self.rollout_batch
        if "rollout_batch" not in self.model_fields_set:
            answers = self.samples * max(1, min(answers // self.samples, prompts))
        return self.model_copy(update={"rollout_batch": answers, "step_batch": min(self.step_batch, answers)})

    def roll_outs(self, prompts: int) -> int:
        """How many there are for so many prompts, once the settings are `sized`."""
        return self.iterations or max(1, 10 * prompts // max(1, self.rollout_batch // self.samples))

    def lacking(self, prompts: int) -> str | None:
        """Why so many prompts are too few; None where they are enough."""
        each = self.rollout_batch // self.samples
        why = f"there are {prompts:,} prompts, fewer than a roll-out's {each:,}; lower rollout_batch"
        return why if prompts < each else None

    @property
    def steps_each(self) -> int:
        """Optimiser steps of one roll-out."""
        return math.ceil(self.rollout_batch / self.step_batch)


class PolicyGradientSettings(RolloutSettings):
    """What the methods share that follow the gradient of the expected reward, on probability ratios that are cut."""

    rollout_epochs: int = Field(default=2, ge=1)
    """passes over a roll-out"""
    kl_estimator: Literal["k1", "clamped"] = "k1"
    """of the penalty at each token; `clamped` = AlpacaFarm's code; others do not have the KL divergence's gradient"""
    clip: float = Field(default=0.2, gt=0)
    """half width of the range of probability ratios that earn anything"""

    @property
    def steps_each(self) -> int:
        """Optimiser steps of one roll-out: those of all passes."""
        return self.rollout_epochs * super().steps_each


class PPOSettings(PolicyGradientSettings):
    """Proximal policy optimisation (Schulman et al. 2017) with a value network of its own."""

    gamma: float = Field(default=1.0, gt=0, le=1)
    """discount"""
    lam: float = Field(default=1.0, ge=0, le=1)
    """weight of longer sums of rewards against the value network, in the advantages"""
    value_clip: float = Field(default=0.2, gt=0)
    """how far from its old value a prediction of the value network may go"""
    value_coef: float = Field(default=0.1, ge=0)
    """weight of the value network's loss"""
    value_learning_rate: float | None = Field(default=None, gt=0)
    """peak learning rate of the value network; null = `learning_rate`"""
    value_start: str | None = None
    """directory or hub id that the value network starts from, a reward model for instance; null = the model's start"""
    value_warmup: int = Field(default=0, ge=0)
    """first roll-outs in which the value network alone learns"""
    whiten_rewards: Literal["scale", "none"] = "scale"
    """`scale`: rewards are divided by their standard deviation; their mean is never put back, that would pay length"""


class RLOOSettings(PolicyGradientSettings):
    """REINFORCE with a leave-one-out baseline (Kool et al. 2019; Ahmadian et al. 2024): no value network."""

    samples: int = Field(default=4, ge=2)
    """answers to each prompt of a roll-out; each one's baseline is the mean of the others"""
    rollout_epochs: int = Field(default=1, ge=1)
    """passes over a roll-out"""
    step_batch: int = Field(default=512, ge=1)
    """answers per optimiser step; unless it is set, no more than a roll-out's"""


class ExpertIterationSettings(SampleSettings, RowSettings):
    """Fine-tuning on the best of several samples. Defaults: AlpacaFarm (Dubois et al. 2023) and its published code."""

    samples: int = Field(default=16, ge=1)
    """answers to each prompt, of which the best is learned"""
    rounds: int = Field(default=1, ge=1)
    """how often all prompts are sampled, each time from the model of the round before, and the best learned"""
    init: Literal["sft", "previous"] = "sft"
    """what each round after the first trains: `sft` the start anew, `previous` the model of the round before"""
    drop_truncated: bool = False
    """leave answers that were cut at `max_new_tokens` out of the choice"""
    learning_rate: float = Field(default=2e-5, gt=0)
    """peak learning rate"""


class QuarkSettings(RolloutSettings):
    """Quantised reward conditioning (Lu et al. 2022). Defaults: AlpacaFarm (Dubois et al. 2023) and its code."""

    learning_rate: float = Field(default=3e-6, gt=0)
    """peak learning rate"""
    kl_coef: float = Field(default=0.05, ge=0)
    """weight of the KL divergence from the start, per token and over the whole vocabulary"""
    entropy_coef: float = Field(default=0.0, ge=0)
    """weight of the entropy of the model's distribution at each token, which is rewarded"""
    bins: int = Field(default=4, ge=2)
    """parts of equal size that the answers are cut into by their scores"""
    best_only: bool = True
    """learn from the best part alone, without reward tokens; false: from all, each under its own token"""
    reset_pool: bool = True
    """forget the answers of a roll-out before the next; false: all since the start are cut into parts together"""
    grad_steps_per_rollout: int = Field(default=1, ge=1)
    """optimiser steps on each roll-out, of `step_batch` answers drawn from the pool, each equally often"""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.rollout_batch < self.bins:
            raise ValueError(f"rollout_batch {self.rollout_batch} is smaller than bins {self.bins}")
        return self

    def sized(self, prompts: int) -> Self:
        """See `RolloutSettings.sized`."""
        found = super().sized(prompts)
        if found.rollout_batch < self.bins:
            raise ConfigError(
                f"{prompts:,} prompts with {self.samples:,} answers each cannot be cut into {self.bins:,} bins; more "
                "samples or fewer bins"
            )
        return found

    @property
    def steps_each(self) -> int:
        """Optimiser steps of one roll-out."""
        return self.grad_steps_per_rollout
