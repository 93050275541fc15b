"""The policy: the one place that decides about device, precision, wrapping and saving of a causal language model."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arenaloop.config import OptimSettings
from arenaloop.errors import StorageError
from arenaloop.models.checkpoint import (
    best_threads,
    context_window,
    end_ids,
    load_checkpoint,
    no_progress_bars,
    torch_device,
    torch_threads,
)
from arenaloop.models.decoding import forward_arguments
from arenaloop.train.batches import Batch
from arenaloop.train.losses import token_logprobs

__all__ = ["Policy", "load_policy", "save_checkpoint", "torch_threads"]


@dataclass(slots=True)
class Policy:
    """A causal language model in training, with its tokenizer.

    Attributes:
        module: an ordinary `transformers` causal language model.
        tokenizer: its tokenizer.
        device: where it lives.
        autocast: the lower precision of its forward passes, or None.
        keeps_logits: whether its forward pass can leave out the logits of leading positions.
    """

    module: Any
    tokenizer: Any
    device: torch.device
    autocast: torch.dtype | None
    keeps_logits: bool

    @property
    def window(self) -> int | None:
        """The context window in tokens, where the configuration says it."""
        return context_window(self.module)

    def micro_tokens(self, settings: OptimSettings) -> int:
        """Padded tokens per forward pass.

        A GPU wants work for all of its cores. A CPU gains nothing from more than its caches hold, and less padding from
        shorter passes: 10 to 15 % of the step of a model of 0.5 M parameters on rows of 24 ± 5 tokens.
        """
        return settings.micro_tokens or (1024 if self.device.type == "cpu" else 16_384)

    def threads(self, settings: OptimSettings) -> int | None:
        """Torch threads to train with: one for a tiny model on a CPU, whose matrices are too small to share."""
        return settings.threads or best_threads(self.module)

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a turn, in training as in generation."""
        return end_ids(self.tokenizer, self.module)

    @property
    def pad_id(self) -> int:
        """A token for padding; any will do, since padding is neither seen nor predicted."""
        pad = self.tokenizer.pad_token_id
        return 0 if pad is None else int(pad)

    def answer_logits(self, batch: Batch) -> Tensor:
        """Logits at the labelled positions of a batch that is on the policy's device: (N, V)."""
        kept = {"logits_to_keep": batch.keep} if self.keeps_logits else {}
        with torch.autocast(self.device.type, self.autocast) if self.autocast else contextlib.nullcontext():
            logits = self.module(input_ids=batch.inputs, use_cache=False, **kept).logits[:, -batch.keep :]
        return logits.flatten(0, 1).index_select(0, batch.at)

    def answer_logprobs(self, batch: Batch) -> Tensor:
        """Log-probability of each row's labelled tokens, summed: (B,) float32."""
        each = token_logprobs(self.answer_logits(batch), batch.targets)
        return each.new_zeros(len(batch.inputs)).index_add(0, batch.row, each)

    def save(self, out: Path) -> None:
        """Write model and tokenizer to `out` in Hugging Face form; see `save_checkpoint`."""
        save_checkpoint(self.module, self.tokenizer, out)


def load_policy(model: str | Path, settings: OptimSettings, revision: str | None = None) -> Policy:
    """Load a causal language model for training: safetensors only, no remote code.

    Args:
        model: a directory in Hugging Face form, or a hub id.
        settings: device, dtype, precision and gradient checkpointing.
        revision: of a hub id.

    Raises:
        InputError: the model cannot be loaded.
        ConfigError: the device is not there.
    """
    device = torch_device(settings.device)
    module, tokenizer = load_checkpoint(model, revision, dtype=settings.dtype)
    module.to(device)
    if settings.gradient_checkpointing:
        # newer versions of transformers call it by the first name and warn at the second
        enable = getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    wanted = settings.bf16 if settings.bf16 is not None else device.type == "cuda" and torch.cuda.is_bf16_supported()
    return Policy(
        module,
        tokenizer,
        device,
        torch.bfloat16 if wanted and settings.dtype == "float32" else None,
        "logits_to_keep" in forward_arguments(module),
    )


def save_checkpoint(module: Any, tokenizer: Any, out: Path) -> None:
    """Write a model and its tokenizer to the directory `out`, so that it loads whole or not at all.

    The files are written aside, flushed to disk and moved in one by one, the configuration last: a directory without
    ``config.json`` is not a model to any loader. Other files in `out` stay.

    Raises:
        StorageError: the disk is full or failing.
    """
    from safetensors import SafetensorError

    aside = out / ".saving"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        with no_progress_bars():
            module.save_pretrained(aside)  # safetensors is the only form it writes
            tokenizer.save_pretrained(aside)
        (out / "config.json").unlink(missing_ok=True)
        for stale in out.glob("model*.safetensors*"):
            stale.unlink()
        for file in sorted(aside.iterdir(), key=lambda file: file.name == "config.json"):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
            file.replace(out / file.name)
        aside.rmdir()
    except (OSError, SafetensorError) as error:  # safetensors has its own way to say that a disk is full
        raise StorageError(f"cannot write the model to {out}: {str(error).strip().splitlines()[0]}") from error
