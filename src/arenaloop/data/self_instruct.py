"""New prompts from old ones by a model (Self-Instruct, arXiv 2212.10560, as arXiv 2401.10020 and 2407.19594 use it).

A model is shown eight prompts, six of them people's and two that were generated before, and writes further ones. Kept
are those that are new, of a sensible length, and ask for nothing that a text cannot give.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from arenaloop.types import Prompt, derive_seed

__all__ = ["EIGHT", "KEYWORDS", "NewPrompts", "examples", "listed_prompts", "rouge_l", "written_prompts"]

EIGHT = (6, 2)
"""How many of people's and of the generated prompts are shown."""
KEYWORDS = ("image", "images", "picture", "pictures", "photo", "graph", "graphs", "diagram", "video", "audio", "file")
"""Words of prompts that ask for, or speak of, what is no text (Self-Instruct, section 3, has most of them)."""

_WORD = re.compile(r"[^\W_]+")
_ITEM = re.compile(r"^[ \t]*(?:\*\*)?([0-9]{1,4})[.):](?:\*\*)?(?![0-9])[ \t]*", re.MULTILINE)


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.casefold())


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


def examples(people: Sequence[str], generated: Sequence[str], seed: int, number: int) -> list[str]:
    """The prompts that one call is shown, in a drawn order; where too few were generated, people's take their place.

    Args:
        people: prompts of people.
        generated: prompts that were kept so far.
        seed, number: of the run, and of the call.
    """
    rng = random.Random(derive_seed("self-instruct", seed, number))
    own = rng.sample(list(generated), min(EIGHT[1], len(generated)))
    shown = rng.sample(list(people), min(sum(EIGHT) - len(own), len(people))) + own
    rng.shuffle(shown)
    return shown


def listed_prompts(shown: Sequence[str], count: int = 8) -> Prompt:
    """The request for further prompts after those that are shown."""
    first = len(shown) + 1
    given = "\n".join(f"{at}. {' '.join(text.split())}" for at, text in enumerate(shown, start=1))
    return Prompt.of(
        "Below is a numbered list of things that people have asked an assistant. They differ in subject, in what is "
        f"to be done, in length and in tone. Go on with {count} further ones, from {first} to {first + count - 1}, "
        "each on one line of its own, that a person could have written and that text alone can answer. Repeat none, "
        f"answer none, and write nothing else.\n\n{given}\n"
    )


def written_prompts(text: str, shown: int) -> list[str]:
    """The prompts that an answer to `listed_prompts` holds: its numbered items after the `shown` ones, whole.

    An item without an end, the last one of an answer that was cut, is the caller's to leave out.
    """
    found = list(_ITEM.finditer(text))
    ends = [*(item.start() for item in found[1:]), len(text)][: len(found)]
    return [
        body
        for item, end in zip(found, ends, strict=True)
        if int(item[1]) > shown and (body := " ".join(text[item.end() : end].split()))
    ]


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
    _there: list[tuple[list[str], Counter[str]]] = field(default_factory=list)

    def know(self, prompts: Iterable[str]) -> None:
        """Prompts that new ones must differ from, people's own and held-out ones, say; they are not kept."""
        for text in prompts:
            said = words(text)
            self._there.append((said, Counter(said)))

    def add(self, text: str) -> bool:
        """Keep a prompt if it is new; whether it was."""
        said = words(text)
        why = self._why_not(said)
        if why is not None:
            self.dropped[why] += 1
            return False
        self._there.append((said, Counter(said)))
        self.kept.append(text)
        return True

    def _why_not(self, said: list[str]) -> str | None:
        if len(said) < self.least:
            return "too short"
        if len(said) > self.most:
            return "too long"
        if not {*said}.isdisjoint(self.keywords):
            return "asks for more than text"
        counts = Counter(said)
        for other, theirs in self._there:
            both = self.rouge_max * (len(said) + len(other)) / 2 - 1e-9
            # no common subsequence is longer than the shorter text, or than the words that both have
            if min(len(said), len(other)) < both or (counts & theirs).total() < both:
                continue
            if rouge_l(said, other) >= self.rouge_max - 1e-9:
                return "like one that is there"
        return None
