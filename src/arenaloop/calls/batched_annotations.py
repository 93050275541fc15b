"""Labels of a pool through batches: every pair is a request by itself, so that a file's lines come in any order.

What no model is asked for (rules, recorded labels, synthetic annotators) is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

from arenaloop.calls.annotating import Annotation, AnnotationPlan, Questions
from arenaloop.calls.batch import Round, open_batches, server_of, try_logprobs
from arenaloop.calls.budget import Budget
from arenaloop.calls.judging import AskedJudge, JudgeUnit, decide
from arenaloop.calls.progress import Tally
from arenaloop.calls.recorded import ingest_pairs
from arenaloop.calls.run import begin
from arenaloop.config import BatchSettings
from arenaloop.store import Store

__all__ = ["annotate_batches", "check_batched"]


def check_batched(plan: AnnotationPlan) -> None:
    """Refuse annotators whose calls cannot stand in a batch file.

    Raises:
        ConfigError: says which.
    """
    for member in plan.pool.members:
        if getattr(member, "model", None) is not None:
            server_of(AskedJudge(member, ""))


def annotate_batches(
    plan: AnnotationPlan,
    store: Store,
    folder: Path,
    settings: BatchSettings,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    budget: Budget | None = None,
    say: Callable[[str], object] = lambda line: None,
    sleep: Callable[[float], Awaitable[object]] | None = None,
) -> list[Annotation]:
    """Order everything that is not stored yet, and give all labels, vote by vote. Blocking.

    Args:
        plan, on_progress, budget: as of `annotate`.
        store, folder, settings, say, sleep: as of `Round`.

    Raises:
        ConfigError: as `check_batched`.
        StoppedError: as of `Round.run`; what was ordered is collected by the same call.
    """
    check_batched(plan)
    questions = Questions(replace(plan, alone=True), store)
    ingest_pairs(store, questions.pairs())
    store.flush()  # lines of a request file find their texts there
    units = cast(list[JudgeUnit], questions.calls())
    if free := [unit for unit in units if unit.asked.model is None]:
        decide(lambda: iter(free), store)
    served = [unit for unit in units if unit.asked.model is not None]
    judges = list({id(unit.asked): unit.asked for unit in served}.values())

    async def run() -> Round:
        tally = begin(store, budget, [model for one in judges if (model := one.model) is not None])
        tally.verdicts_total = len(served)
        if not settings.folder and not open_batches(store, plan.judges):
            await try_logprobs(judges, lambda: iter(served), store, tally)
        ordered = Round(judges, lambda: iter(served), store, folder, settings, tally, say, sleep)
        await ordered.run(on_progress)
        if on_progress:
            on_progress(tally)
        return ordered

    ordered = asyncio.run(run())
    if settings.rest == "live" and ordered.left:
        say(f"{ordered.left:,} verdicts are left; they are asked call by call")
        decide(
            lambda: iter(served),
            store,
            on_progress,
            concurrency=plan.concurrency,
            budget=ordered.tally.budget,
            closing=plan.pool.members,
        )
    ordered.close()
    return questions.labels(store)
