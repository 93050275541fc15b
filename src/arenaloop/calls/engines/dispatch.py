"""Between the executor's jobs, each of which waits for its answer, and an engine, which takes calls and gives rows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self

from arenaloop.calls.engines.base import Call, Engine
from arenaloop.calls.notices import behind_servers
from arenaloop.errors import StoppedError
from arenaloop.models.base import ADMISSION, ELSEWHERE, NOTICE, Reserve
from arenaloop.models.billing import token_limit
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.queueing import Slots
from arenaloop.types import Completion, Request

__all__ = ["Dispatch", "making_calls"]


@contextlib.asynccontextmanager
async def making_calls(engine: Engine | None, asked: Iterable[Any]) -> AsyncIterator[None]:
    """While the block runs, the engine makes the calls of models behind servers; None: they make them themselves.

    Args:
        engine: of the run.
        asked: models, judges and juries of the play.
    """
    if engine is None:
        yield
        return
    models = {id(model): model for one in asked for model in behind_servers(one)}
    async with Dispatch(engine, list(models.values())):
        yield


class Dispatch:
    """Has an engine make the calls of models behind servers, while the block runs.

    No more calls are out than the servers' own limits allow, all workers together; each is admitted here (budget,
    orderly stops) before it leaves.

    Args:
        engine: makes them.
        models: that may be asked; made ready before the first call.
    """

    def __init__(self, engine: Engine, models: Sequence[OpenAIModel]) -> None:
        self._engine, self._models = engine, models
        self._calls: asyncio.Queue[Call] = asyncio.Queue()
        self._waiting: dict[Call, asyncio.Future[list[Completion]]] = {}
        self._places: dict[object, Slots] = {}
        self._running: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._token = ELSEWHERE.set(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        ELSEWHERE.reset(self._token)
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def ask(self, model: OpenAIModel, request: Request, samples: int) -> list[Completion]:
        """Answers to a request; errors as of `OpenAIModel.complete`.

        Raises:
            StoppedError: nobody is left to make calls.
        """
        if self._running is None:
            await self._begin()
        places = self._of(model)
        if not places.take():
            await places.wait()
        try:
            return await self._send(model, request, samples)
        finally:
            places.give_back()

    async def _send(self, model: OpenAIModel, request: Request, samples: int) -> list[Completion]:
        admission = ADMISSION.get()
        size = _Size(model, request, samples)
        call = Call(model, request, samples, admission, NOTICE.get(), size.reserve)
        if self._failure is not None:
            raise self._failure
        if admission is not None:
            await admission.enter(call.reserve)
        self._waiting[call] = answer = asyncio.get_running_loop().create_future()
        self._calls.put_nowait(call)
        try:
            completions = await answer
        except asyncio.CancelledError:
            self._engine.drop(call)
            raise
        finally:
            self._waiting.pop(call, None)
        size.learn(completions[0])
        return completions

    async def _begin(self) -> None:
        async with self._opening:
            if self._running is None:
                if self._failure is not None:
                    raise self._failure
                try:
                    await self._engine.open(self._models)
                except Exception as error:
                    self._failure = error
                    raise
                self._running = asyncio.create_task(self._bring())

    async def _bring(self) -> None:
        """Bring every row to whoever waits for it."""
        try:
            async for call, completions, error in self._engine.run(self._drawn()):
                if (waiting := self._waiting.get(call)) is None or waiting.done():
                    continue
                if completions is None:
                    waiting.set_exception(error or StoppedError("the engine ended"))
                else:
                    waiting.set_result(completions)
        except Exception as error:
            self._failure = error
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(error)

    async def _drawn(self) -> AsyncIterator[Call]:
        while True:
            yield await self._calls.get()

    def _of(self, model: OpenAIModel) -> Slots:
        """Places for calls at a model's endpoint; of the models behind it the strictest limit holds."""
        places = self._places.get(model.endpoint)
        if places is None:
            places = self._places[model.endpoint] = Slots(model.concurrency)
        if model.concurrency < places.limit:
            places.resize(model.concurrency)
        return places


class _Size:
    """How large a request is, where anybody needs to know: for what it may cost."""

    __slots__ = ("_measure", "_most", "_size", "billing")

    def __init__(self, model: OpenAIModel, request: Request, samples: int) -> None:
        self.billing = model.billing
        limit = token_limit(model, request.sampling)
        self._most = None if limit is None else limit * samples
        self._measure: Callable[[], bytes] = partial(model.body, request, samples)
        self._size = -1

    def _bytes(self) -> int:
        if self._size < 0:
            self._size = len(self._measure())
        return self._size

    def reserve(self) -> Reserve:
        return self.billing.reserve(0 if self.billing.price is None else self._bytes(), self._most)

    def learn(self, first: Completion) -> None:
        """Take note of what the call took, where a server has told it: so that the next ones reserve as much."""
        if self.billing.price is None or first.tokens_in is None or first.tokens_out is None or first.usd_estimated:
            return
        self.billing.learn(self._bytes(), first.tokens_in, first.tokens_out, first.usd)
