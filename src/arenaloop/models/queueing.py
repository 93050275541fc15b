"""Places for calls on an event loop, and deadlines for requests, at less cost a call than asyncio's own."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

__all__ = ["Deadlines", "Slots"]


class Slots:
    """A semaphore whose limit may change while it is held; first come, first served."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> bool:
        """Take a slot if there is one and nobody waits for it."""
        if self.taken < self.limit and not self._waiting:
            self.taken += 1
            return True
        return False

    async def wait(self) -> None:
        """Take a slot, when there is one."""
        if self.take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had been given a slot
                self.give_back()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """Give a slot back to whoever waits longest."""
        self.taken -= 1
        if self._waiting:
            self._wake()

    async def renew(self) -> None:
        """Queue again for a slot that is held above a limit that was lowered meanwhile."""
        if self.taken > self.limit:
            self.give_back()
            try:
                await self.wait()
            except BaseException:
                self.taken += 1  # for the holder to give back
                raise

    def resize(self, limit: int) -> None:
        """Change the limit; slots above a lower one are not taken away."""
        self.limit = limit
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self.taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)


class Deadlines:
    """Cancels the tasks whose request takes longer than `seconds`.

    All requests of one timeout share one timer (they fall due in the order in which they began), which costs a
    fraction of a timer a request. `enter` and `leave` bracket a request; what was cancelled here is a TimeoutError.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop, self._seconds = loop, seconds
        self._due: dict[asyncio.Task[Any], float] = {}
        self._late: dict[asyncio.Task[Any], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, now: float) -> asyncio.Task[Any]:
        """Begin a request of the running task; `now` is the loop's time."""
        task = asyncio.current_task()
        assert task is not None
        self._due[task] = due = now + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._sweep)
        return task

    def leave(self, task: asyncio.Task[Any]) -> bool:
        """Whether the task was cancelled by its deadline, and by nobody else."""
        if self._due.pop(task, None) is not None or task not in self._late:
            return False
        return task.uncancel() <= self._late.pop(task)

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._due:
            task, due = next(iter(self._due.items()))
            if due > now:
                self._timer = self._loop.call_at(due, self._sweep)
                return
            del self._due[task]
            self._late[task] = task.cancelling()
            task.cancel()
