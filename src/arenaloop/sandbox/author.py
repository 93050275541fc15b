"""A scripted author of prompts: it goes on with a numbered list of the world's prompts (self-instruct).

Like models that do so it is not always of use: it repeats what it was shown, writes what is no text, and remarks on
what it has done. The same author goes on with the same list in the same way, by sample index.
"""

from __future__ import annotations

import random
import re

from arenaloop.sandbox.tasks import draw
from arenaloop.types import Request, derive_seed

__all__ = ["AUTHOR", "Author"]

AUTHOR = "author"
"""Its name as a contestant."""

_RANGE = re.compile(r"\bfrom ([0-9]{1,3}) to ([0-9]{1,3})\b")
_SHOWN = re.compile(r"^[0-9]{1,3}\. (.+)$", re.MULTILINE)


class Author:
    """Call it with a request that shows a list and says from which number to which it is to go on.

    Args:
        repeats: share of its prompts that it has been shown. `odd`: share that ask for more than text.
        split: of the world's prompts that it writes.
    """

    def __init__(self, repeats: float = 0.15, odd: float = 0.05, split: str = "train") -> None:
        self.repeats, self.odd, self.split = repeats, odd, split

    @property
    def version(self) -> list[object]:
        """What decides what it writes."""
        return [self.repeats, self.odd, self.split]

    def __call__(self, request: Request) -> str:
        """The list, gone on with; a word of excuse where there is none."""
        text = request.messages[-1]["content"]
        wanted, shown = _RANGE.search(text), _SHOWN.findall(text)
        if wanted is None or not shown:
            return "I only go on with lists."
        rng = random.Random(derive_seed("sandbox.author", text, request.sample))
        first, last = int(wanted[1]), int(wanted[2])
        new = iter(draw(max(0, last - first + 1), rng.randrange(2**31), self.split))
        lines: list[str] = []
        for number in range(first, last + 1):
            said = next(new).prompt.last_user
            lot = rng.random()
            if lot < self.repeats:
                said = rng.choice(shown)
            elif lot < self.repeats + self.odd:
                said = f"Draw a picture of {said.rpartition(' ')[2]}"
            lines.append(f"{number}. {said}")
        return "\n".join([*lines, "", "I hope that these are of use."])
