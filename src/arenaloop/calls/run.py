"""The one executor: every call of a model is asked here once, stored, and asked again by the rule of `reask`.

Workers draw what is to be done from one iterator. A unit that is asked already is waited for; one that is stored costs
nothing. Each call passes the gate (`gate.Gate`), which knows the budget and how a run stops; what came is appended
before the call leaves. A model that answers in chunks is given chunks that depend on nothing but the order of the
units, so that resuming changes no answer.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.engines.base import ENGINE, Engine
from arenaloop.calls.engines.dispatch import making_calls
from arenaloop.calls.gate import Gate
from arenaloop.calls.notices import keep_notices, told_notices
from arenaloop.calls.progress import Tally
from arenaloop.calls.reask import next_sample
from arenaloop.calls.speeds import keep_speed
from arenaloop.calls.units import Asked, Record, Several, Unit, Who
from arenaloop.errors import BudgetSpentError, EndpointDownError, StoppedError, StorageError, UnreadJudgeError
from arenaloop.judges.unread import UNREAD, Unread, why_unread
from arenaloop.models.base import Model, Reserve
from arenaloop.store import Store
from arenaloop.types import Status

__all__ = ["MAX_BACKLOG", "MOST_REFUSED", "MOST_UNREAD", "RECALLED", "Executor", "begin", "run"]

MAX_BACKLOG = 2_000
"""Appends that may wait for the disk before workers pause."""
RECALLED = 100
"""Stored calls by which a resumed run knows what a model's calls take."""
MOST_REFUSED = 30
"""Refusals of a judge's first calls that are too many if it never answered otherwise."""
MOST_UNREAD = 20
"""Answers of a judge that cannot be read, re-asks among them, that are too many if none ever could."""
_REPORT_EVERY = 0.25  # seconds between progress reports
_COLLECT_AFTER = 20_000  # new objects
_KEEP_EVERY = 5.0  # seconds in which what is odd about replies is counted before a process that is killed loses it

T = TypeVar("T")


