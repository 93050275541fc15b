"""A GGUF file as a checkpoint in Hugging Face form: weights without their quantisation, and the exact tokenizer.

The file is converted once into a cache, under the hash of its bytes; from there on it is a directory like any other,
which answers, battles and is trained. Weights are float32: what a 4-bit file stands for, not what it was made from.

Not here: other architectures than `ARCHITECTURES`, rescaled rotary positions, tokenizers that are no byte-level BPE.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arenaloop.errors import InputError, MissingExtraError, StorageError, first_line
from arenaloop.models.checkpoint import no_progress_bars
from arenaloop.regular_files import open_regular

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader

__all__ = ["ARCHITECTURES", "PRETOKENIZERS", "convert", "converted", "is_gguf"]

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
"""The architectures that are read, and the classes of `transformers` that they are."""

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRETOKENIZERS: Mapping[str, str | None] = {
    "gpt-2": None,
    "smollm": None,
    "llama-bpe": _PATTERN.replace("DIGITS", "{1,3}"),
    "qwen2": _PATTERN.replace("DIGITS", ""),
}
"""How a text is cut before its bytes are joined, by the file's name for it; None = byte-level BPE's own pattern."""

_FORMAT = 1  # of what `convert` writes: raised when that changes, so that an older cache is not taken
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4  # kinds of tokens, GGUF's TokenType
_READ = frozenset(
    [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "vocab_size",
        "rope.freq_base",
        "rope.dimension_count",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.layer_norm_rms_epsilon",
    ]
)
"""What an architecture's metadata may say: anything else might change what the model computes."""


def is_gguf(model: str | Path) -> bool:
    """Whether a model is named by a GGUF file."""
    return str(model).lower().endswith(".gguf")


