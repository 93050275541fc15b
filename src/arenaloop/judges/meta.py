"""A chat model as judge of judges: which of two judgements of one answer applies the rubric more accurately.

After Meta-Rewarding Language Models (arXiv 2407.19594, section 2.3). About one answer it is a pairwise judge with two
judgements in its seats, so re-asking and merging are those of every pairwise judge. There is no tie.
"""

from __future__ import annotations

from copy import copy
from hashlib import blake2b
from typing import ClassVar

from arenaloop.judges.filling import Layout, Material
from arenaloop.judges.pairwise import JUDGE_SAMPLING, PairwiseJudge
from arenaloop.judges.parsers import VerdictMode
from arenaloop.judges.templates import JudgeTemplate
from arenaloop.models.base import Model
from arenaloop.types import Completion, Judgement, Prompt, Request, Response, Sampling, Verdict, VerdictKind

__all__ = ["MetaJudge", "seated"]


def seated(judgement: Judgement) -> Response:
    """A judgement as what sits in a seat of the meta-judge: its words, known by their hash."""
    return Response(judgement.prompt_id, judgement.judge, (judgement.raw,), judgement.status, judgement.text_hash)


class MetaJudge:
    """A model that decides between two judgements of one answer.

    Asked with the answer before the seats, or `about` one answer as a pairwise judge: keys and verdicts are the same.

    Args:
        model: the judging model.
        template: a template of layout ``judgements``, or the name of a shipped one.
        verdict: how the answer is given and read: ``text``, or ``json`` (the request carries a schema).
        sampling: the judge's decoding; temperature 0 and 512 tokens by default.
        name: what reports call it; the model's name by default.

    Raises:
        ConfigError: the template is not about two judgements, or its words cannot ask for this mode.
    """

    def __init__(
        self,
        model: Model,
        *,
        template: str | JudgeTemplate = "meta",
        verdict: VerdictMode = "text",
        sampling: Sampling = JUDGE_SAMPLING,
        name: str | None = None,
    ) -> None:
        self._judge = _OfAnAnswer(model, template=template, verdict=verdict, sampling=sampling, name=name)
        self.model = model
        self.name = self._judge.name
        self.fingerprint = self._judge.fingerprint
        self.template_hash = self._judge.template_hash
        self.concurrency = model.concurrency

    def about(self, answer: Response) -> PairwiseJudge:
        """The judge of two judgements of `answer`, which are `seated`; its verdicts are of kind ``meta``."""
        judge = copy(self._judge)
        judge.answer = answer
        return judge

    def key(self, prompt: Prompt, answer: Response, first: Response, second: Response, sample: int = 0) -> str:
        """Hash of all that the verdict depends on."""
        return self.about(answer).key(prompt, first, second, sample)

    async def judge(
        self,
        prompt: Prompt,
        answer: Response,
        first: Response,
        second: Response,
        *,
        secret: str,
        seed: int,
        sample: int = 0,
    ) -> Verdict:
        """Decide one seating of two judgements of `answer`."""
        return await self.about(answer).judge(prompt, first, second, secret=secret, seed=seed, sample=sample)

    def request(
        self,
        prompt: Prompt,
        answer: Response,
        first: Response,
        second: Response,
        *,
        secret: str,
        seed: int,
        sample: int = 0,
    ) -> Request:
        """What one seating asks of the model."""
        return self.about(answer).request(prompt, first, second, secret=secret, seed=seed, sample=sample)

    def read(
        self,
        prompt: Prompt,
        answer: Response,
        first: Response,
        second: Response,
        completion: Completion,
        *,
        sample: int = 0,
    ) -> Verdict:
        """The verdict that an answer of the model holds."""
        return self.about(answer).read(prompt, first, second, completion, sample=sample)

    async def aclose(self) -> None:
        """Close the judging model."""
        await self.model.aclose()


class _OfAnAnswer(PairwiseJudge):
    """A pairwise judge that is shown an answer besides what sits in the seats."""

    layout: ClassVar[Layout] = "judgements"
    kind: ClassVar[VerdictKind] = "meta"
    answer: Response

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Hash of prompt, answer, both judgements in seat order, judge, template, mode, sampling and sample index."""
        text = f"{super().key(prompt, first, second, sample)}\n{self.answer.text_hash}"
        return blake2b(text.encode(), digest_size=16).hexdigest()

    def _material(self, prompt: Prompt, first: Response, second: Response) -> Material:
        return Material.judgements(prompt, self.answer, first, second)
