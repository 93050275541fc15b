"""Texts as a reader sees them: hidden characters spelled out, long ones cut with a visible mark.

Contestants, judges and files may say anything. The page escapes markup; this module deals with what escaping leaves:
NULs, control characters, marks that reorder or hide text, lone surrogates, and length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Clip", "clip", "one_line", "visible"]

# Controls but tab and newline, zero-width and reordering marks (not the joiners and direction marks that scripts need),
# annotations, lone surrogates, non-characters and the tag block, in which instructions can hide.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
_SPACES = re.compile(r"\s+")


def visible(text: str) -> str:
    """`text` with every hidden character spelled out as ``⟨U+202E⟩``, line ends as newlines."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():  # nearly all: the pattern is slow
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _HIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


class Clip(NamedTuple):
    """A text, or its beginning and end.

    Attributes:
        head: the beginning, or all of it.
        left_out: how many characters are missing between `head` and `tail`.
        tail: the end; judges put their scores there.
    """

    head: str
    left_out: int = 0
    tail: str = ""

    @property
    def length(self) -> int:
        """Characters of the whole text."""
        return len(self.head) + self.left_out + len(self.tail)

    def to(self, limit: int) -> Clip:
        """At most `limit` characters of it: two thirds from the beginning, one third from the end."""
        kept = len(self.head) + len(self.tail)
        if kept <= limit:
            return self
        last = limit // 3
        first = min(limit - last, len(self.head))
        rest = self.tail if self.left_out else self.head[first:]
        tail = rest[-last:] if last else ""
        return Clip(self.head[:first], self.length - first - len(tail), tail)


def clip(text: object, limit: int) -> Clip:
    """The whole text if it has at most `limit` characters, or its beginning and end."""
    return Clip(text if isinstance(text, str) else str(text)).to(limit)


def one_line(text: object, limit: int = 80) -> str:
    """A name or a snippet: white space folded, hidden characters spelled out, at most `limit` characters and an …"""
    return _one_line((text if isinstance(text, str) else str(text))[: 4 * limit + 1], limit)


@lru_cache(maxsize=1024)  # names and prompts come again with every battle
def _one_line(plain: str, limit: int) -> str:
    folded = visible(_SPACES.sub(" ", plain[: 4 * limit]).strip())
    return folded if len(folded) <= limit and len(plain) <= 4 * limit else folded[: limit - 1].rstrip() + "…"
