"""Texts that spell control tokens: what chat templates and tokenizers put around turns, and what reads like it.

Most servers take a control token for what it stands for wherever it is spelt, in a contestant's answer, too: what
follows is then read as an instruction, or as the judge's own words. No list of tokens is complete, so there are two
rules: the tokens of the known families (`FAMILIES`), and the shapes that nearly all of them have, which is a word
within bars or, in angle or square brackets, a word that speaks of turns, tools or thinking. Markup, generics, links,
comparisons and indices have neither (``<div>``, ``vector<uint8_t>``, ``[1]``, ``a < b``).
"""

from __future__ import annotations

import re

__all__ = ["FAMILIES", "broken", "control_tokens", "unmistakable", "without"]

FAMILIES: dict[str, tuple[str, ...]] = {
    "ChatML (Qwen, Yi, SmolLM)": ("<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>"),
    "Llama 2": ("<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    "Llama 3, 4": ("<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "<|eot|>"),
    "Mistral": ("[SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[TOOL_CONTENT]", "[ARGS]",
                "[CALL_ID]", "[THINK]", "[/THINK]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
                "[SUFFIX]"),
    "Gemma": ("<bos>", "<eos>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>",
              "<start_of_image>", "<unused0>"),
    "DeepSeek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
                 "<｜tool▁calls▁begin｜>"),
    "gpt-oss (harmony)": ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"),
    "Phi, Zephyr": ("<|system|>", "<|user|>", "<|assistant|>"),
    "Command R": ("<BOS_TOKEN>", "<EOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>",
                  "<|CHATBOT_TOKEN|>"),
    "EXAONE": ("[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]", "[BOS]"),
    "GLM": ("[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|observation|>"),
    "InternLM": ("<eoa>", "<eoh>", "<eosys>", "<TOKENS_UNUSED_1>"),
    "Nemotron, T5": ("<extra_id_0>", "<extra_id_1>"),
    "Baichuan": ("<reserved_106>", "<reserved_107>"),
    "MiniMax": ("<beginning_of_sentence>", "<end_of_sentence>", "]~b]", "[e~[", "]~!b["),
    "Seed-OSS": ("<seed:bos>", "<seed:eos>", "<seed:think>", "</seed:think>", "<seed:tool_call>"),
    "Granite, Jamba": ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<|bom|>", "<|eom|>"),
    "BERT, RoBERTa": ("[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "<mask>"),
    "thinking": ("<think>", "</think>", "<thinking>", "</thinking>"),
    "tools (Hermes, Qwen, Granite)": ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>",
                                      "</tools>", "<function_calls>"),
}  # fmt: skip
"""Control tokens by family, as they stand in the tokenizers and chat templates that the models are published with
(``tokenizer_config.json``, ``special_tokens_map.json``, ``chat_template.jinja`` of each)."""

_AMBIGUOUS = {"<s>", "</s>", "<mask>"}  # HTML and SVG know them, too

_WORDS = (
    "start|begin|beginning|end|stop|bos|eos|eot|eom|eod|eoa|eop|sop|turn|token|tokens|special|reserved|extra|unused|"
    "tool|tools|function|think|thinking|thought|reasoning|fim|header|inst|instruction|im|bot|call|calls|args|prompt|"
    "results|img|mask"
)
"""What the words of a control token speak of; a bracketed word with an underscore is one with any of these in it."""

_ROLES = "system|assistant|human|chatbot|bot"

_LISTED = "|".join(
    re.escape(token[1:])
    for tokens in FAMILIES.values()
    for token in sorted(tokens, key=len, reverse=True)
    if "|" not in token and "｜" not in token
)
_TOKEN = re.compile(
    rf"""[<＜\[［\]](?=(
        (?i:{_LISTED})
      | (?<=[<＜])[|｜][^|｜<>＜＞\n]{{1,200}}[|｜][>＞]                       # <|x|>, full-width too
      | (?<=[<＜])[|｜][\w:./▁-]{{1,60}}[>＞] | (?<=[<＜])[\w:./▁-]{{1,60}}[|｜][>＞]  # <|x> and <x|>
      | (?<=[\[［])[|｜]\s?[A-Za-z][\w:./ ▁-]{{0,60}}[|｜][\]］]              # [|x|]
      | (?<=[<＜])/?(?i:{_ROLES})[>＞]                                       # <system>
      | (?<=[<＜])/?(?i:(?=[a-z0-9]{{1,20}}[_:▁])
          (?:[a-z0-9]{{1,20}}[_:▁]){{0,6}}(?:{_WORDS})(?:[_▁][a-z0-9]{{1,20}}){{0,6}})/?[>＞]
      | (?<=[<＜])/?(?i:(?:{_WORDS})(?:[_▁][a-z0-9]{{1,20}}){{1,6}})/?[>＞]   # <x_y> that speaks of turns, tools, …
      | (?<=[<＜])(?:function|parameter|invoke)\s?=\s?[^<>\n]{{1,80}}[>＞]     # <function=x>
      | (?<=[\[［])/?(?:[A-Z0-9]{{1,20}}_){{0,4}}(?i:{_WORDS})(?:_[A-Z0-9]{{1,20}}){{1,4}}[\]］]   # [X_Y], likewise
      | (?<=[\[［])/?(?:[A-Z0-9]{{1,20}}_){{1,4}}(?i:{_WORDS})[\]］]
      | (?<=[\[［])/[A-Z][A-Z_]{{2,30}}[\]］]                                # [/X]
      | (?<=[<＜])[<＜]/?[A-Z][A-Z_]{{1,30}}[>＞]{{2}} | (?<=[<＜])/?SYS>    # <<X>>
    ))""",
    re.VERBOSE,
)


def control_tokens(text: str) -> list[str]:
    """The control tokens that stand in a text, each once, in the order in which they come first."""
    if not _may_hold(text):
        return []
    return list(dict.fromkeys(found[0] + found[1] for found in _TOKEN.finditer(text)))


def unmistakable(tokens: list[str]) -> list[str]:
    """Those of a text's control tokens that are nothing else: HTML has an ``<s>``, too."""
    return [token for token in tokens if token.lower() not in _AMBIGUOUS]


def broken(text: str) -> str:
    """`text` with its control tokens broken by a blank, ``< |im_end|>``: text to tokenizers and people alike."""
    return _TOKEN.sub(lambda found: found[0] + " ", text) if _may_hold(text) else text


def without(text: str, instead: str = "") -> str:
    """`text` with something else in the place of each of its control tokens."""
    if not _may_hold(text):
        return text
    pieces, at = [], 0
    for found in _TOKEN.finditer(text):
        token = found[0] + found[1]
        if found.start() >= at:  # else within the one before
            pieces += [text[at : found.start()], instead]
            at = found.start() + len(token)
    return "".join((*pieces, text[at:]))


def _may_hold(text: str) -> bool:
    return "<" in text or "[" in text or "]~" in text or (not text.isascii() and ("＜" in text or "［" in text))
