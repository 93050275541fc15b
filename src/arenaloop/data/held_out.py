"""Held-out prompts stay held out: whatever a model is trained on is compared with them by what it asks.

An id is the hash of a prompt's exact bytes; a blank, a system message or another case makes another id of the same
question. Here texts are compared by their form (`data.question_form`), and a row leaks a held-out prompt in two ways:

* it **asks** it: its user turns, or some that follow each other, are the prompt's;
* it **contains** it: the prompt stands in any of its turns (the system's and the assistant's, too), anywhere if it has
  `LONG` words, as whole lines if it has `SHORT`. Of a conversation all user turns must.

What is shorter is compared as a whole only: "yes" stands in everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from arenaloop.data.formats.training_rows import read_conversation
from arenaloop.data.question_form import asked, key, lines, plain, size, unaccented
from arenaloop.types import Prompt

__all__ = ["LONG", "SHORT", "HeldOut", "Leak", "Turn", "normalised", "prompt_turns", "row_turns"]

LONG, SHORT = 8, 5
"""Words of a held-out prompt that is looked for anywhere in a turn, and of one that is looked for as whole lines."""

_GRAM = 4
"""Neighbouring tokens by which a place is found; not fewer than any held-out prompt that is looked for has."""


class Leak(StrEnum):
    """How a held-out prompt stands in a row."""

    ASKED = "asked"
    CONTAINED = "contained"


class Turn(NamedTuple):
    """One turn of a row; only the user's ask."""

    role: str
    text: str


def normalised(text: str) -> str:
    """What a text asks, as one text that is equal for all its writings (see `data.question_form`)."""
    return _key(text, asked(plain(text)))


def _key(text: str, tokens: Sequence[str]) -> str:
    return key(tokens) or " ".join(plain(text).split())  # of signs alone, the signs


def prompt_turns(prompt: Prompt) -> list[Turn]:
    """The turns of a prompt, follow-ups included."""
    given = [Turn(message["role"], message["content"]) for message in prompt.messages]
    return [*given, *(Turn("user", text) for text in prompt.follow_ups)]


def row_turns(row: Mapping[str, Any]) -> list[Turn]:
    """The turns of a demonstration (see `formats.training_rows`)."""
    read = read_conversation(row)
    return [Turn(turn["role"], turn["content"]) for turn in (*read.prompt, *read.completion)]


class _Text(NamedTuple):
    """A turn of a held-out prompt that is long enough to be looked for in other texts."""

    number: int
    tokens: list[str]
    words: float


class HeldOut:
    """What held-out prompts ask.

    A prompt with follow-ups is answered turn by turn, so each of its beginnings that ends with an answered turn is held
    out.
    """

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        self._numbers: dict[str, int] = {}  # of each user turn, by its key
        self._asked: dict[tuple[int, ...], int] = {}  # whose they are, by its number
        texts: dict[int, _Text] = {}
        for own, prompt in enumerate(prompts):
            numbers: list[int] = []
            for turn in prompt_turns(prompt):
                if turn.role == "user":
                    tokens = asked(plain(turn.text))
                    number = self._numbers.setdefault(_key(turn.text, tokens), len(self._numbers))
                    numbers.append(number)
                    if (words := size(tokens)) >= SHORT and len(tokens) >= _GRAM:
                        texts.setdefault(number, _Text(number, tokens, words))
            last = len(numbers) - len(prompt.follow_ups)
            for end in range(last, len(numbers) + 1):
                self._asked.setdefault(tuple(numbers[:end]), own)
        self._lengths = sorted({len(numbers) for numbers in self._asked})
        self._by_turn: dict[int, list[tuple[frozenset[int], int]]] = {}
        for whole, own in self._asked.items():
            if (longer := next((number for number in whole if number in texts), None)) is not None:
                self._by_turn.setdefault(longer, []).append((frozenset(whole), own))
        self._grams = _grams_of(texts.values())

    def leak(self, turns: Sequence[Turn]) -> Leak | None:
        """How a held-out prompt stands in a row of these turns; None where none does."""
        found = self.find(turns)
        return None if found is None else found[0]

    def find(self, turns: Sequence[Turn]) -> tuple[Leak, int] | None:
        """The same, and which prompt it is, by its number. The time is linear in the turns."""
        forms = [plain(turn.text) for turn in turns]
        tokens = [asked(form) for form in forms]
        numbers = [
            self._numbers.get(_key(turn.text, found), -1)
            for turn, found in zip(turns, tokens, strict=True)
            if turn.role == "user"
        ]
        known = self._asked
        for length in self._lengths:
            for at in range(len(numbers) - length + 1):
                if (own := known.get(tuple(numbers[at : at + length]))) is not None:
                    return Leak.ASKED, own
        found = {number for number in numbers if number >= 0}
        for form, said in zip(forms, tokens, strict=True):
            found.update(self._contained(said, form))
        of_user = [said for turn, said in zip(turns, tokens, strict=True) if turn.role == "user"]
        if len(of_user) > 1:  # a question that is asked in pieces
            found.update(self._contained([token for said in of_user for token in said]))
        contained = (own for number in found for whole, own in self._by_turn.get(number, ()) if whole <= found)
        first = min(contained, default=None)
        return None if first is None else (Leak.CONTAINED, first)

    def _contained(self, tokens: list[str], form: str = "") -> Iterator[int]:
        """The held-out turns that stand in a text of these tokens (its `plain` form tells the lines)."""
        bare = tokens if form.isascii() and form else [unaccented(token) for token in tokens]
        grams = self._grams
        shifted = (bare[n:] for n in range(_GRAM))
        if grams.keys().isdisjoint(zip(*shifted, strict=False)):
            return
        whole_lines = lines(form)
        unlike: set[int] = set()  # stands there, but not as lines
        for at in range(len(bare) - _GRAM + 1):
            for offset, text in grams.get(tuple(bare[at : at + _GRAM]), ()):
                start, end = at - offset, at - offset + len(text.tokens)
                if start < 0:
                    continue
                if text.words >= LONG:
                    if bare[start:end] == [unaccented(token) for token in text.tokens]:
                        yield text.number
                elif text.number not in unlike and tokens[start:end] == text.tokens:
                    if _are_lines(text.tokens, whole_lines):
                        yield text.number
                    unlike.add(text.number)


def _grams_of(texts: Iterable[_Text]) -> dict[tuple[str, ...], list[tuple[int, _Text]]]:
    """Where each text is found by: the gram of it that fewest others have (many begin alike), and its place in it."""
    grams = {
        text.number: list(zip(*([unaccented(t) for t in text.tokens][n:] for n in range(_GRAM)), strict=False))
        for text in texts
    }
    held = {text.number: text for text in texts}
    count = Counter(gram for own in grams.values() for gram in {*own})
    found: dict[tuple[str, ...], list[tuple[int, _Text]]] = {}
    for number, own in grams.items():
        offset = min(range(len(own)), key=lambda n: count[own[n]])
        found.setdefault(own[offset], []).append((offset, held[number]))
    return found


def _are_lines(tokens: Sequence[str], whole: Sequence[Sequence[str]]) -> bool:
    """Whether tokens are one line, or several that follow each other."""
    for first in range(len(whole)):
        said: list[str] = []
        for line in whole[first:]:
            said += line
            if len(said) >= len(tokens):
                break
        if said == list(tokens):
            return True
    return False
