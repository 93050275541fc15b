"""Prompts that a judge rates by themselves, without an answer: asked once, stored, in batches where that is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arenaloop.calls.batch import Round
from arenaloop.calls.budget import Budget
from arenaloop.calls.embedding import AskedEmbedder, EmbeddingUnit
from arenaloop.calls.estimate import estimate
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, decide
from arenaloop.calls.progress import Tally
from arenaloop.calls.reask import final
from arenaloop.calls.run import begin
from arenaloop.calls.units import Planned, Unit
from arenaloop.config import BatchSettings
from arenaloop.judges.prompts import PromptJudge
from arenaloop.store import Store
from arenaloop.types import Judgement, Prompt

__all__ = ["RatingPlan", "estimate_ratings", "rate", "ratings"]


@dataclass(frozen=True)
class RatingPlan:
    """Who rates which prompts.

    Attributes:
        prompts: each once.
        reask: how often a judgement that cannot be read is asked again.
        seed: of the run.
        concurrency: calls in progress at once; None for what the judge bears.
    """

    judge: PromptJudge
    prompts: Sequence[Prompt]
    reask: int = 2
    seed: int = 0
    concurrency: int | None = None

    def asked(self, store: Store | None) -> AskedJudge:
        """The judge as it is asked."""
        return AskedJudge(self.judge, "0" * 32 if store is None else store.secret, seed=self.seed, reask=self.reask)

    def units(self, asked: AskedJudge, store: Store | None) -> Iterator[JudgeUnit]:
        """A question for each prompt."""
        statuses: InStore = InStore(lambda key: None) if store is None else InStore(store.judgement)
        return (JudgeUnit(asked, (prompt,), statuses) for prompt in self.prompts)


def rate(
    plan: RatingPlan,
    store: Store,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    budget: Budget | None = None,
    batch: BatchSettings | None = None,
    folder: Path | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> None:
    """Ask for every rating that is not stored yet. Blocking.

    Args:
        batch, folder, say: through batch files, as of `batch.Round`; None asks call by call.

    Raises:
        StoppedError: the budget is spent, a server is down, batches are on their way, or the arena file cannot be
            written. What was stored stays.
    """
    store.add_prompts(plan.prompts)
    store.flush()
    asked = plan.asked(store)
    round_: Round | None = None
    if batch is not None:

        async def play(settings: BatchSettings) -> Round:
            tally = begin(store, budget, [plan.judge.model], verdicts_total=len(plan.prompts))
            assert folder is not None
            one = Round([asked], lambda: plan.units(asked, store), store, folder, settings, tally, say)
            await one.run(on_progress)
            return one

        round_ = asyncio.run(play(batch))
    if round_ is None or (batch is not None and batch.rest == "live" and round_.left):
        decide(
            lambda: plan.units(asked, store),
            store,
            on_progress,
            concurrency=plan.concurrency,
            budget=budget,
            closing=[plan.judge],
        )
    if round_ is not None:
        round_.close()


def ratings(plan: RatingPlan, store: Store) -> Mapping[str, Judgement | None]:
    """The judgement that counts of each prompt, by its id; None of one that was never asked about."""

    def of(prompt: Prompt) -> Judgement | None:
        return final(lambda sample: store.judgement(plan.judge.key(prompt, sample)), plan.reask)

    return {prompt.id: of(prompt) for prompt in plan.prompts}


def estimate_ratings(
    plans: Sequence[RatingPlan],
    store: Store | None,
    *,
    before: tuple[AskedEmbedder, Sequence[EmbeddingUnit]] | None = None,
    batch: bool = False,
    measure: bool = False,
    about: str = "",
) -> Estimate:
    """What ratings will ask and cost.

    Args:
        plans: of judges on one model.
        store: the arena file as far as there is one; may be open for reading only.
        before: calls for the prompts' embeddings, and whose.
        batch, measure: as of `calls.estimate.estimate`.
        about: what was assumed of the prompts.
    """
    asked = [plan.asked(store) for plan in plans]
    units: list[Unit] = [unit for plan, one in zip(plans, asked, strict=True) for unit in plan.units(one, store)]
    labels = len(units)
    if before is not None:
        units += before[1]

    def planned(numbers: Sequence[str]) -> Iterator[Planned]:
        return (Planned(units[int(number)]) for number in numbers)

    numbers = [str(number) for number in range(len(units))]
    notes = (about,) if about else ()
    return estimate(
        planned,
        numbers,
        [*asked, *([] if before is None else [before[0]])],
        store,
        seed=plans[0].seed if plans else 0,
        labels=labels,
        batch=batch,
        notes=notes,
        measure=measure,
    )
