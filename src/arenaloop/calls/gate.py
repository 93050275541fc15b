"""When a call may begin, and how a run stops: nothing new begins, and what is in flight arrives and is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import ContextVar
from typing import Any

from arenaloop.calls.progress import Tally
from arenaloop.errors import BudgetSpentError, EndpointDownError, StoppedError
from arenaloop.models.base import ADMISSION, NOTICE

__all__ = ["Gate", "HaltedError", "Ticket"]

_BLIND = (
    "a server does not say how many tokens a call took, so a budget in dollars cannot be kept; limit the calls instead "
    "(--budget-calls), or go on without a budget"
)
_DOWN_GRACE = 3.0  # seconds for calls in flight on other endpoints, once one is down
_INTERRUPT_GRACE = 1.0  # seconds for calls in flight after Ctrl-C; with closing, the process ends within two


class HaltedError(Exception):
    """No call may begin any more: the run is stopping. Never leaves the runner."""


class Ticket:
    """The calls that one job has in flight."""

    __slots__ = ("_gate", "_retried", "entered")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._retried = 0
        self.entered = 0

    def enter(self) -> None:
        """Begin a call. A model with a queue does so itself, by way of `ADMISSION`, when the call is sent.

        Once more before it has left is to send it again: the earlier request has come back and is spent.

        Raises:
            HaltedError: the run is stopping.
        """
        self._gate.enter()
        if self.entered:
            self._gate.leave(1, 1)
            self._retried += 1
        else:
            self.entered = 1

    def leave(self, calls: int, usd: float | None) -> None:
        """End what has begun, once its answer is on its way to the arena file; see `Gate.leave`."""
        entered, self.entered = self.entered, 0
        retried, self._retried = self._retried, 0
        self._gate.leave(entered, max(0, calls - retried), usd)


_TICKET: ContextVar[Ticket] = ContextVar("ticket")


class Gate:
    """Every call of a play enters here and leaves when its answer has gone to the arena file.

    Once there is a reason to stop, no call enters any more.

    Args:
        tally: live counts and the budget; the gate keeps calls, money and calls in flight.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally, self.budget = tally, tally.budget
        self.reason: BaseException | None = None
        self._limited = tally.budget.limited
        self._grace: float | None = None
        loop = asyncio.get_running_loop()
        self._halted: asyncio.Future[None] = loop.create_future()
        self._quiet: asyncio.Future[None] = loop.create_future()  # halted, and nothing in flight

    @property
    def ticket(self) -> Ticket:
        """The running job's own."""
        return _TICKET.get()

    def enter(self, calls: int = 1) -> None:
        """Begin `calls` calls.

        Raises:
            HaltedError: the run is stopping.
        """
        if self.reason is not None:
            raise HaltedError
        if self._limited and (spent := self.budget.refusal(self.tally.in_flight, calls)) is not None:
            self.stop(BudgetSpentError(f"the budget is spent ({spent})"), grace=None)
            raise HaltedError
        self.tally.in_flight += calls

    def leave(self, entered: int, calls: int = 0, usd: float | None = 0.0) -> None:
        """End `entered` calls, for which `calls` requests were sent at a cost of `usd` (None: not known)."""
        tally = self.tally
        tally.in_flight -= entered
        if calls:
            tally.spent(calls, usd)
            if self._limited:
                self.budget.spend(calls, usd)
                if usd is None and self.budget.usd is not None:
                    self.stop(StoppedError(_BLIND), grace=None)
        if self.reason is not None and tally.in_flight == 0 and not self._quiet.done():
            self._quiet.set_result(None)

    def stop(self, reason: BaseException, grace: float | None) -> None:
        """Let no call begin any more.

        Args:
            reason: what the play ends with; the first one stands, but for one that leaves no grace.
            grace: seconds for what is in flight; None is as long as it takes.
        """
        if self.reason is None or (grace == 0 and self._grace != 0):
            self.reason, self._grace = reason, grace
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
        ADMISSION.set(ticket.enter)
        NOTICE.set(self.tally.notices.append)
        try:
            await job
        except HaltedError:
            pass
        except EndpointDownError as error:
            self.stop(error, _DOWN_GRACE)
        except Exception as error:  # a full disk, damaged weights, a bug: nothing is gained by waiting
            self.stop(error, 0)
