"""The runner: prompts in, stored verdicts out; battles are derived from what is stored (`pairings.pairings`).

`play` makes sure that every wanted verdict is in the arena file: seatings are units of `calls`, which wait for both
answers. Answers and judging overlap; memory holds prompt ids and the few prompts in progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

from arenaloop.arena.matchmaking import Pair
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Answers
from arenaloop.calls.budget import Budget
from arenaloop.calls.judging import AskedJudge, JudgeUnit
from arenaloop.calls.opening import Need, Opening
from arenaloop.calls.prefetch import Material, materials
from arenaloop.calls.progress import Tally
from arenaloop.calls.reask import ANSWERED
from arenaloop.calls.run import Executor, begin, run
from arenaloop.store import Store
from arenaloop.types import Status, canonical_json, content_hash

__all__ = ["asked_judges", "play", "play_async"]

_COMPLETE = "complete"
"""Room of the notes that say which plans have nothing left to ask."""

Seating = tuple[Material, str, str, Sequence[AskedJudge]]
"""The prompt, who sits first and second, and the judges that are to be asked."""


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
    tally = begin(store, budget, plan.models, verdicts_total=plan.verdicts, answers_total=_answers_wanted(plan))
    plan_key = _plan_key(plan)
    if store.note(_COMPLETE, plan_key) == store.ends():  # rows are only ever appended
        tally.verdicts = tally.cached = tally.verdicts_total
        tally.answers = tally.answers_total
        if on_progress:
            on_progress(tally)
        return tally

    def jobs(executor: Executor) -> Iterator[Any]:
        answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed, executor=executor)
        order = answers.plan_local(plan.prompt_ids)
        fight = _Fight(plan, store, answers, executor)
        yield answers.run_local()
        seatings = fight.seatings(order)
        for _ in range(fight.workers):
            yield executor.work(seatings, fight.decide)

    closing: list[Any] = [*(m for c in plan.contestants if (m := c.asked)), *plan.judges]
    await run(store, tally, jobs, closing=closing, on_progress=on_progress)
    if not tally.failed and tally.verdicts == tally.verdicts_total:
        store.put_note(_COMPLETE, plan_key, store.ends())
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
        [c.identity for c in plan.contestants],
        [judge.fingerprint for judge in plan.judges],
        [plan.seed, plan.reask, *([plan.seats] if plan.seats != "both" else [])],
        [list(pair) for pair in schedule.pairs],
        chosen is not None,
        parts.hexdigest(),
    )


def _answers_wanted(plan: BattlePlan) -> int:
    local = {c.name for c in plan.contestants if c.local}  # these answer every prompt
    if plan.schedule.chosen is None:
        return len(local.union(*plan.schedule.pairs)) * len(plan.prompt_ids)
    return sum(len(local.union(*plan.schedule.on(i))) for i in plan.prompt_ids)


def asked_judges(plan: BattlePlan, secret: str) -> list[AskedJudge]:
    """The plan's judges, as its units ask them."""
    return [AskedJudge(judge, secret, seed=plan.seed, reask=plan.reask, workers=plan.workers) for judge in plan.judges]


