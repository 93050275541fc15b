"""A chat model as judge of judges: which of two judgements of one answer applies the rubric more accurately.

After Meta-Rewarding Language Models (arXiv 2407.19594, section 2.3). About one answer it is a pairwise judge with two
judgements in its seats, so re-asking and merging are those of every pairwise judge. There is no tie.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import wraps
from hashlib import blake2b
from typing import ClassVar, Concatenate, ParamSpec, TypeVar

from arenaloop.judges.filling import Layout
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.parsers import VerdictMode
from arenaloop.judges.templates import JudgeTemplate
from arenaloop.models.base import Model
from arenaloop.types import Judgement, Prompt, Response, Sampling, VerdictKind

__all__ = ["MetaJudge", "seated"]

P = ParamSpec("P")
R = TypeVar("R")


def seated(judgement: Judgement) -> Response:
    """A judgement as what sits in a seat of the meta-judge: its words, known by their hash."""
    return Response(judgement.prompt_id, judgement.judge, (judgement.raw,), judgement.status, judgement.text_hash)


class _OfAnAnswer(PairwiseJudge):
    """A pairwise judge that is shown an answer besides what sits in the seats."""

    layout: ClassVar[Layout] = "judgements"
    kind: ClassVar[VerdictKind] = "meta"
    shipped: ClassVar[str] = "meta"

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Hash of prompt, answer, both judgements in seat order, judge, template, mode, sampling and sample index."""
        text = f"{super().key(prompt, first, second, sample)}\n{self.beside[0].text_hash}"
        return blake2b(text.encode(), digest_size=16).hexdigest()


def _after_answer(
    method: Callable[Concatenate[_OfAnAnswer, Prompt, P], R],
) -> Callable[Concatenate[MetaJudge, Prompt, Response, P], R]:
    """A pairwise judge's method that takes the answer between the prompt and the seats."""

    @wraps(method)
    def about(self: MetaJudge, prompt: Prompt, answer: Response, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.about(answer), prompt, *args, **kwargs)

    return about


class MetaJudge:
    """A model that decides between two judgements of one answer.

    Asked with the answer before the seats, or `about` one answer as a pairwise judge: keys and verdicts are the same.
    Arguments as of `PairwiseJudge`; the template is one of layout ``judgements``, and labels are not read.
    """

    def __init__(
        self,
        model: Model,
        template: str | JudgeTemplate | None = None,
        verdict: VerdictMode = "text",
        sampling: Sampling | None = None,
        name: str | None = None,
    ) -> None:
        self._judge = _OfAnAnswer(model, template, verdict, sampling, name)
        self.model = model
        self.name = self._judge.name
        self.sampling = self._judge.sampling
        self.fingerprint = self._judge.fingerprint
        self.template_hash = self._judge.template_hash
        self.concurrency = model.concurrency

    def about(self, answer: Response) -> _OfAnAnswer:
        """The judge of two judgements of `answer`, which are `seated`; its verdicts are of kind ``meta``."""
        judge = copy(self._judge)
        judge.beside = (answer,)
        return judge

    key = _after_answer(_OfAnAnswer.key)
    judge = _after_answer(_OfAnAnswer.judge)
    request = _after_answer(_OfAnAnswer.request)
    read = _after_answer(_OfAnAnswer.read)

    async def aclose(self) -> None:
        """Close the judging model."""
        await self.model.aclose()
