"""A checkpoint: what identifies it, how it is loaded, and what ends its turns.

Everything that loads one goes through here, an answering model as well as a training. Torch is imported where it is
needed: identifying a checkpoint needs none.
"""

from __future__ import annotations

import contextlib
import functools
import json
import threading
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arenaloop.errors import ConfigError, InputError, MissingExtraError, first_line
from arenaloop.models import adapters
from arenaloop.regular_files import open_regular, read_regular
from arenaloop.types import content_hash

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "best_threads",
    "checkpoint_fingerprint",
    "context_window",
    "end_ids",
    "forbidden_ids",
    "holds_model",
    "load_checkpoint",
    "load_tokenizer",
    "no_progress_bars",
    "require_chat_template",
    "require_reward_model",
    "stated_window",
    "torch_device",
    "torch_threads",
]

_LOADING = threading.Lock()
"""Held while a model is loaded: transformers replaces its own module while it is imported, so that a second thread is
left with one that lacks everything (``module 'transformers' has no attribute 'AutoTokenizer'``)."""

TINY = 5_000_000
"""Parameters under which a model on a CPU is fastest with one thread."""

_TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "chat_template*",
)


def holds_model(path: Path) -> bool:
    """Whether a directory holds a model's configuration, or an adapter's."""
    return (path / "config.json").is_file() or (path / adapters.CONFIG).is_file()


def checkpoint_fingerprint(model: str | Path, revision: str | None = None) -> str:
    """Content hash of what decides a checkpoint's answers: weights, configuration, tokenizer and chat template.

    Of a directory the files' contents are hashed (once per process, as long as size and time stay); of a hub id its
    name and the commit that `revision` stands for, or the revision itself where that cannot be known. Of an adapter its
    own and its model's.
    """
    path = Path(model)
    if not path.is_dir():
        return content_hash("hub", str(model), _commit(str(model), revision) or revision or "main")
    beside = (adapters.CONFIG, adapters.MODEL_CONFIG) if (adapter := adapters.is_adapter(path)) else ()
    patterns = ("*.safetensors", "config.json", "generation_config.json", *_TOKENIZER_FILES, *beside)
    files = sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()})
    hashes = []
    for file in files:
        stat = file.stat()
        hashes.append([file.name, _file_hash(str(file.resolve()), stat.st_size, stat.st_mtime_ns)])
    if adapter:
        hashes.append(["base", checkpoint_fingerprint(*adapters.base_of(path))])
    return content_hash("checkpoint", hashes)


@functools.lru_cache(maxsize=4096)
def _file_hash(path: str, size: int, modified: int) -> str:
    digest = blake2b(digest_size=16)
    with open_regular(path) as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    if path.endswith("config.json"):  # the library's version is written there, and says nothing about the answers
        try:
            content = json.loads(read_regular(path))
        except ValueError:
            content = None
        if not isinstance(content, dict):  # damaged: whoever loads it will say so
            return digest.hexdigest()
        for name in ("transformers_version", "peft_version", "base_model_name_or_path"):
            content.pop(name, None)
        return content_hash(content)
    return digest.hexdigest()


@functools.lru_cache(maxsize=64)
def _commit(model: str, revision: str | None) -> str | None:
    """The commit that a revision of a hub id stands for, None where neither the cache nor the hub says it.

    The configuration is fetched if it is not in the cache: else the first run, which downloads the model, would know
    its answers and checkpoints by another name than the second.
    """
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        found = try_to_load_from_cache(model, "config.json", revision=revision)
        if not isinstance(found, str):
            found = hf_hub_download(model, "config.json", revision=revision)
    except (ImportError, OSError, ValueError):
        return None
    return Path(found).parent.name


def require_chat_template(model: str | Path, revision: str | None = None) -> None:
    """Refuse a model whose tokenizer has no chat template, before anything is asked or written.

    Raises:
        ConfigError: there is no template.
        InputError: the tokenizer of a hub id cannot be had.
        MissingExtraError: transformers is not installed.
    """
    path = Path(model)
    if adapters.is_adapter(path) and not any(path.glob("tokenizer*")):
        return require_chat_template(*adapters.base_of(path))
    if path.is_dir():
        config = path / "tokenizer_config.json"
        inside = json.loads(read_regular(config)).get("chat_template") if config.is_file() else None
        found = bool(inside) or any(path.glob("chat_template*")) or (path / "additional_chat_templates").is_dir()
    else:
        tokenizer = load_tokenizer(model, revision)
        found = bool(tokenizer.chat_template)
    if not found:
        raise ConfigError(f"hf:{model}: its tokenizer has no chat template; use a chat model")
    return None


def require_reward_model(path: str | Path) -> None:
    """Refuse a directory that holds no classifier with one label, without loading anything.

    Raises:
        InputError: it is none.
    """
    file = Path(path) / (adapters.MODEL_CONFIG if adapters.is_adapter(path) else "config.json")
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} does not hold a model: {getattr(error, 'strerror', None) or error}") from error
    kinds = config.get("architectures") if isinstance(config, dict) else None
    if not any("SequenceClassification" in str(name) for name in kinds or ()):
        raise InputError(f"{path} is no reward model: a sequence classifier with one label is one")


