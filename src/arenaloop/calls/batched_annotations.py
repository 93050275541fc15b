"""Labels of a pool through batches: every pair is a request by itself, so that a file's lines come in any order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

from arenaloop.calls.annotating import Annotation, AnnotationPlan, Questions
from arenaloop.calls.batched import check_batched, decide_batched
from arenaloop.calls.budget import Budget
from arenaloop.calls.judging import JudgeUnit
from arenaloop.calls.progress import Tally
from arenaloop.calls.recorded import ingest_pairs
from arenaloop.config import BatchSettings
from arenaloop.store import Store

__all__ = ["annotate_batches"]


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
        store, folder, settings, say, sleep: as of `decide_batched`.

    Raises:
        ConfigError, StoppedError: as of `decide_batched`.
    """
    check_batched(plan.pool.members)
    ingest_pairs(store, (pair[:3] for pair in plan.pairs))
    questions = Questions(replace(plan, alone=True), store)
    decide_batched(
        cast(list[JudgeUnit], questions.calls()),
        store,
        folder,
        settings,
        on_progress,
        concurrency=plan.concurrency,
        budget=budget,
        closing=plan.pool.members,
        say=say,
        sleep=sleep,
    )
    return questions.labels(store)