def converted(file: str | Path) -> Path:
    """The directory that a GGUF file was converted to; the first time it is made, in the user's cache.

    It stands under ``$XDG_CACHE_HOME/arenaloop`` (by default ``~/.cache/arenaloop``) and is named by the file's bytes.

    Raises:
        MissingExtraError: `gguf`, or what training needs, is not installed.
        InputError: no such file, a damaged one, or a model that is not read (see `convert`).
        StorageError: the cache cannot be written.
    """
    path = Path(file).expanduser()
    try:
        stat = path.stat()
        known = _sha256(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arenaloop" / "gguf"
    out = cache / f"{known[:24]}-{_FORMAT}"
    if out.is_dir():
        return out
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix="converting-", dir=cache))
        try:
            convert(path, temporary)
            if not out.is_dir():  # another process may have been first
                temporary.rename(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if not out.is_dir():
            raise StorageError(f"{cache}: {error.strerror or error}") from error
    return out


@functools.lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified: int) -> str:
    with open_regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def convert(file: str | Path, out: Path) -> None:
    """Write the model of a GGUF file into a directory, in Hugging Face form.

    Raises:
        MissingExtraError: `gguf`, or what training needs, is not installed.
        InputError: a damaged file, or a model that is not read: the message says what of it.
    """
    if any(find_spec(name) is None for name in ("torch", "transformers", "safetensors")):
        raise MissingExtraError("local models", "train")
    if find_spec("gguf") is None:
        raise MissingExtraError("a GGUF file", "gguf")
    import transformers
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    try:
        reader = GGUFReader(file)
    except Exception as error:  # a damaged file fails in ways of many kinds
        raise InputError(f"{file}: no whole GGUF file ({first_line(error)})") from error
    with _named(file):
        fields = _Fields(reader)
        architecture = fields.required("general.architecture")
        if architecture not in ARCHITECTURES:
            raise ValueError(f"architecture {architecture!r}; {' and '.join(ARCHITECTURES)} are read")
        tied = not any(tensor.name == "output.weight" for tensor in reader.tensors)
        config = _config(architecture, fields, tied)
        tokenizer = _tokenizer(fields)
        tensors = _tensors(reader, architecture, config)
        with no_progress_bars():
            config.architectures = [ARCHITECTURES[architecture]]
            config.save_pretrained(out)
            tokenizer.save_pretrained(out)
            ends = {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
            transformers.GenerationConfig(**ends, pad_token_id=config.pad_token_id).save_pretrained(out)
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


@contextmanager
def _named(file: str | Path) -> Iterator[None]:
    """Errors of reading name the file."""
    try:
        yield
    except OSError:  # of writing what was read
        raise
    except Exception as error:  # what stands in a damaged file makes libraries fail in ways of many kinds
        raise InputError(f"{file}: {first_line(error)}") from error


class _Fields:
    """A file's metadata."""

    def __init__(self, reader: GGUFReader) -> None:
        self._fields = reader.fields

    def get(self, name: str, default: Any = None) -> Any:
        field = self._fields.get(name)
        return default if field is None else field.contents()

    def required(self, name: str) -> Any:
        if name not in self._fields:
            raise ValueError(f"its metadata lacks {name}")
        return self.get(name)

    def names(self, prefix: str) -> list[str]:
        return [name.removeprefix(prefix) for name in self._fields if name.startswith(prefix)]


def _config(architecture: str, fields: _Fields, tied: bool) -> Any:
    """The configuration, from the metadata."""
    import transformers

    of = f"{architecture}."
    for name in fields.names(of):
        if name not in _READ and fields.get(of + name):
            raise ValueError(f"{of}{name} is not read, and may change what the model computes")
    heads, width = fields.required(of + "attention.head_count"), fields.required(of + "embedding_length")
    head_dim = fields.get(of + "attention.key_length", width // heads)
    if fields.get(of + "attention.value_length", head_dim) != head_dim or (
        fields.get(of + "rope.dimension_count", head_dim) != head_dim
    ):
        raise ValueError("heads whose keys, values and rotary positions differ in size are not read")
    kind: Any = type(transformers.AutoConfig.for_model(architecture))
    return kind(
        vocab_size=len(fields.required("tokenizer.ggml.tokens")),
        hidden_size=width,
        intermediate_size=fields.required(of + "feed_forward_length"),
        num_hidden_layers=fields.required(of + "block_count"),
        num_attention_heads=heads,
        num_key_value_heads=fields.get(of + "attention.head_count_kv", heads),
        head_dim=head_dim,
        max_position_embeddings=fields.required(of + "context_length"),
        rms_norm_eps=fields.required(of + "attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": fields.get(of + "rope.freq_base", 10_000.0)},
        tie_word_embeddings=tied,
        bos_token_id=fields.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=fields.required("tokenizer.ggml.eos_token_id"),
        pad_token_id=fields.get("tokenizer.ggml.padding_token_id"),
        dtype="float32",
    )


def _tensors(reader: GGUFReader, architecture: str, config: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Every parameter of the module, by its own name: each tensor of the file is one, and none is left out."""
    import gguf
    import numpy as np
    import torch
    import transformers

    with torch.device("meta"):
        module = getattr(transformers, ARCHITECTURES[architecture])(config)
    (known,) = (number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    mapping = gguf.get_tensor_name_map(known, config.num_hidden_layers)
    found = {tensor.name: tensor for tensor in reader.tensors}
    tensors = {}
    for name, parameter in module.named_parameters():
        theirs = mapping.get_name(name, (".weight", ".bias"))
        if theirs not in found:
            raise ValueError(f"its tensors lack {theirs or name}")
        tensor = found.pop(theirs)
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        if values.shape != tuple(parameter.shape):
            raise ValueError(f"{theirs} is {values.shape}, where its metadata asks for {tuple(parameter.shape)}")
        if architecture == "llama" and ".q_proj." in name:
            values = _apart(values, config.num_attention_heads)
        elif architecture == "llama" and ".k_proj." in name:
            values = _apart(values, config.num_key_value_heads)
        tensors[name] = np.ascontiguousarray(values)
    if found:
        raise ValueError(f"its tensor {min(found)} is not read, and may change what the model computes")
    return tensors


def _apart(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of queries or keys, whose rotary pairs llama.cpp puts side by side, in halves as `transformers` has them."""
    rows = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return rows.swapaxes(1, 2).reshape(values.shape)


def _tokenizer(fields: _Fields) -> Any:
    """The tokenizer with its chat template: byte-level BPE."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model, cut = fields.required("tokenizer.ggml.model"), fields.required("tokenizer.ggml.pre")
    if model != "gpt2" or cut not in PRETOKENIZERS:
        raise ValueError(f"tokenizer {model}, {cut}; gpt2 with {', '.join(PRETOKENIZERS)} is read")
    tokens = fields.required("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in fields.required("tokenizer.ggml.merges")]
    kinds = fields.get("tokenizer.ggml.token_type", [_NORMAL] * len(tokens))
    vocabulary = {token: at for at, token in enumerate(tokens)}
    core = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=cut == "llama-bpe"))
    pattern = PRETOKENIZERS[cut]
    first: list[Any] = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), behavior="isolated")]
    if cut == "smollm":
        first = [pre_tokenizers.Digits(individual_digits=True)]
    if cut == "qwen2":
        core.normalizer = normalizers.NFC()
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    core.pre_tokenizer = pre_tokenizers.Sequence([*first, bytes_])
    core.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, kinds, strict=True):
        if kind == _CONTROL:
            core.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == _USER_DEFINED:
            core.add_tokens([AddedToken(token, normalized=False)])

    def named(what: str) -> str | None:
        at = fields.get(f"tokenizer.ggml.{what}_token_id")
        return None if at is None else tokens[at]

    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=named("bos"),
        eos_token=named("eos"),
        pad_token=named("padding"),
        unk_token=named("unknown"),
        clean_up_tokenization_spaces=False,
        model_max_length=fields.required(f"{fields.required('general.architecture')}.context_length"),
        chat_template=fields.get("tokenizer.chat_template"),
    )
