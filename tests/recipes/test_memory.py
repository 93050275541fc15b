"""The memory of training and answering: worked out by hand, and counted in what autograd keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from arenaloop.config import METHODS, LoraSettings
from arenaloop.models.shape import Shape, shape_of
from arenaloop.recipes.memory import (
    Memory,
    layer_activations,
    sampling_memory,
    trained_parameters,
    training_memory,
)

SMALL = Shape(layers=2, hidden=8, heads=2, kv_heads=1, head=4, inner=16, vocabulary=10)
# matrices of a layer: 8·8 + 2·8·4 + 8·8 + 3·8·16 = 576; all: 2·10·8 + 2·(576 + 16) + 8 = 1,352
NO_BF16: dict[str, Any] = {"bf16": False, "micro_batch": 1, "max_length": 5}


def test_parts_by_hand() -> None:
    assert (SMALL.hidden_parameters, SMALL.parameters, SMALL.cached) == (1152, 1352, 2 * 2 * 4)
    found = training_memory(SMALL, METHODS["sft"](**NO_BF16))
    layer = 8 * (2 * (4 + 4) + 2 * 4) + 8 + 4 * (2 * 8 + 2 * 4 + 4 * 16) + 4 * 2
    assert layer_activations(SMALL, 4, 4) == layer == 560
    assert found == Memory(4 * 1352, 4 * 1352, 8 * 1352, 0, 5 * 2 * 560 + 3 * 4 * 5 * 10, 0)
    assert found.total == 16 * 1352 + 5600 + 600
    pairs = training_memory(SMALL, METHODS["dpo"](**NO_BF16))
    assert pairs.activations == 2 * found.activations  # both answers of a pair
    muon = training_memory(SMALL, METHODS["sft"](**NO_BF16, optimizer="muon"))
    assert muon.optimiser == 4 * (1152 + 2 * 200)
    halves = training_memory(SMALL, METHODS["sft"](**NO_BF16, dtype="bfloat16"))
    assert (halves.weights, halves.gradients, halves.optimiser, halves.copies) == (2704, 2704, 5408, 0)
    mixed = training_memory(SMALL, METHODS["sft"](micro_batch=1, max_length=5))
    assert (mixed.weights, mixed.copies) == (5408, 2 * 1152)
    less = training_memory(SMALL, METHODS["sft"](**NO_BF16, gradient_checkpointing=True))
    assert less.activations == 5 * (2 * 8 * 4 + 560) + 600


def test_adapters_by_hand() -> None:
    lora = METHODS["sft"](**NO_BF16, lora=LoraSettings(r=2))
    # r · (in + out): q, o 16 each, k, v 12 each, gate, up, down 24 each
    assert trained_parameters(SMALL, lora) == 2 * 2 * (2 * 16 + 2 * 12 + 3 * 24) == 512
    found = training_memory(SMALL, lora)
    assert (found.weights, found.gradients, found.optimiser) == (4 * (1352 + 512), 4 * 512, 8 * 512)
    two = lora.model_copy(update={"lora": LoraSettings(r=2, targets=["q_proj", "v_proj"])})
    assert trained_parameters(SMALL, two) == 2 * 2 * (16 + 12)
    four = training_memory(SMALL, METHODS["sft"](**NO_BF16, lora=LoraSettings(r=2), load_in="4bit", dtype="bfloat16"))
    assert four.weights == pytest.approx(2 * 200 + 0.5625 * 1152 + 4 * 512)


def test_methods_that_hold_several_models() -> None:
    one = training_memory(SMALL, METHODS["rloo"](**NO_BF16))
    assert (one.weights, one.gradients) == (2 * 5408, 5408)  # and the reference
    three = training_memory(SMALL, METHODS["ppo"](**NO_BF16))
    assert (three.weights, three.gradients, three.optimiser) == (3 * 5408, 2 * 5408, 2 * 10816)
    shared = training_memory(SMALL, METHODS["ppo"](**NO_BF16, lora=LoraSettings(r=2)))
    assert shared.weights == 5408 + 2 * 4 * 512


def test_answering_by_hand() -> None:
    found = sampling_memory(SMALL, "auto", rows=3, tokens=100)
    assert (found.weights, found.cache, found.activations) == (2 * 1352, 3 * 100 * 16 * 2, 3 * 10 * 10)
    llama = shape_of("meta-llama/Meta-Llama-3-8B")
    assert llama is not None
    assert 2 * llama.cached == 131_072  # bytes a token in bfloat16, as is commonly told of it
    assert sampling_memory(llama, "bfloat16", 64, 2048).cache == pytest.approx(17.18e9, rel=1e-3)


def test_words_name_what_counts() -> None:
    assert Memory(weights=32.1e9, gradients=1e6).words() == "32.1 GB: weights 32.1"
    assert Memory(1e9, 0, 2e9).words() == "3.0 GB: weights 1.0, optimiser 2.0"


@pytest.mark.parametrize(
    ("dtype", "autocast", "residual", "inner"),
    [(torch.bfloat16, False, 2, 2), (torch.float32, True, 4, 2), (torch.float32, False, 4, 4)],
)
def test_activations_are_what_autograd_keeps(dtype: torch.dtype, autocast: bool, residual: int, inner: int) -> None:
    shape = Shape(layers=1, hidden=64, heads=4, kv_heads=2, head=16, inner=96, vocabulary=32)

    def kept(layers: int, checkpointed: bool = False) -> float:
        config = LlamaConfig(
            vocab_size=32, hidden_size=64, intermediate_size=96, num_hidden_layers=layers, num_attention_heads=4,
            num_key_value_heads=2,
        )  # fmt: skip
        module: Any = LlamaForCausalLM(config)
        module.to(dtype).train()
        if checkpointed:
            enable = getattr(module, "activation_checkpointing_enable", module.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
        storages: dict[int, int] = {}
        alive: list[torch.Tensor] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            alive.append(tensor)  # so that no two have one address
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        ids = torch.zeros(2, 64, dtype=torch.long)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            module.base_model(input_ids=ids, use_cache=False)
        return sum(storages.values()) / ids.numel()

    copies = 2 * shape.hidden_parameters / 128 if autocast else 0
    assert (kept(3) - kept(1)) / 2 - copies == pytest.approx(layer_activations(shape, residual, inner), rel=1e-3)
    assert (kept(3, True) - kept(1, True)) / 2 == pytest.approx(64 * residual, rel=0.01)
