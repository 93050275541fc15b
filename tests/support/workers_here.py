"""Engine `ray` without Ray: its play and its workers, on the event loop of whoever runs them; workers can be killed."""

from __future__ import annotations

import asyncio
import pickle
import random
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from arenaloop.calls.engines.base import ENGINE, Call, Row
from arenaloop.calls.engines.ray_play import Play
from arenaloop.calls.engines.ray_slots import Gone, Lost, Up
from arenaloop.calls.engines.ray_worker import Orders, Worker


class _Actor:
    """As much of an actor's handle as a play uses."""

    def __init__(self, worker: Worker, delays: random.Random | None) -> None:
        self.worker, self._delays = worker, delays
        self.heard: list[Orders] = []
        self.push = self

    def options(self, **_: object) -> _Actor:
        return self

    def remote(self, data: bytes) -> None:
        self.heard.append(pickle.loads(data))
        asyncio.get_running_loop().create_task(self._bring(data))

    async def _bring(self, data: bytes) -> None:
        for _ in range(0 if self._delays is None else self._delays.randrange(40)):
            await asyncio.sleep(0.001)
        await self.worker.push(data)


class Place:
    """As much of a slot as a play uses, and a way to kill who is in it.

    Args:
        lives: workers that it may have, one after the other.
        delays: by which orders overtake each other, as those of Ray's asynchronous actors may.
    """

    def __init__(self, lives: int = 1_000, delays: random.Random | None = None) -> None:
        self.lives, self.delays = lives, delays
        self.actor: Any = None

    def check(self) -> None: ...

    def begin(self, play: Play) -> None:
        self.play, self.lives = play, self.lives - 1
        self.actor = _Actor(Worker(), self.delays)
        play.hear(self, Up(self.actor, "here", count()))  # type: ignore[arg-type]
        self._hearing = asyncio.get_running_loop().create_task(self._hear(self.actor.worker))

    async def _hear(self, worker: Worker) -> None:
        while True:
            async for news in worker.stream():
                self.play.hear(self, pickle.loads(news))  # type: ignore[arg-type]

    def kill(self) -> None:
        """What it has in hand is cut off, and what it has not told yet is gone."""
        self._hearing.cancel()
        if (working := self.actor.worker._working) is not None:
            working.cancel()
        asyncio.get_running_loop().create_task(self.actor.worker._forget())
        self.play.hear(self, Lost("killed"))  # type: ignore[arg-type]
        if self.lives:
            self.begin(self.play)
        else:
            self.play.hear(self, Gone("killed"))  # type: ignore[arg-type]


class WorkersHere:
    """The engine.

    Args:
        places: of its workers.
    """

    standing = "here"

    def __init__(self, *places: Place) -> None:
        self.places = places
        self.opened: list[Any] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    async def open(self, models: Any) -> None:
        self.opened += models

    async def run(self, calls: AsyncIterable[Call]) -> AsyncIterator[Row]:
        self.loop = asyncio.get_running_loop()
        self._play = Play(self.places, self.loop)  # type: ignore[arg-type]
        for place in self.places:
            place.begin(self._play)
        try:
            async for row in self._play.run(calls):
                yield row
        finally:
            for place in self.places:
                place._hearing.cancel()
                await place.actor.worker._forget()

    def drop(self, call: Call) -> None:
        self._play.drop(call)


@contextmanager
def by_workers(*places: Place) -> Iterator[WorkersHere]:
    """While the block runs, calls are made by such workers."""
    engine = WorkersHere(*places)
    token = ENGINE.set(engine)
    try:
        yield engine
    finally:
        ENGINE.reset(token)
