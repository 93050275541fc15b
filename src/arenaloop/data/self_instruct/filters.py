"""Which of the prompts that a model writes are kept: those that are new, of a sensible length, and for text alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from arenaloop.control_tokens import control_tokens, unmistakable
from arenaloop.data.cleaning.decontamination import Overlaps
from arenaloop.data.cleaning.rows import BenchmarkItem, Row
from arenaloop.data.held_out import HeldOut, Leak, prompt_turns
from arenaloop.data.question_form import size
from arenaloop.data.self_instruct.likeness import Likeness, words
from arenaloop.types import Prompt

__all__ = ["KEYWORDS", "NewPrompts", "Refused"]

KEYWORDS = ("image", "images", "picture", "pictures", "photo", "graph", "graphs", "diagram", "video", "audio", "file")
"""Words of prompts that ask for, or speak of, what is no text (Self-Instruct, section 3, has most of them)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_RUN, _SHARE = 8, 0.5  # words in a row, and share of a test prompt's words in such runs, as `clean` has them


class Refused(NamedTuple):
    """Why a prompt was left out, what it is like, and how much (as the reason measures it)."""

    why: str
    like: str | None = None
    similarity: float | None = None


@dataclass
class NewPrompts:
    """Takes prompts in, one by one, and keeps those that are new.

    Attributes:
        rouge_max: a prompt as like to one that is there, or more so, is left out.
        least, most: words of a prompt.
        keywords: a prompt with one of these words is left out.
        kept: the prompts that were kept.
        dropped: how many were not, by reason.
    """

    rouge_max: float = 0.7
    least: int = 3
    most: int = 150
    keywords: Iterable[str] = KEYWORDS
    kept: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._words = frozenset(word.casefold() for word in self.keywords)
        self._there, self._texts = Likeness(self.rouge_max), list[str]()
        self._test = Likeness(self.rouge_max)
        self._items: Sequence[BenchmarkItem] = ()
        self._held: HeldOut | None = None
        self._overlaps: Overlaps | None = None

    def know(self, prompts: Iterable[str]) -> None:
        """Prompts that new ones must differ from, people's own, say; they are not kept."""
        for text in prompts:
            self._there.add(words(text))
            self._texts.append(text)

    def keep_out(self, items: Sequence[BenchmarkItem]) -> None:
        """Test prompts that nothing may ask, contain, share runs of words with, or be like, as in `clean`."""
        self._items = items
        self._held = HeldOut(item.prompt for item in items)
        self._overlaps = Overlaps(items, _RUN, _SHARE)
        for item in items:
            self._test.add(words(item.prompt.last_user))

    def add(self, text: str) -> Refused | None:
        """Keep a prompt if it is new; else why it is not kept."""
        said = words(text)
        why = self._why_not(text, said)
        if why is not None:
            self.dropped[why.why] += 1
            return why
        self._there.add(said)
        self._texts.append(text)
        self.kept.append(text)
        return None

    def _why_not(self, text: str, said: list[str]) -> Refused | None:
        if _CONTROL.search(text) or unmistakable(control_tokens(text)):
            return Refused("control characters or tokens")
        if size(said) < self.least:
            return Refused("too short")
        if size(said) > self.most:
            return Refused("too long")
        if not self._words.isdisjoint(said):
            return Refused("asks for more than text")
        if (of_test := self._of_test(text, said)) is not None:
            return of_test
        if (found := self._there.find(said)) is not None:
            return Refused("like one that is there", self._texts[found[0]], found[1])
        return None

    def _of_test(self, text: str, said: list[str]) -> Refused | None:
        if self._held is None or self._overlaps is None:
            return None
        turns = prompt_turns(Prompt.of(text))
        found: tuple[str, int, float] | None = None
        if (leak := self._held.find(turns)) is not None:
            found = f"{'asks' if leak[0] is Leak.ASKED else 'contains'} a test prompt", leak[1], 1.0
        elif (overlap := self._overlaps.find(Row.of(0, turns, {}))) is not None:
            found = f"has runs of {_RUN} words of a test prompt", overlap[1], overlap[0]
        elif (like := self._test.find(said)) is not None:
            found = "like a test prompt", *like
        if found is None:
            return None
        why, item, similarity = found
        return Refused(why, self._items[item].prompt.last_user, similarity)
