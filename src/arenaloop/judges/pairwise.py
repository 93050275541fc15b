"""A chat model as a pairwise judge: scores or a label for two responses at once (arXiv 2407.10627, section 3).

The prompt comes from a template; contestants' words stand between marker lines whose code they cannot know (a hash of
the run's secret, the prompt and both texts, so the same bytes at every retry). The verdict is read from the judge's own
line, from structured output or from the log-probabilities of its label, and from nowhere else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from arenaloop.judges.answer_lines import Scores
from arenaloop.judges.asking import TemplateJudge
from arenaloop.judges.base import decided, pair_key
from arenaloop.judges.filling import Layout, Material
from arenaloop.judges.probe import NoLogprobsError
from arenaloop.types import Completion, Outcome, Prompt, Request, Response, Sampling, Status, Verdict, VerdictKind

__all__ = ["JUDGE_SAMPLING", "NoLogprobsError", "PairwiseJudge"]

JUDGE_SAMPLING = Sampling(temperature=0.0, max_tokens=512)


class PairwiseJudge(TemplateJudge[Scores]):
    """A model that decides between two responses.

    Arguments and errors as of `TemplateJudge`; the template is one about a pair. In mode ``logprob`` the scores are the
    probability of each seat, and a seating whose labels have less than `label_mass` together stays undecided.
    """

    layout: ClassVar[Layout] = "pair"
    kind: ClassVar[VerdictKind] = "pairwise"
    shipped: ClassVar[str] = "pairwise"
    decoding: ClassVar[Sampling] = JUDGE_SAMPLING
    beside: tuple[Response, ...] = ()
    """what it is shown before the seats"""

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Hash of prompt, both texts in seat order, judge, template, verdict mode, sampling and sample index.

        Where the judge is shown a reference answer, of that, too.
        """
        return pair_key(self._asked_as(prompt), prompt, first, second, sample)

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Ask the model about one seating and read its answer; samples after the first are asked warmer."""
        request = self.request(prompt, first, second, secret=secret, seed=seed, sample=sample)
        return self.read(prompt, first, second, await self._complete(request), sample=sample)

    def request(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Request:
        """What one seating asks of the model; samples after the first are asked warmer.

        Raises:
            ConfigError: a user's template fails on this material.
        """
        shown = (*self.beside, first, second)
        material = Material.of(self.layout, prompt, *shown, references=self._references(prompt))
        key = self.key(prompt, first, second, sample)
        return self._request(material, key, secret=secret, seed=seed, sample=sample)

    def read(
        self, prompt: Prompt, first: Response, second: Response, completion: Completion, *, sample: int = 0
    ) -> Verdict:
        """The verdict that an answer holds, as the parser of form and mode reads it."""
        completion = self._whole(completion)
        scores, status = self._read(completion)
        return Verdict(
            key=self.key(prompt, first, second, sample),
            prompt_id=prompt.id,
            first_hash=first.text_hash,
            second_hash=second.text_hash,
            judge=self.name,
            status=status,
            raw=self.parser.raw(completion),
            sample=sample,
            judge_hash=self.fingerprint,
            template_hash=self.template_hash,
            parser=self.parser.name,
            kind=self.kind,
            score_first=scores.first if scores else None,
            score_second=scores.second if scores else None,
            outcome=Outcome.from_scores(*scores) if scores else None,
            **self._cost(completion, status),
        )

    def reread(self, verdict: Verdict) -> Verdict:
        """What today's parser reads in the answer behind a stored verdict: free, and nothing of the old one is lost.

        Returns:
            `verdict` itself where nothing changes, else a verdict under its key that cost nothing.
        """
        if verdict.status not in (Status.OK, Status.UNPARSED, Status.TRUNCATED):
            return verdict
        before = Status.TRUNCATED if verdict.status is Status.TRUNCATED else Status.OK
        try:
            answer = self.parser.answer(verdict.raw, before)
        except ValueError:  # what was stored is no answer of this mode
            answer = Completion(status=before)
        scores, status = self._read(answer)
        found = scores or (None, None)
        if (status, *found) == (verdict.status, verdict.score_first, verdict.score_second):
            return verdict
        return replace(
            verdict,
            status=status,
            parser=self.parser.name,
            error=None if scores else verdict.error,
            tokens_in=0,
            tokens_out=0,
            usd=0.0,
            usd_estimated=0.0,
            seconds=0.0,
            calls=0,
            **decided(scores),
        )
