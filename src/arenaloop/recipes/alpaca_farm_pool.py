"""What a pool of annotators says of the battles of AlpacaFarm's evaluation: asked for, and read back.

The annotators' verdicts are stored under their own keys; the pool finds them once it has taken in what was drawn for
each pair. So whoever reads the battles of a run, another process while it goes on, has the pool take them in first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.annotating import Annotation, AnnotationPlan, Questions, annotate
from arenaloop.calls.answers import Answers
from arenaloop.data.formats.pairs import seed_key
from arenaloop.judges.annotators import Pair
from arenaloop.judges.pooled import PooledLabels
from arenaloop.recipes.parts import Arena
from arenaloop.store import Store
from arenaloop.types import Prompt, Response

__all__ = ["label_all", "read_by_pool", "take_stored"]

_Stored = Callable[[str, Prompt], Response | None]


def read_by_pool(plan: BattlePlan) -> BattlePlan:
    """A plan as its battles are read: of the two seats that a battle has, the one that was asked decides."""
    if isinstance(plan.judge, PooledLabels) and plan.judge.seats == 1:
        return replace(plan, one_seat_failed="use_one")
    return plan


def label_all(arena: Arena, plan: BattlePlan) -> None:
    """Let the pool label the pairs of a plan whose answers are there; what needs nobody is stored first.

    Raises:
        StoppedError: the budget is spent, a server is down or the disk is full; what was stored stays.
    """
    judge, store = plan.judge, arena.store
    assert isinstance(judge, PooledLabels)
    for one in _by_policy(plan, store, arena.settings.concurrency):
        for pair, draw in zip(one.pairs, one.draws(), strict=True):
            for verdict in judge.take(pair, draw, ()) if draw.label is not None else ():
                if store.verdict(verdict.key) is None:
                    store.add_verdict(verdict)
        _take(judge, one, annotate(one, store, arena.observer.tally, budget=arena.budget))


def take_stored(plan: BattlePlan, store: Store) -> None:
    """Let a plan's pool take in what its annotators have said so far; the arena file is only read."""
    assert isinstance(plan.judge, PooledLabels)
    for one in _by_policy(plan, store):
        questions = Questions(one, store)
        _take(plan.judge, one, [questions.label(draw, store) for draw in questions.draws])


def _take(judge: PooledLabels, plan: AnnotationPlan, labels: Sequence[Annotation]) -> None:
    for pair, draw, label in zip(plan.pairs, plan.draws(), labels, strict=True):
        if draw.label is None:
            assert not [*judge.take(pair, draw, label.verdicts)]


def _by_policy(plan: BattlePlan, store: Store, concurrency: int | None = None) -> Iterator[AnnotationPlan]:
    """One policy after the other, each labelled by itself, as AlpacaFarm does.

    So the annotator of a prompt is the same for every policy, and no policy's labels depend on which others there are.
    """
    judge = plan.judge
    assert isinstance(judge, PooledLabels)
    stored: _Stored = Answers(store, plan.contestants, plan.recorded, seed=plan.seed).stored
    prompts = [prompt for prompt_id in plan.prompt_ids if (prompt := store.prompt(prompt_id)) is not None]
    for baseline, policy in plan.schedule.pairs:
        pairs = [
            Pair(prompt, mine, against, seed_key(prompt, {}))
            for prompt in prompts
            if (mine := stored(policy, prompt)) is not None and mine.battles
            if (against := stored(baseline, prompt)) is not None and against.battles
        ]
        yield AnnotationPlan(pairs, judge.pool, judge.seed, concurrency=concurrency)
