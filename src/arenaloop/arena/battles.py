"""The runner: prompts in, stored verdicts out; battles are derived from what is stored (`results.pairings`).

`play` makes sure that every wanted verdict is in the arena file: a fixed pool of workers takes one seating at a time,
gets both answers (asked once, shared between pairs), asks the judge and appends. Answers and judging overlap; memory
holds prompt ids and the few prompts in progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from arenaloop.arena.answers import Answers, Tally
from arenaloop.arena.plan import BattlePlan
from arenaloop.errors import ArenaloopError
from arenaloop.judges.base import Judge
from arenaloop.store import Store
from arenaloop.types import Prompt, Response, Status, derive_seed

__all__ = ["play", "play_async"]

_REPORT_EVERY = 0.25  # seconds between progress reports
_MAX_BACKLOG = 20_000  # appends that may wait for the disk before workers pause


@dataclass(slots=True)
class _Work:
    """One prompt in progress: its answers, shared by all its pairs."""

    prompt: Prompt
    turns: dict[tuple[str, int], tuple[str, Status]]
    """stored answers, by (response key, turn)"""
    verdicts: dict[str, Status]
    """stored verdicts, and those asked since, by key"""
    answers: dict[str, asyncio.Future[Response | None]] = field(default_factory=dict)


def play(plan: BattlePlan, store: Store, on_progress: Callable[[Tally], None] | None = None) -> Tally:
    """Ask for everything that is wanted and not yet stored. Blocking; see `play_async`.

    Raises:
        StoppedError: a server is down, or the arena file cannot be written. What was stored stays.
    """
    return asyncio.run(play_async(plan, store, on_progress))


async def play_async(plan: BattlePlan, store: Store, on_progress: Callable[[Tally], None] | None = None) -> Tally:
    """Ask for everything that is wanted and not yet stored, on the running event loop.

    Local contestants answer every prompt of the plan, also those on which no pair meets.
    """
    tally = Tally(verdicts_total=2 * plan.battles * len(plan.judges), answers_total=_answers_wanted(plan))
    answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed, tally=tally)
    order = answers.plan_local(plan.prompt_ids)
    runner = _Runner(plan, store, answers, tally)
    reporter = asyncio.create_task(_report(tally, on_progress)) if on_progress else None
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(answers.run_local())
            group.create_task(runner.feed(order))
            for _ in range(plan.workers):
                group.create_task(runner.work())
    except* ArenaloopError as stopped:  # also what only shows when a model is first asked, such as damaged weights
        raise stopped.exceptions[0] from None
    finally:
        if reporter is not None:
            reporter.cancel()
            with suppress(asyncio.CancelledError):
                await reporter
        for closable in {id(m): m for c in plan.contestants if (m := c.asked)}.values():
            await closable.aclose()
        await plan.judge.aclose()
        store.flush()
        if on_progress:
            on_progress(tally)
    return tally


def _answers_wanted(plan: BattlePlan) -> int:
    local = {c.name for c in plan.contestants if c.local}  # these answer every prompt
    if plan.schedule.chosen is None:
        return len(local.union(*plan.schedule.pairs)) * len(plan.prompt_ids)
    return sum(len(local.union(*plan.schedule.on(i))) for i in plan.prompt_ids)


async def _report(tally: Tally, on_progress: Callable[[Tally], None]) -> None:
    while True:
        on_progress(tally)
        await asyncio.sleep(_REPORT_EVERY)


class _Runner:
    def __init__(self, plan: BattlePlan, store: Store, answers: Answers, tally: Tally) -> None:
        self.plan, self.store, self.answers, self.tally = plan, store, answers, tally
        self.secret = store.secret
        self.queue: asyncio.Queue[tuple[_Work, str, str] | None] = asyncio.Queue(maxsize=2 * plan.workers)
        self.inflight: dict[str, asyncio.Future[None]] = {}
        self.judges = [(judge, asyncio.Semaphore(judge.concurrency)) for judge in plan.judges]
        self.asked: set[str] = set()  # verdicts that failed in this invocation

    async def feed(self, order: Sequence[str]) -> None:
        for prompt_id in order:
            pairs = self.plan.schedule.on(prompt_id)
            prompt = self.store.prompt(prompt_id) if pairs else None
            if prompt is None:
                continue
            work = _Work(prompt, self.store.turns_of(prompt_id), self.store.statuses_of(prompt_id))
            for a, b in pairs:
                await self.queue.put((work, a, b))
                await self.queue.put((work, b, a))
        for _ in range(self.plan.workers):
            await self.queue.put(None)

    async def work(self) -> None:
        while (unit := await self.queue.get()) is not None:
            work, first, second = unit
            await self.decide(work, first, second)
            while self.store.backlog > _MAX_BACKLOG:
                await asyncio.sleep(0.01)

    async def answer(self, work: _Work, name: str) -> Response | None:
        future = work.answers.get(name)
        if future is not None:
            return future.result() if future.done() else await future
        future = work.answers[name] = asyncio.get_running_loop().create_future()
        try:
            response = await self.answers.get(name, work.prompt, work.turns)
        except BaseException:
            future.cancel()  # whoever waits for it is stopped with the rest of the group
            raise
        if not future.done():
            future.set_result(response)
        return response

    async def decide(self, work: _Work, first_name: str, second_name: str) -> None:
        first, second = await self.answer(work, first_name), await self.answer(work, second_name)
        for judge, limit in self.judges:
            if first is None or second is None or not (first.battles and second.battles):
                self.tally.failed += 1
            else:
                await self.settle(judge, limit, work, first, second)
            self.tally.verdicts += 1

    async def settle(
        self, judge: Judge, limit: asyncio.Semaphore, work: _Work, first: Response, second: Response
    ) -> None:
        key = judge.key(work.prompt, first, second)
        if (running := self.inflight.get(key)) is not None:  # two battles share this verdict
            await running
            self.tally.cached += 1
        elif not self._known(judge, work, first, second):
            future = self.inflight[key] = asyncio.get_running_loop().create_future()
            try:
                await self.ask(judge, limit, work, first, second)
            finally:
                del self.inflight[key]
                if not future.done():  # whoever is cancelled while it waits cancels what it waits for
                    future.set_result(None)
        else:
            self.tally.cached += 1

    def _known(self, judge: Judge, work: _Work, first: Response, second: Response) -> bool:
        """Whether there is nothing left to ask: an outcome is stored, or this invocation has tried."""
        for sample in range(self.plan.reask + 1):
            key = judge.key(work.prompt, first, second, sample)
            status = work.verdicts.get(key)
            if status is None:
                return False
            if status is Status.OK or key in self.asked:
                return True
            # a failure of an earlier invocation: its later samples may have succeeded
        return False

    async def ask(self, judge: Judge, limit: asyncio.Semaphore, work: _Work, first: Response, second: Response) -> None:
        for sample in range(self.plan.reask + 1):
            seed = derive_seed("verdict", self.plan.seed, judge.key(work.prompt, first, second, sample))
            async with limit:
                verdict = await judge.judge(work.prompt, first, second, secret=self.secret, seed=seed, sample=sample)
            self.store.add_verdict(verdict)
            work.verdicts[verdict.key] = verdict.status
            self.tally.spent(verdict.calls, verdict.usd)
            if verdict.status is Status.OK:
                return
            if verdict.status in (Status.ERROR, Status.REFUSED):
                break  # the endpoint has retried; asking warmer does not mend these
        self.asked.add(judge.key(work.prompt, first, second))
        self.tally.failed += 1
