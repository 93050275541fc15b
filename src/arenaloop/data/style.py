"""The style of an answer, counted from its text: length, headers, list items, bold spans.

What counts is what Chatbot Arena and Arena-Hard count (``add_markdown_info.py``): headers of one to six signs, lines
that begin as an ordered or unordered item, and text between two pairs of stars or underscores on one line, all of it
outside fenced code. Two points differ, both on purpose: a block's text is taken out where it stands (theirs takes out
every repetition of it in the answer), and lengths are characters, as no tokenizer is at hand.

Every pattern takes time linear in the text, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Style", "measured", "style_of"]

_FENCE = "```"
_BLOCK = re.compile(r"```[^`]*```")
_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_ITEM = re.compile(r"^[^\S\n]*(?:\d+\.|[-*+])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*")
_UNDERLINED = re.compile(r"__[^_\n]+__")


class Style(NamedTuple):
    """How an answer is written: characters, headers, list items and bold spans of all its turns."""

    length: int
    headers: int
    lists: int
    bold: int


def style_of(texts: str | Iterable[str]) -> Style:
    """Count one answer.

    Args:
        texts: one text, or one for each turn.
    """
    counts = [_counted(text) for text in ((texts,) if isinstance(texts, str) else texts)]
    return Style(*(sum(column) for column in zip(*counts, strict=True))) if counts else Style(0, 0, 0, 0)


def measured(texts: Iterable[str]) -> Style:
    """The length alone of one answer, at the cost of that."""
    return Style(sum(map(len, texts)), 0, 0, 0)


def _counted(text: str) -> Style:
    plain = _BLOCK.sub(_FENCE * 2, text) if _FENCE in text else text
    return Style(
        len(text),
        len(_HEADER.findall(plain)) if "#" in plain else 0,
        len(_ITEM.findall(plain)),
        (len(_BOLD.findall(plain)) if "**" in plain else 0) + (len(_UNDERLINED.findall(plain)) if "__" in plain else 0),
    )
