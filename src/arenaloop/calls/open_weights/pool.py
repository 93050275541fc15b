"""The engines of one set of weights: started when they are first needed, asked where least is in flight, started again.

An engine that is lost (its process ends, it says that it is dead, it is silent for too long) loses nothing that was
stored: what it had in hand is asked again of another, or of the one that takes its place. Ray repeats nothing itself.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import math
import time
from collections import deque
from contextlib import suppress
from functools import cache, cached_property
from typing import Any, NamedTuple
from weakref import WeakSet

from arenaloop.calls.engines.ray_cluster import Versions
from arenaloop.calls.engines.ray_slots import why_lost
from arenaloop.calls.open_weights.actors import Wanted, died, end, kill, of, start
from arenaloop.calls.open_weights.base import Adapter
from arenaloop.calls.open_weights.holder import Told
from arenaloop.errors import ArenaloopError, ConfigError, EndpointDownError
from arenaloop.models.base import NOTICE
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.types import Completion, Request

__all__ = ["GUILTY", "MOST_GUILTY", "MOST_LOST", "SUSPECT", "Cause", "Pool", "pool_of"]

MOST_LOST = 4
"""Engines of one place that may be lost in a row, none of them having answered, before the place is given up.

One that hangs while it loads counts twice; one that was asked a single request, not at all.
"""
SUSPECT, GUILTY = 2, 4
"""Engines that a request may be lost with before it is asked alone, and before it is a failed call."""
MOST_GUILTY = 3
"""Such requests in a row, none having been answered between, at which it is rather the engines: the run stops."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_HELLO = 300.0  # seconds that an actor has to start; an environment may have to be made first
_LOOK_EVERY = 5.0


class Cause(NamedTuple):
    """Why a request brought no completion."""

    why: str


