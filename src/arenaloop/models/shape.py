"""The sizes of a model's layers, without loading it: by its `config.json`, or by its name where its family is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.regular_files import read_text

__all__ = ["Shape", "shape_of"]


class Shape(NamedTuple):
    """A decoder of layers of attention and a gated feed-forward block (Llama's form, and what followed it).

    Attributes:
        layers: of them.
        hidden: width of the residual stream.
        heads, kv_heads: of queries, and of keys and values (grouped-query attention).
        head: width of one head.
        inner: width of the feed-forward block.
        vocabulary: entries.
        tied: whether the output layer is the embedding.
        biases: whether queries, keys and values have one.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    vocabulary: int
    tied: bool = False
    biases: bool = False

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one layer, by their usual names: (numbers in, numbers out)."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.inner),
            "up_proj": (self.hidden, self.inner),
            "down_proj": (self.inner, self.hidden),
        }

    @property
    def hidden_parameters(self) -> int:
        """In the linear layers of all layers."""
        return self.layers * sum(a * b for a, b in self.matrices.values())

    @property
    def parameters(self) -> int:
        """All of them: embedding, output layer, linear layers, norms and biases."""
        biases = (self.heads + 2 * self.kv_heads) * self.head if self.biases else 0
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.hidden_parameters + self.layers * (2 * self.hidden + biases) + self.hidden

    @property
    def cached(self) -> int:
        """Numbers that a key-value cache holds of one token: a key and a value of each layer."""
        return 2 * self.layers * self.kv_heads * self.head


_LLAMA3 = 128_256
_KNOWN: dict[str, Shape] = {
    "llama-3-8b": Shape(32, 4096, 32, 8, 128, 14336, _LLAMA3),
    "llama-3.1-8b": Shape(32, 4096, 32, 8, 128, 14336, _LLAMA3),
    "llama-3-70b": Shape(80, 8192, 64, 8, 128, 28672, _LLAMA3),
    "llama-3.1-70b": Shape(80, 8192, 64, 8, 128, 28672, _LLAMA3),
    "llama-3.2-1b": Shape(16, 2048, 32, 8, 64, 8192, _LLAMA3, tied=True),
    "llama-3.2-3b": Shape(28, 3072, 24, 8, 128, 8192, _LLAMA3, tied=True),
    "llama-2-7b": Shape(32, 4096, 32, 32, 128, 11008, 32_000),
    "llama-2-13b": Shape(40, 5120, 40, 40, 128, 13824, 32_000),
    "llama-2-70b": Shape(80, 8192, 64, 8, 128, 28672, 32_000),
    "mistral-7b-v0.1": Shape(32, 4096, 32, 8, 128, 14336, 32_000),
    "mistral-7b-instruct-v0.1": Shape(32, 4096, 32, 8, 128, 14336, 32_000),
    "mistral-7b-instruct-v0.2": Shape(32, 4096, 32, 8, 128, 14336, 32_000),
    "mistral-7b-v0.3": Shape(32, 4096, 32, 8, 128, 14336, 32_768),
    "qwen2.5-0.5b": Shape(24, 896, 14, 2, 64, 4864, 151_936, tied=True, biases=True),
    "qwen2.5-1.5b": Shape(28, 1536, 12, 2, 128, 8960, 151_936, tied=True, biases=True),
    "qwen2.5-7b": Shape(28, 3584, 28, 4, 128, 18944, 152_064, biases=True),
    "smollm2-135m": Shape(30, 576, 9, 3, 64, 1536, 49_152, tied=True),
}
"""Numbers of published configurations, by the beginning of a model's name in lower case, ``meta-`` left out."""


def shape_of(model: str) -> Shape | None:
    """Of a directory in Hugging Face form, what its configuration says; of a hub id, what is known of its name.

    None where neither tells: another form of model (a mixture of experts), or a name that is not in the table. Nothing
    is looked up on a hub.
    """
    directory = Path(model)
    if (directory / "config.json").is_file():
        try:
            return _in_config(json.loads(read_text(directory / "config.json")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
    name = directory.name.lower().removeprefix("meta-")
    known = [start for start in _KNOWN if name == start or name.startswith(f"{start}-")]
    return _KNOWN[max(known, key=len)] if known else None


def _in_config(config: dict[str, Any]) -> Shape | None:
    """The sizes that a configuration holds; None of a model of another form."""
    config = config.get("text_config") or config
    if any(config.get(name) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        return None
    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    return Shape(
        layers=int(config["num_hidden_layers"]),
        hidden=hidden,
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head=int(config.get("head_dim") or hidden // heads),
        inner=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        biases=bool(config.get("attention_bias", config.get("model_type") == "qwen2")),
    )