class _Fight:
    """The seatings of a plan: which are left, and how one is decided."""

    def __init__(self, plan: BattlePlan, store: Store, answers: Answers, executor: Executor) -> None:
        self.plan, self.store, self.answers, self.executor = plan, store, answers, executor
        self.tally = executor.tally
        self.judges = asked_judges(plan, store.secret)
        self.opening = Opening(self.tally.budget) if self.tally.budget.limited else None
        self.local = {c.name for c in plan.contestants if c.local}
        self.chunked = [asked for asked in self.judges if asked.chunked is not None]
        self.workers = plan.workers
        if self.chunked and len(self.chunked) == len(self.judges):
            # each works on a whole chunk: one is asked while the answers for the next come in
            self.workers = max(2, plan.workers // max(asked.judge.concurrency for asked in self.chunked))

    def seatings(self, order: Sequence[str]) -> Iterator[list[Seating] | None]:
        """Seatings with something left to ask; None after a prompt that had none.

        What is stored already is found here, without a worker's turn: a finished run is through at once. Seatings of a
        judge that answers in chunks come as many at a time as it takes, those that are stored among them.
        """
        plan, tally = self.plan, self.tally
        every = plan.schedule.chosen is None and plan.schedule.pairs
        wanted = order if every else [i for i in order if plan.schedule.on(i)]
        singly = [asked for asked in self.judges if asked.chunked is None]
        blocks: dict[int, list[Seating]] = {id(asked): [] for asked in self.chunked}
        for material in materials(self.store, wanted):
            pairs = plan.schedule.on(material.prompt.id)
            material.players = {name for pair in pairs for name in pair}
            tally.answers += sum(self.answers.settle(name, material) for name in material.players)
            everything = plan.seatings(material.prompt.id, pairs)
            left = self._left(material, everything, singly) if singly else []
            for first, second in left:
                yield [(material, first, second, singly)]
            for asked in self.chunked:
                block = blocks[id(asked)]
                for first, second in everything:
                    block.append((material, first, second, (asked,)))
                    if len(block) == asked.chunked.concurrency:  # type: ignore[union-attr]
                        yield block.copy()
                        block.clear()
            if not left:
                yield None
        yield from (block for block in blocks.values() if block)

    def _left(self, material: Material, seatings: list[Pair], judges: Sequence[AskedJudge]) -> list[Pair]:
        """The seatings of which a verdict is not stored; the others are counted."""
        verdicts, prompt = material.verdicts, material.prompt
        if not verdicts:
            return seatings
        fit = {name: answer for name, answer in material.answers.items() if answer is not None and answer.battles}
        keys = [asked.judge.key for asked in judges]
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

    async def decide(self, seatings: list[Seating]) -> None:
        """Ask for the verdicts on one seating, or on a chunk of them."""
        tally, (asked, *_) = self.tally, seatings[0][3]
        units: list[JudgeUnit] = []
        if asked.chunked is not None:

            async def answered() -> list[JudgeUnit]:
                seated = ((m, name) for m, one, two, _ in seatings for name in (one, two))
                missing = {(id(m), name): (name, m) for m, name in seated if name not in m.answers}
                await self.executor.gate.together(partial(self.answers.get, *asked) for asked in missing.values())
                for seating in seatings:
                    units.extend(await self._units(*seating))
                return units

            count = await self.executor.settle_in_turn(asked, answered)
            tally.cached += len(units) - count
            tally.verdicts += len(seatings)
            return
        if self.opening is None:
            await self._decide(*seatings[0])
            return
        need = self._need(*seatings[0])
        await self.opening.begin(need)
        try:
            await self._decide(*seatings[0])
        finally:
            self.opening.end(need)

    async def _decide(self, material: Material, one: str, two: str, judges: Sequence[AskedJudge]) -> None:
        tally, units = self.tally, await self._units(material, one, two, judges)
        for unit in units:
            if not await self.executor.settle(unit):
                tally.cached += 1
            tally.verdicts += 1
        if not units:
            tally.verdicts += len(judges)

    def _need(self, material: Material, one: str, two: str, judges: Sequence[AskedJudge]) -> Need:
        """What a seating will ask for: answers that no other has begun to ask for, and verdicts."""
        need = Need(asked for asked in judges if asked.model is not None)
        for name in (one, two):
            if name in material.answers or name in material.begun or name in self.local:
                continue
            material.begun.add(name)
            for turn in self.answers.planned(name, material):
                if turn.unit.stored(0) not in ANSWERED:
                    need[turn.unit.asked] += 1
        return need

    async def _units(self, material: Material, one: str, two: str, judges: Sequence[AskedJudge]) -> list[JudgeUnit]:
        """A seating's units, once its answers are there; without two answers to judge they have failed."""
        answers = material.answers
        for name in (one, two):
            if name not in answers:
                await self.answers.get(name, material)
        first, second = answers[one], answers[two]
        if first is None or second is None or not (first.battles and second.battles):
            self.tally.failed += len(judges)
            return []
        question = material.prompt, first, second
        return [JudgeUnit(asked, question, material.verdicts) for asked in judges]
