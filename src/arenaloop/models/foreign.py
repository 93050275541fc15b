"""A checkpoint that another trainer wrote: where in its directory the model is, and whether it can be read safely.

Nothing is loaded here, and no torch is needed.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arenaloop.errors import InputError
from arenaloop.models import adapters
from arenaloop.models.checkpoint import holds_model
from arenaloop.regular_files import open_regular, read_regular

__all__ = ["different_shapes", "found_model", "model_files", "read_config"]

_INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_LISTED = 6
_SHAPE = (
    *("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("intermediate_size", "head_dim", "n_embd", "n_layer", "n_head"),
)
_MOST_HEADER = 100_000_000  # bytes; as safetensors itself


def found_model(path: Path) -> Path:
    """The directory of the model in what a trainer wrote: itself, or the one that lies below.

    OpenRLHF writes ``global_stepN_hf``, verl ``global_step_N/actor/huggingface``, TRL and LLaMA-Factory
    ``checkpoint-N``.

    Raises:
        InputError: there is none, or there are several.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such directory")
    if _whole(path):
        return path
    below = sorted(
        {file.parent for pattern in ("config.json", adapters.CONFIG) for file in path.glob(f"**/{pattern}")}, key=_step
    )
    models = [each for each in below if _whole(each)]
    if len(models) == 1:
        return models[0]
    if models:
        shown = ", ".join(str(each.relative_to(path)) for each in models[-_LISTED:])
        raise InputError(f"{path} holds {len(models)} models; name one of them ({shown}{_more(models)})")
    raise InputError(f"{path}: {_lacking(path)}")


def _more(models: list[Path]) -> str:
    return f", and {len(models) - _LISTED} earlier ones" if len(models) > _LISTED else ""


def _step(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d+", str(path))
    return int(numbers[-1][:18]) if numbers else 0, str(path)


def _whole(path: Path) -> bool:
    return holds_model(path) and any(path.glob("*.safetensors"))


def _lacking(path: Path) -> str:
    """Why there is no model, in words that help on."""
    if any(path.glob("**/model_world_size_*_rank_*.pt")):
        return "verl's parts of a model, each of a rank; put them together first (python -m verl.model_merger merge)"
    if any(path.glob("**/*zero_pp_rank_*")) or any(path.glob("**/mp_rank_*_model_states.pt")):
        return "DeepSpeed's state; save the model in Hugging Face form first (OpenRLHF: --save_hf_ckpt)"
    pickled = next((file.name for pattern in _PICKLED for file in path.glob(f"**/{pattern}")), None)
    if pickled is not None:
        return f"{pickled} is a pickle, which can run code when it is loaded; save the model as safetensors"
    return "no model in Hugging Face form (config.json and *.safetensors, or adapter_config.json)"


def model_files(path: Path) -> list[Path]:
    """The files of weights, each of the size that its own header says.

    Raises:
        InputError: one is missing, cut, or no safetensors.
    """
    if adapters.is_adapter(path):
        names = [adapters.WEIGHTS]
    elif (path / _INDEX).is_file():
        index = _json(path / _INDEX)
        names = sorted({str(name) for name in index.get("weight_map", {}).values()})
        if not names or any("/" in name for name in names):
            raise InputError(f"{path / _INDEX} names no files of weights")
    else:
        names = ["model.safetensors"]
    for name in names:
        _check_size(path / name)
    return [path / name for name in names]


def _check_size(file: Path) -> None:
    """Refuse a file that is not as long as its header says.

    The format: eight bytes, the length of the header; the header in JSON, with the place of each tensor; the tensors.
    """
    try:
        with open_regular(file) as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(length)) if length < _MOST_HEADER else None
            whole = 8 + length + max(each["data_offsets"][1] for name, each in header.items() if name[0] != "_")  # type: ignore[union-attr]
            size = file.stat().st_size
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    except (ValueError, struct.error, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{file} is no file of safetensors, or damaged") from error
    if size != whole:
        raise InputError(f"{file} has {size:,} of {whole:,} bytes: it was cut, or is still being written")


def read_config(path: Path) -> dict[str, Any]:
    """A model's configuration.

    Raises:
        InputError: it cannot be read, wants code of its own, or is of quantised weights.
    """
    config = _json(path / "config.json")
    if config.get("auto_map"):
        raise InputError(f"{path}: the model brings code of its own (auto_map), which is not run here")
    if config.get("quantization_config"):
        raise InputError(f"{path}: the weights are quantised; save the model in a precision of its own")
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_regular(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is no JSON object")
    return found


def different_shapes(own: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """By what a configuration differs from the run's, in words; None where both are of one architecture."""
    told = [
        f"{name} {other[name]} (the run's model: {own[name]})"
        for name in _SHAPE
        if own.get(name) is not None and other.get(name) is not None and own[name] != other[name]
    ]
    return ", ".join(told) or None
