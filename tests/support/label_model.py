"""A tiny random chat model over characters that likes labels, with room for a judge's prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(1)

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;=-_/?!'\"()\n"


def build_label_model(path: Path, characters: str = CHARACTERS, labels: str = "12", template: str = "") -> Path:
    """Save a model whose likeliest token is one of the labels, whatever it reads.

    Args:
        path: where to.
        characters: its vocabulary; others are unknown.
        labels: single characters.
        template: what its chat template writes as the generation prompt.
    """
    special = ["<|pad|>", "<|end|>", "<|turn|>", "<|unk|>"]
    vocabulary = {token: at for at, token in enumerate([*special, *characters])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|end|>", unk_token="<|unk|>",
        additional_special_tokens=["<|turn|>"],
    )  # fmt: skip
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] + '<|turn|>' }}{% endfor %}{% if add_generation_prompt %}"
        + template
        + "{% endif %}"
    )
    torch.manual_seed(3)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
    }
    ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    config = LlamaConfig(vocab_size=len(vocabulary), max_position_embeddings=4096, **sizes, **ids)
    model = LlamaForCausalLM(config)
    head = torch.zeros_like(model.lm_head.weight)
    for label in labels:
        head[vocabulary[label]] = torch.randn(32)
    if len(labels) == 2:  # so that one of them is always likelier than all other characters
        head[vocabulary[labels[1]]] = -head[vocabulary[labels[0]]]
    model.lm_head.weight.data = head  # whatever it reads, a label is the likeliest token
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
