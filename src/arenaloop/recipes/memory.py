"""How much of a GPU's memory training and answering take, worked out from the sizes of the model's layers.

Bytes, not measured: what the allocator keeps aside, other programs and CUDA's own part (about 10⁹) come on top.

    weights        parameters by the bytes of their kind; with adapters those of four or eight bits, too
    gradients      of what is trained, in its own precision
    optimiser      AdamW keeps two numbers for each (Kingma and Ba 2015), Muon one for each of the hidden matrices
    copies         forward passes in bfloat16 over float32 weights hold a bfloat16 copy of the matrices
    activations    what a backward pass needs of each token and layer, by the count of Korthikanti et al. 2022
                   (arXiv 2205.05198, section 4), done again for layers of RMS norms, rotary embeddings and a gated
                   feed-forward block, whose attention keeps no scores (sdpa, flash)
    cache          a key and a value of each layer for each token of the rows that answer together
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from arenaloop.config import (
    DPOSettings,
    OptimSettings,
    PPOSettings,
    QuarkSettings,
    RewardModelSettings,
    RLOOSettings,
    RowSettings,
)
from arenaloop.models.shape import Shape

__all__ = ["Memory", "layer_activations", "number_bytes", "sampling_memory", "trained_parameters", "training_memory"]

_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "auto": 2.0}
_QUANTISED = {"4bit": 0.5 + 4 / 64, "8bit": 1.0}
"""Of one number of a quantised matrix; NF4 has a float32 scale for each 64."""
_PASS = 16_384
"""Padded tokens of a forward pass on a GPU where nothing is set (`Backbone.micro_tokens`)."""
_HEAD = 2**27
"""Logits that are held at once on a GPU (`head.block_width`)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes at the peak, part by part; see the module."""

    weights: float = 0.0
    gradients: float = 0.0
    optimiser: float = 0.0
    copies: float = 0.0
    activations: float = 0.0
    cache: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return sum(getattr(self, part.name) for part in fields(self))

    def words(self) -> str:
        """``145 GB: weights 32, gradients 32, …``; what is below 0.05 GB is left out."""
        parts = [(part.name, getattr(self, part.name) / 1e9) for part in fields(self)]
        told = ", ".join(f"{name} {value:.1f}" for name, value in parts if value >= 0.05)
        return f"{self.total / 1e9:.1f} GB{f': {told}' if told else ''}"


def number_bytes(dtype: str) -> float:
    """Of one weight; ``auto`` is taken to be 16 bits, as weights are mostly saved."""
    return _BYTES[dtype]


def trained_parameters(shape: Shape, settings: OptimSettings) -> int:
    """How many numbers are trained: all, or those of adapters, ``r · (in + out)`` for each layer that has one."""
    lora = settings.lora
    if lora is None:
        return shape.parameters
    sizes = shape.matrices
    names = sizes if lora.targets == "all-linear" else [name for name in sizes if name in lora.targets]
    return shape.layers * sum(lora.r * sum(sizes[name]) for name in names)


def layer_activations(shape: Shape, residual: int, inner: int) -> float:
    """Bytes of one token that one layer's backward pass needs.

    Two norms keep their input in float32, what they make of it, and what the matrices after them read (under autocast
    each of the five casts it anew); attention its queries, keys, values and result, and a float32 sum for each head;
    the gated block two projections, the activation of one, and their product.

    Args:
        shape: of the model.
        residual: bytes of a number between layers.
        inner: bytes of a number within them; 2 beside 4 under autocast.
    """
    queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    read = inner * (2 if residual == inner else 5)
    norms = shape.hidden * (2 * (4 + residual) + read) + 2 * 4
    return norms + inner * (2 * queries + 2 * keys + 4 * shape.inner) + 4 * shape.heads


def training_memory(shape: Shape, settings: OptimSettings) -> Memory:
    """What a training takes on one GPU at its longest rows."""
    number = _BYTES[settings.dtype]
    lower = number == 2 or settings.bf16 is not False
    whole, trained = shape.parameters, trained_parameters(shape, settings)
    weights = whole * number
    if settings.load_in is not None:
        weights += shape.hidden_parameters * (_QUANTISED[settings.load_in] - number)
    own = 4.0 if settings.lora is not None else number
    models, frozen = _models(settings)
    states = 2.0 * trained
    if settings.optimizer == "muon":
        states -= trained if settings.lora is not None else shape.hidden_parameters
    checkpointed = settings.gradient_checkpointing
    # a frozen matrix is cast again wherever it is used, and kept for the backward pass of that layer
    copies = 0.0
    if lower and number == 4 and settings.load_in is None:
        kept = shape.layers if settings.lora is None or not checkpointed else 1
        copies = 2.0 * shape.hidden_parameters * kept / shape.layers
    if settings.lora is not None:  # one set of weights serves all
        frozen_bytes, models_bytes = 0.0, weights + trained * own * models
    else:
        frozen_bytes, models_bytes = frozen * weights, models * weights
    return Memory(
        weights=models_bytes + frozen_bytes,
        gradients=models * trained * own,
        optimiser=models * states * own,
        copies=models * copies,
        activations=_activations(shape, settings, number, 2 if lower else 4),
    )


def _models(settings: OptimSettings) -> tuple[int, int]:
    """How many models are trained together, and how many frozen ones are held beside them."""
    if isinstance(settings, PPOSettings):  # with a value network of its own; the reward model stands apart
        return 2, 1
    return 1, int(isinstance(settings, RLOOSettings | QuarkSettings))


def _activations(shape: Shape, settings: OptimSettings, number: float, inner: int) -> float:
    """Of one forward and backward pass over as many tokens as one may hold."""
    longest = settings.max_length * (2 if isinstance(settings, DPOSettings | RewardModelSettings) else 1)
    rows = settings.batch_size if isinstance(settings, RowSettings) else 512
    if settings.micro_batch is not None:
        tokens = min(settings.micro_batch, rows) * longest
    else:
        tokens = min(rows * longest, max(settings.micro_tokens or _PASS, longest))
    layer = layer_activations(shape, int(number), inner)
    layers = shape.layers * layer
    if settings.gradient_checkpointing:  # the input of each layer, and one layer that is computed again
        layers = shape.layers * shape.hidden * number + layer
    logits = 3 * 4 * min(tokens * shape.vocabulary, _HEAD)  # float32: themselves, their exponentials, their gradients
    return tokens * layers + logits


def sampling_memory(shape: Shape, dtype: str, rows: int, tokens: float) -> Memory:
    """What it takes to answer so many rows at once, each of so many tokens, prompt and answer together."""
    number = _BYTES[dtype]
    logits = rows * shape.vocabulary * (number + 2 * 4)  # and their probabilities, in float32
    return Memory(weights=shape.parameters * number, cache=rows * tokens * shape.cached * number, activations=logits)
