"""A tiny random chat model with a byte-level BPE tokenizer, and the GGUF file that llama.cpp would make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    "The quick brown fox jumps over the lazy dog, and 2024 was a year of 366 days.",
    "def add(a, b):\n    return a + b  # 12 + 30 = 42\n",
    "It's what they'll say: we've seen naïve café owners in Zürich, 北京 and Москва.",
]
# the published cuts of the two families' tokenizers, written out
PATTERNS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def tokenizer(cut: str) -> Any:
    """A tokenizer trained on a few lines, cut as the family of that name is."""
    core = Tokenizer(models.BPE(ignore_merges=cut == "llama-bpe"))
    if cut in PATTERNS:
        parts: list[Any] = [pre_tokenizers.Split(Regex(PATTERNS[cut]), "isolated")]
        parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    else:
        parts = [pre_tokenizers.Digits(individual_digits=True)] if cut == "smollm" else []
        parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False))
    core.pre_tokenizer = pre_tokenizers.Sequence(parts)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(TEXTS * 3, trainer)
    core.add_tokens(["<tool_call>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def module(architecture: str, vocabulary: int, *, tied: bool = True, window: int = 256) -> Any:
    """A random module whose heads are grouped; heads of 32 so that every matrix can be quantised."""
    config = AutoConfig.for_model(
        architecture,
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(3)
    made = AutoModelForCausalLM.from_config(config)
    for name, parameter in made.named_parameters():
        # norms and biases that are not what they begin as, and weights large enough that positions matter
        torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.2)
    return made.eval()


def interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of queries and keys (`permute` of its converter)."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def write_gguf(
    path: Path,
    model: Any,
    tokens: Any,
    cut: str = "smollm",
    *,
    quantised: gguf.GGMLQuantizationType | None = None,
    leave_out: str = "",
    more: dict[str, Any] | None = None,
    architecture: str | None = None,
    model_kind: str = "gpt2",
) -> Path:
    """Write a model as GGUF; matrices in `quantised` form, all else as float32.

    Args:
        leave_out: a tensor that is missing.
        more: further numbers and texts of the metadata.
        architecture: another name than the model's own.
        model_kind: of the tokenizer.
    """
    config = model.config
    name = architecture or config.model_type
    writer = gguf.GGUFWriter(path, name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    vocabulary = sorted(tokens.get_vocab().items(), key=lambda item: item[1])
    added = {token.content: token.special for token in tokens.added_tokens_decoder.values()}
    kinds = [3 if added[text] else 4 for text, _ in vocabulary if text in added]
    assert len(kinds) == 4
    writer.add_tokenizer_model(model_kind)
    writer.add_tokenizer_pre(cut)
    writer.add_token_list([text for text, _ in vocabulary])
    writer.add_token_types([(3 if added[text] else 4) if text in added else 1 for text, _ in vocabulary])
    merges = json.loads(tokens.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(tokens.chat_template)
    for key, value in (more or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(key, value)
    known = next(at for at, known in gguf.MODEL_ARCH_NAMES.items() if known == config.model_type)
    mapping = gguf.get_tensor_name_map(known, config.num_hidden_layers)
    for parameter, tensor in model.named_parameters():
        theirs = mapping.get_name(parameter, (".weight", ".bias")) or ""
        values = tensor.detach().numpy()
        if theirs == leave_out:
            continue
        if config.model_type == "llama" and "q_proj" in parameter:
            values = interleaved(values, config.num_attention_heads)
        if config.model_type == "llama" and "k_proj" in parameter:
            values = interleaved(values, config.num_key_value_heads)
        if quantised is not None and values.ndim == 2:
            writer.add_tensor(theirs, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(theirs, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