def load_tokenizer(model: str | Path, revision: str | None = None) -> Any:
    """The tokenizer of a directory or a hub id, without its weights.

    Raises:
        InputError: it cannot be had.
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("local models", "train") from error
    if adapters.is_adapter(model) and not any(Path(model).glob("tokenizer*")):
        return load_tokenizer(*adapters.base_of(model))
    try:
        return _anywhere(AutoTokenizer.from_pretrained(str(model), revision=revision, trust_remote_code=False))
    except (OSError, ValueError) as error:
        raise InputError(f"hf:{model}: {first_line(error)}") from error


def _anywhere(tokenizer: Any) -> Any:
    """A tokenizer whose files say nothing of the machine it was loaded on, once they are written.

    Whether the hub could be asked (``HF_HUB_OFFLINE``) would stand in them, and so in the fingerprint of what is
    trained and in the seeds that follow from it.
    """
    if "local_files_only" in tokenizer.init_kwargs:
        tokenizer.init_kwargs["local_files_only"] = False
    return tokenizer


def load_checkpoint(
    model: str | Path,
    revision: str | None = None,
    *,
    dtype: str = "auto",
    kind: str = "AutoModelForCausalLM",
    device: Any = None,
    **options: Any,
) -> tuple[Any, Any]:
    """Load a module and its tokenizer: safetensors only, no remote code.

    An adapter is merged into the model that it stands beside; it may itself stand beside one that is an adapter.

    Args:
        model, revision: a directory in Hugging Face form or of an adapter, or a hub id and its revision.
        dtype: of the weights: ``"auto"`` (as saved), or a torch name such as ``"bfloat16"``.
        kind: the class of `transformers` that knows the module's.
        device: the torch device that weights are read onto, without a stay on the CPU; None = the CPU.
        options: changes to the configuration, and other arguments of ``from_pretrained``.

    Raises:
        InputError: it cannot be loaded.
        MissingExtraError: it is an adapter, and peft is not installed.
    """
    if adapters.is_adapter(model):
        base, base_revision = adapters.base_of(model)
        if dtype == "auto":
            dtype = adapters.model_config(model).get("dtype") or dtype
        module, _ = load_checkpoint(base, base_revision, dtype=dtype, kind=kind, device=device, **options)
        tokenizer = load_tokenizer(model)
        return adapters.merge_into(module, model, tokenizer), tokenizer
    common = {"revision": revision, "trust_remote_code": False}
    if device is not None and (device.type != "cpu" or "quantization_config" in options):
        options["device_map"] = {"": device}
    with _LOADING:
        import torch
        import transformers
        from safetensors import SafetensorError

        with no_progress_bars():
            try:
                weights = dtype if dtype == "auto" else getattr(torch, dtype)
                tokenizer = _anywhere(transformers.AutoTokenizer.from_pretrained(str(model), **common))
                module = getattr(transformers, kind).from_pretrained(
                    str(model), dtype=weights, use_safetensors=True, **common, **options
                )
            except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
                raise InputError(f"cannot load the model {model}: {first_line(error)}") from error
    if getattr(module, "_hf_peft_config_loaded", False):
        raise InputError(f"{model} is an adapter of a hub; download it and name its directory")
    return module, tokenizer


def end_ids(tokenizer: Any, module: Any = None) -> frozenset[int]:
    """The tokens that end a turn: the one definition that sampling and the loss share.

    They are the generation configuration's, the tokenizer's end of sequence, and the special token by which the chat
    template closes an assistant's turn: a base model whose template has an end of turn of its own often still names
    only its end of text. A module that does not generate (a classifier) has no generation configuration.
    """
    ends = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    found = set([ends] if isinstance(ends, int) else ends or []) | {tokenizer.eos_token_id}
    special = {at for at, token in tokenizer.added_tokens_decoder.items() if token.special}
    with contextlib.suppress(Exception):  # templates raise errors of many kinds
        messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        tail = tokenizer(text[text.rindex("answer") + len("answer") :], add_special_tokens=False)["input_ids"]
        found.add(next((token for token in tail if token in special), None))
    return frozenset(found - {None})


def forbidden_ids(module: Any) -> Tensor | None:
    """Ids of the tokens that are never said, ``suppress_tokens`` of the generation configuration, or None: (n,) tensor.

    The one definition that sampling and every log-probability share.
    """
    import torch

    found = getattr(getattr(module, "generation_config", None), "suppress_tokens", None)
    return torch.tensor(sorted(set(found)), device=module.device) if found else None


def context_window(module: Any) -> int | None:
    """The context window in tokens, where the configuration says it."""
    window = getattr(module.config.get_text_config(), "max_position_embeddings", None)
    return window if isinstance(window, int) and window > 0 else None


def stated_window(path: Path) -> int | None:
    """The context window in tokens that a model's folder states, read without loading it; None where it does not."""
    if adapters.is_adapter(path):
        path = Path(adapters.base_of(path)[0])
    try:
        config = json.loads(read_regular(path / "config.json"))
    except (OSError, ValueError):
        return None
    parts = [config, *(config.get(name) for name in ("text_config", "llm_config"))] if isinstance(config, dict) else []
    for part in parts:
        window = part.get("max_position_embeddings") if isinstance(part, dict) else None
        if isinstance(window, int) and window > 0:
            return window
    return None


def torch_device(name: str | None) -> Any:
    """The torch device of that name; None = the first GPU, or the CPU.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {first_line(error)}") from error
    return device


def best_threads(module: Any) -> int | None:
    """One for a tiny model on a CPU, whose matrices are too small to share; None = no opinion."""
    return 1 if module.device.type == "cpu" and module.num_parameters() < TINY else None


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Run with this many torch threads (None: as they are), and put the former number back."""
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def no_progress_bars(*, errors_only: bool = False) -> Iterator[None]:
    """Let `transformers` load and save in silence; `errors_only`, without its report of missing weights too."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    if errors_only:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
