"""Reasoning parted from the answer, by one rule for where a block begins and ends.

A block is reasoning where the reply itself opened it at its start, or where the chat template did, so that the reply
begins inside it. A tag that stands anywhere else is part of the text: judges quote what contestants wrote, and answers
may be about such tags. Where it cannot be told which closing tag is the model's own and which a quotation, nothing is
parted: a judge's last line is read all the same, and no quoted line can become its first.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from arenaloop.models.reasoning_tags import FAMILIES, Block, Tags, begun, closes, opens

__all__ = ["Parted", "opened_by", "part_reasoning"]


_ANSWERS = (
    Tags("<|START_RESPONSE|>", "<|END_RESPONSE|>"),  # Command A Reasoning
    Tags("<|begin_of_solution|>", "<|end_of_solution|>"),  # Sky-T1, OpenThinker
)
"""What encloses the answer behind a block."""

# gpt-oss's harmony format: a channel's header, its text, <|end|>. A server that strips control tokens leaves the names
# of the channels glued to their texts.
_CHANNEL = re.compile(r"(?:<\|start\|>assistant)?<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_HARMONY = re.compile(
    r"\s*(?:(?:<\|start\|>)?assistant\s*)?(?:<\|channel\|>\s*)?(?:analysis|commentary|final)\s*<\|message\|>"
)
_ENDS = re.compile(r"<\|(?:end|return|call)\|>")
_BARE_HARMONY = re.compile(r"\s*(?:assistant)?analysis(?=[^\W_])")
_BARE_FINAL = "assistantfinal"

_MOST_TAGS = 64  # that are looked at as the end of a block; a text with more of them is about something else
_QUOTE_MARKS = ("'", '"', "`", "“", "‘", "«")
_QUOTES = "\"'`([{<=/|“‘«"
_AFTER_A_WORD = ".,;:!?'\"`)]}>”’»"
_UNSEEN = re.compile(r"\A[\s\u200b\u2060\ufeff]+")
_FULL_WIDTH = {0xFF01 + i: 0x21 + i for i in range(94)}


class Parted(NamedTuple):
    """A reply in its parts.

    Attributes:
        reasoning: None where there is no block.
        answer: the rest, without the white space that sets it off; the text as it was where there is no block.
        closed_only: whether the reply began inside the block, by the look of it alone.
    """

    reasoning: str | None
    answer: str
    closed_only: bool = False


def part_reasoning(
    text: str,
    tags: Sequence[Tags] | None = None,
    *,
    asked: Iterable[str] | None = None,
    opened: Tags | None = None,
    guess: bool = True,
) -> Parted:
    """Part a thinking model's text into its reasoning and its answer.

    Blocks at the start are taken off, as many as there are. One that is not closed is reasoning to its end: the model
    ran out of tokens while it thought, and there is no answer. Without an opening tag, a closing one that stands
    between lines, or is glued to the reasoning's last word, ends a block that the template opened, but only where
    nothing that was asked holds this tag in any spelling, so that it cannot be a quotation.

    Args:
        text: the model's text, with control tokens.
        tags: an endpoint's own, instead of the known ones and harmony's channels.
        asked: texts that the model was sent; None where they are not known, and may hold anything.
        opened: the block that the chat template is known to have opened.
        guess: whether the look of a closing tag may tell that the template opened a block; False where it is known
            whether it did, and for answers of which nothing is known but their text.
    """
    sent = _Sent(asked)
    if tags is None and (channels := _channels(text, sent)) is not None:
        return channels
    known = FAMILIES if tags is None else tags
    template = opened or next((tag for tag in known if not tag.open), None)
    rest = _bare(text)
    parts: list[str] = []
    used: list[Tags] = []
    while True:
        block = begun(rest, known, derive=tags is None)
        if block is None and template is not None and not parts:
            # a server may put the template's tag before the reply
            again_open = next((f.open for f in FAMILIES if f.close == template.close and opens(f.open).match(rest)), "")
            found = opens(again_open).match(rest) if again_open else None
            block = Block(
                template, found.end() if found else 0, opens(template.open or again_open), closes(template.close)
            )
        if block is None:
            break
        if len(parts) == _MOST_TAGS:
            return Parted(None, text)
        rest = rest[block.length :]
        used.append(block.tags)
        end, nested = _end(rest, block)
        if end is None and tags is None and (other := _ANY_CLOSING.search(rest)) and not sent.holds(other[0]):
            end = other.span()  # by another family's tag
        if nested and block.tags.close and sent.holds(block.tags.close):
            return Parted(None, text)
        if end is None:
            parts.append(rest)
            rest = ""
            break
        parts.append(rest[: end[0]])
        rest = _bare(rest[end[1] :])
        if (again := block.closes.match(rest)) and block.tags.close and not sent.holds(block.tags.close):
            rest = _bare(rest[again.end() :])
    if not parts:
        return _closed_only(text, known, sent) if guess else Parted(None, text)
    if any(tag.close and closes(tag.close).search(rest) and sent.holds(tag.close) for tag in used):
        return Parted(None, text)
    return Parted(_joined(parts), _unwrapped(rest))


def _end(rest: str, block: Block) -> tuple[tuple[int, int] | None, bool]:
    """Where a block ends, by the span of its closing tag, and whether another block stands within it.

    It is the tag that closes what the opening one has opened: a block within is part of it. Where tags within are
    opened and never closed, which is how a thought speaks of them, the last closing tag ends it.
    """
    depth, at, last, nested = 1, 0, None, False
    for number, end in enumerate(block.closes.finditer(rest)):
        while block.opens.pattern and (again := block.opens.search(rest, at, end.start())) is not None:
            depth += rest[max(0, again.start() - 1) : again.start()] not in _QUOTE_MARKS  # in quotes it is spoken of
            at = again.end()
        nested = nested or depth > 1
        depth -= 1
        at, last = end.end(), end.span()
        if depth == 0 or number == _MOST_TAGS:
            break
    return last, nested


def opened_by(prompt: str, tags: Sequence[Tags] | None = None) -> Tags | None:
    """The block in which a rendered prompt leaves the model, by its last words; None where it opens none."""
    end = prompt.rstrip()[-80:]
    for tag in FAMILIES if tags is None else tags:
        if tag.open and _starts(end[-len(tag.open) :], tag.open):
            return tag
    return None


class _Sent:
    """What the model was sent, folded only if somebody asks: nearly no reply holds a tag that could be a quotation."""

    def __init__(self, texts: Iterable[str] | None) -> None:
        self._texts = texts
        self._folded: list[str] | None = None

    def holds(self, tag: str) -> bool:
        """Whether a text holds the tag in some spelling: spaced out, broken, escaped, full-width, in any case."""
        if self._texts is None:
            return True
        if self._folded is None:
            self._folded = [_folded(text) for text in self._texts]
        spelled = _spelled(tag)
        return any(spelled.search(text) for text in self._folded)


def _folded(text: str) -> str:
    return html.unescape(unquote(text)).translate(_FULL_WIDTH)


@lru_cache(maxsize=256)
def _spelled(tag: str) -> re.Pattern[str]:
    letters = [re.escape(c) for c in tag if not c.isspace()]
    return re.compile(r"[\W_]{0,3}".join(letters), re.IGNORECASE)


def _bare(text: str) -> str:
    """A text without the white space, and whatever else nobody sees, before its first word."""
    return _UNSEEN.sub("", text, count=1)


def _starts(text: str, tag: str) -> bool:
    return text[: len(tag)].casefold() == tag.casefold()


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(bare for part in parts if (bare := part.strip()))


def _unwrapped(answer: str) -> str:
    for tag in _ANSWERS:
        if _starts(answer, tag.open):
            answer = answer[len(tag.open) :].lstrip()
            if answer.rstrip().endswith(tag.close):
                answer = answer.rstrip()[: -len(tag.close)].rstrip()
    return answer


# one pass over the text instead of one for each family: nearly no reply holds any
_ANY_CLOSING = re.compile(
    "|".join(
        f"{re.escape(first)}(?:{'|'.join(re.escape(tag.close[1:]) for tag in FAMILIES if tag.close[0] == first)})"
        for first in sorted({tag.close[0] for tag in FAMILIES})
    ),
    re.IGNORECASE,
)


def _closed_only(text: str, tags: Sequence[Tags], sent: _Sent) -> Parted:
    """A reply that began inside a block, by the look of its closing tag."""
    if tags is FAMILIES and _ANY_CLOSING.search(text) is None:
        return Parted(None, text)
    for tag in tags:
        if not tag.open:
            continue
        for number, end in enumerate(closes(tag.close).finditer(text)):
            if number == _MOST_TAGS or closes(tag.open).search(text, 0, end.start()):
                break  # opened further on: an answer about such tags
            if _ends_a_block(text, end.start(), end.end()):
                if sent.holds(tag.close):
                    return Parted(None, text)
                return Parted(text[: end.start()].strip(), _unwrapped(text[end.end() :].lstrip()), closed_only=True)
    return Parted(None, text)


def _ends_a_block(text: str, start: int, end: int) -> bool:
    """Whether a closing tag stands as templates have it, and not as a word of a sentence, in quotes or in code."""
    before = text[max(0, start - 80) : start].rstrip(" \t")
    alone = not before or before[-1] in "\r\n"
    glued = not alone and text[start - 1] not in " \t" and text[start - 1] not in _QUOTES
    after = text[end : end + 80]
    ends = not after.strip(" \t") or after.lstrip(" \t")[0] in "\r\n"
    follows = ends or (after[0] not in _AFTER_A_WORD and (glued or after[0] not in " \t"))
    return (alone or glued) and follows and text.count("```", 0, start) % 2 == 0


# ---------------------------------------------------------------------- harmony


def _channels(text: str, sent: _Sent) -> Parted | None:
    """The parts of a reply in harmony's channels: all but ``final`` is reasoning. None if it is in no channels."""
    if _HARMONY.match(text) is None:
        return _bare_channels(text, sent)
    whole = (
        text
        if "<|channel|>" in text[: text.find("<|message|>")]
        else f"<|channel|>{text.lstrip().removeprefix('assistant').lstrip()}"
    )
    found = list(_CHANNEL.finditer(whole))
    if len([1 for channel in found if channel[1] == "final"]) > 1 and sent.holds("<|channel|>"):
        return Parted(None, text)
    thought: list[str] = []
    said: list[str] = []
    for this, following in zip(found, [*found[1:], None], strict=True):
        words = whole[this.end() : following.start() if following else len(whole)]
        words = _ENDS.split(words, maxsplit=1)[0]
        (said if this[1] == "final" else thought).append(words)
    return Parted(_joined(thought) if thought else None, "".join(said).lstrip())


def _bare_channels(text: str, sent: _Sent) -> Parted | None:
    if (header := _BARE_HARMONY.match(text)) is None or _BARE_FINAL not in text:
        return None
    if text.count(_BARE_FINAL) > 1 and sent.holds(_BARE_FINAL):
        return Parted(None, text)
    thought, _, said = text[header.end() :].partition(_BARE_FINAL)
    return Parted(thought.strip(), said.lstrip())
