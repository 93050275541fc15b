"""How like two prompts are: ROUGE-L (Lin 2004), and the search for one like another among many that are there."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from arenaloop.data.question_form import plain, tokens_of

__all__ = ["Likeness", "rouge_l", "words"]

_CLOSE = 1e-9  # below the threshold that counts as at it


def words(text: str) -> list[str]:
    """The words of a text without its marks and its case (`question_form.plain`); in scripts without blanks, signs."""
    return [token for token in tokens_of(plain(text)) if token[0].isalnum()]


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """ROUGE-L of two sequences of words: the F1 of their longest common subsequence, 1 of equal ones (Lin 2004).

    The subsequence's length by bits of whole numbers (Hyyrö 2004): a step a word of the one text, whatever the other's
    length.
    """
    if not one or not other:
        return 0.0
    places: dict[str, int] = {}
    for at, word in enumerate(other):
        places[word] = places.get(word, 0) | 1 << at
    mask = (1 << len(other)) - 1
    open_ = mask
    for word in one:
        found = open_ & places.get(word, 0)
        open_ = ((open_ + found) | (open_ - found)) & mask
    common = len(other) - open_.bit_count()
    return 2 * common / (len(one) + len(other))


_Number: TypeAlias = int


class Likeness:
    """Texts, and whether another one has a ROUGE-L of at least `least` with any of them; exact, without trying all.

    A common subsequence is no longer than the words that both texts have, each as often as in the one that has it less
    often. How many these are with every text that is there is counted by an index from a word and its how-manieth
    occurrence to texts; only where they would suffice is ROUGE-L computed.

    Args:
        least: a ROUGE-L, above 0.
    """

    def __init__(self, least: float) -> None:
        self.least = least
        self._texts: list[list[str]] = []
        self._sizes = array("I")
        self._index: dict[tuple[str, int], array[_Number]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: list[str]) -> int:
        """Put a text, as its words, behind the others; its number."""
        number = len(self._texts)
        self._texts.append(text)
        self._sizes.append(len(text))
        for key in _occurrences(text):
            self._index.setdefault(key, array("I")).append(number)
        return number

    def find(self, text: list[str]) -> tuple[int, float] | None:
        """One of the texts that are like another, by its number, and their ROUGE-L; None where none is.

        The one that has most words in common, in proportion, is tried first.
        """
        own = [found for key in _occurrences(text) if (found := self._index.get(key)) is not None]
        if not own:
            return None
        common: NDArray[np.int64] = np.bincount(np.concatenate([np.frombuffer(one, np.uint32) for one in own]))
        sizes = np.frombuffer(self._sizes, np.uint32)[: len(common)]
        bound = 2.0 * common / (len(text) + sizes.astype(np.float64))
        likely = np.flatnonzero(bound >= self.least - _CLOSE)
        for number in likely[np.argsort(-bound[likely], kind="stable")].tolist():
            if (value := rouge_l(text, self._texts[number])) >= self.least - _CLOSE:
                return number, value
        return None


def _occurrences(text: Sequence[str]) -> list[tuple[str, int]]:
    """Each word with the number of times that it stands before."""
    before: Counter[str] = Counter()
    out: list[tuple[str, int]] = []
    for word in text:
        out.append((word, before[word]))
        before[word] += 1
    return out
