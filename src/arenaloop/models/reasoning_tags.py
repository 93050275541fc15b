"""What opens and closes a block of reasoning: the tags of the common families as data, and shapes for all others.

A tag that cannot mean anything else is read; a marker that only may is told to the user (`unknown_block`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

__all__ = ["FAMILIES", "Block", "Marker", "Tags", "begun", "closes", "opens", "unknown_block"]


class Tags(NamedTuple):
    """What opens and what closes a block of reasoning; an empty opening: the chat template writes it."""

    open: str
    close: str


FAMILIES: tuple[Tags, ...] = (
    Tags("<think>", "</think>"),  # DeepSeek-R1, QwQ, Qwen3, GLM-4.5, MiniMax-M2, Nemotron, Phi-4 reasoning
    Tags("<thinking>", "</thinking>"),  # Anthropic's prompting guide, Reflection
    Tags("<thought>", "</thought>"),  # EXAONE Deep, Marco-o1, Gemini's OpenAI-compatible interface
    Tags("<thoughts>", "</thoughts>"),
    Tags("<reasoning>", "</reasoning>"),  # GRPO recipes
    Tags("<reason>", "</reason>"),
    Tags("<scratchpad>", "</scratchpad>"),
    Tags("<seed:think>", "</seed:think>"),  # Seed-OSS
    Tags("<longcat_think>", "</longcat_think>"),  # LongCat-Flash
    Tags("[THINK]", "[/THINK]"),  # Magistral
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    Tags("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
    Tags("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    Tags("◁think▷", "◁/think▷"),  # Kimi-VL
    Tags("<|channel>thought", "<channel|>"),  # Gemma 4
    Tags("<unused94>thought", "<unused95>"),  # MedGemma
    Tags("Thinking...", "...done thinking."),  # what Ollama writes to a terminal
)
"""By the chat templates and model cards of these models; matched in any case, with blanks and attributes in a tag.
Further tags are known by their shape: see `_derived`."""


class Block(NamedTuple):
    """A block at a text's start: its tags, how long the opening one is there, and how both are found within it."""

    tags: Tags
    length: int
    opens: re.Pattern[str]
    closes: re.Pattern[str]


def begun(rest: str, known: Sequence[Tags], *, derive: bool) -> Block | None:
    """The block that a text begins with; None where it begins with none."""
    if derive and known is FAMILIES and rest[:1] not in _FIRST:  # nearly all
        return None
    for tag in known:
        if tag.open and (found := opens(tag.open).match(rest)) is not None:
            return Block(tag, found.end(), opens(tag.open), closes(tag.close))
    return _derived(rest) if derive else None


_THINKS = "think|thinking|thought|thoughts|reasoning|scratchpad"
_SHAPED = re.compile(
    # <x_think>, [THOUGHT], ◁x▷, full-width: closed by the same with a slash or an end for the beginning
    rf"(?P<left><[|｜]|\[[|｜]|[<\[◁⟨〈＜【])[ \t]?"
    rf"(?P<word>(?:[\w▁:-]{{1,30}}[_▁:-])?(?:{_THINKS})(?:[_▁:-][\w▁:-]{{1,30}})?)"
    r"[ \t]?(?P<right>[|｜]>|[|｜]\]|[>\]▷⟩〉＞】])",
    re.IGNORECASE,
)
_BEGINNINGS = {"begin": "end", "beginning": "end", "start": "end", "open": "close", "prefix": "suffix", "bo": "eo"}
_DETAILS = re.compile(
    r"<details\b[^<>]{0,200}\b(?:type|class)\s*=\s*[\"']?(?:reason|think|thought)[^<>]{0,200}>", re.IGNORECASE
)
_FENCE = re.compile(rf"(`{{3,}}|~{{3,}})[ \t]*(?:{_THINKS})[ \t]*\r?\n", re.IGNORECASE)


