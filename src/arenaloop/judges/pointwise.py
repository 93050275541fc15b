"""A chat model that scores one response by a rubric (Self-Rewarding Language Models, arXiv 2401.10020, section 2.2).

The response is asked about as often as votes are wanted, and its score is the mean of those that could be read. A vote
that could not be read is asked again, as a further sample; it never counts as 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from hashlib import blake2b
from math import fsum
from typing import ClassVar, NamedTuple

from arenaloop.judges.asking import ScoringJudge
from arenaloop.judges.filling import Layout, Material
from arenaloop.types import Completion, Judgement, Prompt, Request, Response, Sampling

__all__ = ["RUBRIC_SAMPLING", "MeanScore", "RubricJudge", "mean_score"]

RUBRIC_SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=512)


class RubricJudge(ScoringJudge):
    """A model that scores one response.

    Arguments as of `TemplateJudge`; the template is one of layout ``answer``. Votes are sampled as in the paper by
    default. With the verdict ``logprob`` the score is the expectation over the whole numbers of the scale, by their
    log-probabilities; several votes are then one and the same where the temperature is 0.
    """

    layout: ClassVar[Layout] = "answer"
    kind: ClassVar[str] = "pointwise"

    shipped: ClassVar[str] = "rubric"
    decoding: ClassVar[Sampling] = RUBRIC_SAMPLING
    _vote = 0

    def repeated(self, number: int) -> RubricJudge:
        """The judge of the vote `number`, from 0: the same, asked as often and as warm, under other keys."""
        other = copy(self)
        other._vote = number
        return other

    def key(self, prompt: Prompt, response: Response, sample: int = 0) -> str:
        """Hash of prompt, response text, judge, template, verdict mode, sampling, vote, sample index, and reference."""
        text = f"{prompt.id}\n{response.text_hash}\n{self._asked_as(prompt)}\n{self._vote}\n{sample}"
        return blake2b(text.encode(), digest_size=16).hexdigest()

    async def judge(self, prompt: Prompt, response: Response, *, secret: str, seed: int, sample: int = 0) -> Judgement:
        """Ask the model about one response and read its answer."""
        request = self.request(prompt, response, secret=secret, seed=seed, sample=sample)
        return self.read(prompt, response, await self._complete(request), sample=sample)

    def request(self, prompt: Prompt, response: Response, *, secret: str, seed: int, sample: int = 0) -> Request:
        """What one response asks of the model; samples after the first are asked warmer.

        Raises:
            ConfigError: a user's template fails on this material.
        """
        key = self.key(prompt, response, sample)
        material = Material.of("answer", prompt, response, references=self._references(prompt))
        return self._request(material, key, secret=secret, seed=seed, sample=sample)

    def read(self, prompt: Prompt, response: Response, completion: Completion, *, sample: int = 0) -> Judgement:
        """The judgement that an answer holds, as the parser of form and mode reads it."""
        return self._judgement(self.key(prompt, response, sample), prompt, response.text_hash, completion, sample)


class MeanScore(NamedTuple):
    """The mean of the judgements that have a score, None where none has, and how many have one."""

    mean: float | None
    parsed: int


def mean_score(judgements: Iterable[Judgement | None]) -> MeanScore:
    """What several judgements of one response come to: the mean of those that could be read, whatever their order."""
    scores = [one.score for one in judgements if one is not None and one.score is not None]
    return MeanScore(fsum(scores) / len(scores) if scores else None, len(scores))
