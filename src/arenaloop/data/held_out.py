"""Held-out prompts stay held out: whatever a model is trained on is compared with them by its normalised user turns.

An id is the hash of a prompt's exact bytes; a blank, a system message or another case makes another id of the same
question. Here two conversations ask the same where their user turns read the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arenaloop.data.formats.training_rows import read_conversation
from arenaloop.normal_form import nfkc
from arenaloop.types import Prompt

__all__ = ["HeldOut", "normalised", "row_turns", "user_turns"]

_ASCII = str.maketrans("‘’‚‛“”„‟«»‐‑‒–—―−…", '\'\'\'\'""""""-------.')
_INVISIBLE = re.compile(r"[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]")

Turns = tuple[str, ...]


def normalised(text: str) -> str:
    """A turn as it reads: case, width, Unicode form, invisible characters, blanks and marks at its ends put aside.

    What stands between words is kept (``1+1`` is not ``1-1``); dashes and quotation marks of all shapes are one.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
        text = nfkc(text).translate(_ASCII)
    plain = " ".join(text.casefold().split())
    begin, end = 0, len(plain)  # an expression that is anchored to the end alone takes quadratic time
    while begin < end and not _is_word(plain[begin]):
        begin += 1
    while end > begin and not _is_word(plain[end - 1]):
        end -= 1
    return plain[begin:end] or plain


def _is_word(character: str) -> bool:
    return character.isalnum()


def user_turns(prompt: Prompt) -> Turns:
    """The user's turns of a prompt, follow-ups included, normalised."""
    given = (message["content"] for message in prompt.messages if message["role"] == "user")
    return tuple(map(normalised, (*given, *prompt.follow_ups)))


def row_turns(row: Mapping[str, Any]) -> Turns:
    """The user's turns of a demonstration (see `formats.training_rows`), normalised."""
    read = read_conversation(row)
    said = [turn["content"] for turn in (*read.prompt, *read.completion) if turn["role"] == "user"]
    return tuple(map(normalised, said))


class HeldOut:
    """What the turns of held-out prompts read like.

    A prompt with follow-ups is answered turn by turn, so each of its beginnings that ends with an answered turn is held
    out.
    """

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        self._turns: set[Turns] = set()
        for prompt in prompts:
            turns = user_turns(prompt)
            last = len(turns) - len(prompt.follow_ups)
            self._turns.update(turns[:end] for end in range(last, len(turns) + 1))
        self._lengths = sorted({len(turns) for turns in self._turns})

    def holds(self, turns: Sequence[str]) -> bool:
        """Whether a held-out prompt stands anywhere in a conversation with these user turns (normalised)."""
        known = self._turns
        return any(
            tuple(turns[at : at + length]) in known for length in self._lengths for at in range(len(turns) - length + 1)
        )
