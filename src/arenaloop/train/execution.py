"""How forward passes are computed: quantised weights, the kind of attention, other kernels, compilation.

The one place that knows `bitsandbytes`, `liger_kernel` and `torch.compile`. What cannot be had is refused in one line
before any weights are read.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from arenaloop.config import OptimSettings
from arenaloop.errors import ConfigError, MissingExtraError, nearest
from arenaloop.models import adapters

__all__ = ["WIDTH", "compiled", "load_options", "prepare", "shared"]

WIDTH = 64
"""Compiled forward passes take rows of a multiple of so many tokens."""

_FLASH = {
    "flash_attention_2": "flash_attn",
    "flash_attention_3": "flash_attn_interface",
    "flash_attention_4": "flash_attn",
}
"""The packages of the attentions that transformers would else fetch from a hub, as code."""


def load_options(model: str | Path, settings: OptimSettings, device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` is told beside the configuration.

    Raises:
        ConfigError: something that the settings ask for cannot be had, on this device or at all.
        MissingExtraError: peft or bitsandbytes is not installed.
    """
    if settings.lora is not None and find_spec("peft") is None:
        raise MissingExtraError("adapters (lora)", "train")
    if settings.use_liger:
        if find_spec("liger_kernel") is None:
            raise ConfigError("use_liger: the package liger-kernel is not installed (pip install liger-kernel)")
        if device.type != "cuda":
            raise ConfigError(f"use_liger: Liger's kernels run on a GPU, not on the device {device}")
    if settings.compile:
        _refuse_uncompilable(device)
    found: dict[str, Any] = {}
    if settings.attention is not None:
        _refuse_attention(settings.attention, device)
        found["attn_implementation"] = settings.attention
    if settings.load_in is not None:
        if find_spec("bitsandbytes") is None:
            raise MissingExtraError(f"load_in {settings.load_in}", "quant")
        if adapters.is_adapter(model):
            raise ConfigError(
                f"load_in {settings.load_in}: {model} is an adapter, which cannot be merged into quantised weights; "
                "start from a merged model"
            )
        found["quantization_config"] = _quantised(settings)
    return found


def _refuse_attention(name: str, device: torch.device) -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = ["eager", *(key for key in ALL_ATTENTION_FUNCTIONS.valid_keys() if "|" not in key)]
    if name not in known:
        raise ConfigError(f"attention {name!r} is not known{nearest(name, known)}; known: {', '.join(sorted(known))}")
    if name in _FLASH and find_spec(_FLASH[name]) is None:
        raise ConfigError(f"attention {name}: the package {_FLASH[name].replace('_', '-')} is not installed")
    if name in _FLASH and device.type != "cuda":
        raise ConfigError(f"attention {name} runs on a GPU, not on the device {device}")


def _refuse_uncompilable(device: torch.device) -> None:
    if device.type == "cuda":
        if find_spec("triton") is None:
            raise ConfigError("compile: torch.compile needs triton on a GPU, and it is not installed")
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ConfigError("compile: torch.compile needs a C++ compiler on a CPU, and there is none") from error


def _quantised(settings: OptimSettings) -> Any:
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # of eight bits it warns at every forward pass
    # heads stay as they are: the probabilities of tokens are read off one, and the other is trained whole
    heads = ["lm_head", "score"]
    if settings.load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=heads)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, settings.dtype),
        llm_int8_skip_modules=heads,
    )


def prepare(module: Any, settings: OptimSettings) -> None:
    """Change how a module that was loaded computes, where the settings ask for it."""
    for part in module.modules():
        if hasattr(part, "init_8bit_state"):
            part.init_8bit_state()  # else the first forward pass does, and copies of the module are then without
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False  # evaluation would round otherwise than training, in bfloat16
    if settings.use_liger:
        _use_liger(module)
    if settings.compile:
        compiled(module)


def _use_liger(module: Any) -> None:
    """Norms, rotary embeddings and activations by Liger's kernels; losses are ours (see `head`).

    Raises:
        ConfigError: they know no models of this kind.
    """
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN, _apply_liger_kernel_to_instance

    kind = module.config.get_text_config().model_type
    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ConfigError(f"use_liger: Liger has no kernels for models of the kind {kind}")
    _apply_liger_kernel_to_instance(model=module, cross_entropy=False, fused_linear_cross_entropy=False)


def compiled(module: Any) -> None:
    """Have the forward passes of a module's layers compiled, in place, when they are first run.

    Rows and tokens may be any number then (but a single row is compiled for itself).
    """
    module.base_model.compile(dynamic=True)


def shared(module: Any) -> list[Any]:
    """What two copies of a module with frozen weights can share: these, and how they are quantised."""
    found = [*module.parameters(), *module.buffers()]
    for part in module.modules():
        found += [getattr(part, name) for name in ("state", "quant_state") if getattr(part, name, None) is not None]
    return found