def _derived(rest: str) -> Block | None:
    """A block of no known family whose tag cannot mean anything else: its word is a thought's, and it is closed.

    Tags of any shape (``<|thinking_start|>`` and ``<|thinking_end|>``), a fenced block of that language, and the
    ``<details type="reasoning">`` of Open WebUI.
    """
    if (found := _DETAILS.match(rest)) is not None:
        block = Block(Tags(found[0], "</details>"), found.end(), re.compile(r"<details\b"), closes("</details>"))
        return block if block.closes.search(rest, found.end()) else None
    if (found := _FENCE.match(rest)) is not None:
        fence = re.escape(found[1])
        last = re.compile(rf"(?<=\n){fence}[ \t]*(?=\r?\n|\Z)")
        block = Block(Tags(found[0], ""), found.end(), re.compile(rf"(?<=\n){fence}[ \t]*\w"), last)
        return block if last.search(rest, found.end()) else None
    if (found := _SHAPED.match(rest)) is None:
        return None
    left, word, right = found["left"], found["word"], found["right"]
    closings = [f"{left}/{word}{right}", f"{left[0]}/{left[1:]}{word}{right}"]
    for part in re.split(r"[_▁:-]", word):
        if (ending := _BEGINNINGS.get(part.lower())) is not None:
            closings.insert(0, f"{left}{word.replace(part, ending, 1)}{right}")
    for closing in closings:
        end = closes(closing).search(rest, found.end())
        if end is not None and rest[end.end() :].strip():
            return Block(Tags(found[0], closing), found.end(), opens(found[0]), closes(closing))
    return None


_FIRST = frozenset("<[◁⟨〈＜【`~").union(*(tag.open[0].lower() + tag.open[0].upper() for tag in FAMILIES))
"""With one of these a text begins that begins with a block: of a family, or of a shape (`_derived`)."""

_PARTS = re.compile(r"([<\[◁][|/]*)([\w:]+)([|]?[>\]▷])")


@lru_cache(maxsize=256)
def opens(tag: str) -> re.Pattern[str]:
    """An opening tag as a text may have it: in any case, with blanks and attributes inside."""
    found = _PARTS.fullmatch(tag)
    if found is None:
        return _pattern(tag)
    left, word, right = map(re.escape, found.groups())
    attributes = r"(?:[ \t]+[\w-]+[ \t]*=[^<>\[\]\n]{1,200})?" if found[3] == ">" else ""
    return re.compile(rf"{left}[ \t]?{word}{attributes}[ \t]?{right}", re.IGNORECASE)


@lru_cache(maxsize=256)
def closes(tag: str) -> re.Pattern[str]:
    """A closing tag as a text may have it."""
    found = _PARTS.fullmatch(tag)
    if found is None:
        return _pattern(tag)
    left = r"[ \t]?".join(map(re.escape, found[1]))
    return re.compile(rf"{left}[ \t]?{re.escape(found[2])}[ \t]?{re.escape(found[3])}", re.IGNORECASE)


@lru_cache(maxsize=256)
def _pattern(tag: str) -> re.Pattern[str]:
    return re.compile(re.escape(tag), re.IGNORECASE)


# ---------------------------------------------------------------------- what may be one


class Marker(NamedTuple):
    """What a text begins with that may open a block of reasoning, and is of no known family.

    Attributes:
        tag: as the text has it.
        thinks: whether its word is one of thinking.
    """

    tag: str
    thinks: bool


