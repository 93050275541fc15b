"""Things that are worked off many at a time, in a thread of their own, while others are asked for one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Gathered"]

T = TypeVar("T")
R = TypeVar("R")

_BATCH = 64


class Gathered(Generic[T, R]):
    """A function of many, for callers that have one: who asks while it works is in the next batch.

    Args:
        work: results of several things in their order; it may take long, and is called by one thread at a time.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._work = work
        self._waiting: dict[object, tuple[T, asyncio.Future[R]]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, key: object, thing: T) -> R:
        """The result of one thing; what is asked for twice meanwhile, by its key, is worked off once.

        Raises:
            Exception: what `work` raised of its batch.
        """
        if key not in self._waiting:
            self._waiting[key] = (thing, asyncio.get_running_loop().create_future())
        done = self._waiting[key][1]
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        return await asyncio.shield(done)  # others may wait for it

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # whoever is about to ask joins the batch
            batch = dict(list(self._waiting.items())[:_BATCH])
            try:
                results = await asyncio.to_thread(self._work, [thing for thing, _ in batch.values()])
            except Exception as error:
                for key, (_, done) in batch.items():
                    del self._waiting[key]
                    if not done.done():
                        done.set_exception(error)
                continue
            for (key, (_, done)), result in zip(batch.items(), results, strict=True):
                del self._waiting[key]
                if not done.done():
                    done.set_result(result)