class _Place:
    """The place of one engine, and what is known of it."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.actor: Any = None
        self.starting: asyncio.Task[None] | None = None
        self.ready = False  # loaded
        self.kept = False  # for a request that is asked alone
        self.flying, self.lost = 0, 0
        self.heard = 0.0
        self.gone: ArenaloopError | None = None


_POOLS: list[Pool] = []


def pool_of(wanted: Wanted) -> Pool:
    """The engines that are wanted: those that another model of this process has of them, or new ones."""
    for pool in _POOLS:
        if pool.wanted == wanted:
            return pool
    _POOLS.append(made := Pool(wanted))
    return made


class Pool:
    """Engines of the same weights, and the models that they answer for."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._places = [_Place(at) for at in range(wanted.engines)]
        self._users: WeakSet[object] = WeakSet()
        self._adapters: set[Adapter] = set()
        self._guilty = 0  # requests in a row
        self._stale = False  # loaded without room for an adapter that has come since
        self._loop: asyncio.AbstractEventLoop | None = None
        self._most = 1  # requests in flight at one engine
        self._waiting: deque[asyncio.Future[None]] = deque()  # for a place
        self._alone: list[asyncio.Future[None]] = []  # likewise, for one without requests

    @cached_property
    def weights(self) -> str:
        """Fingerprint of the weights, as this process sees them."""
        return checkpoint_fingerprint(self.wanted.settings.model, self.wanted.settings.revision)

    @property
    def idle(self) -> bool:
        """Whether engines are there that no model asks any more."""
        return not self._users and any(place.actor is not None for place in self._places)

    def join(self, model: object, adapter: Adapter | None, concurrency: int) -> None:
        """A model may be about to ask, with so many requests in flight."""
        self._users.add(model)
        self._most = max(self._most, math.ceil(concurrency / self.wanted.engines))
        if adapter is not None and adapter not in self._adapters:
            self._adapters.add(adapter)
            self._stale = any(place.actor is not None for place in self._places)

    def leave(self, model: object) -> None:
        """A model asks no more for now."""
        self._users.discard(model)
        if not self._users:
            for place in self._places:
                place.lost, place.gone = 0, None
            self._guilty = 0

    async def ask(self, request: Request, adapter: Adapter | None) -> tuple[Completion | Cause, int]:
        """What a request brought, and how often it was sent.

        Raises:
            ConfigError: the workers' environment cannot hold the engine.
            EndpointDownError: no engine is left.
        """
        if self._stale:
            self._stale = False
            await self.close()
        for sent in itertools.count(1):
            alone = sent > SUSPECT
            place = await self._free(alone)
            actor = place.actor
            place.flying += 1
            try:
                told = await self._answered(place, actor, request, adapter)
            finally:
                place.flying -= 1
                place.kept = place.kept and not alone
                self._wake()
            if not told.dead:
                place.lost = self._guilty = 0
                return told.value if isinstance(told.value, Completion) else Cause(told.why), sent
            if place.actor is actor:  # the first of its requests that hears of it
                self._count(place, told.why, 0 if alone else 1)
            if sent == GUILTY:
                self._guilty += 1
                if self._guilty >= MOST_GUILTY:
                    raise EndpointDownError(f"{self.wanted.who}: engines are lost whatever they are asked: {told.why}")
                return Cause(f"lost with {sent} engines, the last of which had nothing else to do: {told.why}"), sent
        raise AssertionError

    async def close(self) -> None:
        """End the engines; they are started anew when they are asked again."""
        actors = [place.actor for place in self._places if place.actor is not None]
        for place in self._places:
            if place.starting is not None and place.starting.get_loop() is asyncio.get_running_loop():
                place.starting.cancel()
        self._places = [_Place(at) for at in range(self.wanted.engines)]
        await asyncio.gather(*map(end, actors))

    async def _free(self, alone: bool) -> _Place:
        """The engine with the fewest requests in flight, or one with none that is kept for this one.

        Those that are not there are started meanwhile.
        """
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._begin(loop)
        kept: _Place | None = None
        try:
            while True:
                for place in self._places:
                    if place.actor is None and place.gone is None and place.starting is None:
                        place.starting = loop.create_task(self._start(place))
                self._look_for_theend()
                free = [place for place in self._places if place.ready and not place.kept]
                if alone and free and (kept is None or kept.gone is not None or kept not in self._places):
                    kept = min(free, key=lambda place: place.flying)
                    kept.kept = True
                if kept is not None and kept.ready and not kept.flying:
                    found, kept = kept, None
                    return found
                if not alone and free and (least := min(free, key=lambda place: place.flying)).flying < self._most:
                    return least
                await self._turn(alone)
        finally:
            if kept is not None:
                kept.kept = False
                self._wake(everybody=True)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what another event loop was at: it has ended."""
        self._loop = loop
        self._waiting.clear()
        self._alone.clear()
        for place in self._places:
            place.starting, place.flying, place.kept = None, 0, False
            if not place.ready:
                self._stop(place)

    async def _turn(self, alone: bool) -> None:
        """Wait until a place may be free."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._alone if alone else self._waiting).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._wake()  # it may have been told, and tells the next
            raise

    def _wake(self, *, everybody: bool = False) -> None:
        """Let one that waits look again, or everybody; those that are asked alone are few, and always do."""
        told, self._alone = self._alone, []
        while self._waiting:
            told.append(turn := self._waiting.popleft())
            if not everybody and not turn.done():
                break
        for turn in told:
            if not turn.done():
                turn.set_result(None)

    def _look_for_theend(self) -> None:
        """Raise where an environment cannot hold the engine, or every place is given up."""
        gone = [place.gone for place in self._places if place.gone is not None]
        for error in gone:
            if isinstance(error, ConfigError) or len(gone) == len(self._places):
                raise error

    async def _start(self, place: _Place) -> None:
        """Start one engine, or note why none can be."""
        try:
            if place.lost:
                await asyncio.sleep(min(_FIRST_PAUSE * 2**place.lost, _LONGEST_PAUSE))
            await self._load(place)
        except ArenaloopError as error:
            place.gone = error
            self._stop(place)
        except TimeoutError as error:  # what hangs once will hang again: it is tried but once more
            self._count(place, str(error), 2)
        except Exception as error:  # of Ray, in whatever form it says that an actor cannot be
            why = why_lost(error)
            if "arenaloop is not installed" in why:
                place.gone = ConfigError(f"{self.wanted.who}: {why}; install it in the workers' environment")
            else:
                self._count(place, why)
        finally:
            place.starting = None
            self._wake(everybody=True)

    async def _load(self, place: _Place) -> None:
        for other in _POOLS:
            if other is not self and other.idle:
                await other.close()
        actor = place.actor = await asyncio.to_thread(self._made)
        slow = f"did not start (no node has {self.wanted.gpus:g} GPUs free, or the environment takes long)"
        versions, node = await self._within(_HELLO, actor.hello.remote(), slow)
        if versions != (here := Versions.here()):
            raise ConfigError(
                f"{self.wanted.who}: the workers' environment on {node} has {versions}, and this process {here}: "
                "install the same"
            )
        limit = self.wanted.load_seconds
        told: Told = await self._within(limit, actor.load.remote(), f"did not load on {node}")
        if told.refused:
            raise ConfigError(f"{self.wanted.who}: {told.why}")
        if told.value is None:
            raise RuntimeError(told.why)
        if told.value.weights not in (None, self.weights):
            raise ConfigError(
                f"{self.wanted.who}: the weights on {node} are not those that this process sees; give all the same "
                "folder, or of a hub id the commit (revision)"
            )
        place.ready, place.heard = True, time.monotonic()

    async def _within(self, seconds: float, reference: Any, what: str) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await of(reference)
        except TimeoutError:
            raise TimeoutError(f"it {what} within {seconds:,g} s") from None

    def _made(self) -> Any:
        """An actor; blocking."""
        made = start(self.wanted, self._adapters)
        _close_at_exit()
        return made

    async def _answered(self, place: _Place, actor: Any, request: Request, adapter: Adapter | None) -> Told:
        """What an engine says of a request; that it is lost, too."""
        import ray

        try:
            reference = actor.answer.remote(request, adapter)
        except Exception as error:  # it is known to be gone
            return Told(why=why_lost(error), dead=True)
        answer = asyncio.wrap_future(reference.future())
        sent = time.monotonic()
        try:
            while not (await asyncio.wait({answer}, timeout=_LOOK_EVERY))[0]:
                silent = time.monotonic() - max(place.heard, sent)
                if silent > self.wanted.silent_seconds:
                    return Told(why=f"no answer for {silent:,.0f} s", dead=True)
            told: Told = answer.result()
        except asyncio.CancelledError:
            with suppress(Exception):
                ray.cancel(reference)
            raise
        except ray.exceptions.RayTaskError as error:
            return Told(why=why_lost(error))
        except Exception as error:  # of Ray, in whatever form it says that an actor or a node is not there any more
            return Told(why=died(error), dead=True)
        place.heard = time.monotonic()
        return told

    def _count(self, place: _Place, why: str, times: int = 1) -> None:
        self._stop(place)
        place.lost += times
        which = f"{self.wanted.who}: engine {place.at + 1} of {len(self._places)}"
        if place.lost >= MOST_LOST:
            place.gone = EndpointDownError(f"{which} was lost again and again: {why}")
        elif (notice := NOTICE.get()) is not None:
            notice(f"{which} was lost and starts again: {why}")

    def _stop(self, place: _Place) -> None:
        actor, place.actor, place.ready = place.actor, None, False
        kill(actor)


@cache
def _close_at_exit() -> None:
    """Have engines end their own processes, which may hold GPUs, before the cluster is left."""
    atexit.register(lambda: asyncio.run(_close_all()))


async def _close_all() -> None:
    await asyncio.gather(*(pool.close() for pool in _POOLS))
