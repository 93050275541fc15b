"""The engine whose calls are made by workers on a Ray cluster: bounded, handed out again when a worker is lost.

Actors and streaming generators of Ray core are all that is used of it: a call that a worker had when it was lost is
handed out again from here, and Ray is told to repeat nothing. Workers keep nothing; the driver alone writes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import suppress

from arenaloop.calls.engines.base import Call, Row
from arenaloop.calls.engines.ray_cluster import Cluster
from arenaloop.calls.engines.ray_play import Play
from arenaloop.calls.engines.ray_slots import Gone, Lost, Slot, Told, Up
from arenaloop.calls.engines.ray_worker import News
from arenaloop.errors import StoppedError
from arenaloop.models.openai_api import OpenAIModel

__all__ = ["RayEngine"]


class RayEngine:
    """Workers on a cluster, started when they are first needed, and ended by `close`.

    Args:
        address: HOST:PORT of a cluster; None for one that is started here and ends with the engine.
        workers: how many.

    Raises:
        MissingExtraError: Ray is not installed.
        StoppedError: nobody answers at the address.
    """

    def __init__(self, address: str | None, workers: int) -> None:
        self._cluster = Cluster(address, cpus=workers)
        self._slots = [Slot(at, self._hear) for at in range(workers)]
        self._changed = threading.Condition()  # guards what slots' threads and the event loop share
        self._state: dict[Slot, Up | Lost | Gone] = {}
        self._lost = 0
        self._play: Play | None = None
        self._opened = False
        self._down: StoppedError | None = None

    async def open(self, models: Sequence[OpenAIModel]) -> None:
        """Start cluster and workers; see `Engine.open`."""
        variables = sorted({name for model in models for name in model.variables})
        await _in_thread(lambda: self._open(variables))

    async def run(self, calls: AsyncIterable[Call]) -> AsyncIterator[Row]:
        """Hand calls out; see `Engine.run`. One play at a time."""
        with self._changed:
            self._play = play = Play(self._slots, asyncio.get_running_loop())
            for slot, state in self._state.items():
                play.hear(slot, state)
            if self._down is not None:
                play.end(self._down)
        try:
            async for row in play.run(calls):
                yield row
        finally:
            with self._changed:
                self._play = None

    def drop(self, call: Call) -> None:
        """Give up a call."""
        if self._play is not None:
            self._play.drop(call)

    @property
    def standing(self) -> str:
        """How the workers are, in words for a progress line."""
        if not self._state:
            return "starting Ray" if self._opened else ""
        up = sum(isinstance(state, Up) for state in self._state.values())
        lost = f", {self._lost:,} lost" if self._lost else ""
        return f"{up} of {len(self._slots)} workers{lost}"

    def close(self) -> None:
        """End the workers, and leave the cluster."""
        if not self._opened:
            return
        closing = threading.Thread(target=self._end_workers, daemon=True)
        closing.start()
        closing.join(5.0)  # a cluster that is gone does not answer
        self._cluster.close()

    def _end_workers(self) -> None:
        for slot in self._slots:
            slot.close()

    def _open(self, variables: Sequence[str]) -> None:
        if not self._opened:
            self._opened = True
            self._cluster.open()
            self._cluster.watch(self._gone)
            for slot in self._slots:
                slot.variables = variables
                slot.start()
            self._await_workers()
            return
        for slot in self._slots:
            wanted = sorted({*slot.variables, *variables})
            if wanted != list(slot.variables) and (refused := slot.refusal(wanted)) is not None:
                raise refused

    def _await_workers(self) -> None:
        """Wait until every slot has a worker, or has failed to get its first."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._state) == len(self._slots) or self._down is not None)
            for state in self._state.values():
                if isinstance(state, Gone) and state.error is not None:
                    raise state.error

    def _hear(self, slot: Slot, told: Told) -> None:
        """From a slot's thread."""
        with self._changed:
            if not isinstance(told, News):
                self._state[slot] = told
                self._lost += isinstance(told, Lost)
                self._changed.notify_all()
            if (play := self._play) is not None:
                with suppress(RuntimeError):  # its loop has ended
                    play.loop.call_soon_threadsafe(play.hear, slot, told)

    def _gone(self, why: str) -> None:
        with self._changed:
            self._down = StoppedError(f"the Ray cluster is gone: {why}; the same command goes on")
            self._changed.notify_all()
            if (play := self._play) is not None:
                with suppress(RuntimeError):
                    play.loop.call_soon_threadsafe(play.end, self._down)


async def _in_thread(do: Callable[[], None]) -> None:
    """Wait for something that blocks; who is interrupted does not wait for its end, nor does the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def end(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        error: Exception | None = None
        try:
            do()
        except Exception as one:  # told to whoever waits
            error = one
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(end, error)

    threading.Thread(target=work, daemon=True).start()
    await done
