"""Questions to judges that go through batches, and what batches leave undecided call by call where that is wanted.

What no model is asked for (rules, recorded labels, synthetic annotators) is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from arenaloop.calls.batch import Round, open_batches, server_of, try_logprobs
from arenaloop.calls.budget import Budget
from arenaloop.calls.judging import AskedJudge, JudgeUnit, decide
from arenaloop.calls.progress import Tally
from arenaloop.calls.run import begin
from arenaloop.config import BatchSettings
from arenaloop.judges.base import Judge
from arenaloop.store import Store

__all__ = ["check_batched", "decide_batched"]


def check_batched(judges: Iterable[Judge]) -> None:
    """Refuse judges whose calls cannot stand in a batch file; rules and recorded labels are not asked.

    Raises:
        ConfigError: says which.
    """
    for judge in judges:
        if getattr(judge, "model", None) is not None:
            server_of(AskedJudge(judge, ""))


def decide_batched(
    units: Sequence[JudgeUnit],
    store: Store,
    folder: Path,
    settings: BatchSettings,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    concurrency: int | None = None,
    budget: Budget | None = None,
    closing: Sequence[Any] = (),
    say: Callable[[str], object] = lambda line: None,
    sleep: Callable[[float], Awaitable[object]] | None = None,
) -> Tally:
    """Order everything that is not stored yet, and collect it. Blocking.

    Args:
        units: all that is wanted, stored or not.
        on_progress, concurrency, budget, closing: as of `decide`.
        store, folder, settings, say, sleep: as of `Round`.

    Raises:
        ConfigError: as `check_batched`.
        StoppedError: as of `Round.run`; what was ordered is collected by the same call.
    """
    free = [unit for unit in units if unit.asked.model is None]
    served = [unit for unit in units if unit.asked.model is not None]
    store.flush()  # lines of a request file find their texts there
    found = decide(lambda: iter(free), store) if free else None
    judges = list({id(unit.asked): unit.asked for unit in served}.values())
    check_batched(asked.judge for asked in judges)

    async def run() -> Round:
        tally = begin(store, budget, [model for one in judges if (model := one.model) is not None])
        tally.verdicts_total = len(served)
        if not settings.folder and not open_batches(store, [asked.judge for asked in judges]):
            await try_logprobs(judges, lambda: iter(served), store, tally)
        ordered = Round(judges, lambda: iter(served), store, folder, settings, tally, say, sleep)
        await ordered.run(on_progress)
        if on_progress:
            on_progress(tally)
        return ordered

    ordered = asyncio.run(run())
    tally = ordered.tally
    if settings.rest == "live" and ordered.left:
        say(f"{ordered.left:,} verdicts are left; they are asked call by call")
        tally = decide(
            lambda: iter(served), store, on_progress, concurrency=concurrency, budget=tally.budget, closing=closing
        )
    ordered.close()
    if found is not None:
        tally.cached += found.cached
    return tally
