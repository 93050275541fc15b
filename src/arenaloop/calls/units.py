"""What is to be asked: a unit is a key, a request, a reader, and what is stored of it.

A contestant's turn, a verdict on two texts, a judgement of one and a meta-verdict on two judgements are units. The
executor (`run`), batch files (`batch`) and the estimate ask, write and count them alike, and know no more of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from arenaloop.calls.reask import ANSWERED
from arenaloop.models.base import ChunkedModel, Model, Reserve
from arenaloop.models.openai_wire import Price
from arenaloop.store import Store
from arenaloop.types import Completion, Cost, Judgement, Request, Status, Verdict

__all__ = ["Asked", "Earlier", "Planned", "Record", "Several", "Unit", "Who"]

_FREE = Price(0.0, 0.0)  # of models that run in this process

Who = tuple[str, str]
"""Whose calls these are: ``"contestant"`` or ``"judge"``, and the name."""


@dataclass(frozen=True, slots=True)
class Several(Cost):
    """What one call about several things came to.

    Attributes:
        verdicts: on each of them; the first has the whole cost.
        status: of all of them.
    """

    verdicts: tuple[Verdict, ...]
    status: Status


Record = Verdict | Judgement | Completion | Several
"""What a call came to."""


class Unit(Protocol):
    """One question to one model or judge."""

    @property
    def asked(self) -> Asked:
        """Who is asked."""

    @property
    def who(self) -> Who:
        """In whose name."""

    def key(self, sample: int = 0) -> str:
        """What a sample is stored under."""

    def stored(self, sample: int) -> Status | None:
        """How the latest attempt at a sample ended; None where it was never asked."""

    def request(self, sample: int = 0) -> Request:
        """What a sample asks of the model."""

    def read(self, completion: Completion, sample: int = 0) -> Record:
        """What an answer holds."""

    def ask(self, sample: int) -> Awaitable[Record]:
        """Ask for one sample. Whoever is no model decides here."""

    def earlier(self, store: Store, most: int) -> Iterator[Earlier]:
        """Up to `most` stored calls of the same model and settings whose tokens were told."""

    def keep(self, store: Store, records: Sequence[tuple[Any, Any]]) -> None:
        """Append what came of units of this kind, each with its record, to the arena file in one commit."""


class Earlier(NamedTuple):
    """A stored call whose tokens were told.

    Attributes:
        unit: what was asked.
        tokens_in, tokens_out: what it took.
        usd: what one request was charged, by what the server told; None where that is not known.
    """

    unit: Unit
    tokens_in: int
    tokens_out: int
    usd: float | None


class Planned(NamedTuple):
    """A unit that a plan will come to, before everything that it is to ask about is there.

    Attributes:
        unit: the unit, in which texts that are still to come stand empty.
        to_come: whose texts those are, for each of them.
    """

    unit: Unit
    to_come: tuple[Who, ...] = ()


class Asked:
    """Whoever is asked in a run, a contestant's model or a judge, and what each call must pass.

    Args:
        model: the model behind it; None for a rule, whose decision is no call.
        concurrency: how many calls it takes at once.
        workers: how many there may ever be; one that takes as many needs no limit of its own.
        reask: how many samples may follow the first, where none has one of the statuses `done`.

    Attributes:
        limit: of calls in flight, where there is one.
        admitted_here: whether a call begins at the executor. A rule costs no call, and a model with a queue asks for
            admission itself, when the call's turn has come.
        chunked: the model, where it answers in chunks on this machine.
        lane: whose chunks it shares; itself, unless votes on one answer are to be read together.
        turn: of a chunked judge, the end of what was drawn last (`run.Executor.settle_in_turn`).
        dearest: of calls of a model that gives no reserves, the price of the dearest so far; None before the first.
    """

    __slots__ = (
        *("_calls", "_paid", "admitted_here", "chunked", "dearest", "done", "lane", "limit", "model", "reask", "turn"),
    )

    def __init__(
        self,
        model: Model | None,
        concurrency: int,
        workers: int | None = None,
        reask: int = 0,
        done: Collection[Status] = ANSWERED,
    ) -> None:
        self.model, self.reask, self.done = model, reask, done
        self.lane: Asked = self
        self.chunked = model if isinstance(model, ChunkedModel) else None
        self.limit = asyncio.Semaphore(concurrency) if workers is None or concurrency < workers else None
        self.admitted_here = model is not None and not getattr(model, "queues", False)
        self.turn: asyncio.Future[None] | None = None
        self.dearest: float | None = None
        self._calls, self._paid = 0, 0.0

    def reserve(self, calls: int = 1) -> Reserve:
        """What calls may cost of a model that does not say: as much as its dearest so far. Without a price, nothing."""
        price = getattr(self.model, "price", _FREE)
        if price is None:
            return Reserve(None, 0.0)
        if price == _FREE:
            return Reserve()
        dearest = calls * (self.dearest or 0.0)
        return Reserve(dearest, dearest, learnt=self.dearest is not None)

    def cost(self, usd: float | None) -> None:
        """Take note of what a call has cost."""
        self.dearest = max(self.dearest or 0.0, usd or 0.0)
        self._calls, self._paid = self._calls + 1, self._paid + (usd or 0.0)

    @property
    def mean_cost(self) -> float | None:
        """US dollars that a call has cost on average; None before the first of a model that may cost something."""
        if self._calls:
            return self._paid / self._calls
        return 0.0 if getattr(self.model, "price", _FREE) == _FREE else None

    @property
    def samples(self) -> int:
        """How many samples of one request a single call may bring (a server's ``n``)."""
        return int(getattr(self.model, "samples_per_call", 1))

    def recall(self, earlier: Iterable[Earlier]) -> None:
        """Let a model whose calls cost something learn from stored ones, unless it has learnt from its own replies."""
        billing = getattr(self.model, "billing", None)
        if billing is None or billing.price is None or billing.tokens.replies:
            return
        for unit, tokens_in, tokens_out, usd in earlier:
            billing.learn(len(self.model.body(unit.request())), tokens_in, tokens_out, usd)  # type: ignore[union-attr]

    async def together(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers to several requests, in their order: a chunk's, or samples of one request in one call."""
        if self.chunked is None:
            samples: list[Completion] = await self.model.complete_samples(requests)  # type: ignore[union-attr]
            return samples
        place = {id(request): at for at, request in enumerate(requests)}
        came: list[Completion | None] = [None] * len(requests)
        async for request, completion in self.chunked.complete_many(requests):
            came[place[id(request)]] = completion
        return [completion for completion in came if completion is not None]
