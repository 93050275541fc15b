"""The target of the small world: a real chat model in Hugging Face form, small enough to be trained on one CPU core.

Its tokenizer has one token per character and one per family name, so that a prompt is as long as the word it holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arenaloop.errors import ConfigError, MissingExtraError
from arenaloop.models.checkpoint import no_progress_bars
from arenaloop.sandbox.tasks import FAMILIES

__all__ = ["CHAT_TEMPLATE", "WINDOW", "build_target", "build_tokenizer", "check_sizes", "parameters"]

BOS, EOS, PAD, UNK = "<|begin|>", "<|end|>", "<|pad|>", "<|unknown|>"
ROLES = {role: f"<|{role}|>" for role in ("system", "user", "assistant")}

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|' + message['role'] + '|>' -}}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{- message['content'] + eos_token -}}{%- endgeneration -%}
    {%- else -%}
        {{- message['content'] -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""
"""A turn opens with its role's token and, for the assistant, closes with the end token; ``generation`` marks what is
trained on."""

WINDOW = 2048
"""Tokens of the context window, a character each but for a few."""

_OPENINGS = [f"{name}: " for name in FAMILIES]
_MARK = r"\n?\b[0-9a-f]{16}\b\n?"
"""A code of judge prompts with its line ends is unknown as a whole: that a part of the material begins, one token says.
(Letter by letter the codes would be most of what a judge of the small world reads.)"""
_TOKENS = [PAD, BOS, EOS, UNK, *ROLES.values(), *_OPENINGS, "\n", *map(chr, range(32, 127))]


def build_tokenizer(*, marks: bool = False) -> Any:
    """A character tokenizer with a chat template, as a `transformers.PreTrainedTokenizerFast`.

    Characters outside printable ASCII and the newline become the unknown token, and so do, with `marks`, the codes
    that part the material of a judge prompt; all else survives a round trip.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingExtraError("the sandbox's target", "train") from error
    openings, tokens = _OPENINGS, _TOKENS
    core = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=UNK))
    # alternatives are tried in order: a mark or an opening as a whole, else any one character, newlines included
    core.pre_tokenizer = pre_tokenizers.Split(
        Regex("|".join([*([_MARK] if marks else []), *openings, r"[\s\S]"])), behavior="isolated"
    )
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNK,
        additional_special_tokens=list(ROLES.values()),
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=2048,
        chat_template=CHAT_TEMPLATE,
    )


def check_sizes(*, width: int = 144, layers: int = 2, heads: int = 4, marks: bool = False) -> None:
    """Refuse sizes that no target can have, without building one. Arguments as of `build_target`.

    Raises:
        ConfigError: they do not fit together.
    """
    if not isinstance(marks, bool):
        raise ConfigError(f"marks must be true or false, got {marks!r}")
    if min(width, layers, heads) < 1 or width % (2 * heads):
        raise ConfigError(f"width must be a multiple of twice the heads, got width {width} and {heads} heads")


def parameters(*, width: int = 144, layers: int = 2, heads: int = 4, marks: bool = False) -> int:
    """How many a target of these sizes has; the output layer is the embedding."""
    check_sizes(width=width, layers=layers, heads=heads, marks=marks)
    attention, feed_forward, norms = 4 * width**2, 3 * width * (width * 8 // 3), 2 * width
    return len(_TOKENS) * width + layers * (attention + feed_forward + norms) + width


def build_target(
    directory: str | Path, seed: int, *, width: int = 144, layers: int = 2, heads: int = 4, marks: bool = False
) -> Path:
    """Write an untrained target: configuration, weights drawn by `seed`, tokenizer and chat template.

    Two layers of width 144 have about 0.5 million parameters: enough for every family, and a training step on 64 rows
    takes about a tenth of a second of one core.

    Args:
        directory: where to write; loadable with `AutoModelForCausalLM` and `AutoTokenizer`.
        seed: of the weights; the caller's random state is left as it was.
        width: size of the hidden state, a multiple of `heads` with an even quotient (rotary embedding).
        layers: number of transformer layers.
        heads: number of attention heads.
        marks: whether it is to judge, too: see `build_tokenizer`.

    Returns:
        The directory.

    Raises:
        ConfigError: sizes that do not fit together.
        MissingExtraError: torch or transformers is not installed.
    """
    check_sizes(width=width, layers=layers, heads=heads, marks=marks)
    try:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise MissingExtraError("the sandbox's target", "train") from error
    tokenizer = build_tokenizer(marks=marks)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    target = Path(directory)
    with no_progress_bars():
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target
