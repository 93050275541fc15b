"""The runner: prompts in, stored verdicts out; battles are derived from what is stored.

`play` makes sure that every wanted verdict is in the arena file: a fixed pool of workers takes one seating at a time,
gets both answers (asked once, shared between pairs), asks the judge and appends. Answers and judging overlap; memory
holds prompt ids and the few prompts in progress. `pairings` then reads the battles back, one prompt at a time, in the
order of the prompts, whatever the concurrency was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from arenaloop.arena.answers import Answers, Contestant, Tally
from arenaloop.arena.matchmaking import Pair, Schedule
from arenaloop.errors import ArenaloopError
from arenaloop.judges.base import Judge, MergeRule, merge_seats
from arenaloop.store import Store
from arenaloop.types import Battle, Prompt, Response, Status, Verdict, derive_seed

__all__ = ["BattlePlan", "Pairing", "Summary", "pairings", "play", "summarise"]

_REPORT_EVERY = 0.25  # seconds between progress reports
_MAX_BACKLOG = 20_000  # appends that may wait for the disk before workers pause


@dataclass(frozen=True)
class BattlePlan:
    """What is to be fought: everything that `play` and `pairings` need besides the arena file.

    Attributes:
        contestants: who answers, with unique names.
        judge: who decides.
        prompt_ids: prompts in the arena file, without repetition.
        schedule: which pairs meet on which prompt.
        recorded: response keys of recorded contestants (`answers.match_recorded`).
        seed: the run's seed.
        merge: how two seats become a battle.
        reask: how often a verdict without an outcome is asked again, as a new sample.
        concurrency: seatings in progress at once; None for the sum of what the endpoints allow.
    """

    contestants: Sequence[Contestant]
    judge: Judge
    prompt_ids: Sequence[str]
    schedule: Schedule
    recorded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seed: int = 0
    merge: MergeRule = "mean"
    reask: int = 2
    concurrency: int | None = None

    @property
    def battles(self) -> int:
        """How many battles are wanted."""
        return self.schedule.battles(len(self.prompt_ids))

    @property
    def workers(self) -> int:
        """How many seatings are in progress at once."""
        if self.concurrency is not None:
            return self.concurrency
        return min(512, self.judge.concurrency + sum(m.concurrency for c in self.contestants if (m := c.asked)))


class Pairing(NamedTuple):
    """One wanted battle: the battle if both seats were decided, and each seat's final verdict (None: not asked)."""

    prompt_id: str
    model_a: str
    model_b: str
    battle: Battle | None
    a_first: Verdict | None
    b_first: Verdict | None


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
    tally = Tally(verdicts_total=2 * plan.battles, answers_total=_answers_wanted(plan))
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
        self.limit = asyncio.Semaphore(plan.judge.concurrency)
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
        if first is None or second is None or not (first.battles and second.battles):
            self.tally.verdicts += 1
            self.tally.failed += 1
            return
        key = self.plan.judge.key(work.prompt, first, second)
        if (running := self.inflight.get(key)) is not None:  # two battles share this verdict
            await running
            self.tally.cached += 1
        elif not self._known(work, first, second):
            future = self.inflight[key] = asyncio.get_running_loop().create_future()
            try:
                await self.ask(work, first, second)
            finally:
                del self.inflight[key]
                if not future.done():  # whoever is cancelled while it waits cancels what it waits for
                    future.set_result(None)
        else:
            self.tally.cached += 1
        self.tally.verdicts += 1

    def _known(self, work: _Work, first: Response, second: Response) -> bool:
        """Whether there is nothing left to ask: an outcome is stored, or this invocation has tried."""
        for sample in range(self.plan.reask + 1):
            key = self.plan.judge.key(work.prompt, first, second, sample)
            status = work.verdicts.get(key)
            if status is None:
                return False
            if status is Status.OK or key in self.asked:
                return True
            # a failure of an earlier invocation: its later samples may have succeeded
        return False

    async def ask(self, work: _Work, first: Response, second: Response) -> None:
        judge = self.plan.judge
        for sample in range(self.plan.reask + 1):
            seed = derive_seed("verdict", self.plan.seed, judge.key(work.prompt, first, second, sample))
            async with self.limit:
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


