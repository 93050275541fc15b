"""What was sent is booked before it is sent: a call that a kill or Ctrl-C cut off counts at the next start.

One row of the arena file holds the sums of an invocation, so that however many calls begin between two commits cost one
write. Where a budget holds, a call waits for the commit (some milliseconds, shared by all that begin meanwhile);
without one the row follows as fast as the writer takes it, and nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.models.base import Reserve
from arenaloop.store import Store

__all__ = ["Booking"]


class Booking:
    """The calls of one play that are booked; those of one invocation add up in ``store.sent``."""

    def __init__(self, store: Store) -> None:
        self._store, self._sent = store, store.sent
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []
        self._writing = self._stale = False
        self._written_once = False

    def begin(self, calls: int, reserve: Reserve) -> None:
        """Count calls that begin; they stand in the arena file once `committed` returns, or soon after `write`."""
        self._sent.begin(calls, reserve.likely)

    def take_back(self, calls: int, reserve: Reserve) -> None:
        """Of booked calls that were not sent after all."""
        self._sent.end(calls, reserve.likely)
        self._sent.calls -= calls

    def end(self, calls: int, reserve: Reserve) -> None:
        """Close booked calls whose record is on its way to the arena file."""
        self._sent.end(calls, reserve.likely)

    def came_back(self, reserve: Reserve, more: float) -> Reserve:
        """Of a booked call whose request failed, and may be sent again: it has cost so much more than was likely.

        Returns:
            What it is booked with from now on.
        """
        self._sent.usd += more
        return reserve._replace(likely=(reserve.likely or 0.0) + more)

    def correct(self, calls: int) -> None:
        """Count requests that were sent and not booked one by one; with a negative number, booked ones that were not.

        Of a chunk's answers some may have been no call, and a model without a queue tries again by itself.
        """
        self._sent.calls += calls

    async def committed(self) -> None:
        """Wait until all that is booked stands in the arena file.

        Raises:
            StorageError: it cannot be written.
        """
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(turn)
        self.write()
        await turn

    def close(self) -> None:
        """Write the final sums; they are committed with the store's next flush."""
        if self._written_once:  # also where all was given back: what stands in the file would count as cut off
            self._store.put_sent()

    def write(self) -> None:
        """Append the sums, as soon as those before them are committed."""
        if self._writing:
            self._stale = True
            return
        self._writing, self._stale, self._written_once = True, False, True
        waiting, self._waiting = self._waiting, []
        self._store.put_sent(_Told(self._loop, lambda: self._written(waiting)))

    def _written(self, waiting: list[asyncio.Future[None]]) -> None:
        self._writing = False
        failure = self._store.failure
        if failure is not None:  # whoever has come meanwhile is told the same, and nothing more is written
            waiting, self._waiting = waiting + self._waiting, []
        for turn in waiting:
            if turn.done():
                continue
            if failure is None:
                turn.set_result(None)
            else:
                turn.set_exception(failure)
        if failure is None and (self._waiting or self._stale):
            late = self._waiting
            try:
                self.write()
            except (StorageError, ArenaFileError) as error:  # it failed this moment; nobody awaits a callback
                for turn in late:
                    turn.set_exception(error)


class _Told:
    """Calls back on the event loop, from the writer's thread."""

    __slots__ = ("_call", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop, self._call = loop, call

    def set(self) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile, and nobody waits
            self._loop.call_soon_threadsafe(self._call)
