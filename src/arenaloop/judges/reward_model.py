"""A reward model as a judge: it scores each response by itself, and the difference says who is better."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence

from arenaloop.judges.base import decided
from arenaloop.judges.builtin import FreeJudge
from arenaloop.judges.gathered import Gathered
from arenaloop.types import Message, Prompt, Response, Status, Verdict, content_hash

__all__ = ["Conversation", "RewardJudge", "Score"]

Conversation = tuple[list[Message], list[Message]]
"""The turns before an answer, and the answer's own."""

Score = Callable[[Sequence[Conversation]], list[float | str]]
"""Scores of answers in the units of the Bradley-Terry loss; a text says why there is none. It may take long."""


class RewardJudge(FreeJudge):
    """The probability that the first response is the better one, ``sigma(r_1 - r_2)`` (Bradley and Terry 1952).

    Seats do not matter to it. Of a conversation with several answers the last is scored, after all that stands before.
    Responses are scored in batches, in a thread of their own, each once.

    Args:
        name: what reports call it.
        identity: content hash of the reward model.
        score: gives the scores.
    """

    def __init__(self, name: str, identity: str, score: Score) -> None:
        self._content = identity
        self._found: dict[tuple[str, str], float | str] = {}
        self._scoring = Gathered(score)
        super().__init__(name, 1)

    def _identity(self) -> str:
        return content_hash("reward", self._content, 1)

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Compare the scores of two responses; `secret` and `seed` do not matter."""
        scores = await self.scores(prompt, first, second)
        wrong = next((each for each in scores if isinstance(each, str)), None)
        if wrong is not None:
            return self._verdict(prompt, first, second, sample, Status.ERROR, error=f"a response has no score: {wrong}")
        one, two = (float(each) for each in scores)
        # rounded, so that the other seat is the exact mirror
        share = round(1 / (1 + math.exp(min(max(two - one, -700.0), 700.0))), 12)
        raw = json.dumps({"rewards": [one, two]})
        return self._verdict(prompt, first, second, sample, raw=raw, **decided((share, round(1 - share, 12))))

    async def scores(self, prompt: Prompt, *responses: Response) -> list[float | str]:
        """What responses are scored; a text says why one is not."""
        return await asyncio.gather(*(self._score(prompt, response) for response in responses))

    async def _score(self, prompt: Prompt, response: Response) -> float | str:
        key = (prompt.id, response.text_hash)
        if key not in self._found:
            turns = prompt.conversation(response.texts)
            self._found[key] = await self._scoring.ask(key, (turns[:-1], turns[-1:]))
        return self._found[key]
