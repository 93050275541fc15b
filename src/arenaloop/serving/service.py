"""Batches in, rewards out: every row is answered in time, by a number or by a flag that says why there is none."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from arenaloop.serving.asking import Desk, DownError
from arenaloop.serving.rewarder import Rewarder
from arenaloop.serving.wire import Batch, Fallback, Flag, Question, reply
from arenaloop.store import Store, TurnRow
from arenaloop.types import Completion, Prompt, Response, content_hash

__all__ = ["BusyError", "RewardService"]

POLICY = "policy"
"""What the model whose answers are rewarded is called in the arena file."""
MOST_WAITING = 20_000
"""Questions that may wait for the judge before a batch is turned away."""


class BusyError(Exception):
    """So much waits for the judge that a batch is turned away."""


class RewardService:
    """Answers batches.

    Args:
        rewarder: makes rewards of verdicts.
        desk: asks for them.
        store: the arena file; answers are kept there beside their verdicts.
        fallback: what stands for a missing reward.
        seconds: within which a batch is answered; rows that are not judged by then are flagged.

    Attributes:
        rows, flags: how many were answered so far, and of those without a reward how many by each flag.
    """

    def __init__(self, rewarder: Rewarder, desk: Desk, store: Store, fallback: Fallback, seconds: float) -> None:
        self._rewarder, self._desk, self._store = rewarder, desk, store
        self._fallback, self._seconds = fallback, seconds
        self.rows = 0
        self.flags: Counter[Flag] = Counter()

    @property
    def failed(self) -> int:
        """Rows without a reward so far."""
        return self.flags.total()

    async def answer(self, batch: Batch) -> dict[str, Any]:
        """The reply to a batch.

        Raises:
            OverError: nothing is asked any more, and some row is not stored.
            BusyError: too much waits already.
        """
        if self._desk.waiting > MOST_WAITING:
            raise BusyError(f"{self._desk.waiting:,} questions wait for the judge")
        if len(batch.questions) == 1:  # as OpenRLHF posts
            found = [await self._row(batch.questions[0])]
        else:
            rows = [asyncio.create_task(self._row(question)) for question in batch.questions]
            try:
                found = await asyncio.gather(*rows)
            finally:
                for row in rows:
                    row.cancel()
        for each in found:
            self.rows += 1
            if isinstance(each, str):
                self.flags[each] += 1
            else:
                self._fallback.note(each)
        return reply(batch.form, found, lambda: self._fallback.value)

    async def _row(self, question: Question) -> float | Flag:
        if question.prompt is None:
            return question.flag or "unknown_prompt"
        answer = Response(question.prompt.id, POLICY, (question.answer,))
        asked = self._rewarder.questions(question.prompt, answer)
        if asked is None:
            return "no_opponent"
        self._keep(question.prompt, {one.text_hash: one for _, *some in asked for one in some}.values())
        try:
            async with asyncio.timeout(self._seconds):
                return self._rewarder.reward(await self._desk.records(asked))
        except TimeoutError:
            return "late"
        except DownError:
            return "judge_down"

    def _keep(self, prompt: Prompt, answers: Any) -> None:
        """Store prompt and texts, so that a verdict can be read beside what it is on."""
        rows = []
        for one in answers:
            key = content_hash("rewarded", prompt.id, one.text_hash)
            if self._store.turn(key, 0) is None:
                told = Completion(text=one.texts[0], usd=0.0, calls=0)
                rows.append(TurnRow(key, 0, prompt.id, one.model, told, one.text_hash))
        if rows:
            self._store.add_prompts([prompt])
            self._store.add_turns(rows)

    def health(self) -> dict[str, Any]:
        """What there is to know from elsewhere."""
        tally = self._desk.tally
        return {
            "status": "over" if self._desk.over else "judge_down" if self._desk.down else "ok",
            "reason": self._desk.over or self._desk.down or None,
            "rows": self.rows,
            "failed": self.failed,
            "flags": dict(self.flags),
            "waiting": self._desk.waiting,
            "calls": tally.calls,
            "usd": tally.usd,
        }
