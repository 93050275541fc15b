"""How forward passes are computed: quantised weights, the kind of attention, other kernels, compilation.

The one place that knows `bitsandbytes`, `liger_kernel` and `torch.compile`.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from arenaloop.config import OptimSettings
from arenaloop.errors import ConfigError, MissingExtraError
from arenaloop.models import adapters

__all__ = ["load_options", "prepare", "shared"]


def load_options(model: str | Path, settings: OptimSettings) -> dict[str, Any]:
    """What `from_pretrained` is told beside the configuration.

    Raises:
        ConfigError: the weights cannot be held as the settings ask.
        MissingExtraError: bitsandbytes is not installed.
    """
    if settings.lora is not None and find_spec("peft") is None:
        raise MissingExtraError("adapters (lora)", "train")
    found: dict[str, Any] = {}
    if settings.attention is not None:
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


def _quantised(settings: OptimSettings) -> Any:
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a warning at every forward pass
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


def shared(module: Any) -> list[Any]:
    """What two copies of a module with frozen weights can share: these, and how they are quantised."""
    found = [*module.parameters(), *module.buffers()]
    for part in module.modules():
        found += [getattr(part, name) for name in ("state", "quant_state") if getattr(part, name, None) is not None]
    return found
