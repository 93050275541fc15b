"""Units of judges: verdicts on two texts, meta-verdicts, and judgements of one text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

from arenaloop.calls.budget import Budget
from arenaloop.calls.progress import Tally
from arenaloop.calls.reask import DECIDED, final
from arenaloop.calls.run import Executor, begin, run
from arenaloop.calls.units import Asked, Earlier, Unit, Who
from arenaloop.judges.base import Judge, PointwiseJudge
from arenaloop.judges.meta import MetaJudge
from arenaloop.judges.prompts import PromptJudge
from arenaloop.store import Store
from arenaloop.types import (
    Completion,
    Judgement,
    Prompt,
    Request,
    Response,
    Status,
    Verdict,
    derive_seed,
)

__all__ = [
    "AskedJudge",
    "InStore",
    "JudgeUnit",
    "Statuses",
    "attempts",
    "blocks",
    "decide",
    "stored_verdicts",
    "unit_of",
    "unit_seed",
]


class InStore:
    """Statuses looked up in the arena file, one by one; what is on its way counts."""

    def __init__(self, look: Callable[[str], Verdict | Judgement | None]) -> None:
        self._look = look

    def get(self, key: str) -> Status | None:
        """The status stored under a key."""
        found = self._look(key)
        return None if found is None else found.status

    def __setitem__(self, key: str, status: Status) -> None:
        """It is in the arena file, or on its way."""


Statuses = dict[str, Status] | InStore
"""How the latest attempts at keys ended: what was read beforehand, or the arena file itself."""


def unit_seed(seed: int, key: str) -> int:
    """``derive_seed("verdict", seed, key)``, in a third of the time: it is taken for every call."""
    if not key.isalnum() or not key.isascii():
        return derive_seed("verdict", seed, key)
    return int(blake2b(f'["verdict",{seed},"{key}"]'.encode(), digest_size=8).hexdigest(), 16) >> 1


class AskedJudge(Asked):
    """A judge in a run: what all its units share.

    Args:
        secret: of the arena file, for delimiters.
        seed: of the run.
        reask, workers: as of `Asked`.
    """

    __slots__ = ("fingerprint", "judge", "secret", "seed")

    def __init__(
        self,
        judge: Judge | PointwiseJudge | PromptJudge | MetaJudge,
        secret: str,
        *,
        seed: int = 0,
        reask: int = 2,
        workers: int | None = None,
    ) -> None:
        super().__init__(getattr(judge, "model", None), judge.concurrency, workers, reask, DECIDED)
        self.judge: Any = judge
        self.secret, self.seed = secret, seed
        self.fingerprint: str = judge.fingerprint
        if not hasattr(judge, "read"):
            self.chunked = None  # it has a model, but does not show what it asks of it


class JudgeUnit:
    """One question to one judge: two responses in seat order, one, one and two judgements of it, or a prompt alone.

    Args:
        asked: the judge.
        material: what the judge is shown: the prompt, and a response for each seat that it has.
        statuses: of what is stored.
    """

    __slots__ = ("_key", "asked", "material", "statuses")

    def __init__(self, asked: AskedJudge, material: tuple[Prompt, *tuple[Response, ...]], statuses: Statuses) -> None:
        self.asked, self.material, self.statuses = asked, material, statuses
        self._key: str = asked.judge.key(*material)  # of nearly all units the only one, and asked for again and again

    @property
    def who(self) -> Who:
        """The judge; all votes of one are its own."""
        return "judge", self.asked.judge.name

    def key(self, sample: int = 0) -> str:
        """Of the verdict or judgement."""
        return self.asked.judge.key(*self.material, sample) if sample else self._key

    def stored(self, sample: int) -> Status | None:
        """How the latest attempt at a sample ended."""
        return self.statuses.get(self.key(sample))

    def request(self, sample: int = 0) -> Request:
        """What the judge asks of its model."""
        asked, seed = self.asked, unit_seed(self.asked.seed, self.key(sample))
        return asked.judge.request(*self.material, secret=asked.secret, seed=seed, sample=sample)

    def read(self, completion: Completion, sample: int = 0) -> Verdict | Judgement:
        """What an answer decides."""
        return self.asked.judge.read(*self.material, completion, sample=sample)

    def ask(self, sample: int) -> Awaitable[Verdict | Judgement]:
        """Let the judge decide."""
        asked, seed = self.asked, unit_seed(self.asked.seed, self.key(sample))
        return asked.judge.judge(*self.material, secret=asked.secret, seed=seed, sample=sample)

    def earlier(self, store: Store, most: int) -> Iterator[Earlier]:
        """First samples of this judge over texts that are still there."""
        return stored_verdicts(self.asked, store, most)

    def keep(self, store: Store, records: Sequence[tuple[JudgeUnit, Verdict | Judgement]]) -> None:
        """Store them, and note how they ended for whoever shares the prompt."""
        store.add_records([record for _, record in records])
        for unit, record in records:
            unit.statuses[record.key] = record.status


def unit_of(asked: AskedJudge, prompt_id: str, hashes: Iterable[str], store: Store) -> JudgeUnit | None:
    """The unit of a judge call, its texts read from the arena file by their hashes; None where they are not there."""
    prompt, texts = store.prompt(prompt_id), [store.texts(text_hash) for text_hash in hashes]
    responses = [Response(prompt_id, "", some) for some in texts if some is not None]
    if prompt is None or len(responses) < len(texts):
        return None
    look = store.verdict if len(responses) > 1 else store.judgement
    return JudgeUnit(asked, (prompt, *responses), InStore(look))


def stored_verdicts(asked: AskedJudge, store: Store, most: int) -> Iterator[Earlier]:
    """Up to `most` first samples of a judge with these settings, of those whose tokens were told.

    None of a judge that takes several pairs in one call: what stands beside the first of them is the call's.
    """
    if getattr(asked.judge, "batch", 1) > 1:
        return
    for call in store.judged_calls(asked.fingerprint, most):
        if (unit := unit_of(asked, call.prompt_id, call.hashes, store)) is not None:
            yield Earlier(unit, call.tokens_in, call.tokens_out, call.usd)


def attempts(unit: JudgeUnit, store: Store) -> list[Verdict]:
    """The stored verdicts of a unit's samples, in order, up to the first with an outcome."""
    found: list[Verdict] = []

    def look(sample: int) -> Verdict | None:
        if (verdict := store.verdict(unit.key(sample))) is not None:
            found.append(verdict)
        return verdict

    final(look, unit.asked.reask)
    return found


