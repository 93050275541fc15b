"""Who answers: the protocol that every model obeys, and what identifies one.

A model is asked for `Completion`s and never raises for a single bad call: a failed completion is data. Only a server
that is not there at all raises, `EndpointDownError`, which stops the run resumably.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, runtime_checkable

from arenaloop.types import Completion, Request

__all__ = [
    "ADMISSION",
    "ELSEWHERE",
    "NOTHING",
    "NOTICE",
    "Admission",
    "ChunkedModel",
    "Elsewhere",
    "Model",
    "Reserve",
    "Spent",
]


class Reserve(NamedTuple):
    """What a request may cost, in US dollars, before it is sent.

    Attributes:
        likely: on the mean of what was learnt, or as long an answer as there may be; None where no price is known.
        most: with the densest text and the longest answer.
        learnt: whether an answer of the model has shown anything yet.
    """

    likely: float | None = 0.0
    most: float = 0.0
    learnt: bool = True


class Spent(NamedTuple):
    """What tries that brought no answer have cost, in US dollars.

    Attributes:
        usd: all of it.
        estimated: the part of it that no server has told.
    """

    usd: float = 0.0
    estimated: float = 0.0

    def more(self, usd: float, estimated: float) -> Spent:
        """With what one more try has cost."""
        return Spent(self.usd + usd, self.estimated + estimated)


NOTHING = Spent()


class Admission(Protocol):
    """What a model with a queue of its own asks before a request is sent, each time."""

    async def enter(self, reserve: Callable[[], Reserve] | None = None, lost: Spent = NOTHING) -> None:
        """Wait until the request may be sent and is booked; it is, on return.

        Args:
            reserve: gives what it may cost, by what is learnt until then; None leaves that to whoever admits.
            lost: what the earlier tries of this request have cost, all together.

        Raises:
            Exception: no call may begin any more; nothing was booked.
        """

    def over(self, lost: Spent) -> None:
        """End a request that has come back without an answer, before whoever sent it waits to send it again.

        Else what it has reserved would keep others waiting, who may hold what it waits for.
        """

    def unsent(self) -> None:
        """Take back the booking of a request that could not be sent."""

    def unpriced(self, model: str, what: str) -> None:
        """Tell that replies of a model count what no price covers (`what`): no budget in dollars holds for it."""


ADMISSION: ContextVar[Admission | None] = ContextVar("admission", default=None)
"""Whom a model with a queue of its own asks when a request is about to be sent, and each time it is sent again.

Such a model has an attribute ``queues = True``. To enter raises where no call may begin any more (a budget is spent,
the run is stopping); so what only waits for its turn is never sent, and what has failed is not tried again.
"""

NOTICE: ContextVar[Callable[[str], None] | None] = ContextVar("notice", default=None)
"""What a model calls with one line that the user should read while the run goes on: a server makes everybody wait."""


class Elsewhere(Protocol):
    """Whoever makes the calls of models behind servers, where that is not this process."""

    async def ask(self, model: Any, request: Request, samples: int) -> list[Completion]:
        """Answers to a request, for so many samples of it; errors as of ``complete``."""


ELSEWHERE: ContextVar[Elsewhere | None] = ContextVar("elsewhere", default=None)
"""Who makes calls instead of the models themselves: an engine with workers."""


@runtime_checkable
class Model(Protocol):
    """Anything that turns a conversation into text."""

    @property
    def name(self) -> str:
        """What leaderboards call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Content hash of what determines its answers besides the request.

        The endpoint's model id, the weights, a system prompt, an extra body; part of the key of stored answers.
        """
        ...

    @property
    def concurrency(self) -> int:
        """How many calls may be in flight at once."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer one request; failures come back as a completion with a status."""
        ...

    def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
        """Answer many requests, yielding each with its completion as it arrives, in any order."""
        ...

    async def aclose(self) -> None:
        """Release connections or memory; the model may be used again afterwards."""
        ...


@runtime_checkable
class ChunkedModel(Model, Protocol):
    """A model that answers fixed chunks: the chunk is the unit of batching, seeding, commit and resume.

    A caller plans once over *all* requests of a stage, also those already answered, then gives `complete_many` one
    chunk at a time and stores its answers together; an interrupted chunk is generated again whole. So resuming changes
    no result, although an answer may depend (through floating-point padding or shared random numbers) on its chunk.
    """

    def plan(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Cut requests into chunks: sorted by length (then key), at most the model's chunk size each."""
        ...
