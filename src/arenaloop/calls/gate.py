"""When a call may begin, and how a run stops: nothing new begins, and what is in flight arrives and is stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from arenaloop.calls.booking import Booking
from arenaloop.calls.budget import Flying, unpriced
from arenaloop.calls.progress import Tally
from arenaloop.calls.units import Asked
from arenaloop.errors import BudgetSpentError, EndpointDownError, StoppedError, UnreadJudgeError
from arenaloop.models.base import ADMISSION, NOTHING, NOTICE, Reserve, Spent
from arenaloop.store import Store

__all__ = ["Gate", "HaltedError", "Ticket"]

_BLIND = (
    "a server does not say how many tokens a call took, so a budget in dollars cannot be kept; go on without this "
    "budget (--budget-usd none; --budget-calls N limits the calls)"
)
_DOWN_GRACE = 3.0  # seconds for calls in flight on other endpoints, once one is down
_INTERRUPT_GRACE = 1.0  # seconds for calls in flight after Ctrl-C; with closing, the process ends within two


class HaltedError(Exception):
    """No call may begin any more: the run is stopping. Never leaves the runner."""


class Ticket:
    """The calls that one job has in flight; for models, the `Admission` of their requests.

    Attributes:
        asked: who is asked, for the reserve of models that give none.
        entered: calls that have begun and not come back.
    """

    __slots__ = ("_booked", "_gate", "_paid", "_reserve", "_retried", "asked", "entered")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.asked: Asked | None = None
        self._reserve = Reserve()
        self._booked: list[Reserve] = []
        self._retried, self._paid = 0, NOTHING
        self.entered = 0

    async def enter(self, reserve: Callable[[], Reserve] | None = None, lost: Spent = NOTHING) -> None:
        """Begin a call. A model with a queue does so itself, by way of `ADMISSION`, when the call is sent.

        Once more before it has left is to send it again: the earlier request has come back and is spent.

        Raises:
            HaltedError: the run is stopping.
            StorageError: what is to be sent cannot be booked.
        """
        if reserve is None:
            reserve = Reserve if self.asked is None else self.asked.reserve
        self.over(lost)
        self._reserve = await self._gate.enter(reserve)
        self._booked.append(self._reserve)
        self.entered = 1

    def over(self, lost: Spent) -> None:
        """End the request that has begun, if one has: it has come back, and is spent; it may be sent again."""
        if not self.entered:
            return
        usd = lost.usd - self._paid.usd
        self._gate.leave(self._reserve, 1, usd, lost.estimated - self._paid.estimated)
        if self._booked and (likely := self._booked[-1].likely) is not None:  # if it is never sent again, that is all
            self._booked[-1] = self._gate.booking.came_back(self._booked[-1], usd - likely)
        self._retried, self._paid, self.entered = self._retried + 1, lost, 0

    def unsent(self) -> None:
        """Take back the call that has begun, if one has: it could not be sent."""
        if not self.entered:
            return
        self.entered = 0
        self._gate.take_back(self._reserve)
        self._booked.pop()

    def unpriced(self, model: str, what: str) -> None:
        """Stop the run where money is limited: what a call of `model` has taken besides tokens has no price."""
        if self._gate.budget.usd is not None:
            self._gate.stop(StoppedError(unpriced(model, what)), grace=None)

    def leave(self, calls: int, usd: float | None, estimated: float = 0.0) -> None:
        """End what has begun, once its record is on its way to the arena file; see `Gate.leave`.

        Args:
            calls, usd: as the record has them.
            estimated: the part of `usd` that no server has told.
        """
        calls_left = max(0, calls - self._retried)
        usd_left = None if usd is None else usd - self._paid.usd
        if self.entered or calls_left:
            estimated_left = estimated - self._paid.estimated
            self._gate.leave(self._reserve if self.entered else None, calls_left, usd_left, estimated_left)
        self._gate.stored(self._booked, calls)
        self._reset()

    def lose(self) -> None:
        """End what has begun and will leave no record: it was sent, and stays booked."""
        if self.entered:
            likely = self._reserve.likely
            self._gate.leave(self._reserve, 1, likely, likely or 0.0)
        self._reset()

    def _reset(self) -> None:
        self._booked, self._retried, self._paid, self.entered = [], 0, NOTHING, 0


_TICKET: ContextVar[Ticket] = ContextVar("ticket")


class Gate:
    """Every call of a play enters here, is booked, and leaves when its answer has gone to the arena file.

    Once there is a reason to stop, no call enters any more.

    Args:
        tally: live counts and the budget; the gate keeps calls, money and calls in flight.
        store: where calls are booked.
    """

    def __init__(self, tally: Tally, store: Store) -> None:
        self.tally, self.budget = tally, tally.budget
        self.booking = Booking(store)
        self.reason: BaseException | None = None
        self._limited = tally.budget.limited
        self._flying = Flying()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._grace: float | None = None
        loop = asyncio.get_running_loop()
        self._halted: asyncio.Future[None] = loop.create_future()
        self._quiet: asyncio.Future[None] = loop.create_future()  # halted, and nothing in flight

    @property
    def ticket(self) -> Ticket:
        """The running job's own."""
        return _TICKET.get()

    async def enter(self, what: Callable[[], Reserve], calls: int = 1) -> Reserve:
        """Begin `calls` calls that may cost what `what` gives, all together; they are booked on return.

        Where they do not fit beside those in flight, they wait until some have come back, and more is learnt.

        Returns:
            What they have reserved.

        Raises:
            HaltedError: the run is stopping.
            StorageError: they cannot be booked.
        """
        if self.reason is not None:
            raise HaltedError
        reserve = await self._room(what, calls) if self._limited else what()
        self.tally.in_flight += calls
        self._flying.add(reserve)
        self.booking.begin(calls, reserve)
        if not self._limited:
            self.booking.write()
            return reserve
        try:
            await self.booking.committed()
            if self.reason is not None and self._grace is not None:  # else what has entered may go on
                raise HaltedError
        except BaseException:
            self.take_back(reserve, calls)
            raise
        return reserve

    async def _room(self, what: Callable[[], Reserve], calls: int) -> Reserve:
        """Wait until the budget has room. Raises HaltedError where it never will."""
        first = True
        while (spent := self.budget.refusal(self.tally.in_flight, calls)) is None:
            reserve = what()
            if not (first and self._queue):  # who came earlier goes first
                if self.budget.holds(self._flying, reserve):
                    self._call_next()  # there may be room for more
                    return reserve
                if not self._flying.calls:
                    spent = self.budget.next_call(reserve)
                    break
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if first:
                self._queue.append(turn)
            else:
                self._queue.appendleft(turn)
            first = False
            try:
                await turn
            except BaseException:
                with suppress(ValueError):
                    self._queue.remove(turn)
                self._call_next()
                raise
            if self.reason is not None:
                raise HaltedError
        self.stop(BudgetSpentError(f"the budget is spent ({spent})"), grace=None)
        raise HaltedError

    def _call_next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def take_back(self, reserve: Reserve, calls: int = 1) -> None:
        """End calls that were booked and could not be sent."""
        self.booking.take_back(calls, reserve)
        self._land(reserve, calls)

    def leave(self, entered: Reserve | None, calls: int, usd: float | None, estimated: float, begun: int = 1) -> None:
        """End calls that have begun.

        Args:
            entered: what they had reserved; None where none had begun.
            calls: requests that were sent.
            usd: what they cost (None: not known).
            estimated: the part of it that no server has told.
            begun: how many had begun.
        """
        tally = self.tally
        if calls:
            tally.spent(calls, usd, estimated)
            if self._limited:
                self.budget.spend(calls, usd, estimated)
                if usd is None and self.budget.usd is not None:
                    self.stop(StoppedError(_BLIND), grace=None)
        if entered is not None:
            self._land(entered, begun)

    def stored(self, booked: Sequence[Reserve], calls: int, begun: int = 1) -> None:
        """Close what was booked for a record that is on its way to the arena file, in which `calls` requests stand."""
        for reserve in booked:
            self.booking.end(begun, reserve)
        self.booking.correct(calls - begun * len(booked))

    def _land(self, reserve: Reserve, calls: int) -> None:
        self.tally.in_flight -= calls
        self._flying.add(reserve, -1)
        self._call_next()
        if self.reason is not None and self.tally.in_flight == 0 and not self._quiet.done():
            self._quiet.set_result(None)

    def stop(self, reason: BaseException, grace: float | None) -> None:
        """Let no call begin any more.

        Args:
            reason: what the play ends with; the first one stands, but for one that leaves no grace.
            grace: seconds for what is in flight; None is as long as it takes.
        """
        if self.reason is None or (grace == 0 and self._grace != 0):
            self.reason, self._grace = reason, grace
        while self._queue:
            self._call_next()
        if not self._halted.done():
            self._halted.set_result(None)
        if (self._grace == 0 or self.tally.in_flight == 0) and not self._quiet.done():
            self._quiet.set_result(None)

    async def run(self, jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run all jobs to their end, or until there is a reason to stop, and then as long as its grace lasts.

        Raises:
            BaseException: the reason to stop.
        """
        tasks = [asyncio.create_task(self._guarded(job)) for job in jobs]
        everything: asyncio.Future[Any] = asyncio.gather(*tasks, return_exceptions=True)
        halted: asyncio.Future[Any] = self._halted
        quiet: asyncio.Future[Any] = self._quiet
        try:
            await asyncio.wait([everything, halted], return_when=asyncio.FIRST_COMPLETED)
            if self.reason is not None:
                await asyncio.wait([everything, quiet], timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as interrupted:
            self.stop(interrupted, _INTERRUPT_GRACE)
            await asyncio.wait([everything, quiet], timeout=_INTERRUPT_GRACE, return_when=asyncio.FIRST_COMPLETED)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        if self.reason is not None:
            raise self.reason

    async def together(self, jobs: Iterable[Callable[[], Coroutine[Any, Any, Any]]]) -> None:
        """Begin jobs beside each other within one job, each with calls of its own, and wait for all.

        Raises:
            HaltedError: the run is stopping; some may not have come to their end.
        """

        async def begin(job: Callable[[], Coroutine[Any, Any, Any]]) -> None:
            await self._guarded(job())

        tasks = [asyncio.create_task(begin(job)) for job in jobs]
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
        if self.reason is not None:
            raise HaltedError

    async def _guarded(self, job: Coroutine[Any, Any, None]) -> None:
        ticket = Ticket(self)
        _TICKET.set(ticket)  # a task has variables of its own
        ADMISSION.set(ticket)
        NOTICE.set(self.tally.notices.append)
        try:
            await job
        except HaltedError:
            pass
        except EndpointDownError as error:
            self.stop(error, _DOWN_GRACE)
        except UnreadJudgeError as error:
            self.stop(error, grace=None)
        except Exception as error:  # a full disk, damaged weights, a bug: nothing is gained by waiting
            self.stop(error, 0)
