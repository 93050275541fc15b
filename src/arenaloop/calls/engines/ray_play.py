"""Calls of one play handed out to workers, and rows brought back: all on one event loop.

A call goes to the worker with the most room, and no worker has more than its part of what the model's server takes.
What a lost worker had is handed out again, to the others or to the one that takes its place, and counts as sent again.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from arenaloop.calls.engines.base import Call, Row
from arenaloop.calls.engines.ray_slots import Gone, Lost, Slot, Told, Up
from arenaloop.calls.engines.ray_worker import Failure, News, Orders
from arenaloop.calls.gate import HaltedError
from arenaloop.errors import EndpointDownError, StoppedError
from arenaloop.models.base import NOTHING, Spent
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.types import Completion, Status

__all__ = ["Play"]

_GATHER = 0.001  # seconds in which calls that begin together are handed out together
_CHECK_EVERY = 5.0  # seconds between looks at silent workers
_MOST_LOST = 5  # workers that one call may be lost with before it has failed: it may be what they die of

_NUMBERS = itertools.count()  # of calls and models, over all plays: a worker may tell late of an earlier one


def _orders() -> Orders:
    return Orders({}, [], [], [], [])


@dataclass(slots=True, eq=False)
class _Out:
    """A call and where it is.

    Attributes:
        number: what workers know it by.
        lost: workers that were lost with it; `spent`: what that may have cost.
        lane: whose it is now.
        asking: what asks whether it may be sent again.
    """

    call: Call
    number: int
    lost: int = 0
    spent: Spent = NOTHING
    lane: _Lane | None = None
    asking: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class _Lane:
    """A slot, as a play sees it.

    Attributes:
        actor: None while there is no worker. `gone`: there will be none.
        numbers: of the orders that it is sent.
        out: calls that it has, by number; `taken`: how many, by endpoint.
        shares: its parts of the models, by number; None where it has none.
        known: numbers of the models that its worker knows; `bears`: calls at once that they take now, by endpoint.
    """

    slot: Slot
    actor: Any = None
    numbers: Iterator[int] = field(default_factory=itertools.count)
    node: str = ""
    gone: bool = False
    out: dict[int, _Out] = field(default_factory=dict)
    taken: dict[object, int] = field(default_factory=dict)
    shares: dict[int, OpenAIModel | None] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    bears: dict[object, int] = field(default_factory=dict)
    orders: Orders = field(default_factory=_orders)


class Play:
    """The calls of one play.

    Args:
        slots: of the workers.
        loop: where all of it runs.
    """

    def __init__(self, slots: Sequence[Slot], loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._lanes = {slot: _Lane(slot) for slot in slots}
        self._models: dict[OpenAIModel, int] = {}
        self._by_number: dict[int, OpenAIModel] = {}
        self._outs: dict[Call, _Out] = {}
        self._waiting: dict[object, deque[_Out]] = {}  # for room, by endpoint
        self._rows: asyncio.Queue[Row | Exception | None] = asyncio.Queue()  # None: all calls are drawn
        self._flushing = False
        self._notice: Callable[[str], None] | None = None
        self._asking = set[asyncio.Task[None]]()

    async def run(self, calls: AsyncIterable[Call]) -> AsyncIterator[Row]:
        """Hand calls out as they come; see `Engine.run`."""
        drawing = self.loop.create_task(self._draw(calls))
        checking, drawn = self.loop.create_task(self._check()), False
        try:
            while True:
                row = await self._rows.get()
                if isinstance(row, Exception):
                    raise row
                if row is not None:
                    yield row
                drawn = drawn or row is None
                if drawn and not self._outs and self._rows.empty():
                    break
        finally:
            for task in [drawing, checking, *self._asking]:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            for lane in self._lanes.values():
                if lane.actor is not None:
                    lane.orders.drop.extend(lane.out)
                    self._push(lane, lane.orders._replace(calls=[], forget=True))

    def end(self, why: Exception) -> None:
        """End for a reason: nobody is left to make calls, or a bug."""
        self._rows.put_nowait(why)

    def drop(self, call: Call) -> None:
        """Give up a call."""
        if (out := self._outs.pop(call, None)) is None:
            return
        if out.asking is not None:
            out.asking.cancel()
        if out.lane is not None:
            out.lane.orders.drop.append(out.number)
            self._leave(out)
            self._flush_soon()
        else:
            with suppress(ValueError):
                self._waiting[call.model.endpoint].remove(out)

    def hear(self, slot: Slot, told: Told) -> None:
        """Something has happened at a worker."""
        try:
            self._hear(self._lanes[slot], told)
        except Exception as error:  # nobody awaits a callback, and everybody would wait for ever
            self.end(error)

    def _hear(self, lane: _Lane, told: Told) -> None:
        match told:
            case Up(actor, node, numbers):
                lane.actor, lane.node, lane.numbers = actor, node, numbers
                self._hand_out_waiting()
            case News():
                self._read(lane, told)
            case Lost(why):
                self._lose(lane, why)
            case Gone(why):
                lane.gone = True
                self._tell(f"note: a Ray worker is given up, and no other takes its place ({why})")
                if all(one.gone for one in self._lanes.values()):
                    self.end(StoppedError(f"all Ray workers are lost (the last one: {why}); the same command goes on"))

    # ------------------------------------------------------------------ out

    async def _draw(self, calls: AsyncIterable[Call]) -> None:
        async for call in calls:
            self._notice = call.notice
            self._outs[call] = out = _Out(call, next(_NUMBERS))
            self._hand_out(out)
        self._rows.put_nowait(None)

    def _hand_out(self, out: _Out) -> None:
        endpoint = out.call.model.endpoint
        waiting = self._waiting.setdefault(endpoint, deque())
        if waiting or not self._give(out, endpoint):
            waiting.append(out)

    def _hand_out_waiting(self) -> None:
        for endpoint, waiting in self._waiting.items():
            while waiting and self._give(waiting[0], endpoint):
                waiting.popleft()

    def _give(self, out: _Out, endpoint: object) -> bool:
        """Give a call to the worker with the most room for it, if any has some."""
        model: OpenAIModel = out.call.model
        number = self._number(model)
        best, most = None, 0
        for lane in self._lanes.values():
            share = lane.shares[number]
            if lane.actor is None or share is None:
                continue
            if (room := lane.bears.get(endpoint, share.bears) - lane.taken.get(endpoint, 0)) > most:
                best, most = lane, room
        if best is None:
            return False
        if number not in best.known:
            best.known.add(number)
            share = best.shares[number]
            assert share is not None
            best.orders.models[number] = share
        best.out[out.number], out.lane = out, best
        best.taken[endpoint] = best.taken.get(endpoint, 0) + 1
        best.orders.calls.append((out.number, number, out.call.request, out.call.samples))
        self._flush_soon()
        return True

    def _number(self, model: OpenAIModel) -> int:
        number = self._models.get(model)
        if number is None:
            number = self._models[model] = next(_NUMBERS)
            self._by_number[number] = model
            for at, lane in enumerate(self._lanes.values()):
                lane.shares[number] = model.share(at, len(self._lanes))
        return number

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.call_later(_GATHER, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        for lane in self._lanes.values():
            if any(lane.orders[:5]) and lane.actor is not None:
                self._push(lane, lane.orders)

    def _push(self, lane: _Lane, orders: Orders) -> None:
        lane.orders = _orders()
        data = pickle.dumps(orders._replace(at=next(lane.numbers)), pickle.HIGHEST_PROTOCOL)
        with suppress(Exception):  # its slot hears that the worker is lost, and says so
            lane.actor.push.options(num_returns=0).remote(data)

    # ------------------------------------------------------------------ back

    def _read(self, lane: _Lane, news: News) -> None:
        for number, what, value in news.events:  # before the rows: what a call has asked came before its end
            if (out := lane.out.get(number)) is not None:
                self._event(lane, out, what, value)
        for number, came in news.rows:
            if (out := lane.out.get(number)) is None:
                continue  # dropped meanwhile
            self._leave(out)
            del self._outs[out.call]
            self._rows.put_nowait(_row(out, came, lane.node))
        for number, counts in news.notices.items():
            if (model := self._by_number.get(number)) is not None:  # else of an earlier play
                model.reader.notices.include(counts)
        for number, limit in news.limits.items():
            if (model := self._by_number.get(number)) is not None:
                lane.bears[model.endpoint] = limit
        self._hand_out_waiting()

    def _leave(self, out: _Out) -> None:
        lane, endpoint = out.lane, out.call.model.endpoint
        assert lane is not None
        del lane.out[out.number]
        lane.taken[endpoint] -= 1
        out.lane = None

    def _event(self, lane: _Lane, out: _Out, what: str, value: Any) -> None:
        call = out.call
        if what == "notice":
            if call.notice is not None:
                call.notice(value)
            return
        admission = call.admission
        match what:
            case "enter":
                self._ask(out, self._admit_again(lane, out, _sum(out.spent, value)))
            case "over" if admission is not None:
                admission.over(_sum(out.spent, value))
            case "unsent" if admission is not None:
                admission.unsent()
            case "unpriced" if admission is not None:
                admission.unpriced(*value)

    def _ask(self, out: _Out, question: Coroutine[Any, Any, None]) -> None:
        out.asking = task = self.loop.create_task(question)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _admit_again(self, lane: _Lane, out: _Out, lost: Spent) -> None:
        """A worker wants to send a call again."""
        try:
            if out.call.admission is not None:
                await out.call.admission.enter(out.call.reserve, lost)
        except Exception as error:
            if not isinstance(error, HaltedError):
                self._outs.pop(out.call, None)
                self._rows.put_nowait(Row(out.call, error=error))
            answer = lane.orders.halt
        else:
            answer = lane.orders.go
        if out.lane is lane:
            answer.append(out.number)
            self._flush_soon()

    # ------------------------------------------------------------------ lost

    def _lose(self, lane: _Lane, why: str) -> None:
        """Hand out again what a worker had: whether it was asked nobody knows, so it counts as sent."""
        where = f"on {lane.node} " if lane.node else ""
        self._tell(f"note: a Ray worker {where}is lost ({why}); its {len(lane.out):,} calls are handed out again")
        lane.actor, lane.orders = None, _orders()
        lane.known.clear()
        lane.bears.clear()
        for out in list(lane.out.values()):
            self._leave(out)
            out.lost += 1
            likely = (out.call.reserve().likely or 0.0) if out.call.reserve is not None else 0.0
            out.spent = out.spent.more(likely, likely)
            if out.lost >= _MOST_LOST:
                del self._outs[out.call]
                why = f"lost with {out.lost} Ray workers, one after the other"
                failed = Completion(status=Status.ERROR, error=why, calls=0, usd=0.0)
                self._rows.put_nowait(_row(out, [failed], lane.node))
            else:
                self._ask(out, self._again(out))

    def _tell(self, line: str) -> None:
        if self._notice is not None:
            self._notice(line)

    async def _again(self, out: _Out) -> None:
        try:
            if out.call.admission is not None:
                await out.call.admission.enter(out.call.reserve, out.spent)
        except Exception as error:
            self._outs.pop(out.call, None)
            self._rows.put_nowait(Row(out.call, error=error))
            return
        if out.call in self._outs:
            self._hand_out(out)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            for lane in self._lanes.values():
                lane.slot.check()


def _sum(one: Spent, other: Spent) -> Spent:
    return one.more(*other)


def _row(out: _Out, came: list[Completion] | Failure, node: str) -> Row:
    """What came of a call; the first of its completions bears the cost of what was lost."""
    if isinstance(came, Failure):
        match came.kind:
            case "down":
                return Row(out.call, error=EndpointDownError(f"on {node}: {came.text}"))
            case "halted":
                return Row(out.call, error=HaltedError())
        return Row(out.call, error=RuntimeError(f"on {node}: {came.text}"))
    if out.lost:
        first = came[0]
        usd = None if first.usd is None else first.usd + out.spent.usd
        came[0] = replace(
            first, calls=first.calls + out.lost, usd=usd, usd_estimated=first.usd_estimated + out.spent.estimated
        )
    return Row(out.call, came)
