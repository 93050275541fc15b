"""Parameters are counted in the headers of weights, or read in a name; nothing is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arenaloop.errors import InputError
from arenaloop.models.size import size_of
from arenaloop.sandbox.target import build_target, parameters


@pytest.mark.parametrize("sizes", [{}, {"width": 32, "layers": 1, "heads": 2}])
def test_three_ways_to_count_agree(tmp_path: Path, sizes: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM

    path = build_target(tmp_path / "start", 0, **sizes)
    model = AutoModelForCausalLM.from_pretrained(path)
    counted = sum(parameter.numel() for parameter in model.parameters())
    found = size_of(str(path))
    assert found is not None
    assert found == (counted, "counted in its weights")
    assert parameters(**sizes) == counted


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Qwen/Qwen2.5-0.5B", 500_000_000),
        ("Qwen/Qwen2.5-0.5B-Instruct", 500_000_000),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135_000_000),
        ("meta-llama/Llama-2-7b-hf", 7_000_000_000),
        ("Qwen/Qwen3-30B-A3B", None),  # two sizes: a mixture of experts says how many are at work
        ("gpt2", None),
        ("openai/gpt-oss", None),
    ],
)
def test_a_hub_ids_name_may_say_it(name: str, said: int | None) -> None:
    found = size_of(name)
    assert (None if found is None else found.parameters) == said


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken!")
    with pytest.raises(InputError, match="no weights in safetensors form"):
        size_of(str(tmp_path))
