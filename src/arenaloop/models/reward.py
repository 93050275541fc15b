"""What scores answers: in training, and where the best of several is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arenaloop.types import Message

__all__ = ["Reward"]


@dataclass(frozen=True, slots=True)
class Reward:
    """What scores a model's answers.

    Attributes:
        score: prompts and an answer to each, to a score of each; None, or no finite number, where there is none.
        identity: content hash of what decides the scores.
        probe: asks once, about one answer, so that a reward that cannot answer is known before anything is trained or
            sampled; raises an error of the user's.
    """

    score: Callable[[Sequence[list[Message]], Sequence[str]], Sequence[float | None]]
    identity: str
    probe: Callable[[], None] = lambda: None
