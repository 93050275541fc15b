"""What identifies a checkpoint; needs no torch."""

from __future__ import annotations

import functools
import json
from hashlib import blake2b
from pathlib import Path

from arenaloop.errors import ConfigError, InputError, MissingExtraError
from arenaloop.types import content_hash

__all__ = ["checkpoint_fingerprint", "require_chat_template"]

_TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "chat_template*",
)


def checkpoint_fingerprint(model: str | Path, revision: str | None = None) -> str:
    """Content hash of what decides a checkpoint's answers: weights, configuration, tokenizer and chat template.

    Of a directory the files' contents are hashed (once per process, as long as size and time stay); of a hub id its
    name and the commit that `revision` stands for, or the revision itself where that cannot be known.
    """
    path = Path(model)
    if not path.is_dir():
        return content_hash("hub", str(model), _commit(str(model), revision) or revision or "main")
    patterns = ("*.safetensors", "config.json", "generation_config.json", *_TOKENIZER_FILES)
    files = sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()})
    hashes = []
    for file in files:
        stat = file.stat()
        hashes.append([file.name, _file_hash(str(file.resolve()), stat.st_size, stat.st_mtime_ns)])
    return content_hash("checkpoint", hashes)


@functools.lru_cache(maxsize=4096)
def _file_hash(path: str, size: int, modified: int) -> str:
    digest = blake2b(digest_size=16)
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    if path.endswith("config.json"):  # the library's version is written there, and says nothing about the answers
        content = json.loads(Path(path).read_text("utf-8"))
        content.pop("transformers_version", None)
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
    if path.is_dir():
        config = path / "tokenizer_config.json"
        inside = json.loads(config.read_text("utf-8")).get("chat_template") if config.is_file() else None
        found = bool(inside) or any(path.glob("chat_template*")) or (path / "additional_chat_templates").is_dir()
    else:
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise MissingExtraError("local models", "train") from error
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(model), revision=revision, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise InputError(f"hf:{model}: {str(error).strip().splitlines()[0]}") from error
        found = bool(tokenizer.chat_template)
    if not found:
        raise ConfigError(f"hf:{model}: its tokenizer has no chat template; use a chat model")
