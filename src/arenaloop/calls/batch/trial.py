"""One live call to each judge that a batch would ask for log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from arenaloop.calls.judging import AskedJudge, JudgeUnit
from arenaloop.calls.progress import Tally
from arenaloop.calls.run import Executor, run
from arenaloop.store import Store
from arenaloop.types import Status

__all__ = ["try_logprobs"]


async def try_logprobs(
    judges: Sequence[AskedJudge], units: Callable[[], Iterable[JudgeUnit | None]], store: Store, tally: Tally
) -> None:
    """One call to each judge that is to be read by log-probabilities: a batch without them is paid for nothing.

    Raises:
        NoLogprobsError: its server gives none.
    """
    asking = {id(one) for one in judges if getattr(one.judge, "verdict", "text") == "logprob" and one.judge.probe.open}
    first: dict[int, JudgeUnit] = {}
    for unit in units() if asking else ():
        if unit is not None and id(unit.asked) in asking and unit.stored(0) is not Status.OK:
            first[id(unit.asked)] = unit
        if unit is not None:  # one that is decided shows that it gives them
            asking.discard(id(unit.asked))
        if not asking:
            break

    if not first:
        return

    async def settle(executor: Executor, unit: JudgeUnit) -> None:
        await executor.settle(unit)

    await run(
        store,
        tally,
        lambda executor: (settle(executor, unit) for unit in first.values()),
        closing=[unit.asked.judge for unit in first.values()],
    )
    for unit in first.values():
        unit.asked.judge.probe.check()
