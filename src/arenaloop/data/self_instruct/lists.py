"""What one call shows and asks, and how the list that comes back is read.

A model is shown eight prompts, six of them people's and two that were written before, and writes further ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from arenaloop.types import Prompt, derive_seed

__all__ = ["EIGHT", "examples", "listed_prompts", "written_prompts"]

EIGHT = (6, 2)
"""How many of people's and of the written prompts are shown."""

_ITEM = re.compile(r"^[ \t]*(?:\*\*)?([0-9]{1,4})[.):](?:\*\*)?(?![0-9])[ \t]*", re.MULTILINE)
_BLANK = re.compile(r"\n[ \t\r]*(?:\n|```)")


def examples(people: Sequence[str], written: Sequence[str], seed: int, number: int) -> list[str]:
    """The prompts that one call is shown, in a drawn order; where too few were written, people's take their place.

    Args:
        people: prompts of people.
        written: prompts that were kept so far.
        seed, number: of the run, and of the call.
    """
    rng = random.Random(derive_seed("self-instruct", seed, number))
    own = rng.sample(list(written), min(EIGHT[1], len(written)))
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


def written_prompts(text: str, shown: int, *, cut: bool = False) -> list[str]:
    """The prompts that an answer to `listed_prompts` holds: its numbered items after the `shown` ones, each on a line.

    An answer that numbers its own from 1 again is read from there; what it repeats, the filters see. What stands after
    a blank line behind the last item is no part of it.

    Args:
        text: the answer.
        shown: how many prompts the request showed.
        cut: whether the answer was cut off, so that its last item has no end; it is left out.
    """
    found = list(_ITEM.finditer(text))
    ends = [*(item.start() for item in found[1:]), len(text)][: len(found)]
    bodies = [text[item.end() : end] for item, end in zip(found, ends, strict=True)]
    if bodies and cut:
        del bodies[-1]
    elif bodies:
        bodies[-1] = _BLANK.split(bodies[-1].strip(), maxsplit=1)[0]
    items = [(int(item[1]), " ".join(body.split())) for item, body in zip(found, bodies, strict=False)]
    new = [body for number, body in items if number > shown]
    return [body for body in (new or [body for _, body in items]) if body]
