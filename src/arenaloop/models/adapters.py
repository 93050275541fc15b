"""Adapters: small matrices beside the frozen weights of a model (LoRA, Hu et al. 2021).

The one place that knows `peft`. Adapters are put into the model that is given, which stays an ordinary module of
`transformers`: whoever reads its hidden states need not know of them.

The directory of an adapter that was trained here is one of `peft`'s, and holds what its model needs beside it:

    adapter_config.json, adapter_model.safetensors      as `peft` writes them; the first names the start
    tokenizer*, chat_template*, generation_config.json  of the trained model
    model_config.json                                   its configuration
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arenaloop.errors import ConfigError, InputError, MissingExtraError, first_line, nearest
from arenaloop.regular_files import read_regular

if TYPE_CHECKING:
    from torch import Tensor

    from arenaloop.config import LoraSettings

__all__ = [
    "CONFIG",
    "MODEL_CONFIG",
    "WEIGHTS",
    "add",
    "base_of",
    "is_adapter",
    "merge_into",
    "model_config",
    "rank_of",
    "whole_state",
    "write",
]

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MODEL_CONFIG = "model_config.json"

_NAME = "default"  # of the one adapter that a model has


def is_adapter(path: str | Path) -> bool:
    """Whether a directory holds an adapter and no whole model."""
    return (Path(path) / CONFIG).is_file() and not (Path(path) / "config.json").is_file()


def base_of(path: str | Path) -> tuple[str, str | None]:
    """The model that an adapter stands beside: a directory or a hub id, and its revision.

    Raises:
        InputError: the adapter does not say it, or has no weights that can be loaded.
    """
    try:
        config = json.loads(read_regular(Path(path) / CONFIG))
        base, revision = config["base_model_name_or_path"], config.get("revision")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {CONFIG} does not name the model that the adapter belongs to") from error
    if not (Path(path) / WEIGHTS).is_file():
        raise InputError(f"{path} holds an adapter without {WEIGHTS}; other forms are not loaded")
    if not base or Path(base).resolve() == Path(path).resolve():
        raise InputError(f"{path}: {CONFIG} names no model that the adapter belongs to")
    return str(base), revision


def rank_of(path: str | Path) -> int:
    """The largest rank among an adapter's matrices.

    Raises:
        InputError: the folder holds no adapter, or its configuration does not say it.
    """
    try:
        config = json.loads(read_regular(Path(path) / CONFIG))
        return max(int(rank) for rank in (config["r"], *(config.get("rank_pattern") or {}).values()))
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{path}: no adapter, or {CONFIG} does not say its rank (r)") from None


def model_config(path: str | Path) -> dict[str, Any]:
    """The configuration of the model that an adapter was trained in; empty where it is not kept.

    Raises:
        InputError: it is damaged.
    """
    file = Path(path) / MODEL_CONFIG
    if not file.is_file():
        return {}
    try:
        config = json.loads(read_regular(file))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise InputError(f"{file} is damaged: no configuration of a model")
    return config


def add(
    module: Any, lora: LoraSettings, start: tuple[str, str | None], *, tokens: Sequence[int] = (), seed: int
) -> Any:
    """Put new adapters that do nothing yet into a model, and freeze everything else but its scalar head.

    Args:
        module: a causal language model, or a classifier whose `score` is trained whole; changed in place.
        lora: the settings.
        start: directory or hub id that the model was loaded from, and its revision.
        tokens: ids of tokens whose rows in the embedding are trained.
        seed: decides the first values.

    Returns:
        The model as `peft` wraps it.

    Raises:
        MissingExtraError: peft is not installed.
        ConfigError: the model has no linear layers of these names.
    """
    import torch

    peft = _peft()
    classifies = hasattr(module, "score")
    config = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(module, lora),
        task_type="SEQ_CLS" if classifies else "CAUSAL_LM",
        modules_to_save=["score"] if classifies else None,
        trainable_token_indices=sorted(tokens) or None,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tied embeddings, which are kept tied
        torch.manual_seed(seed)
        wrapped = peft.get_peft_model(module, config)
    module.train(module.training)  # new layers begin in training mode
    config.base_model_name_or_path, config.revision = start  # what the module remembers may be what it was merged from
    output = module.get_output_embeddings()
    if output is not None and hasattr(output, "token_adapter") and output.original_module.bias is not None:
        raise ConfigError("lora: tokens cannot be added to a model whose tied output layer has a bias")
    for parameter in module.parameters():
        if parameter.requires_grad:  # a head's copy is of the weights' own precision
            parameter.data = parameter.data.float()
    return wrapped


def _targets(module: Any, lora: LoraSettings) -> list[str]:
    """The names of the linear layers that get an adapter, by their last part where that says which."""
    import torch
    from transformers.pytorch_utils import Conv1D

    linear = {name: part for name, part in module.named_modules() if isinstance(part, torch.nn.Linear | Conv1D)}
    output, score = module.get_output_embeddings(), getattr(module, "score", None)
    inner = [name for name, part in linear.items() if part is not output and part is not score]
    known = sorted({name if (last := name.rpartition(".")[2]).isdigit() else last for name in inner})
    if lora.targets == "all-linear":
        if not known:
            raise ConfigError(f"lora: {type(module).__name__} has no linear layers beside its output layer")
        return known
    for target in lora.targets:
        named = [part for name, part in linear.items() if name == target or name.endswith(f".{target}")]
        if not named:
            raise ConfigError(
                f"lora.targets: {type(module).__name__} has no linear layer {target!r}{nearest(target, known)}; "
                f"it has: {', '.join(known) or 'none'}"
            )
        if any(part is output for part in named) and output.weight is module.get_input_embeddings().weight:
            raise ConfigError(
                f"lora.targets: {target} of {type(module).__name__} is tied to the embedding, which an adapter of the "
                "one would part from the other; leave it out"
            )
    return list(lora.targets)


def whole_state(module: Any) -> dict[str, Tensor]:
    """The weights of the model that a module with adapters or quantised weights stands for, in its own precision.

    Adapters are added in float32; quantised weights become what they stand for. The names are those of the plain
    model, and nothing in the module is changed.
    """
    return dict(_effective(module, "", module.dtype))


def _effective(module: Any, name: str, dtype: Any) -> Iterator[tuple[str, Tensor]]:
    """The weights of a part, its name with a dot before theirs."""
    from peft.tuners.lora import LoraLayer
    from peft.utils.integrations import dequantize_module_weight
    from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper

    if isinstance(module, ModulesToSaveWrapper):
        kind = next(module.original_module.parameters()).dtype
        for part, value in _effective(module.modules_to_save[_NAME], name, dtype):
            yield part, value.to(kind)
        return
    if isinstance(module, TrainableTokensWrapper):
        yield f"{name}weight", module.token_adapter.get_merged_weights([_NAME]).detach()
        bias = getattr(module.original_module, "bias", None)
        if bias is not None:
            yield f"{name}bias", bias.detach()
        return
    adapted: Any = module if isinstance(module, LoraLayer) else None
    layer = module if adapted is None else adapted.get_base_layer()
    own = {
        **layer._parameters,
        **{k: v for k, v in layer._buffers.items() if k not in layer._non_persistent_buffers_set},
    }
    for part, value in own.items():
        if value is None:
            continue
        if part == "weight":
            kind = value.dtype if value.dtype.is_floating_point else dtype
            value = dequantize_module_weight(layer) if kind is not value.dtype else value
            if adapted is not None:
                value = value.float() + adapted.get_delta_weight(_NAME).to(value.device)
            value = value.to(kind)
        yield f"{name}{part}", value.detach()
    if adapted is None:
        for part, child in module.named_children():
            yield from _effective(child, f"{name}{part}.", dtype)


def write(wrapped: Any, out: Path) -> None:
    """Write an adapter as `peft` does, with the configuration of its model; `out` exists."""
    from safetensors.torch import save_file

    peft = _peft()
    state = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    save_file({name: value.contiguous() for name, value in state.items()}, out / WEIGHTS, {"format": "pt"})
    config = {
        # sets have an order of their own in every process
        name: sorted(value) if isinstance(value, set) else value
        for name, value in wrapped.peft_config[_NAME].to_dict().items()
    }
    (out / CONFIG).write_text(json.dumps({**config, "inference_mode": True}, indent=2, sort_keys=True, default=str))
    model = wrapped.get_base_model()
    (out / MODEL_CONFIG).write_text(
        json.dumps({**model.config.to_diff_dict(), "architectures": [type(model).__name__]})
    )
    if model.can_generate():
        model.generation_config.save_pretrained(out)


def merge_into(module: Any, path: str | Path, tokenizer: Any) -> Any:
    """Add an adapter to the weights of its model, each in float32 and cast back; the model, plain again.

    Args:
        module: the adapter's model, changed in place.
        path: the adapter's directory.
        tokenizer: of the adapter; tokens that the model lacks must be among those that the adapter brings rows of.

    Raises:
        InputError: the adapter does not fit the model.
        MissingExtraError: peft is not installed.
    """
    import torch
    from safetensors import SafetensorError

    peft = _peft()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _grow(module, path, tokenizer)
            wrapped = peft.PeftModel.from_pretrained(module, str(path))
            for part in wrapped.modules():
                if hasattr(part, "get_base_layer") and hasattr(part, "lora_A"):
                    layer = part.get_base_layer()
                    kind = layer.weight.dtype
                    layer.weight.data = layer.weight.data.float()
                    part.merge()
                    layer.weight.data = layer.weight.data.to(kind)
            plain = wrapped.merge_and_unload()
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError, AttributeError) as error:
        raise InputError(f"{path}: the adapter does not fit its model: {first_line(error)}") from error
    for name, value in model_config(path).items():
        if not isinstance(value, dict) and name not in ("dtype", "transformers_version", "model_type"):
            with contextlib.suppress(AttributeError):  # some entries are made of others
                setattr(plain.config, name, value)
    if (Path(path) / "generation_config.json").is_file() and plain.can_generate():
        from transformers import GenerationConfig

        plain.generation_config = GenerationConfig.from_pretrained(str(path))
    for parameter in plain.parameters():
        parameter.requires_grad_(True)
    plain.eval()
    assert isinstance(plain, torch.nn.Module)
    return plain


def _grow(module: Any, path: str | Path, tokenizer: Any) -> None:
    """Make room for the tokens that an adapter brings rows of."""
    import torch

    rows = module.get_input_embeddings().weight.shape[0]
    vocabulary = set(tokenizer.get_vocab().values())
    config = json.loads(read_regular(Path(path) / CONFIG))
    brought = config.get("trainable_token_indices") or []
    brought = {token for part in (brought.values() if isinstance(brought, dict) else [brought]) for token in part}
    lacking = {token for token in vocabulary if token >= rows} - brought - {tokenizer.pad_token_id}
    if lacking:
        raise InputError(
            f"{path}: its tokenizer has {max(vocabulary) + 1:,} tokens, the vocabulary of its model {rows:,}, and the "
            f"adapter brings no rows for {len(lacking):,} of them; save tokenizer and adapter of one model together"
        )
    wanted = max(vocabulary | brought) + 1
    if wanted > rows:
        with torch.random.fork_rng(devices=[]):
            module.resize_token_embeddings(wanted, mean_resizing=False)


def _peft() -> Any:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it too, and it tells of what it lacks
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("adapters (lora)", "train") from error
    return peft
