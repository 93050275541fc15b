"""Whether another trainer's model can stand in a run's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from arenaloop.errors import InputError
from arenaloop.train.adoption import compared_templates, probe, refuse_other_tokenizer, refuse_weights

Make = Callable[..., Any]
WHERE = Path("other")
ANSWERS: Any = [
    ([{"role": "user", "content": f"say {word}"}], [{"role": "assistant", "content": word}]) for word in "ab"
]


def test_the_same_tokenizer_passes(make_tokenizer: Make) -> None:
    refuse_other_tokenizer(make_tokenizer(), make_tokenizer(), ["any text"], WHERE)


def told(own: Any, other: Any, *texts: str) -> str:
    with pytest.raises(InputError) as caught:
        refuse_other_tokenizer(own, other, texts, WHERE)
    assert str(caught.value).startswith("other: its tokenizer is not the run's: ")
    return str(caught.value).partition("run's: ")[2]


def test_tokens_that_are_more_or_fewer_are_named(make_tokenizer: Make) -> None:
    other = make_tokenizer()
    other.add_tokens(["<think>", "[PAD]"])
    assert told(make_tokenizer(), other) == "49 tokens, the run's 47; with '<think>', '[PAD]'"
    assert told(other, make_tokenizer()) == "47 tokens, the run's 49; without '<think>', '[PAD]'"


def test_special_tokens_of_another_id_are_named(make_tokenizer: Make) -> None:
    other = make_tokenizer()
    other.eos_token = "<|user|>"
    assert told(make_tokenizer(), other) == "eos_token_id 3, the run's 1"
    other = make_tokenizer()
    other.pad_token = "<|end|>"
    assert told(make_tokenizer(), other) == "pad_token_id 1, the run's 0"
    own = make_tokenizer()
    own.pad_token = None
    refuse_other_tokenizer(own, other, [], WHERE)  # trainers set one where there is none


def test_texts_that_are_split_otherwise_are_named(make_tokenizer: Make) -> None:
    other = make_tokenizer()
    from tokenizers import normalizers

    other.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert told(make_tokenizer(), other, "abc", "Abc") == "the same tokens, but it splits 'Abc' otherwise"


def test_templates_are_compared_by_what_they_render(make_tokenizer: Make) -> None:
    own, other = make_tokenizer(), make_tokenizer()
    assert compared_templates(own, other, ANSWERS) == "the same"
    other.chat_template = own.chat_template.replace("{{ '<|assistant|>' }}", "{{ '<|assis' + 'tant|>' }}")
    assert compared_templates(own, other, ANSWERS) == "renders the same"
    other.chat_template = own.chat_template.replace("{{ '<|assistant|>' }}", "{{ '<|assistant|><think>' }}")
    assert compared_templates(own, other, ANSWERS) == "differs: 'ssistant|><think>' where the run's has 'ssistant|>'"
    other.chat_template = "{{ raise_exception('no') }}"
    assert compared_templates(own, other, ANSWERS).startswith("differs: 'refused: T")
    other.chat_template = None
    assert compared_templates(own, other, ANSWERS) == "missing"


def copy(start: Path, out: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    out.mkdir()
    for file in start.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    weights = load_file(start / "model.safetensors")
    change(weights)
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    return out


def test_weights_are_all_there_and_numbers(start: Path, tmp_path: Path) -> None:
    refuse_weights(start)
    name = "model.layers.1.mlp.up_proj.weight"
    with pytest.raises(InputError, match=rf"1 weights are not in its files \(the first: {name}\)"):
        refuse_weights(copy(start, tmp_path / "less", lambda weights: weights.pop(name)))
    with pytest.raises(InputError, match=f"{name} holds values that are no finite numbers"):
        refuse_weights(copy(start, tmp_path / "nan", lambda weights: weights[name].view(-1)[3:4].fill_(torch.nan)))


def test_answers_are_read_by_both_models(start: Path, tmp_path: Path) -> None:
    same = probe(start, start, ANSWERS)
    assert same is not None
    assert same.own == same.other == pytest.approx(-3.85, abs=0.3), "ln 47, untrained"
    assert same.answers == 2

    def grow(weights: dict[str, Any]) -> None:
        for value in weights.values():
            value *= 40

    strange = copy(start, tmp_path / "strange", grow)
    with pytest.raises(InputError, match="this is no model that was trained on from the run's"):
        probe(start, strange, ANSWERS)
    assert probe(start, strange, []) is None
