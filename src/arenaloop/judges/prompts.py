"""A chat model that is shown a prompt and no answer: how difficult it is, or which category it belongs to.

A test set's hard prompts are those that it rates highest (WizardArena; Arena Learning, arXiv 2407.10627). What could
not be read is no rating, and never 0.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import ClassVar

from arenaloop.judges.answer_lines import CATEGORIES
from arenaloop.judges.asking import ScoringJudge
from arenaloop.judges.filling import Layout, Material
from arenaloop.types import Completion, Judgement, Prompt, Request, Sampling

__all__ = ["PromptJudge", "category_of"]


class PromptJudge(ScoringJudge):
    """A model that scores a prompt by itself; arguments as of `TemplateJudge`, the template of layout ``prompt``.

    Its judgements are of no response: their `response_hash` is empty. With the template ``category`` the score is the
    place of a category in `answer_lines.CATEGORIES`.
    """

    layout: ClassVar[Layout] = "prompt"
    kind: ClassVar[str] = "prompt"

    shipped: ClassVar[str] = "difficulty"
    decoding: ClassVar[Sampling] = Sampling(temperature=0.0, max_tokens=512)

    def key(self, prompt: Prompt, sample: int = 0) -> str:
        """Hash of prompt, judge, template, verdict mode, sampling and sample index."""
        return blake2b(f"{prompt.id}\n{self.fingerprint}\n{sample}".encode(), digest_size=16).hexdigest()

    async def judge(self, prompt: Prompt, *, secret: str, seed: int, sample: int = 0) -> Judgement:
        """Ask the model about a prompt and read its answer."""
        request = self.request(prompt, secret=secret, seed=seed, sample=sample)
        return self.read(prompt, await self._complete(request), sample=sample)

    def request(self, prompt: Prompt, *, secret: str, seed: int, sample: int = 0) -> Request:
        """What a prompt asks of the model; samples after the first are asked warmer.

        Raises:
            ConfigError: a user's template fails on this material.
        """
        material = Material.of("prompt", prompt)
        return self._request(material, self.key(prompt, sample), secret=secret, seed=seed, sample=sample)

    def read(self, prompt: Prompt, completion: Completion, *, sample: int = 0) -> Judgement:
        """The judgement that an answer holds."""
        return self._judgement(self.key(prompt, sample), prompt, "", completion, sample)


def category_of(score: float | None) -> str | None:
    """The category that a judgement with the template ``category`` names."""
    return None if score is None else CATEGORIES[int(score)]
