"""A reward model as a judge: it scores each response by itself, and the difference says who is better."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence

from arenaloop.judges.base import decided
from arenaloop.judges.builtin import FreeJudge
from arenaloop.types import Message, Prompt, Response, Status, Verdict, content_hash

__all__ = ["Conversation", "RewardJudge", "Score"]

Conversation = tuple[list[Message], list[Message]]
"""The turns before an answer, and the answer's own."""

Score = Callable[[Sequence[Conversation]], list[float | str]]
"""Scores of answers in the units of the Bradley-Terry loss; a text says why there is none. It may take long."""

_BATCH = 64
"""Responses that are scored at once."""


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
        self._score = score
        self._found: dict[tuple[str, str], float | str] = {}
        self._waiting: dict[tuple[str, str], tuple[Conversation, asyncio.Future[None]]] = {}
        self._worker: asyncio.Task[None] | None = None
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
        await asyncio.gather(*(self._ask(prompt, response) for response in responses))
        return [self._found[prompt.id, response.text_hash] for response in responses]

    async def _ask(self, prompt: Prompt, response: Response) -> None:
        """Have one response scored, if it has not been."""
        key = (prompt.id, response.text_hash)
        if key in self._found:
            return
        if key not in self._waiting:
            turns = prompt.conversation(response.texts)
            self._waiting[key] = ((turns[:-1], turns[-1:]), asyncio.get_running_loop().create_future())
        done = self._waiting[key][1]
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        await asyncio.shield(done)  # others may wait for it

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # whoever is about to ask joins the batch
            batch = dict(list(self._waiting.items())[:_BATCH])
            try:
                scores = await asyncio.to_thread(self._score, [conversation for conversation, _ in batch.values()])
            except Exception as error:
                for key, (_, done) in batch.items():
                    del self._waiting[key]
                    if not done.done():
                        done.set_exception(error)
                continue
            for (key, (_, done)), score in zip(batch.items(), scores, strict=True):
                self._found[key] = score
                del self._waiting[key]
                if not done.done():
                    done.set_result(None)
