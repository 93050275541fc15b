"""What the arena file holds on the prompts that are next, read for many at once and kept while they are fought over.

Look-ups one prompt at a time cost more than the judging of a pair; memory holds a few dozen prompts, whatever their
number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from arenaloop.store import Store, Turn
from arenaloop.types import Prompt, Response, Status

__all__ = ["Material", "materials"]


@dataclass(slots=True)
class Material:
    """One prompt in progress, and what is known of it; shared by all its pairs.

    Attributes:
        prompt: the prompt.
        turns: answers to it, by (response key, turn): those stored, and those asked since.
        verdicts: statuses of the verdicts on it by key: those stored, and those asked since.
        answers: whole answers by contestant, once they need not be asked; None is a recorded one that is missing.
        waiting: contestants that are being asked.
        begun: contestants whose answers a battle that has begun will ask for.
        players: whose answers are wanted; None is everybody's.
    """

    prompt: Prompt
    turns: dict[tuple[str, int], Turn] = field(default_factory=dict)
    verdicts: dict[str, Status] = field(default_factory=dict)
    answers: dict[str, Response | None] = field(default_factory=dict)
    waiting: dict[str, asyncio.Future[Response | None]] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    players: Collection[str] | None = None


def materials(store: Store, prompt_ids: Sequence[str]) -> Iterator[Material]:
    """The material of each prompt, in the order given; ids that the arena file does not know are left out.

    What is appended while a prompt waits for its turn is not seen, so nothing else may ask about these prompts.
    """
    return (Material(*stored) for stored in store.on_prompts(prompt_ids))
