"""Calls made in this process: each in a task of its own, for what a model bears at once it sees to itself.

On the driver the executor asks its models directly, which is the same at less cost; this is what every worker runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from arenaloop.calls.engines.base import Call, Row
from arenaloop.models.base import ADMISSION, ELSEWHERE, NOTICE

__all__ = ["LocalEngine"]


class LocalEngine:
    """Makes calls on the running event loop."""

    def __init__(self) -> None:
        self._tasks: dict[Call, asyncio.Task[None]] = {}

    @property
    def standing(self) -> str:
        """No workers."""
        return ""

    async def open(self, models: Sequence[Any]) -> None:
        """Nothing to make ready."""

    async def run(self, calls: AsyncIterable[Call]) -> AsyncIterator[Row]:
        """Make calls as they come; see `Engine.run`."""
        done: asyncio.Queue[Row | None] = asyncio.Queue()

        async def draw() -> None:
            try:
                async for call in calls:
                    self._tasks[call] = asyncio.create_task(self._ask(call, done))
            finally:
                done.put_nowait(None)

        drawing: asyncio.Task[None] | None = asyncio.create_task(draw())
        try:
            while drawing is not None or self._tasks or not done.empty():
                if (row := await done.get()) is not None:
                    yield row
                    continue
                assert drawing is not None
                await drawing  # raises what the iterator has raised
                drawing = None
                while self._tasks:
                    await asyncio.wait(list(self._tasks.values()))
        finally:
            for task in [*self._tasks.values(), *([drawing] if drawing is not None else [])]:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def drop(self, call: Call) -> None:
        """Cut a call off."""
        if (task := self._tasks.pop(call, None)) is not None:
            task.cancel()

    async def _ask(self, call: Call, done: asyncio.Queue[Row | None]) -> None:
        ADMISSION.set(call.admission)  # a task has variables of its own
        NOTICE.set(call.notice)
        ELSEWHERE.set(None)
        try:
            if call.samples == 1:
                row = Row(call, [await call.model.complete(call.request)])
            else:
                row = Row(call, await call.model.complete_samples([call.request] * call.samples))
        except Exception as error:  # whoever reads the row raises it
            row = Row(call, error=error)
        finally:
            self._tasks.pop(call, None)
        done.put_nowait(row)
