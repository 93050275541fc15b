"""A model in training: the one place that decides about device, precision, wrapping and saving."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch.utils.checkpoint import checkpoint as recompute
from transformers.modeling_layers import GradientCheckpointingLayer

from arenaloop.config import OptimSettings
from arenaloop.errors import StorageError
from arenaloop.models import checkpoint
from arenaloop.train import sharding
from arenaloop.train.encoding import ChatEncoder
from arenaloop.train.processes import joined

__all__ = ["Backbone", "save_checkpoint"]

T = TypeVar("T")


@dataclass(slots=True)
class Backbone:
    """A module with its tokenizer; `Policy` and `ScalarHead` say what is read from it.

    Attributes:
        module: an ordinary `transformers` model.
        tokenizer: its tokenizer.
        device: where it lives.
        autocast: the lower precision of its forward passes, or None.
        passes: what forward passes go through where the weights are spread over several processes; see `sharding`.
    """

    module: Any
    tokenizer: Any
    device: torch.device
    autocast: torch.dtype | None
    passes: Any = None

    @classmethod
    def load(
        cls, model: str | Path, settings: OptimSettings, revision: str | None, *, kind: str, **options: Any
    ) -> Self:
        """Load a checkpoint for training; `kind` and `options` as in `checkpoint.load_checkpoint`.

        Raises:
            InputError: the model cannot be loaded.
            ConfigError: the device is not there.
        """
        device = joined().device_of(settings.device)
        module, tokenizer = checkpoint.load_checkpoint(model, revision, dtype=settings.dtype, kind=kind, **options)
        if not settings.fsdp:  # what is to be spread need not fit on one device
            module.to(device)
        if settings.gradient_checkpointing:
            # newer versions of transformers call it by the first name and warn at the second
            enable = getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        wanted = device.type == "cuda" and torch.cuda.is_bf16_supported() if settings.bf16 is None else settings.bf16
        return cls(module, tokenizer, device, torch.bfloat16 if wanted and settings.dtype == "float32" else None)

    def spread(self, settings: OptimSettings) -> None:
        """Spread the weights over all processes, where the settings say so."""
        if settings.fsdp:
            self.passes = sharding.spread(self.module, self.device)

    def read(self, work: Callable[..., T], *arguments: Any) -> T:
        """What `work` reads of the model in one forward pass."""
        found: T = work(*arguments) if self.passes is None else self.passes(work, *arguments)
        return found

    @property
    def window(self) -> int | None:
        """The context window in tokens, where the configuration says it."""
        return checkpoint.context_window(self.module)

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a turn, in training as in generation."""
        return checkpoint.end_ids(self.tokenizer, self.module)

    @property
    def pad_id(self) -> int:
        """A token for padding; any will do, since padding is neither seen nor predicted."""
        pad = self.tokenizer.pad_token_id
        return 0 if pad is None else int(pad)

    def encoder(self, settings: OptimSettings) -> ChatEncoder:
        """The rules by which conversations become this model's tokens.

        Raises:
            ConfigError: the tokenizer has no chat template, or nothing that ends a turn.
        """
        window = min(settings.max_length, self.window or settings.max_length)
        embeddings = getattr(self.module.get_input_embeddings(), "num_embeddings", None)
        return ChatEncoder(self.tokenizer, window, self.end_ids, embeddings)

    def micro_tokens(self, settings: OptimSettings) -> int:
        """Padded tokens per forward pass.

        A GPU wants work for all of its cores. A CPU gains nothing from more than its caches hold, and less padding from
        shorter passes: 10 to 15 % of the step of a model of 0.5 M parameters on rows of 24 ± 5 tokens.
        """
        return settings.micro_tokens or (1024 if self.device.type == "cpu" else 16_384)

    def threads(self, settings: OptimSettings) -> int | None:
        """Torch threads to train with; None = as they are."""
        return settings.threads or checkpoint.best_threads(self.module)

    def lower_precision(self) -> contextlib.AbstractContextManager[Any]:
        """What a forward pass runs under."""
        return torch.autocast(self.device.type, self.autocast) if self.autocast else contextlib.nullcontext()

    def train(self, dropout: bool) -> None:
        """Make ready for steps, with dropout or without: then every part evaluates, recomputing ones too."""
        self.module.train(dropout)
        for part in self.module.modules():
            if isinstance(part, GradientCheckpointingLayer) and part.gradient_checkpointing:
                part.__dict__.pop("forward", None)
                if not dropout:  # by itself it recomputes in training mode only, in which it may drop out
                    part.forward = functools.partial(_recomputed, part)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Neither dropout nor gradients, between the steps of a training too; every part's mode is put back."""
        before = [(part, part.training) for part in self.module.modules()]
        self.module.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for part, mode in before:
                part.training = mode

    def save(self, out: Path) -> None:
        """Write model and tokenizer to `out` in Hugging Face form, once; see `save_checkpoint`."""
        processes = joined()
        state = None if self.passes is None else sharding.weights(self.module, processes.first)
        processes.once(lambda: save_checkpoint(self.module, self.tokenizer, out, state))


def _recomputed(layer: Any, *arguments: Any, **named: Any) -> Any:
    """A layer's forward pass in evaluation mode, its activations computed again in the backward pass."""
    forward = functools.partial(type(layer).forward, layer, **named)
    return recompute(forward, *arguments, use_reentrant=False) if torch.is_grad_enabled() else forward(*arguments)


def save_checkpoint(module: Any, tokenizer: Any, out: Path, state: Mapping[str, Any] | None = None) -> None:
    """Write a model and its tokenizer to the directory `out`, so that it loads whole or not at all.

    The files are written aside, flushed to disk and moved in one by one, the configuration last: a directory without
    ``config.json`` is not a model to any loader. Other files in `out` stay. A `state` is written in place of the
    module's own.

    Raises:
        StorageError: the disk is full or failing.
    """
    from safetensors import SafetensorError

    aside = out / ".saving"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        with checkpoint.no_progress_bars():
            module.save_pretrained(aside, state_dict=state)  # safetensors is the only form it writes
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
