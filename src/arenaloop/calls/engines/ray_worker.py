"""A worker: an actor that makes calls, and streams what comes of them. It stores nothing and decides nothing.

It imports no Ray: the driver makes an actor of it.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from arenaloop.calls.engines.base import Call
from arenaloop.calls.engines.local import LocalEngine
from arenaloop.calls.engines.ray_cluster import Versions
from arenaloop.calls.gate import HaltedError
from arenaloop.errors import EndpointDownError
from arenaloop.models.base import NOTHING, Reserve, Spent
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.types import Completion, Request

__all__ = ["Failure", "News", "Orders", "Worker"]

_GATHER = 0.002  # seconds in which rows that come together are told together
_BEAT = 1.0  # seconds after which a worker without news says that it lives
_MESSAGES = 2_000  # of one stream, whose end lets Ray forget it
_TOGETHER = 64  # rows of one message: larger ones take the way through the object store


class Orders(NamedTuple):
    """What a driver tells a worker.

    Attributes:
        models: that are asked from now on, by number.
        calls: number, the model's number, request, samples.
        go, halt: calls that may, or may not, be sent again.
        drop: calls that nobody waits for any more.
        forget: whether all models are to be closed: a play has ended.
        at: which orders these are, counted from 0 over the worker's life.
    """

    models: dict[int, OpenAIModel]
    calls: list[tuple[int, int, Request, int]]
    go: list[int]
    halt: list[int]
    drop: list[int]
    forget: bool = False
    at: int = 0


class Failure(NamedTuple):
    """Why a call brought no completion: ``down`` (a server), ``halted`` (the run stops), or ``bug``."""

    kind: str
    text: str


class News(NamedTuple):
    """What a worker tells its driver.

    Attributes:
        rows: number of the call, and its completions or why there are none.
        events: number of the call, what it asks of its admission (``enter``, ``over``, ``unsent``, ``unpriced``,
            ``notice``), and with what.
        notices: what is odd about replies, by the model's number.
        limits: calls in flight that a model's endpoint takes at present, by the model's number.
        flying: calls that the worker has.
    """

    rows: list[tuple[int, list[Completion] | Failure]]
    events: list[tuple[int, str, Any]]
    notices: dict[int, dict[str, Any]]
    limits: dict[int, int]
    flying: int


class Worker:
    """Makes calls by the same code as the driver would, on the event loop of an actor."""

    def __init__(self) -> None:
        self._models: dict[int, OpenAIModel] = {}
        self._inbox: asyncio.Queue[Call] = asyncio.Queue()
        self._calls: dict[int, Call] = {}
        self._numbers: dict[Call, int] = {}
        self._engine = LocalEngine()
        self._rows: list[tuple[int, list[Completion] | Failure]] = []
        self._events: list[tuple[int, str, Any]] = []
        self._told: dict[int, int] = {}
        self._news = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._early: dict[int, Orders] = {}
        self._next = 0

    async def hello(self) -> tuple[Versions, str]:
        """Versions here, and the name of this machine."""
        return Versions.here(), socket.gethostname()

    async def lacks(self, variables: Sequence[str]) -> list[str]:
        """Which environment variables are not set here; their values go nowhere."""
        return [name for name in variables if not os.environ.get(name)]

    async def push(self, data: bytes) -> None:
        """Take orders, pickled, which an actor may be given in another order than they were sent in."""
        orders: Orders = pickle.loads(data)  # noqa: S301 (of our own driver)
        self._early[orders.at] = orders
        while (due := self._early.pop(self._next, None)) is not None:
            self._next += 1
            await self._follow(due)

    async def _follow(self, orders: Orders) -> None:
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        self._models |= orders.models
        for number, model, request, samples in orders.calls:
            if model not in self._models:  # nobody hears of an error here, and everybody would wait for ever
                self._rows.append((number, Failure("bug", f"model {model} is not known to this worker")))
                self._news.set()
                continue
            admission = _Far(self, number)
            call = Call(self._models[model], request, samples, admission, admission.notice)
            self._calls[number], self._numbers[call] = call, number
            self._inbox.put_nowait(call)
        for numbers, may in ((orders.go, True), (orders.halt, False)):
            for number in numbers:
                if (waiting := self._calls.get(number)) is not None:
                    assert isinstance(waiting.admission, _Far)
                    waiting.admission.answer(may)
        for number in orders.drop:
            if (dropped := self._calls.pop(number, None)) is not None:
                del self._numbers[dropped]
                self._engine.drop(dropped)
        if orders.forget:
            await self._forget()

    async def stream(self) -> AsyncIterator[bytes]:
        """News as they come, pickled, and a sign of life every second without any; ends now and then."""
        for _ in range(_MESSAGES):
            try:
                async with asyncio.timeout(_BEAT):
                    await self._news.wait()
                await asyncio.sleep(_GATHER)
            except TimeoutError:
                pass
            yield pickle.dumps(self._take(), pickle.HIGHEST_PROTOCOL)

    def tell(self, number: int, kind: str, value: Any) -> None:
        """Let the driver know of something about a call."""
        self._events.append((number, kind, value))
        self._news.set()

    def _take(self) -> News:
        rows, self._rows = self._rows[:_TOGETHER], self._rows[_TOGETHER:]
        events, self._events = self._events, []
        if not self._rows:
            self._news.clear()
        notices = {n: m.reader.notices.taken() for n, m in self._models.items() if m.reader.notices.replies}
        limits = {n: now for n, m in self._models.items() if (now := m.bears) != self._told.get(n)}
        self._told |= limits
        return News(rows, events, notices, limits, len(self._calls))

    async def _work(self) -> None:
        async for call, completions, error in self._engine.run(self._drawn()):
            if (number := self._numbers.pop(call, None)) is None:
                continue
            del self._calls[number]
            self._rows.append((number, completions if completions is not None else _failure(error)))
            self._news.set()

    async def _drawn(self) -> AsyncIterator[Call]:
        while True:
            yield await self._inbox.get()

    async def _forget(self) -> None:
        models, self._models, self._told = self._models, {}, {}
        for model in models.values():
            await model.aclose()


def _failure(error: Exception | None) -> Failure:
    if isinstance(error, EndpointDownError):
        return Failure("down", str(error))
    return Failure("halted" if isinstance(error, HaltedError) else "bug", f"{type(error).__name__}: {error}")


class _Far:
    """The admission of one call, which is at the driver. It has let the first request in before the call came here."""

    __slots__ = ("_entered", "_number", "_turn", "_worker")

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker, self._number = worker, number
        self._entered = False
        self._turn: asyncio.Future[bool] | None = None

    async def enter(self, reserve: Callable[[], Reserve] | None = None, lost: Spent = NOTHING) -> None:
        if not self._entered:
            self._entered = True
            return
        self._turn = asyncio.get_running_loop().create_future()
        self._worker.tell(self._number, "enter", lost)
        if not await self._turn:
            raise HaltedError

    def answer(self, may: bool) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(may)

    def over(self, lost: Spent) -> None:
        self._worker.tell(self._number, "over", lost)

    def unsent(self) -> None:
        self._worker.tell(self._number, "unsent", None)

    def unpriced(self, model: str, what: str) -> None:
        self._worker.tell(self._number, "unpriced", (model, what))

    def notice(self, line: str) -> None:
        self._worker.tell(self._number, "notice", line)
