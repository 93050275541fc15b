"""A plan judged through batches: contestants answer as in a live run, then everything that is missing is ordered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from arenaloop.arena.battles import asked_judges, play_async
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.planned import planned_units
from arenaloop.calls.answers import Answers, answer_async
from arenaloop.calls.batch import Round, open_batches, server_of, try_logprobs
from arenaloop.calls.budget import Budget
from arenaloop.calls.judging import JudgeUnit
from arenaloop.calls.prefetch import materials
from arenaloop.calls.progress import Tally
from arenaloop.calls.run import begin
from arenaloop.config import BatchSettings
from arenaloop.errors import ConfigError
from arenaloop.store import Store

__all__ = ["check_batches", "play_batches"]


def check_batches(plan: BattlePlan) -> None:
    """Refuse what cannot go through batch files: a judge that is on no server, pairs that hang on earlier verdicts.

    Raises:
        ConfigError: says which.
    """
    if plan.schedule.wanted is not None:
        raise ConfigError("batches need pairs that are known before the first verdict: all, target:NAME or sample:N")
    for asked in asked_judges(plan, ""):
        server_of(asked)


def play_batches(
    plan: BattlePlan,
    store: Store,
    folder: Path,
    settings: BatchSettings,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    budget: Budget | None = None,
    say: Callable[[str], object] = lambda line: None,
    sleep: Callable[[float], Awaitable[object]] | None = None,
) -> Tally:
    """Answer everything, then judge what is missing through batches (`calls.batch.Round`). Blocking.

    Args:
        plan, on_progress, budget: as of `play`; the judges stand on OpenAI-style servers.
        store, folder, settings, say, sleep: as of `Round`.

    Raises:
        ConfigError: a judge whose calls cannot stand in a batch file; a budget in dollars without a price.
        StoppedError: as of `Round.run` and `play`.
    """
    check_batches(plan)

    async def run() -> Tally:
        tally = begin(store, budget, plan.models)
        if any(c.asked for c in plan.contestants):
            tally = await answer_async(
                plan.contestants,
                plan.prompt_ids,
                store,
                on_progress,
                seed=plan.seed,
                recorded=plan.recorded,
                who=plan.players,
                concurrency=plan.concurrency,
                budget=tally.budget,
            )
        tally.verdicts_total = plan.verdicts
        judges = asked_judges(plan, store.secret)

        def units() -> Iterator[JudgeUnit | None]:
            answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed)
            on = materials(store, [i for i in plan.prompt_ids if plan.schedule.on(i)])
            for unit, to_come in planned_units(plan, answers, judges, on):
                if isinstance(unit, JudgeUnit):
                    yield None if to_come else unit

        if not settings.folder and not open_batches(store, plan.judges):
            await try_logprobs(judges, units, store, tally)
        round_ = Round(judges, units, store, folder, settings, tally, say, sleep)
        await round_.run(on_progress)
        if settings.rest == "live" and round_.left:
            say(f"{round_.left:,} verdicts are left; they are asked call by call")
            rest = await play_async(plan, store, on_progress, budget=tally.budget)
            rest.calls += tally.calls
            rest.usd = None if rest.usd is None or tally.usd is None else rest.usd + tally.usd
            rest.usd_estimated += tally.usd_estimated
            tally = rest
        round_.close()
        if on_progress:
            on_progress(tally)
        return tally

    return asyncio.run(run())