def decide(
    units: Callable[[], Iterable[Unit]],
    store: Store,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    concurrency: int | None = None,
    budget: Budget | None = None,
    closing: Iterable[Any] = (),
) -> Tally:
    """Ask for every unit that is not stored yet: verdicts, judgements or meta-verdicts on given texts. Blocking.

    Args:
        units: makes them, on the event loop, one at a time; equal keys are asked once. They are counted first.
        concurrency: units in progress at once, at most; None for 512. Each judge's own limit holds besides.
        store, on_progress, budget, closing: as of `run.run` and `run.begin`.

    Raises:
        StoppedError: the budget is spent, a server is down, or the arena file cannot be written. What was stored stays.
    """

    async def play() -> Tally:
        total = sum(1 for _ in units())
        tally = begin(store, budget, verdicts_total=total)

        def jobs(executor: Executor) -> Iterator[Any]:
            async def settle(some: Sequence[Unit]) -> None:
                async def these() -> Sequence[Unit]:
                    return some

                if some[0].asked.chunked is None:
                    asked = await _settle_votes(executor, some)
                else:
                    asked = await executor.settle_in_turn(some[0].asked.lane, these)
                tally.verdicts += len(some)
                tally.cached += len(some) - asked
                if tally.verdicts % 64 < len(some):
                    await asyncio.sleep(0)  # judges that never wait would shut out progress and interrupts

            items = blocks(units())
            for _ in range(min(concurrency or 512, max(1, total))):
                yield executor.work(items, settle)

        return await run(store, tally, jobs, closing=closing, on_progress=on_progress)

    return asyncio.run(play())


async def _settle_votes(executor: Executor, units: Sequence[Unit]) -> int:
    """Votes on one question, by as few calls as the server's ``n`` allows; what it leaves out is asked by itself.

    Only first samples go together: later ones are asked warmer, and not all of them are wanted.

    Returns:
        How many were asked.
    """
    asked, size = set[str](), units[0].asked.samples
    missing = [unit for unit in units if unit.stored(0) is None] if len(units) > 1 else []
    for start in range(0, len(missing), size):
        if len(part := missing[start : start + size]) > 1:
            asked |= {unit.key() for unit in part}
            await executor.settle_chunk(part)
    for unit in units:
        if await executor.settle(unit):
            asked.add(unit.key())
    return len(asked)


def _same_question(one: Unit, other: Unit) -> bool:
    """Whether two units are votes of one judge on the same material, which a server may give by one call."""
    return (
        isinstance(one, JudgeUnit)
        and isinstance(other, JudgeUnit)
        and one.asked.samples > 1
        and one.asked.chunked is None
        and one.asked.fingerprint == other.asked.fingerprint
        and one.asked.judge.verdict != "logprob"  # of which the first call goes alone
        and one.material == other.material
    )


def blocks(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    """Units one by one, but those that are asked together at a time, in their order.

    These are as many units of a chunked model as it answers together, and votes on one question that follow each other
    where a call of their server may bring several.
    """
    waiting: dict[int, list[Unit]] = {}
    votes: list[Unit] = []
    for unit in units:
        if votes and not _same_question(votes[-1], unit):
            yield votes
            votes = []
        if unit.asked.chunked is None:
            if unit.asked.samples == 1:
                yield [unit]
            else:
                votes.append(unit)
            continue
        lane = id(unit.asked.lane)
        block = waiting.setdefault(lane, [])
        block.append(unit)
        if len(block) == unit.asked.chunked.concurrency:
            yield waiting.pop(lane)
    if votes:
        yield votes
    yield from waiting.values()
