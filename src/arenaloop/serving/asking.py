"""Units that come one by one, as long as a server lives, through the one executor: asked once, stored, budgeted.

A run of the executor ends when a judge's server is down or the budget is spent; the desk outlives it. After a server
that is down it begins another run once a pause is over, and what is asked meanwhile fails at once. After a spent
budget, or a judge none of whose answers could be read, nothing is asked any more, and what is stored is still known.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from arenaloop.calls.budget import Budget
from arenaloop.calls.judging import AskedJudge, JudgeUnit
from arenaloop.calls.reask import final
from arenaloop.calls.run import MAX_BACKLOG, Executor, begin, run
from arenaloop.errors import EndpointDownError, StoppedError, StorageError, UserError
from arenaloop.store import Store
from arenaloop.types import Judgement, Prompt, Response, Status, Verdict

__all__ = ["Desk", "DownError", "Material", "OverError", "UnaskedError"]

PAUSE = 5.0
"""Seconds before a judge that was down is asked again; twice as many each time, up to the longest."""
LONGEST_PAUSE = 60.0
_MOST_WORKERS = 512

Material = tuple[Prompt, *tuple[Response, ...]]


class DownError(Exception):
    """The judge behind did not answer of late; the message says how."""


class UnaskedError(Exception):
    """A question cannot be put; the message says why."""


class OverError(Exception):
    """Nothing is asked any more: the budget is spent, or no answer of the judge could be read."""


_Record = Verdict | Judgement | None


class _Question(JudgeUnit):
    """A unit that carries its keys and what is stored of it, so that nothing is looked up or hashed twice.

    Attributes:
        keys: of its samples.
        rows: what is stored under them.
        beside: stores what verdicts are to be read beside: one for all units of one answer, taken out by the first.
    """

    __slots__ = ("beside", "keys", "rows")

    def __init__(self, asked: AskedJudge, material: Material) -> None:
        super().__init__(asked, material, {})
        self.keys = [super(_Question, self).key(sample) for sample in range(asked.reask + 1)]
        self.rows: dict[str, Any] = {}
        self.beside: list[Callable[[], object]] = []

    def key(self, sample: int = 0) -> str:
        """Of the verdict or judgement."""
        return self.keys[sample]

    def stored(self, sample: int) -> Status | None:
        """How the latest attempt at a sample ended."""
        row = self.rows.get(self.key(sample))
        return None if row is None else row.status

    def keep(self, store: Store, records: Sequence[tuple[Any, Verdict | Judgement]]) -> None:
        """Store records, and carry them; in the same commit, what they are to be read beside."""
        for unit, record in records:
            unit.rows[record.key] = record
            if unit.beside:
                unit.beside.pop()()
        store.add_records([record for _, record in records])

    def found(self) -> _Record:
        """What counts of what is stored."""
        return final(lambda sample: self.rows.get(self.key(sample)), self.asked.reask)

    def decided(self) -> _Record:
        """The same, where it can be read."""
        found = self.found()
        return found if found is not None and found.status in self.asked.done else None


@dataclass(slots=True)
class _Job:
    unit: _Question
    done: asyncio.Future[_Record]


@dataclass
class Desk:
    """Where a server's questions are asked.

    Args:
        store: the arena file.
        judge: who is asked, about one answer or about two.
        reask: how often what cannot be read is asked again.
        several: whether it is asked about two.
        budget: what all invocations on this arena file may cost.
        say: is given a line where the judge goes down, comes back, or is asked no more.

    Attributes:
        tally: live counts.
        over: why nothing is asked any more; empty while it is.
    """

    store: Store
    judge: Any
    reask: int = 0
    several: bool = False
    budget: Budget | None = None
    say: Callable[[str], object] = lambda line: None
    over: str = ""
    _down: str = field(default="", init=False)
    _again: float = field(default=0.0, init=False)
    _pause: float = field(default=PAUSE, init=False)

    def __post_init__(self) -> None:
        model = getattr(self.judge, "model", None)
        self.asked = AskedJudge(self.judge, self.store.secret, reask=self.reask, workers=_MOST_WORKERS)
        self.tally = begin(self.store, self.budget, [] if model is None else [model])
        self.tally.so_far = "answers to what is stored go on"
        self._look: Callable[[Sequence[str]], Any] = self.store.verdicts if self.several else self.store.judgements
        self._waiting: dict[str, _Job] = {}
        self._queue: asyncio.Queue[_Job] = asyncio.Queue()

    @property
    def waiting(self) -> int:
        """Units that are being asked, or wait for it."""
        return len(self._waiting)

    @property
    def down(self) -> str:
        """Why the judge is not asked for now; empty where it is."""
        return self._down if time.monotonic() < self._again else ""

    # ------------------------------------------------------------------ asking

    async def records(self, questions: Sequence[Material], before: Callable[[], object]) -> list[_Record]:
        """The verdict or judgement on each question, asked where none is stored that can be read.

        Args:
            before: stores what verdicts are to be read beside; it is called where one has come.

        Raises:
            DownError: one would have to be asked, and the judge is down.
            UnaskedError: one cannot be put.
            OverError: one would have to be asked, and nothing is asked any more.
        """
        units = [_Question(self.asked, question) for question in questions]
        # one look-up for all, where an executor would take one for each sample
        stored = self._look([key for unit in units for key in unit.keys])
        for unit in units:
            unit.rows = stored
        known = [unit.decided() for unit in units]
        self.tally.cached += len(units) - known.count(None)
        if None not in known:
            return known
        beside = [before]
        for unit in units:
            unit.beside = beside
        jobs = [self._job(unit) if found is None else None for unit, found in zip(units, known, strict=True)]
        # others may wait for a job, and who is late does not take it back
        return [
            found if job is None else await asyncio.shield(job.done) for job, found in zip(jobs, known, strict=True)
        ]

    def _job(self, unit: _Question) -> _Job:
        """What is to be waited for."""
        key = unit.key()
        if (job := self._waiting.get(key)) is not None:
            return job
        if self.over:
            raise OverError(self.over)
        if down := self.down:
            raise DownError(down)
        job = self._waiting[key] = _Job(unit, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(job)
        return job

    def _end(self, job: _Job, outcome: _Record | Exception) -> None:
        self._waiting.pop(job.unit.key(), None)
        if job.done.done():
            return
        if isinstance(outcome, Exception):
            job.done.set_exception(outcome)
            job.done.exception()  # whoever waited may have gone
        else:
            job.done.set_result(outcome)

    # ------------------------------------------------------------------ runs of the executor

    async def work(self) -> None:
        """Ask what comes, for ever.

        Raises:
            StorageError: the arena file cannot be written.
        """
        while True:
            try:
                await run(self.store, self.tally, self._workers)
            except StorageError:
                raise
            except EndpointDownError as error:
                self._set_down(str(error))
                self._fail_all(DownError(str(error)))
                await asyncio.sleep(max(0.0, self._again - time.monotonic()))
            except StoppedError as error:
                self.over = str(error)
                self.say(f"nothing is asked any more: {error}")
                self._fail_all(OverError(self.over))
                return

    def _set_down(self, reason: str) -> None:
        self.say(f"the judge is down, and asked again in {self._pause:.0f} s: {reason}")
        self._down, self._again = reason, time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _fail_all(self, error: Exception) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()
        for job in list(self._waiting.values()):
            self._end(job, error)

    def _workers(self, executor: Executor) -> Iterator[Coroutine[Any, Any, None]]:
        chunked = self.asked.chunked
        size = 1 if chunked is None else chunked.concurrency
        workers = 1 if chunked is not None else max(1, min(_MOST_WORKERS, self.judge.concurrency))
        return (self._worker(executor, size) for _ in range(workers))

    async def _worker(self, executor: Executor, size: int) -> None:
        """Ask jobs one by one, or as many at once as a model in this process answers together."""
        while True:
            jobs = [await self._queue.get()]
            if size > 1:
                await asyncio.sleep(0)  # those that came together go together
            while len(jobs) < size and not self._queue.empty():
                jobs.append(self._queue.get_nowait())
            for job in jobs:
                executor.forget(job.unit)
            try:
                if self.asked.chunked is None:
                    await executor.settle(jobs[0].unit)
                else:
                    await executor.settle_chunk([job.unit for job in jobs])
            except UserError as error:  # a user's own template fails on what somebody posted
                self.say(f"could not be asked: {error}")
                for job in jobs:
                    self._end(job, UnaskedError(str(error)))
                continue
            for job in jobs:
                if job.unit.decided() is not None:
                    self._down, self._pause = "", PAUSE
                self.tally.verdicts += 1
                self._end(job, job.unit.found())
            while self.store.backlog > MAX_BACKLOG:
                await asyncio.sleep(0.01)
