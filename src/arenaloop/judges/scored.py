"""A reward as a judge of one answer: its score is the judgement, which is kept like any other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

from arenaloop.errors import ArenaloopError
from arenaloop.judges.gathered import Gathered
from arenaloop.models.reward import Reward
from arenaloop.types import Judgement, Message, Prompt, Response, Status

__all__ = ["ScoredJudge"]


class ScoredJudge:
    """A reward model, a function or a server of scores, asked about one answer. It asks no chat model.

    Answers are scored in batches, in a thread of their own. One that gets no finite number is judged with an error.

    Args:
        name: what it is called in the arena file.
        reward: gives the scores.
    """

    template_hash = ""
    concurrency = 512
    scale = (-math.inf, math.inf)

    def __init__(self, name: str, reward: Reward) -> None:
        self.name = name
        self.fingerprint = reward.identity
        self._reward = reward
        self._scoring = Gathered(self._scores)

    def _scores(self, asked: Sequence[tuple[list[Message], str]]) -> Sequence[float | None]:
        return self._reward.score([prompt for prompt, _ in asked], [answer for _, answer in asked])

    def key(self, prompt: Prompt, response: Response, sample: int = 0) -> str:
        """Hash of prompt, response text, reward and sample index."""
        text = f"{prompt.id}\n{response.text_hash}\n{self.fingerprint}\n{sample}"
        return blake2b(text.encode(), digest_size=16).hexdigest()

    async def judge(self, prompt: Prompt, response: Response, *, secret: str, seed: int, sample: int = 0) -> Judgement:
        """Score one response; `secret` and `seed` do not matter."""
        key = self.key(prompt, response, sample)
        score: float | None = None
        try:
            score = await self._scoring.ask(key, (list(prompt.messages), response.texts[0]))
            error = "no score" if score is None else "" if math.isfinite(score) else f"the score {score!r}"
        except ArenaloopError as failed:
            error = str(failed)
        return Judgement(
            key=key,
            prompt_id=prompt.id,
            response_hash=response.text_hash,
            judge=self.name,
            status=Status.ERROR if error else Status.OK,
            score=None if error else score,
            error=error or None,
            sample=sample,
            usd=0.0,
            calls=0,
            judge_hash=self.fingerprint,
        )

    async def aclose(self) -> None:
        """Nothing is open."""
