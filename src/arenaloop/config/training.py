"""Settings of the trainers."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from arenaloop.config.optim import OptimSettings, RowSettings
from arenaloop.config.rl import ExpertIterationSettings, PPOSettings, QuarkSettings, RLOOSettings

__all__ = [
    "METHODS",
    "DPOSettings",
    "FeedMESettings",
    "RewardConditioningSettings",
    "RewardModelSettings",
    "SFTSettings",
]


class SFTSettings(RowSettings):
    """Supervised fine-tuning. Defaults: Arena Learning (Luo et al. 2024), section 4."""

    TRAINED_ON: ClassVar[str] = "conversations"

    assistant_turns: Literal["last", "all"] = "last"
    """which assistant turns of `messages` carry the loss; of `prompt` and `completion`, those of the completion do"""


class DPOSettings(RowSettings):
    """Direct preference optimisation. Defaults: Arena Learning (Luo et al. 2024), section 4; the batch size is ours."""

    TRAINED_ON: ClassVar[str] = "preference pairs"
    LATER: ClassVar[frozenset[str]] = OptimSettings.LATER | {"loss", "label_smoothing", "reference"}

    epochs: float = Field(default=2.0, gt=0)
    """passes over the pairs; a fraction stops within an epoch"""
    batch_size: int = Field(default=64, ge=1)
    """pairs per optimiser step"""
    learning_rate: float = Field(default=5e-7, gt=0)
    """peak learning rate"""
    beta: float = Field(default=0.3, gt=0)
    """weight of the implicit KL penalty towards the reference; of `ipo` its inverse is twice the margin aimed at"""
    loss: Literal["sigmoid", "ipo", "sigmoid_norm", "robust"] = "sigmoid"
    """`sigmoid`: DPO; `sigmoid_norm`: by log-ratios per token; `ipo`: a squared margin; `robust`: for noisy labels"""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """share of labels taken to be wrong, of `sigmoid` and `robust`"""
    nll_weight: float = Field(default=0.0, ge=0)
    """weight of the cross-entropy on the chosen answers, added to the loss; 0 = off"""
    reference: str | None = None
    """path of the model that is the reference; null = the one that training starts from"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.label_smoothing and self.loss not in ("sigmoid", "robust"):
            raise ValueError(f"label_smoothing belongs to the losses sigmoid and robust, not to {self.loss}")
        if self.loss == "robust" and not self.label_smoothing:
            raise ValueError("the loss robust needs label_smoothing, the share of labels taken to be wrong")
        return self


class FeedMESettings(RowSettings):
    """Fine-tuning on the better answers of pairs. Defaults: AlpacaFarm (Dubois et al. 2023), as its fine-tuning."""

    TRAINED_ON: ClassVar[str] = "preference pairs (`preference` may stand beside them)"

    learning_rate: float = Field(default=2e-5, gt=0)
    """peak learning rate"""


class RewardConditioningSettings(RowSettings):
    """Binary reward conditioning. Defaults: AlpacaFarm (Dubois et al. 2023), as its fine-tuning."""

    TRAINED_ON: ClassVar[str] = "preference pairs (`preference` may stand beside them)"

    learning_rate: float = Field(default=2e-5, gt=0)
    """peak learning rate"""
    batch_size: int = Field(default=128, ge=1)
    """answers per optimiser step; each pair has two"""


class RewardModelSettings(RowSettings):
    """A reward model from preference pairs. Defaults: AlpacaFarm (Dubois et al. 2023) and its published code."""

    TRAINED_ON: ClassVar[str] = "preference pairs (`preference` and `margin` may stand beside them)"

    epochs: float = Field(default=1.0, gt=0)
    """passes over the pairs; a fraction stops within an epoch"""
    batch_size: int = Field(default=16, ge=1)
    """pairs per optimiser step"""
    learning_rate: float = Field(default=3e-6, gt=0)
    """peak learning rate"""
    readout: Literal["last", "mean"] = "last"
    """where the score is read: at the answer's end of turn, or as the mean over its tokens"""
    prior: Literal["none", "policy_logprob"] = "none"
    """`policy_logprob`: the frozen start's log-probability per root of the tokens is added to the score"""
    ties: Literal["drop", "soft"] = "drop"
    """pairs of preference 0.5: left out, or a target of one half"""
    held_out: float = Field(default=0.1, ge=0, lt=1)
    """share of the prompts whose pairs are not trained on and measure the model instead (at most 500 pairs)"""


METHODS: dict[str, type[OptimSettings]] = {
    "sft": SFTSettings,
    "dpo": DPOSettings,
    "feedme": FeedMESettings,
    "reward_conditioning": RewardConditioningSettings,
    "reward_model": RewardModelSettings,
    "ppo": PPOSettings,
    "rloo": RLOOSettings,
    "expert_iteration": ExpertIterationSettings,
    "quark": QuarkSettings,
}
"""Every way to train: the settings by the name, which is also that of its file in `train`."""
