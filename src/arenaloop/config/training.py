"""Settings of the trainers."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from arenaloop.config.base import Settings

__all__ = ["DPOSettings", "OptimSettings", "RewardModelSettings", "RowSettings", "SFTSettings"]


class OptimSettings(Settings):
    """What every trainer shares: the optimiser, its schedule, forward passes and checkpoints.

    The execution settings (the last group) never change what is computed, only its rounding, so they may differ between
    a training and its resumption.
    """

    max_length: int = Field(default=4096, ge=2)
    """tokens per row, prompt and answer together; a smaller context window of the model wins"""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon`: Muon for the hidden matrices, AdamW for embeddings, head, norms and biases, at one learning rate"""
    learning_rate: float = Field(default=5e-6, gt=0)
    """peak learning rate"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """how the learning rate falls to zero after the warm-up"""
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """share of all steps over which the learning rate rises linearly"""
    warmup_steps: int | None = Field(default=None, ge=0)
    """steps of warm-up; overrides `warmup_ratio`"""
    weight_decay: float = Field(default=0.0, ge=0)
    """decoupled weight decay, on matrices only"""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """decay of AdamW's first moment"""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    """decay of AdamW's second moment"""
    adam_epsilon: float = Field(default=1e-8, gt=0)
    """added to the root of AdamW's second moment"""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """gradients are scaled down to this norm over all parameters; 0 = off"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """of the weights in training and of the saved checkpoint; `bfloat16` halves the memory and loses small updates"""

    bf16: bool | None = None
    """forward passes under bfloat16 autocast; null = on a GPU that has it"""
    device: str | None = None
    """a torch device; null = the first GPU, or the CPU"""
    threads: int | None = Field(default=None, ge=1)
    """torch threads during training; null = 1 for a tiny model on a CPU, else as they are"""
    micro_batch: int | None = Field(default=None, ge=1)
    """rows (pairs) per forward pass; null = as many as `micro_tokens` allow"""
    micro_tokens: int | None = Field(default=None, ge=1)
    """padded tokens per forward pass where `micro_batch` is null (at least one row); null = 16,384, on a CPU 1,024"""
    group_by_length: bool = True
    """forward passes take rows of like length from the optimiser batch: less padding, the same batch"""
    gradient_checkpointing: bool = False
    """recompute activations in the backward pass: less memory, about a third more time"""
    log_every: int = Field(default=10, ge=1)
    """steps per line of `metrics.jsonl`"""
    checkpoint_every: int = Field(default=200, ge=0)
    """steps between the checkpoints that a resumed training starts from; 0 = none before the end"""

    TRAINED_ON: ClassVar[str] = "rows"
    """what the rows are, in few words"""
    EXECUTION: ClassVar[frozenset[str]] = frozenset(
        {"bf16", "device", "threads", "micro_batch", "micro_tokens", "group_by_length", "gradient_checkpointing"}
        | {"log_every", "checkpoint_every"}
    )

    LATER: ClassVar[frozenset[str]] = frozenset({"adam_epsilon"})
    """settings younger than the first trainings: at their defaults they leave a training's key as it was"""

    def method(self) -> dict[str, object]:
        """The settings that decide what is computed: all but the execution settings."""
        fields = type(self).model_fields
        unused = {name for name in self.LATER if getattr(self, name) == fields[name].default}
        return self.model_dump(mode="json", exclude=set(self.EXECUTION) | unused)


class RowSettings(OptimSettings):
    """What trainers on fixed rows share: how often, and how many at once."""

    epochs: float = Field(default=3.0, gt=0)
    """passes over the rows; a fraction stops within an epoch"""
    max_steps: int | None = Field(default=None, ge=1)
    """optimiser steps; overrides `epochs`"""
    batch_size: int = Field(default=128, ge=1)
    """rows (for DPO: pairs) per optimiser step"""


class SFTSettings(RowSettings):
    """Supervised fine-tuning. Defaults: Arena Learning (Luo et al. 2024), section 4."""

    TRAINED_ON: ClassVar[str] = "conversations"

    assistant_turns: Literal["last", "all"] = "last"
    """which assistant turns of `messages` carry the loss; of `prompt` and `completion`, those of the completion do"""


class DPOSettings(RowSettings):
    """Direct preference optimisation. Defaults: Arena Learning (Luo et al. 2024), section 4; the batch size is ours."""

    TRAINED_ON: ClassVar[str] = "preference pairs"
    LATER: ClassVar[frozenset[str]] = OptimSettings.LATER | {"loss", "label_smoothing"}

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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.label_smoothing and self.loss not in ("sigmoid", "robust"):
            raise ValueError(f"label_smoothing belongs to the losses sigmoid and robust, not to {self.loss}")
        if self.loss == "robust" and not self.label_smoothing:
            raise ValueError("the loss robust needs label_smoothing, the share of labels taken to be wrong")
        return self


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
