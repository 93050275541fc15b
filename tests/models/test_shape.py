"""The sizes of layers, by configuration and by name; they come to the published numbers of parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from arenaloop.models.shape import Shape, shape_of

SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # what their weights hold
        ("meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248),
        ("meta-llama/Llama-3.1-8B", 8_030_261_248),
        ("meta-llama/Meta-Llama-3-70B-Instruct", 70_553_706_496),
        ("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400),
        ("meta-llama/Llama-3.2-3B", 3_212_749_824),
        ("meta-llama/Llama-2-7b-chat-hf", 6_738_415_616),
        ("meta-llama/Llama-2-13b-hf", 13_015_864_320),
        ("meta-llama/Llama-2-70b-hf", 68_976_648_192),
        ("mistralai/Mistral-7B-v0.1", 7_241_732_096),
        ("mistralai/Mistral-7B-Instruct-v0.2", 7_241_732_096),
        ("Qwen/Qwen2.5-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
        ("Qwen/Qwen2.5-7B", 7_615_616_512),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    ],
)
def test_known_names_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    shape = shape_of(name)
    assert shape is not None
    assert shape.parameters == parameters


@pytest.mark.parametrize("name", ["gpt2", "mistralai/Mixtral-8x7B-v0.1", "Qwen/Qwen2.5-70B", "llama-3-8bis", "sandbox"])
def test_what_is_not_known_is_unknown(name: str) -> None:
    assert shape_of(name) is None


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (LlamaForCausalLM, LlamaConfig(**SIZES)),
        (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True, head_dim=16)),
        (Qwen2ForCausalLM, Qwen2Config(**SIZES)),
    ],
)
def test_a_configuration_tells_what_the_module_has(tmp_path: Path, kind: Any, config: Any) -> None:
    config.save_pretrained(tmp_path)
    shape = shape_of(str(tmp_path))
    assert shape is not None
    module = kind(config)
    assert shape.parameters == sum(parameter.numel() for parameter in module.parameters())
    layer = module.model.layers[0]
    found = {n.rpartition(".")[2]: tuple(p.weight.shape[::-1]) for n, p in layer.named_modules() if n.endswith("proj")}
    assert shape.matrices == found


def test_other_forms_of_model_are_unknown(tmp_path: Path) -> None:
    sizes = LlamaConfig(**SIZES).to_dict()
    for config in (sizes | {"num_local_experts": 8}, {"model_type": "gpt2", "n_embd": 8}, [1]):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert shape_of(str(tmp_path)) is None
    (tmp_path / "config.json").write_text(json.dumps({"text_config": sizes}))
    assert shape_of(str(tmp_path)) == Shape(3, 32, 4, 2, 8, 48, 96)
