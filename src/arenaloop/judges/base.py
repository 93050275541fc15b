"""Who decides: the protocols of judges that compare two responses and of judges that score one.

A judge is asked once per seating, or per response. What it gives carries a status: only `ok` has an outcome or a score.
A judge that asks a model splits each call into a key, a request and the reading of what came back: call by call, in
chunks or through a provider's batch files, it is asked by whoever knows nothing of seats and scores.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

from arenaloop.models.base import Model
from arenaloop.types import Completion, Judgement, Outcome, Prompt, Request, Response, Verdict

__all__ = ["AnyJudge", "Judge", "ModelJudge", "PointwiseJudge", "decided", "pair_key"]


class AnyJudge(Protocol):
    """What every judge has.

    Attributes:
        name: what reports call it.
        fingerprint: content hash of what determines the judge's text: model, template and sampling (not the parser).
        template_hash: hash of the template's text; empty for a judge that fills none.
        concurrency: how many calls may be in flight at once.
        scale: the least and the most that it can give a response, which is the unit of all thresholds on gaps: 1 to 10
            where it writes scores, 0 to 1 where it names a winner, a label or a probability.
    """

    name: str
    fingerprint: str
    template_hash: str
    concurrency: int
    scale: tuple[float, float]

    async def aclose(self) -> None:
        """Release connections."""


@runtime_checkable
class Judge(AnyJudge, Protocol):
    """Anything that compares two responses to one prompt, in seat order."""

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Content hash under which the verdict is stored; model names are not part of it."""

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Decide one seating. `secret` feeds the delimiters, `seed` the judge's own randomness."""


@runtime_checkable
class ModelJudge(Judge, Protocol):
    """A judge that asks a chat model: what it asks and how it reads the answer are apart.

    So the same judge works call by call, through a provider's batch files, and over stored texts.
    """

    model: Model

    def request(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Request:
        """What one seating asks of the model."""

    def read(
        self, prompt: Prompt, first: Response, second: Response, completion: Completion, *, sample: int = 0
    ) -> Verdict:
        """The verdict that an answer holds."""


@runtime_checkable
class PointwiseJudge(AnyJudge, Protocol):
    """A chat model that scores one response, in the same two steps.

    Several votes on one response are those of several judges (see `repeated`): they differ in their keys, and so in
    their seeds; the fingerprint is the same. The samples of a vote are what is asked again, warmer, where it could not
    be read.
    """

    model: Model

    def key(self, prompt: Prompt, response: Response, sample: int = 0) -> str:
        """Content hash under which the judgement is stored; the name of the response's model is not part of it."""

    def request(self, prompt: Prompt, response: Response, *, secret: str, seed: int, sample: int = 0) -> Request:
        """What one response asks of the model."""

    def read(self, prompt: Prompt, response: Response, completion: Completion, *, sample: int = 0) -> Judgement:
        """The judgement that an answer holds."""

    async def judge(self, prompt: Prompt, response: Response, *, secret: str, seed: int, sample: int = 0) -> Judgement:
        """Score one response. `secret` feeds the delimiters, `seed` the judge's own randomness."""


def decided(scores: tuple[float, float] | None) -> dict[str, Any]:
    """The fields of a verdict that say who won, from the scores of both seats; None leaves it undecided."""
    if scores is None:
        return {"score_first": None, "score_second": None, "outcome": None}
    return {"score_first": scores[0], "score_second": scores[1], "outcome": Outcome.from_scores(*scores)}


def pair_key(judge: str, prompt: Prompt, first: Response, second: Response, sample: int) -> str:
    """Key of a verdict: hash of prompt, both texts in seat order, the judge's fingerprint and the sample index."""
    # taken several times for every seating, millions of times in a large arena
    text = f"{prompt.id}\n{first.text_hash}\n{second.text_hash}\n{judge}\n{sample}"
    return blake2b(text.encode(), digest_size=16).hexdigest()
