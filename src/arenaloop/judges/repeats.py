"""The same judge asked several times over, which is what its variance is measured on.

A re-asked verdict replaces one that could not be read, and is asked warmer; a repeated vote stands beside the others,
and is asked as the first was.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

from arenaloop.judges.annotators import PairsJudge
from arenaloop.judges.base import Judge, ModelJudge
from arenaloop.judges.builtin import FreeJudge
from arenaloop.types import Completion, Prompt, Request, Response, Verdict, content_hash

__all__ = ["own_votes", "repeated"]


def own_votes(judge: Judge) -> int | None:
    """How many different votes a judge has; None without limit."""
    return judge.votes if isinstance(judge, FreeJudge) else None


def repeated(judge: Judge, number: int) -> Judge:
    """The judge of the vote `number`, from 0; the first is the judge itself and shares its stored verdicts."""
    if number == 0:
        return judge
    if isinstance(judge, FreeJudge | PairsJudge):
        return judge.repeated(number)
    return _AskedAgain(judge, number) if isinstance(judge, ModelJudge) else _Again(judge, number)


class _Again:
    """A judge under other keys, so that its vote is paid for and stored by itself; seeds follow from the keys."""

    def __init__(self, judge: Judge, number: int) -> None:
        self._judge = judge
        self._number = number
        self.name = judge.name
        self.template_hash = judge.template_hash
        self.concurrency = judge.concurrency
        self.scale = judge.scale
        self.model = getattr(judge, "model", None)  # who asks for admission
        self.fingerprint = content_hash("again", judge.fingerprint, number)

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        text = f"{self._judge.key(prompt, first, second, sample)}\n{self._number}"
        return blake2b(text.encode(), digest_size=16).hexdigest()

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        verdict = await self._judge.judge(prompt, first, second, secret=secret, seed=seed, sample=sample)
        return replace(verdict, key=self.key(prompt, first, second, sample))

    async def aclose(self) -> None:
        await self._judge.aclose()


class _AskedAgain(_Again):
    """Of a judge that shows what it asks."""

    def __init__(self, judge: ModelJudge, number: int) -> None:
        super().__init__(judge, number)
        self._asked = judge

    def request(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Request:
        return self._asked.request(prompt, first, second, secret=secret, seed=seed, sample=sample)

    def read(
        self, prompt: Prompt, first: Response, second: Response, completion: Completion, *, sample: int = 0
    ) -> Verdict:
        verdict = self._asked.read(prompt, first, second, completion, sample=sample)
        return replace(verdict, key=self.key(prompt, first, second, sample))
