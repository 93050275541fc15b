"""A model in training: the one place that decides about device, precision, wrapping and saving."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint as recompute
from transformers.modeling_layers import GradientCheckpointingLayer

from arenaloop.config import LoraSettings, OptimSettings
from arenaloop.errors import StorageError, first_line
from arenaloop.models import adapters, checkpoint
from arenaloop.train import execution, sharding
from arenaloop.train.encoding import ChatEncoder
from arenaloop.train.preparing import preparing
from arenaloop.train.processes import joined

__all__ = ["ADAPTER", "MARKS", "Backbone", "save_checkpoint"]

MARKS = ("config.json", adapters.CONFIG)
"""The files without which a directory is no model and no adapter to any loader."""

ADAPTER = "adapter"
"""The directory in that of a merged model which holds its adapter."""

T = TypeVar("T")


@dataclass(slots=True)
class Backbone:
    """A module with its tokenizer; `Policy` and `ScalarHead` say what is read from it.

    Attributes:
        module: an ordinary `transformers` model.
        tokenizer: its tokenizer.
        device: where it lives.
        autocast: the lower precision of its forward passes, or None.
        lora: the adapters that it is to be trained by, or None.
        start: the directory or hub id that it was loaded from, and the revision.
        new_tokens: ids of tokens whose rows in the embedding are trained beside adapters.
        adapter: the module as `peft` wraps it, once it has adapters.
        passes: what forward passes go through where the weights are spread over several processes; see `sharding`.
        compiled: whether its forward passes are compiled.
    """

    module: Any
    tokenizer: Any
    device: torch.device
    autocast: torch.dtype | None
    lora: LoraSettings | None = None
    start: tuple[str, str | None] = ("", None)
    new_tokens: tuple[int, ...] = ()
    adapter: Any = None
    passes: Any = None
    compiled: bool = False

    @classmethod
    def load(
        cls, model: str | Path, settings: OptimSettings, revision: str | None, *, kind: str, **options: Any
    ) -> Self:
        """Load a checkpoint for training; `kind` and `options` as in `checkpoint.load_checkpoint`.

        Raises:
            InputError: the model cannot be loaded.
            ConfigError: the device is not there, or something else that the settings ask for.
        """
        preparing(f"loading {model}")
        device = joined().device_of(settings.device)
        options |= execution.load_options(model, settings, device)
        placed = {} if settings.fsdp else {"device": device}  # what is to be spread need not fit on one device
        module, tokenizer = checkpoint.load_checkpoint(
            model, revision, dtype=settings.dtype, kind=kind, **placed, **options
        )
        if settings.load_in is None and not settings.fsdp:
            module.to(device)
        execution.prepare(module, settings)
        if settings.gradient_checkpointing:
            # newer versions of transformers call it by the first name and warn at the second
            enable = getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        wanted = device.type == "cuda" and torch.cuda.is_bf16_supported() if settings.bf16 is None else settings.bf16
        lower = torch.bfloat16 if wanted and settings.dtype == "float32" else None
        named = str(Path(model).resolve()) if Path(model).is_dir() else str(model)
        start = (named, revision)
        return cls(module, tokenizer, device, lower, lora=settings.lora, start=start, compiled=settings.compile)

    def adapt(self, seed: int) -> None:
        """Put adapters into the module, where it is to be trained by them and has none yet.

        What `seed` decides of them does nothing before the first step: until then it says what it said without them.

        Raises:
            ConfigError, MissingExtraError: see `adapters.add`.
        """
        if self.lora is not None and self.adapter is None:
            self.adapter = adapters.add(self.module, self.lora, self.start, tokens=self.new_tokens, seed=seed)

    def frozen(self) -> Self:
        """The same model as it is now, for as long as it is needed: what it says does not change with training.

        Where only adapters are to be trained it shares the weights, and takes no memory of its own.

        Raises:
            ValueError: it has adapters already.
        """
        if self.adapter is not None:
            raise ValueError("a model is frozen before it is adapted")
        shared = execution.shared(self.module) if self.lora is not None else []
        module = copy.deepcopy(self.module, {id(each): each for each in shared})
        if self.compiled:
            execution.compiled(module)
        return replace(self, module=module, tokenizer=copy.deepcopy(self.tokenizer))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: all weights, put together in the first process, or the adapters' alone."""
        state = sharding.weights(self.module, joined().first)
        return state if self.adapter is None else {name: state[name] for name in self._trained()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        if self.adapter is not None and state.keys() != self._trained():
            raise KeyError("the checkpoint holds other adapters")
        now = self.module.state_dict()
        own = {name: sharding.spread_like(value, now[name]) if name in now else value for name, value in state.items()}
        self.module.load_state_dict(own, strict=self.adapter is None)

    def _trained(self) -> set[str]:
        return {name for name, parameter in self.module.named_parameters() if parameter.requires_grad}

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

    @property
    def lower(self) -> bool:
        """Whether forward passes run in less than float32."""
        quantised = getattr(self.module, "quantization_method", None) is not None
        return self.autocast is not None or self.module.dtype != torch.float32 or quantised

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

    def wide(self, inputs: Tensor) -> Tensor:
        """Token ids as a forward pass takes them: (B, T) to (B, T'), where T' > T if it is compiled for some widths."""
        width = inputs.shape[1]
        short = -width % execution.WIDTH if self.compiled else 0
        short = min(short, max((self.window or width + short) - width, 0))
        return pad(inputs, (0, short), value=self.pad_id) if short else inputs

    @contextlib.contextmanager
    def generating(self) -> Iterator[None]:
        """Evaluating, for passes of ever other shapes: nothing is compiled for them."""
        with self.evaluating(), torch.compiler.set_stance("force_eager" if self.compiled else "default"):
            yield

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
        """Write model and tokenizer to `out` in Hugging Face form, once; see `save_checkpoint`.

        Adapters are merged, and stand by themselves in ``adapter/``; where they are not to be merged, they are all that
        is written. Quantised weights are written as what they stand for.
        """
        processes = joined()
        state = None if self.passes is None else sharding.weights(self.module, processes.first)
        processes.once(lambda: self._write(out, state))

    def _write(self, out: Path, state: Mapping[str, Any] | None) -> None:
        if self.adapter is None or self.lora is None:
            quantised = getattr(self.module, "quantization_method", None) is not None
            save_checkpoint(self.merged() if quantised else self.module, self.tokenizer, out, state)
        elif self.lora.merge:
            self._save_adapter(out / ADAPTER)
            save_checkpoint(self.merged(), self.tokenizer, out)
        else:
            self._save_adapter(out)

    def merged(self) -> Any:
        """An ordinary module with the weights that this one stands for; only good for saving."""
        config = copy.deepcopy(self.module.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        with torch.device("meta"):
            module = type(self.module)(config)
        module.load_state_dict(adapters.whole_state(self.module), assign=True, strict=False)
        module.tie_weights()
        if module.can_generate():
            module.generation_config = copy.deepcopy(self.module.generation_config)
        return module

    def _save_adapter(self, out: Path) -> None:
        def write(aside: Path) -> None:
            adapters.write(self.adapter, aside)
            self.tokenizer.save_pretrained(aside)

        _save(out, write)


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

    def write(aside: Path) -> None:
        module.save_pretrained(aside, state_dict=state)  # safetensors is the only form it writes
        tokenizer.save_pretrained(aside)

    _save(out, write)


def _save(out: Path, write: Callable[[Path], None]) -> None:
    """Replace what a directory holds of a model by the files that `write` puts into the one that it is given."""
    from safetensors import SafetensorError

    aside = out / ".saving"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        with checkpoint.no_progress_bars():
            write(aside)
        for mark in MARKS:
            (out / mark).unlink(missing_ok=True)
        for stale in (*out.glob("model*.safetensors*"), *out.glob(f"{adapters.WEIGHTS}*")):
            stale.unlink()
        for file in sorted(aside.iterdir(), key=lambda file: file.name in MARKS):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
            file.replace(out / file.name)
        aside.rmdir()
    except (OSError, SafetensorError) as error:  # safetensors has its own way to say that a disk is full
        raise StorageError(f"cannot write the model to {out}: {first_line(error)}") from error
