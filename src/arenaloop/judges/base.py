"""Who decides: the protocols of judges that compare two responses and of judges that score one.

A judge is asked once per seating, or per response. What it gives carries a status: only `ok` has an outcome or a score.
A judge that asks a model splits each call into a key, a request and the reading of what came back: call by call, in
chunks or through a provider's batch files, it is asked by whoever knows nothing of seats and scores.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from arenaloop.models.base import Model
from arenaloop.types import Completion, Judgement, Prompt, Request, Response, Verdict

__all__ = ["Judge", "ModelJudge", "PointwiseJudge", "verdict_key_parts"]


@runtime_checkable
class Judge(Protocol):
    """Anything that compares two responses to one prompt, in seat order."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Content hash of what determines the judge's text: model, template and sampling (not the parser)."""
        ...

    @property
    def template_hash(self) -> str:
        """Hash of the template's text; empty for a judge that fills none."""
        ...

    @property
    def concurrency(self) -> int:
        """How many calls may be in flight at once."""
        ...

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Content hash under which the verdict is stored; model names are not part of it."""
        ...

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Decide one seating. `secret` feeds the delimiters, `seed` the judge's own randomness."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class ModelJudge(Judge, Protocol):
    """A judge that asks a chat model: what it asks and how it reads the answer are apart.

    So the same judge works call by call, through a provider's batch files, and over stored texts.
    """

    @property
    def model(self) -> Model:
        """The judging model."""
        ...

    def request(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Request:
        """What one seating asks of the model."""
        ...

    def read(
        self, prompt: Prompt, first: Response, second: Response, completion: Completion, *, sample: int = 0
    ) -> Verdict:
        """The verdict that an answer holds."""
        ...


@runtime_checkable
class PointwiseJudge(Protocol):
    """A chat model that scores one response, in the same two steps.

    Several votes on one response are those of several judges (see `repeated`): they differ in their keys, and so in
    their seeds. The samples of a vote are what is asked again, warmer, where it could not be read.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Content hash of what determines the judge's text; the same for all votes."""
        ...

    @property
    def template_hash(self) -> str:
        """Hash of the template's text."""
        ...

    @property
    def concurrency(self) -> int:
        """How many calls may be in flight at once."""
        ...

    @property
    def model(self) -> Model:
        """The judging model."""
        ...

    def key(self, prompt: Prompt, response: Response, sample: int = 0) -> str:
        """Content hash under which the judgement is stored; the name of the response's model is not part of it."""
        ...

    def request(self, prompt: Prompt, response: Response, *, secret: str, seed: int, sample: int = 0) -> Request:
        """What one response asks of the model."""
        ...

    def read(self, prompt: Prompt, response: Response, completion: Completion, *, sample: int = 0) -> Judgement:
        """The judgement that an answer holds."""
        ...

    async def judge(self, prompt: Prompt, response: Response, *, secret: str, seed: int, sample: int = 0) -> Judgement:
        """Score one response. `secret` feeds the delimiters, `seed` the judge's own randomness."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


def verdict_key_parts(prompt: Prompt, first: Response, second: Response) -> tuple[str, str, str]:
    """What identifies the material of one seating: the prompt and the text in each seat."""
    return prompt.id, first.text_hash, second.text_hash
