"""Settings of optimisers, schedules and forward passes, which all trainers share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from arenaloop.config.base import Settings

__all__ = ["LoraSettings", "OptimSettings", "RowSettings"]


class LoraSettings(Settings):
    """Low-rank adapters (Hu et al. 2021): two small matrices beside each frozen one. Defaults: those of TRL."""

    r: int = Field(default=16, ge=1)
    """rank: columns of the one matrix, rows of the other"""
    alpha: float = Field(default=32.0, gt=0)
    """their product is added `alpha / r` times"""
    targets: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """names of linear layers, e.g. [q_proj, v_proj]; `all-linear`: all but the output layer"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """of what goes into the adapters, where a method trains with dropout: those that fine-tune on rows"""
    merge: bool = True
    """save the whole model, and the adapter in `adapter/`; false: the adapter alone, which needs its start to answer"""


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
    lora: LoraSettings | None = None
    """train adapters, in float32, and leave the weights as they are; null = train all weights"""
    load_in: Literal["4bit", "8bit"] | None = None
    """hold the frozen weights below adapters in 4 (NF4) or 8 bits; null = in `dtype`"""

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
    attention: str | None = None
    """how attention is computed: `eager`, `sdpa`, `flash_attention_2`, …; null = as transformers chooses"""
    use_liger: bool = False
    """Liger's kernels for norms, rotary embeddings and activations, on a GPU"""
    compile: bool = False
    """forward passes of training and scoring by torch.compile; rows are padded to a multiple of 64 tokens"""
    log_every: int = Field(default=10, ge=1)
    """steps per line of `metrics.jsonl`"""
    checkpoint_every: int = Field(default=200, ge=0)
    """steps between the checkpoints that a resumed training starts from; 0 = none before the end"""
    keep_every: int = Field(default=0, ge=0)
    """steps between the models that are kept as `policy-STEP`, whole; 0 = none but the last"""
    fsdp: bool = False
    """several processes share out weights, gradients and optimiser state (FSDP2), not the rows of a step alone"""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio", "mlflow"], ...] = ()
    """trackers that are sent what `metrics.jsonl` holds; one or a list"""

    TRAINED_ON: ClassVar[str] = "rows"
    """what the rows are, in few words"""
    EXECUTION: ClassVar[frozenset[str]] = frozenset(
        {"bf16", "device", "threads", "micro_batch", "micro_tokens", "group_by_length", "gradient_checkpointing"}
        | {"log_every", "checkpoint_every", "keep_every", "fsdp", "report_to", "attention", "use_liger", "compile"}
    )

    LATER: ClassVar[frozenset[str]] = frozenset({"adam_epsilon", "lora", "load_in"})
    """settings younger than the first trainings: at their defaults they leave a training's key as it was"""

    @model_validator(mode="after")
    def _adapted(self) -> Self:
        if self.load_in is not None and self.lora is None:
            raise ValueError(f"load_in {self.load_in} holds frozen weights: it needs adapters to train (set lora)")
        if self.lora is not None and self.fsdp:
            raise ValueError("fsdp spreads weights that are all trained; adapters (lora) need no spreading")
        return self

    @field_validator("report_to", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

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