# ---------------------------------------------------------------------- reading back


def pairings(plan: BattlePlan, store: Store) -> Iterator[Pairing]:
    """The wanted battles as they stand in the arena file, in the order of the prompts and of their pairs."""
    answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed)
    judge, samples = plan.judge, plan.reask + 1
    for prompt_id in plan.prompt_ids:
        pairs = plan.schedule.on(prompt_id)
        prompt = store.prompt(prompt_id) if pairs else None
        if prompt is None:
            continue
        names = {name for pair in pairs for name in pair}
        responses = {name: answers.stored(name, prompt) for name in names}
        seatings: dict[Pair, list[str]] = {}
        for a, b in pairs:
            for first, second in ((a, b), (b, a)):
                one, two = responses[first], responses[second]
                if one is not None and two is not None and one.battles and two.battles:
                    seatings[first, second] = [judge.key(prompt, one, two, sample) for sample in range(samples)]
        # nearly all verdicts are first samples: the others are looked up only where the first has failed
        found = store.verdicts([keys[0] for keys in seatings.values()])
        final = {seating: _final(keys, found, store) for seating, keys in seatings.items()}
        for a, b in pairs:
            a_first, b_first = final.get((a, b)), final.get((b, a))
            battle = merge_seats(a, b, a_first, b_first, plan.merge) if a_first and b_first else None
            yield Pairing(prompt_id, a, b, battle, a_first, b_first)


def _final(keys: Sequence[str], found: Mapping[str, Verdict], store: Store) -> Verdict | None:
    """The first sample with an outcome, or else the last one that was asked."""
    last = found.get(keys[0])
    if last is None or last.status is Status.OK:
        return last
    for key in keys[1:]:
        verdict = store.verdict(key)
        if verdict is None:
            break
        last = verdict
        if verdict.status is Status.OK:
            break
    return last


@dataclass(slots=True)
class Summary:
    """Counts over the wanted battles of one plan (DESIGN: the first half of ``summary.json``).

    Attributes:
        wanted, decided: battles. `ok`, `failed`: final verdicts, one per seat; failures by status.
        flips: decided battles whose seats named different winners. `first_wins`: verdicts that the first seat won.
        decisive: verdicts with a winner.
    """

    wanted: int = 0
    decided: int = 0
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    flips: int = 0
    first_wins: int = 0
    decisive: int = 0

    def add(self, pairing: Pairing) -> None:
        """Count one wanted battle."""
        self.wanted += 1
        if pairing.battle is not None:
            self.decided += 1
            self.flips += pairing.battle.flipped
        for verdict in (pairing.a_first, pairing.b_first):
            if verdict is None:
                continue
            if verdict.outcome is None:
                self.failed[verdict.status.value] += 1
                continue
            self.ok += 1
            self.decisive += verdict.outcome.value != "TIE"
            self.first_wins += verdict.outcome.value == "A"

    def counts(self) -> dict[str, Any]:
        """The bare counts, as JSON; `Summary.of` reads them back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"failed": dict(self.failed)}

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> Summary:
        """A summary from its stored counts."""
        return cls(**{**counts, "failed": Counter(counts["failed"])})

    def merge(self, other: Summary) -> None:
        """Add the counts of another plan."""
        self.wanted += other.wanted
        self.decided += other.decided
        self.ok += other.ok
        self.failed += other.failed
        self.flips += other.flips
        self.first_wins += other.first_wins
        self.decisive += other.decisive

    def to_json(self) -> dict[str, object]:
        """Counts, and shares as fractions; a share of nothing is null."""
        failed = {s.value: self.failed[s.value] for s in Status if s is not Status.OK}
        return {
            "battles_wanted": self.wanted,
            "battles_decided": self.decided,
            "verdicts_ok": self.ok,
            "verdicts_failed": failed,
            "flip_rate": self.flips / self.decided if self.decided else None,
            "first_seat_win_rate": self.first_wins / self.decisive if self.decisive else None,
        }


def summarise(found: Sequence[Pairing]) -> Summary:
    """Count a list of pairings."""
    summary = Summary()
    for pairing in found:
        summary.add(pairing)
    return summary