async def run(
    store: Store,
    tally: Tally,
    jobs: Callable[[Executor], Iterable[Coroutine[Any, Any, None]]],
    *,
    closing: Iterable[Any] = (),
    on_progress: Callable[[Tally], None] | None = None,
) -> Tally:
    """Run jobs on one executor to their end, or until there is a reason to stop.

    Args:
        store: where everything is kept.
        tally: counts along; its budget holds.
        jobs: makes them.
        closing: models and judges that are closed at the end.
        on_progress: called at most four times a second, and at the end.

    Raises:
        StoppedError: the budget is spent, a server is down, or the arena file cannot be written. What was stored stays.
    """
    gate, stopped, engine, closing = Gate(tally, store), False, ENGINE.get(), list(closing)
    beside = [asyncio.create_task(_keep(store, closing))]
    if on_progress:
        beside.append(asyncio.create_task(_report(tally, on_progress, engine)))
    try:
        async with making_calls(engine, closing):
            with _seldom_collecting():
                await gate.run([*jobs(Executor(store, gate))])
    except BudgetSpentError as spent:
        stopped = True
        refused = tally.budget.refusal(0)  # what was in flight has been paid for since
        why = f"the budget is spent ({refused})" if refused else spent
        raise BudgetSpentError(f"{why}; {tally.missing}; with a higher budget the same command goes on") from None
    except StoppedError:
        stopped = True
        raise
    finally:
        for task in beside:
            task.cancel()
            with suppress(asyncio.CancelledError, StorageError):
                await task
        closables = {id(one): one for one in closing}.values()
        for closable in closables:
            await closable.aclose()
        gate.booking.close()
        keep_notices(store, closables)
        store.flush()
        if stopped:  # there will be no result to tell them beside
            tally.notices.extend(f"warning: {line}" for line in told_notices(store))
        if on_progress:
            on_progress(tally)
    return tally


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Let the garbage collector look less often: nearly all that a call makes is freed without it.

    With Python's 700 new objects between two collections every third call sets one off, and they take a tenth of all
    time. What they would free sooner, cycles of requests that have ended, is some megabytes.
    """
    before = gc.get_threshold()
    if 0 < before[0] < _COLLECT_AFTER:  # 0: somebody has switched it off
        gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def _report(tally: Tally, on_progress: Callable[[Tally], None], engine: Engine | None) -> None:
    while True:
        tally.workers = "" if engine is None else engine.standing
        on_progress(tally)
        await asyncio.sleep(_REPORT_EVERY)


async def _keep(store: Store, asked: Iterable[Any]) -> None:
    while True:
        await asyncio.sleep(_KEEP_EVERY)
        keep_notices(store, asked)


def begin(store: Store, budget: Budget | None, models: Iterable[Model] = (), **totals: Any) -> Tally:
    """Counts for one invocation, its budget filled with what the arena file has cost before.

    Raises:
        ConfigError: the budget is in dollars, and the price of one of the models or of an earlier call is not known.
    """
    budget = budget or Budget()
    require_prices(budget, models)
    budget.begin(store)
    return Tally(budget=budget, **totals)


class Executor:
    """Asks units, each at most once at a time and never when it is stored."""

    def __init__(self, store: Store, gate: Gate) -> None:
        self.store, self.gate, self.tally = store, gate, gate.tally
        self._running: dict[str, asyncio.Future[None] | None] = {}  # keys being asked, and who waits for them
        self._tried: Counter[str] = Counter()  # samples that failed in this invocation
        self._refusals: dict[Who, int | None] = {}  # of whom the first calls were; None: of some not
        self._unread: dict[
            Who, list[Unread] | None
        ] = {}  # of whom no answer could be read so far; None: of some it could

    async def work(self, items: Iterator[T | None], do: Callable[[T], Awaitable[None]]) -> None:
        """Do items as long as there are any; several workers share the iterator. None only lets others in."""
        for item in items:
            if item is None:
                await asyncio.sleep(0)  # a long way through stored rows must not keep Ctrl-C waiting
                continue
            await do(item)
            while self.store.backlog > MAX_BACKLOG:
                await asyncio.sleep(0.01)

    def next_sample(self, unit: Unit) -> int | None:
        """The sample of a unit that is to be asked next in this invocation."""
        asked = unit.asked
        return next_sample(unit.stored, lambda sample: self._tried[unit.key(sample)], asked.reask, done=asked.done)

    def forget(self, unit: Unit) -> None:
        """Let what failed of a unit be asked again in this invocation, as the next one would."""
        for sample in range(unit.asked.reask + 1):
            self._tried.pop(unit.key(sample), None)

    async def settle(self, unit: Unit) -> bool:
        """Ask a unit until it is done or no use in asking again; others who want the same wait meanwhile.

        Returns:
            Whether it was asked here; False where it was stored, or asked by somebody else.

        Raises:
            HaltedError: it would have to be asked, and the run is stopping.
        """
        key, running = unit.key(), self._running
        while key in running:
            await self._wait(key)
        sample = 0 if unit.stored(0) is None else self.next_sample(unit)
        if sample is None:
            return False
        running[key] = None
        try:
            while sample is not None:
                status = await self._call(unit, sample)
                if status in unit.asked.done:
                    return True
                self._tried[unit.key(sample)] += 1
                sample = self.next_sample(unit)
            self.tally.failed += 1
        finally:
            self._wake(key)
        return True

    async def settle_chunk(self, units: Sequence[Unit], *, whole: bool = False) -> int:
        """Ask units of one chunked model together: all that are not stored, and again those that failed.

        Args:
            units: in an order that depends on nothing but what is wanted.
            whole: ask stored ones, too, so that an interrupted chunk is generated again as it was.

        Returns:
            How many were asked here.
        """
        mine: list[tuple[Unit, int]] = []
        shared: list[str] = []
        for unit in units:
            key = unit.key()
            if key in self._running:
                shared.append(key)
                continue
            sample = 0 if whole else self.next_sample(unit)
            if sample is not None:
                self._running[key] = None
                mine.append((unit, sample))
        keys, asked = [unit.key() for unit, _ in mine], len(mine)
        try:
            while mine:
                again: list[tuple[Unit, int]] = []
                # of samples in one call those that a server left out are asked by themselves
                for (unit, sample), status in zip(mine, await self._call_together(mine), strict=False):
                    if status in unit.asked.done:
                        continue
                    self._tried[unit.key(sample)] += 1
                    if (following := self.next_sample(unit)) is None:
                        self.tally.failed += 1
                    else:
                        again.append((unit, following))
                mine = again
        finally:
            for key in keys:
                self._wake(key)
        for key in shared:
            if key in self._running:
                await self._wait(key)
        return asked

    async def settle_in_turn(self, asked: Asked, prepare: Callable[[], Awaitable[Sequence[Unit]]]) -> int:
        """`settle_chunk` of what `prepare` gives, after everything that was drawn earlier for the same model.

        So what a chunk holds depends on what was drawn, and not on which answers came first. Returns as `settle_chunk`.
        """
        before, mine = asked.turn, asyncio.get_running_loop().create_future()
        asked.turn = mine
        try:
            units = await prepare()
            if before is not None:
                await asyncio.shield(before)
            return await self.settle_chunk(units)
        finally:
            if not mine.done():
                mine.set_result(None)

    # ------------------------------------------------------------------ single flight

    async def _wait(self, key: str) -> None:
        if (running := self._running[key]) is None:
            running = self._running[key] = asyncio.get_running_loop().create_future()
        await asyncio.shield(running)

    def _wake(self, key: str) -> None:
        waited = self._running.pop(key)
        if waited is not None and not waited.done():
            waited.set_result(None)

    # ------------------------------------------------------------------ calls

    def _vouch(self, unit: Unit) -> None:
        """Before the first call of this invocation: tell a model if it has answered earlier, and what that took.

        A resumed run may hold nothing but what was refused, and that is no sign that nothing can be answered.
        """
        asked, who = unit.asked, unit.who
        if who in self._refusals:
            return
        self._refusals[who], fingerprint = 0, getattr(asked, "fingerprint", "")
        # of a rule and of recorded labels no answer is waited for
        asks = who[0] == "judge" and asked.model is not None
        self._unread[who] = [] if asks and not self.store.answered(*who, fingerprint, read=True) else None
        asked.recall(unit.earlier(self.store, RECALLED))
        if asked.model is not None and self.store.answered(*who, fingerprint):
            self._refusals[who] = None
            if (vouch := getattr(asked.model, "answered_before", None)) is not None:
                vouch()

    def _note(self, unit: Unit, record: Record) -> None:
        """Take note of how a stored call ended.

        Raises:
            EndpointDownError: a judge has refused everything from the first call on. Of a contestant that is a result.
            UnreadJudgeError: nothing that a judge has answered so far could be read.
        """
        role, name = who = unit.who
        status = record.status
        if role != "judge" or status is Status.ERROR:
            return
        self._note_unread(unit, record)
        if (refusals := self._refusals.get(who)) is None:
            return
        self._refusals[who] = refusals = refusals + 1 if status is Status.REFUSED else None
        if refusals is not None and refusals >= MOST_REFUSED:
            raise EndpointDownError(
                f"judge {name}: the server refused to answer the first {refusals} calls, whatever was asked; take "
                "another judge, template or criteria, or have the server's filter changed"
            )

    def _note_unread(self, unit: Unit, record: Record) -> None:
        if (unread := self._unread.get(unit.who)) is None:
            return
        if record.status is Status.OK:
            self._unread[unit.who] = None
        elif record.status in UNREAD:
            first = record.verdicts[0] if isinstance(record, Several) and record.verdicts else record
            unread.append(Unread(record.status, getattr(first, "raw", "")))
            if len(unread) >= MOST_UNREAD:
                raise UnreadJudgeError(why_unread(unit.asked.judge, unread))  # type: ignore[attr-defined]

    async def _call(self, unit: Unit, sample: int) -> Status:
        """One call, stored before it leaves the gate."""
        asked = unit.asked
        self._vouch(unit)
        limit, ticket = asked.limit, self.gate.ticket
        if limit is not None:
            await limit.acquire()
        try:
            ticket.asked = asked
            if asked.admitted_here:
                await ticket.enter()
            record = await unit.ask(sample)
            unit.keep(self.store, ((unit, record),))
            asked.cost(record.usd)
            ticket.leave(record.calls, record.usd, record.usd_estimated)
            self._note(unit, record)
        except EndpointDownError:
            if asked.admitted_here:  # a model with a queue says so itself
                ticket.unsent()
            raise
        finally:
            if limit is not None:
                limit.release()
            ticket.lose()  # what was cut off has been sent
        return record.status

    async def _call_together(self, units: Sequence[tuple[Unit, int]]) -> list[Status]:
        """One call for several units, stored in one commit; it enters the gate whole or not at all."""
        asked, gate = units[0][0].asked, self.gate
        self._vouch(units[0][0])
        ticket, reserve = gate.ticket, Reserve()
        ticket.asked = asked
        if asked.chunked is not None:
            reserve = await gate.enter(partial(asked.reserve, len(units)), len(units))
        elif asked.admitted_here:
            await ticket.enter()
        landed = False
        try:
            completions = await asked.together([unit.request(sample) for unit, sample in units])
            calls = sum(completion.calls for completion in completions)
            usd = None if any(c.usd is None for c in completions) else sum(c.usd or 0.0 for c in completions)
            estimated = sum(completion.usd_estimated for completion in completions)
            read = zip(units, completions, strict=asked.chunked is not None)
            records = [(unit, unit.read(completion, sample)) for (unit, sample), completion in read]
            units[0][0].keep(self.store, records)
            landed = True
            for completion in completions:
                asked.cost(completion.usd)
            if asked.chunked is None:
                ticket.leave(calls, usd, estimated)
            else:
                gate.leave(reserve, calls, usd, estimated, len(units))
                gate.stored([reserve], calls, len(units))
                if (speed := keep_speed(self.store, asked.model)) is not None:
                    pace = (speed.reading + speed.writing) / len(units), speed
                    self.tally.paces.setdefault(units[0][0].who, pace)
            for unit, record in records:
                self._note(unit, record)
        finally:
            if not landed and asked.chunked is not None:
                gate.take_back(reserve, len(units))  # nothing was sent anywhere
            ticket.lose()
        return [record.status for _, record in records]
