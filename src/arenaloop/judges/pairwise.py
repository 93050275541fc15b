"""A chat model as a pairwise judge: scores from 1 to 10 for each seat, explanation first (arXiv 2407.10627, section 3).

The prompt comes from a versioned template; contestants' words stand between marker lines whose code they cannot know (a
hash of the run's secret, the prompt and both texts, so the same bytes at every retry). The verdict is read from the
judge's own last line and from nowhere else.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from importlib import resources
from typing import TYPE_CHECKING

from arenaloop.judges.base import verdict_key_parts
from arenaloop.models.base import Model
from arenaloop.types import Completion, Outcome, Prompt, Request, Response, Sampling, Status, Verdict, content_hash

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["JUDGE_SAMPLING", "PairwiseJudge", "load_template", "parse_scores", "render", "template_names"]

JUDGE_SAMPLING = Sampling(temperature=0.0, max_tokens=512)
_REASK_TEMPERATURE = 0.7
"""A garbage verdict is asked again at least this warm: at temperature 0 it would only repeat itself."""
_PARSER = "scores:1"

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*10(?:\.0+)?)?"
_SCORES = re.compile(
    rf"(?a:scores?)\s*[:=]\s*{_NUMBER}(?:\s*[,;|&]\s*|\s+and\s+|\s+)(?:and\s+)?{_NUMBER}\.?", re.IGNORECASE
)
_LONGEST_LINE = 200  # no score line is longer; keeps the expressions below linear on hostile text
_MARKDOWN = re.compile(r"^[\s*_`#>\-]+|[\s*_`]+$")
_EMPHASIS = re.compile(r"[*_`]+")


def parse_scores(text: str) -> tuple[float, float] | None:
    """Read ``Scores: 7 5`` (first seat, second seat) from the last non-blank line; None if it is anything else.

    The line, bared of markdown, must match whole, in any case; ``/10`` after a number and decimals are allowed. Scores
    outside 1 to 10 are no scores. Nothing but the last line counts, so a candidate's text quoted by the judge cannot
    decide.
    """
    last = text.rstrip().rsplit("\n", 1)[-1]
    if len(last) > _LONGEST_LINE:
        return None
    bare = _EMPHASIS.sub("", _MARKDOWN.sub("", last)).strip()
    match = _SCORES.fullmatch(bare)
    if match is None:
        return None
    first, second = float(match[1]), float(match[2])
    if not (1.0 <= first <= 10.0 and 1.0 <= second <= 10.0):
        return None
    return first, second


def template_names() -> list[str]:
    """The shipped templates."""
    folder = resources.files("arenaloop.judges").joinpath("templates")
    return sorted(entry.name.removesuffix(".jinja") for entry in folder.iterdir() if entry.name.endswith(".jinja"))


@lru_cache(maxsize=16)
def load_template(name: str) -> tuple[Template, str]:
    """A shipped template by name, compiled, and the hash of its text."""
    from jinja2 import Environment, StrictUndefined

    text = resources.files("arenaloop.judges").joinpath("templates", f"{name}.jinja").read_text(encoding="utf-8")
    # The filled-in text is never parsed again, and nothing is HTML: contestants' braces and tags stay as they are.
    environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=False)  # noqa: S701
    return environment.from_string(text), content_hash("template", text)


def _tag(secret: str, prompt_id: str, first_hash: str, second_hash: str) -> str:
    return blake2b(f"{secret}\n{prompt_id}\n{first_hash}\n{second_hash}".encode(), digest_size=8).hexdigest()


def render(template: Template, prompt: Prompt, first: Response, second: Response, *, secret: str) -> str:
    """Fill the judge prompt for one seating; history and follow-up turns are shown whole."""
    return template.render(
        tag=_tag(secret, prompt.id, first.text_hash, second.text_hash),
        history=prompt.messages[:-1],
        user=prompt.last_user,
        seats=(first.texts, second.texts),
        follow_ups=prompt.follow_ups,
    )


class PairwiseJudge:
    """A model that scores two responses at once.

    Args:
        model: the judging model.
        template: name of a shipped template.
        sampling: the judge's decoding; temperature 0 and 512 tokens by default.
        name: what reports call it; the model's name by default.
    """

    def __init__(
        self, model: Model, *, template: str = "pairwise", sampling: Sampling = JUDGE_SAMPLING, name: str | None = None
    ) -> None:
        self.model = model
        self.name = name or model.name
        self.sampling = sampling
        self.concurrency = model.concurrency
        self._template, self.template_hash = load_template(template)
        self.fingerprint = content_hash("pairwise", model.fingerprint, self.template_hash, sampling.key(), 1)

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Hash of prompt, both texts in seat order, judge, template, sampling and sample index."""
        text = "\n".join((*verdict_key_parts(prompt, first, second), self.fingerprint, str(sample)))
        return blake2b(text.encode(), digest_size=16).hexdigest()

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Ask the model about one seating and read its last line; samples after the first are asked warmer."""
        request = self.request(prompt, first, second, secret=secret, seed=seed, sample=sample)
        return self.read(prompt, first, second, await self.model.complete(request), sample=sample)

    def request(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Request:
        """What one seating asks of the model; samples after the first are asked warmer."""
        sampling = self.sampling
        if sample:
            warm = max(sampling.temperature, _REASK_TEMPERATURE)
            sampling = Sampling(warm, sampling.top_p, sampling.max_tokens, sampling.stop)
        key = self.key(prompt, first, second, sample)
        text = render(self._template, prompt, first, second, secret=secret)
        return Request(
            messages=({"role": "user", "content": text},), sampling=sampling, sample=sample, seed=seed, key=key
        )

    def read(
        self, prompt: Prompt, first: Response, second: Response, completion: Completion, *, sample: int = 0
    ) -> Verdict:
        """The verdict in the last line of an answer."""
        status, scores, outcome = completion.status, None, None
        if status is Status.OK:
            scores = parse_scores(completion.text)
            if scores is None:
                status = Status.UNPARSED
            else:
                outcome = Outcome.from_scores(*scores)
        return Verdict(
            key=self.key(prompt, first, second, sample),
            prompt_id=prompt.id,
            first_hash=first.text_hash,
            second_hash=second.text_hash,
            judge=self.name,
            status=status,
            raw=completion.text,
            score_first=scores[0] if scores else None,
            score_second=scores[1] if scores else None,
            outcome=outcome,
            sample=sample,
            tokens_in=completion.tokens_in,
            tokens_out=completion.tokens_out,
            usd=completion.usd,
            seconds=completion.seconds,
            error=completion.error,
            calls=completion.calls,
            reasoning=completion.reasoning,
            finish_reason=completion.finish_reason,
            judge_hash=self.fingerprint,
            template_hash=self.template_hash,
            parser=_PARSER,
        )

    async def aclose(self) -> None:
        """Close the judging model."""
        await self.model.aclose()
