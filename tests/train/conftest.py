"""A tiny chat model and its character tokenizer, made anew for every test session."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from arenaloop.config import SFTSettings
from arenaloop.train.methods import training

torch.set_num_threads(1)

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|unk|>"]
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789 .,?\n"


def char_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Special tokens have the ids 0 to 5, characters those from 6."""
    vocabulary = {token: at for at, token in enumerate([*SPECIAL, *CHARACTERS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        unk_token="<|unk|>",
        additional_special_tokens=SPECIAL[2:5],
    )
    tokenizer.chat_template = template
    return tokenizer


def tiny_model(kind: str = "llama", seed: int = 0, **changes: float) -> PreTrainedModel:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": len(SPECIAL) + len(CHARACTERS),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
        **changes,
    }
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**settings))
    return LlamaForCausalLM(LlamaConfig(**settings, tie_word_embeddings=True))


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return char_tokenizer()


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    return char_tokenizer


@pytest.fixture(scope="session")
def make_model() -> Callable[..., torch.nn.Module]:
    return tiny_model


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with tied embeddings, saved with its tokenizer."""
    path = tmp_path_factory.mktemp("models") / "start"
    tiny_model().save_pretrained(path)
    char_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def talker(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says words of random letters, a to t: 5 % of them end with an a."""
    r = random.Random(0)

    def word() -> str:
        return "".join(r.choices("abcdefghijklmnopqrst", k=r.randint(3, 6)))

    rows = [{"prompt": f"say {word()} {n % 97}", "completion": word()} for n in range(1500)]
    out = tmp_path_factory.mktemp("talker") / "out"
    settings = SFTSettings(learning_rate=5e-3, epochs=3, batch_size=64, threads=1, optimizer="muon")
    training("sft", start, rows, out, settings, seed=0)
    return out