_FIELD = re.compile(
    r"think|thought|reason(?!ml)|reflect|analy[sz]|scratch|\bcot\b|\bplan(ning)?\b|\binner\b|monolog|musing|ponder|"
    r"deliberat|rational|contemplat|cogit|introspect|brainstorm|\binternal\b|\bmind\b|critique|soliloq|self.?talk|"
    r"思|推理|размыш|мысл|pens[ée]|denk|gedank|réflex|reflex|raison|razon|ragion|pensam|überleg",
    re.IGNORECASE,
)
"""Words of thinking. They name a block to the user, who knows whether it is one; none is taken off for its sake."""
_DECORATION = re.compile(r"(?:[\s>*#_~\"'\\\u200b\u2060\ufeff]|<!--|\{(?=\{)|<(?=<)|\[(?=\[))*")
_MARKED = re.compile(
    r"(?P<tag>(?P<left><[|｜]?|[\[◁⟨〈«‹{(＜【《⟦][|｜]?)[ \t]?"
    r"(?P<word>[^\W\d][\w▁:-]{1,40}(?: [\w-]{1,20}){0,2})"
    r"(?:[ \t]\w+=[^<>\n]{1,100})?[ \t]?/?"
    r"(?P<right>[|｜]?\\?[>\])▷⟩〉»›}＞】》⟧]))(?P<next>\w*)"
)
_GLUED = re.compile(
    r"(?P<tag>(?:assistant|model)?(?:analysis|commentary|thought|thinking|reasoning|reflection)(?=[A-Z]))"
)
_FENCED = re.compile(r"(?P<tag>(?:`{3,}|~{3,})[ \t]*(?P<word>[^\W\d][\w.-]{1,30}))[ \t]*\r?\n")
_ALONE = re.compile(r"(?P<tag>thought|thoughts|think|thinking|reasoning|analysis)\r?\n")  # of a tag that was dropped
_HEADED = re.compile(
    r"(?P<tag>thinking(?: process)?|thoughts?(?: process)?|reasoning(?: process)?|chain.of.thought|(?:inner|internal) "
    r"(?:monologue|thoughts?|reasoning))(?=\s*(?:\*\*|:|-->|\n|\.\.\.|…))",
    re.IGNORECASE,
)


_UNIT = re.compile(r"&#?\w{1,8};|.", re.DOTALL)


def _as_written(text: str, shown: str) -> str:
    """The piece of a text with HTML's escapes that shows as `shown`."""
    units = _UNIT.findall(text)
    seen = [html.unescape(unit) for unit in units]
    at = "".join(seen).find(shown)
    ends = [0, *accumulate(map(len, seen))]
    return "".join(unit for unit, begin in zip(units, ends, strict=False) if at <= begin < at + len(shown)) or shown


def unknown_block(text: str) -> Marker | None:
    """What a text begins with where that may be a block of reasoning of no known family.

    That is a marker whose word is one of thinking: in brackets of any kind, as the language of a fenced block, glued to
    what follows, or alone on the first line. What many honest texts begin with, too, thinks less surely: a heading, a
    word in round brackets, a tag of any other word that has text behind it.
    """
    head = html.unescape(text[:400])
    if head != text[:400]:
        shown = unknown_block(head + text[400:])
        return None if shown is None else shown._replace(tag=_as_written(text[:400], shown.tag))
    if (decoration := _DECORATION.match(head)) is not None:
        head = head[decoration.end() :]
    if (found := _GLUED.match(head) or _ALONE.match(head)) is not None:
        return Marker(found["tag"], True)
    if (found := _FENCED.match(head)) is not None:
        return Marker(found["tag"], True) if _FIELD.search(found["word"].replace("_", " ")) else None
    if (found := _HEADED.match(head)) is not None:
        return Marker(found["tag"], False)
    if (found := _MARKED.match(head)) is None or head[found.end() : found.end() + 1] == "(":
        return None
    left, name, tag = found["left"], found["word"], found["tag"]
    barred = left[-1] in "|｜"
    if _FIELD.search(name.replace("_", " ")) or (barred and _FIELD.search(found["next"])):
        return Marker(tag, left != "(")
    if barred:
        return Marker(tag, False)
    if left not in ("<", "[") or " " in name or (left == "[" and not name.isupper()):
        return None
    close = f"{left}/{name}"
    end = text.find(close)
    return Marker(tag, False) if end >= 0 and text[end + len(close) + 1 :].strip() else None
