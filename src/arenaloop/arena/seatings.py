"""Seatings that come from anywhere: asked once, re-asked by the rule, stored, and read back.

The tournament's runner knows contestants that answer; here both texts are given. What is the same is kept the same:
keys, seeds, re-asking, the gate that stops a run, and that a failure of an earlier invocation is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from arenaloop.calls.budget import Budget
from arenaloop.calls.gate import Gate
from arenaloop.calls.progress import Tally
from arenaloop.errors import BudgetSpentError
from arenaloop.judges.base import Judge
from arenaloop.store import Store
from arenaloop.types import Prompt, Response, Status, Verdict, derive_seed

__all__ = ["Seating", "attempts", "decide_seatings", "final_verdict"]

_REPORT_EVERY = 0.25  # seconds between progress reports
_MAX_BACKLOG = 20_000  # appends that may wait for the disk before workers pause


class Seating(NamedTuple):
    """One question to one judge: two responses in seat order, and how often a failed verdict is asked again."""

    judge: Judge
    prompt: Prompt
    first: Response
    second: Response
    reask: int = 2

    def key(self, sample: int = 0) -> str:
        """The verdict's key."""
        return self.judge.key(self.prompt, self.first, self.second, sample)


def attempts(seating: Seating, store: Store) -> list[Verdict]:
    """The stored verdicts of a seating's samples, in order, up to the first with an outcome."""
    found: list[Verdict] = []
    for sample in range(seating.reask + 1):
        verdict = store.verdict(seating.key(sample))
        if verdict is None:
            break
        found.append(verdict)
        if verdict.status is Status.OK:
            break
    return found


def final_verdict(seating: Seating, store: Store) -> Verdict | None:
    """The first sample with an outcome, or else the last that was asked; None if none was."""
    found = attempts(seating, store)
    return found[-1] if found else None


async def decide_seatings(
    seatings: Iterable[Seating],
    store: Store,
    *,
    total: int,
    seed: int = 0,
    concurrency: int | None = None,
    budget: Budget | None = None,
    on_progress: Callable[[Tally], None] | None = None,
) -> Tally:
    """Ask for every seating whose outcome is not stored yet.

    Args:
        seatings: drawn one at a time; equal keys are asked once.
        store: where verdicts are kept.
        total: how many there will be, for progress.
        seed: of the run; each verdict's own seed follows from it and from the key.
        concurrency: seatings in progress at once, at most; None for 512. Each judge's own limit holds besides.
        budget: what the run directory may cost.
        on_progress: called at most four times a second, and at the end.

    Raises:
        StoppedError: the budget is spent, a server is down, or the arena file cannot be written. What was stored stays.
    """
    budget = budget or Budget()
    budget.begin(store)
    tally = Tally(verdicts_total=total, budget=budget)
    gate = Gate(tally)
    limits: dict[int, asyncio.Semaphore] = {}
    running: dict[str, asyncio.Future[None]] = {}
    queue: Iterator[Seating] = iter(seatings)

    async def work() -> None:
        for seating in queue:  # shared: drawing is synchronous, so no two workers draw the same
            await settle(seating)
            tally.verdicts += 1
            if tally.verdicts % 64 == 0:
                await asyncio.sleep(0)  # judges that never wait would shut out progress and interrupts
            while store.backlog > _MAX_BACKLOG:
                await asyncio.sleep(0.01)

    async def settle(seating: Seating) -> None:
        key = seating.key()
        if (other := running.get(key)) is not None:  # the same texts again
            await other
            tally.cached += 1
            return
        if (last := final_verdict(seating, store)) is not None and last.status is Status.OK:
            tally.cached += 1
            return
        future = running[key] = asyncio.get_running_loop().create_future()
        try:
            await ask(seating)
        finally:
            if not future.done():
                future.set_result(None)

    async def ask(seating: Seating) -> None:
        limit = limits.setdefault(id(seating.judge), asyncio.Semaphore(seating.judge.concurrency))
        for sample in range(seating.reask + 1):
            async with limit:
                status = await call(seating, sample)
            if status is Status.OK:
                return
            if status in (Status.ERROR, Status.REFUSED):
                break  # the endpoint has retried; asking warmer does not mend these
        tally.failed += 1

    async def call(seating: Seating, sample: int) -> Status:
        """One judge call, stored before it leaves the gate."""
        judge, prompt, first, second, _ = seating
        model = getattr(judge, "model", None)
        ticket, calls = gate.ticket, 0
        usd: float | None = 0.0
        own = derive_seed("verdict", seed, seating.key(sample))
        try:
            if model is not None and not getattr(model, "queues", False):  # a rule costs no call
                ticket.enter()
            verdict = await judge.judge(prompt, first, second, secret=store.secret, seed=own, sample=sample)
            store.add_verdict(verdict)
            calls, usd = verdict.calls, verdict.usd
        finally:
            ticket.leave(calls, usd)
        return verdict.status

    async def report() -> None:
        while on_progress is not None:
            on_progress(tally)
            await asyncio.sleep(_REPORT_EVERY)

    reporter = asyncio.create_task(report())
    try:
        await gate.run([work() for _ in range(min(concurrency or 512, max(1, total)))])
    except BudgetSpentError as spent:
        raise BudgetSpentError(f"{spent}; {tally.missing}; with a higher budget the same command goes on") from None
    finally:
        reporter.cancel()
        with suppress(asyncio.CancelledError):
            await reporter
        store.flush()
        if on_progress:
            on_progress(tally)
    return tally
