"""The runner: prompts in, stored verdicts out; battles are derived from what is stored (`results.pairings`).

`play` makes sure that every wanted verdict is in the arena file: a fixed pool of workers takes one seating at a time,
gets both answers (asked once, shared between pairs), asks the judge and appends. Answers and judging overlap; memory
holds prompt ids and the few prompts in progress. How it stops is `gate.Gate`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

from arenaloop.arena.matchmaking import Pair
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Answers
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.gate import Gate
from arenaloop.calls.prefetch import Material, materials
from arenaloop.calls.progress import Tally
from arenaloop.errors import BudgetSpentError
from arenaloop.judges.base import Judge
from arenaloop.store import Store
from arenaloop.types import Response, Status, canonical_json, content_hash, derive_seed

__all__ = ["play", "play_async", "verdict_seed"]

_COMPLETE = "complete"
"""Room of the notes that say which plans have nothing left to ask."""
_REPORT_EVERY = 0.25  # seconds between progress reports
_MAX_BACKLOG = 2_000  # appends that may wait for the disk before workers pause

_Unit = tuple[Material, str, str]
"""One seating: the prompt, and who sits first and second."""


def play(
    plan: BattlePlan, store: Store, on_progress: Callable[[Tally], None] | None = None, *, budget: Budget | None = None
) -> Tally:
    """Ask for everything that is wanted and not yet stored. Blocking; see `play_async`.

    Raises:
        ConfigError: the budget is in dollars, and a price is not known.
        StoppedError: the budget is spent, a server is down, or the arena file cannot be written. What was stored stays.
    """
    return asyncio.run(play_async(plan, store, on_progress, budget=budget))


async def play_async(
    plan: BattlePlan, store: Store, on_progress: Callable[[Tally], None] | None = None, *, budget: Budget | None = None
) -> Tally:
    """Ask for everything that is wanted and not yet stored, on the running event loop.

    Local contestants answer every prompt of the plan, also those on which no pair meets.
    """
    budget = budget or Budget()
    require_prices(budget, plan.models)
    budget.begin(store)
    tally = Tally(
        verdicts_total=2 * plan.battles * len(plan.judges), answers_total=_answers_wanted(plan), budget=budget
    )
    plan_key = _plan_key(plan)
    if store.note(_COMPLETE, plan_key) == _ends(store):  # rows are only ever appended
        tally.verdicts = tally.cached = tally.verdicts_total
        tally.answers = tally.answers_total
        if on_progress:
            on_progress(tally)
        return tally
    gate = Gate(tally)
    answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed, gate=gate)
    order = answers.plan_local(plan.prompt_ids)
    runner = _Runner(plan, store, answers, gate, order)
    reporter = asyncio.create_task(_report(tally, on_progress)) if on_progress else None
    try:
        await gate.run([answers.run_local(), *(runner.work() for _ in range(plan.workers))])
    except BudgetSpentError as spent:
        final = budget.refusal(0)  # what was in flight has been paid for since
        why = f"the budget is spent ({final})" if final else spent
        raise BudgetSpentError(f"{why}; {tally.missing}; with a higher budget the same command goes on") from None
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
    if not tally.failed and tally.verdicts == tally.verdicts_total:
        store.put_note(_COMPLETE, plan_key, _ends(store))
    return tally


def _plan_key(plan: BattlePlan) -> str:
    """Hash of what is to be asked; how verdicts are merged is no part of it."""
    schedule, chosen = plan.schedule, plan.schedule.chosen
    parts = blake2b(digest_size=16)  # fed bit by bit: the JSON of all ids would be the largest thing in memory
    for prompt_id in plan.prompt_ids:
        parts.update(
            canonical_json([prompt_id, chosen.get(prompt_id) if chosen is not None else None]).encode(
                "utf-8", "surrogatepass"
            )
        )
    for name, keys in plan.recorded.items():
        parts.update(canonical_json([name, len(keys)]).encode("utf-8", "surrogatepass"))
        for prompt_id, key in keys.items():
            parts.update(canonical_json([prompt_id, key]).encode("utf-8", "surrogatepass"))
    return content_hash(
        [[c.name, c.model.fingerprint, c.sampling.key()] for c in plan.contestants],
        [judge.fingerprint for judge in plan.judges],
        [plan.seed, plan.reask],
        [list(pair) for pair in schedule.pairs],
        chosen is not None,
        parts.hexdigest(),
    )


def _ends(store: Store) -> dict[str, Any]:
    """Where the tables of answers and verdicts end: a plan that was complete is so while nothing is appended."""
    ends = store.ends()
    return {"responses": ends.responses, "verdicts": ends.verdicts}


def _answers_wanted(plan: BattlePlan) -> int:
    local = {c.name for c in plan.contestants if c.local}  # these answer every prompt
    if plan.schedule.chosen is None:
        return len(local.union(*plan.schedule.pairs)) * len(plan.prompt_ids)
    return sum(len(local.union(*plan.schedule.on(i))) for i in plan.prompt_ids)


def verdict_seed(seed: int, key: str) -> int:
    """``derive_seed("verdict", seed, key)``, in a third of the time: it is taken for every call."""
    if not key.isalnum() or not key.isascii():
        return derive_seed("verdict", seed, key)
    return int(blake2b(f'["verdict",{seed},"{key}"]'.encode(), digest_size=8).hexdigest(), 16) >> 1


async def _report(tally: Tally, on_progress: Callable[[Tally], None]) -> None:
    while True:
        on_progress(tally)
        await asyncio.sleep(_REPORT_EVERY)


class _Asked(NamedTuple):
    """A judge, and what its calls must pass."""

    judge: Judge
    limit: asyncio.Semaphore | None
    admitted_here: bool

    @classmethod
    def of(cls, judge: Judge, workers: int) -> _Asked:
        # one that takes as many calls as there are workers needs no limit of its own
        limit = asyncio.Semaphore(judge.concurrency) if judge.concurrency < workers else None
        # a rule costs no call, and a model with a queue asks for admission when the call's turn has come
        model = getattr(judge, "model", None)
        return cls(judge, limit, model is not None and not getattr(model, "queues", False))


class _Runner:
    def __init__(self, plan: BattlePlan, store: Store, answers: Answers, gate: Gate, order: Sequence[str]) -> None:
        self.plan, self.store, self.answers, self.gate, self.tally = plan, store, answers, gate, gate.tally
        self.secret = store.secret
        self.units = self._units(order)
        self.shared: dict[str, asyncio.Future[None] | None] = {}  # verdicts being asked, and who waits for them
        self.judges = [_Asked.of(judge, plan.workers) for judge in plan.judges]
        self.asked: set[str] = set()  # verdicts that failed in this invocation

    def _units(self, order: Sequence[str]) -> Iterator[_Unit | None]:
        """Seatings with something left to ask, pulled by the workers; None after a prompt that had none.

        What is stored already is found here, without a worker's turn: a finished run is through at once.
        """
        schedule, tally = self.plan.schedule, self.tally
        wanted = order if schedule.chosen is None and schedule.pairs else [i for i in order if schedule.on(i)]
        for material in materials(self.store, wanted):
            pairs = schedule.on(material.prompt.id)
            names = {name for pair in pairs for name in pair}
            tally.answers += sum(self.answers.settle(name, material) for name in names)
            left = self._left(material, pairs)
            if not left:
                yield None
            for first, second in left:
                yield material, first, second

    def _left(self, material: Material, pairs: Sequence[Pair]) -> list[Pair]:
        """The seatings of which a verdict is not stored; the others are counted."""
        seatings = [seating for a, b in pairs for seating in ((a, b), (b, a))]
        verdicts, prompt = material.verdicts, material.prompt
        if not verdicts:
            return seatings
        fit = {name: answer for name, answer in material.answers.items() if answer is not None and answer.battles}
        keys = [asked.judge.key for asked in self.judges]
        left = []
        for seating in seatings:
            first, second = fit.get(seating[0]), fit.get(seating[1])
            if first is None or second is None:
                left.append(seating)
                continue
            for key in keys:
                if verdicts.get(key(prompt, first, second)) is not Status.OK:
                    left.append(seating)
                    break
        done = (len(seatings) - len(left)) * len(keys)
        self.tally.verdicts += done
        self.tally.cached += done
        return left

    async def work(self) -> None:
        for unit in self.units:
            if unit is None:
                await asyncio.sleep(0)  # a long way through stored rows must not keep Ctrl-C waiting
                continue
            await self.decide(*unit)
            while self.store.backlog > _MAX_BACKLOG:
                await asyncio.sleep(0.01)

    async def answer(self, material: Material, name: str) -> Response | None:
        if (running := material.waiting.get(name)) is not None:
            return await running
        future = material.waiting[name] = asyncio.get_running_loop().create_future()
        try:
            response = material.answers[name] = await self.answers.get(name, material)
        except BaseException:
            future.cancel()  # whoever waits for it is stopped with the rest
            raise
        if not future.done():
            future.set_result(response)
        return response

    async def decide(self, material: Material, first_name: str, second_name: str) -> None:
        answers, tally = material.answers, self.tally
        first = answers[first_name] if first_name in answers else await self.answer(material, first_name)
        second = answers[second_name] if second_name in answers else await self.answer(material, second_name)
        for asked in self.judges:
            if first is None or second is None or not (first.battles and second.battles):
                tally.failed += 1
            else:
                key = asked.judge.key(material.prompt, first, second)
                if key in self.shared:  # two battles share this verdict
                    if (running := self.shared[key]) is None:
                        running = self.shared[key] = asyncio.get_running_loop().create_future()
                    await running
                    tally.cached += 1
                elif key in material.verdicts and self._known(key, asked.judge, material, first, second):
                    tally.cached += 1
                else:
                    await self.ask(key, asked, material, first, second)
            tally.verdicts += 1

    def _known(self, key: str, judge: Judge, material: Material, first: Response, second: Response) -> bool:
        """Whether there is nothing left to ask: an outcome is stored, or this invocation has tried."""
        for sample in range(self.plan.reask + 1):
            key = judge.key(material.prompt, first, second, sample) if sample else key
            status = material.verdicts.get(key)
            if status is None:
                return False
            if status is Status.OK or key in self.asked:
                return True
            # a failure of an earlier invocation: its later samples may have succeeded
        return False

    async def ask(self, key: str, asked: _Asked, material: Material, first: Response, second: Response) -> None:
        """Ask until there is an outcome, or no use in asking again; others who want the verdict wait meanwhile."""
        self.shared[key] = None
        try:
            for sample in range(self.plan.reask + 1):
                status = await self.call(key, asked, material, first, second, sample)
                if status is Status.OK:
                    return
                if status in (Status.ERROR, Status.REFUSED):
                    break  # the endpoint has retried; asking warmer does not mend these
            self.asked.add(key)
            self.tally.failed += 1
        finally:
            waited = self.shared.pop(key)
            if waited is not None and not waited.done():  # whoever is cancelled while waiting cancels it
                waited.set_result(None)

    async def call(
        self, key: str, asked: _Asked, material: Material, first: Response, second: Response, sample: int
    ) -> Status:
        """One judge call, stored before it leaves the gate."""
        judge, limit = asked.judge, asked.limit
        if sample:
            key = judge.key(material.prompt, first, second, sample)
        seed = verdict_seed(self.plan.seed, key)
        ticket, calls = self.gate.ticket, 0
        usd: float | None = 0.0
        if limit is not None:
            await limit.acquire()
        try:
            if asked.admitted_here:
                ticket.enter()
            verdict = await judge.judge(material.prompt, first, second, secret=self.secret, seed=seed, sample=sample)
            self.store.add_verdict(verdict)
            calls, usd = verdict.calls, verdict.usd
        finally:
            if limit is not None:
                limit.release()
            ticket.leave(calls, usd)
        material.verdicts[key] = verdict.status
        return verdict.status
