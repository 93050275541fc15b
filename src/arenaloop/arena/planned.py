"""What a plan comes to, unit by unit: for batches, and for the estimate before a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from arenaloop.arena.battles import asked_judges
from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Answers
from arenaloop.calls.costs import CROWD_WORKER, HumanLabel
from arenaloop.calls.estimate import estimate
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.judging import AskedJudge, JudgeUnit
from arenaloop.calls.prefetch import Material, materials
from arenaloop.calls.recorded import materials_to_be
from arenaloop.calls.units import Planned
from arenaloop.store import Store
from arenaloop.types import Prompt

__all__ = ["estimate_plan", "planned_units"]


def planned_units(
    plan: BattlePlan, answers: Answers, judges: Sequence[AskedJudge], on: Iterable[Material]
) -> Iterator[Planned]:
    """All that a plan asks on some prompts, stored or not: turns of answers, and each judge about each seating."""
    local = [c.name for c in plan.contestants if c.local]  # these answer every prompt
    for material in on:
        prompt = material.prompt
        players = plan.players(prompt.id)
        for name in dict.fromkeys([*players, *local]):
            yield from answers.planned(name, material)
        seats = {name: answers.seat(name, material) for name in players}
        for one, two in plan.seatings(prompt.id, plan.schedule.on(prompt.id)):
            (first, first_to_come), (second, second_to_come) = seats[one], seats[two]
            for asked in judges:
                unit = JudgeUnit(asked, (prompt, first, second), material.verdicts)
                yield Planned(unit, first_to_come + second_to_come)


def estimate_plan(
    plan: BattlePlan,
    prompt_of: Callable[[str], Prompt | None],
    store: Store | None,
    *,
    sample: int = 200,
    batch: bool = False,
    human: HumanLabel = CROWD_WORKER,
    measure: bool = False,
    stored: bool = False,
) -> Estimate:
    """Estimate what a plan will ask and cost; prompts and recorded answers need not be in the arena file yet.

    Args:
        plan: what is to be fought.
        prompt_of: a prompt by its id.
        store: the arena file as far as there is one; may be open for reading only.
        sample, batch, human, measure: as of `estimate`.
        stored: all prompts and answers are in the arena file.
    """
    notes = []
    if plan.schedule.wanted is not None:
        names = [c.name for c in plan.contestants]
        plan = replace(plan, schedule=schedule(f"sample:{plan.battles}", names, plan.prompt_ids, plan.seed))
        notes.append("about: pairs are chosen as verdicts come in; here they are drawn uniformly")
    answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed)
    judges = asked_judges(plan, "0" * 32 if store is None else store.secret)

    def planned(prompt_ids: Sequence[str]) -> Iterator[Planned]:
        if stored and store is not None:
            return planned_units(plan, answers, judges, materials(store, prompt_ids))
        prompts = [prompt for i in prompt_ids if (prompt := prompt_of(i)) is not None]
        return planned_units(plan, answers, judges, materials_to_be(store, plan.contestants, prompts, plan.recorded))

    local = any(c.local for c in plan.contestants)
    ids = [i for i in plan.prompt_ids if local or plan.schedule.on(i)]
    return estimate(
        planned,
        ids,
        [*plan.contestants, *judges],
        store,
        each=max(1, -(-plan.verdicts // max(1, len(ids)))),
        sample=sample,
        seed=plan.seed,
        batch=batch,
        labels=plan.battles,
        human=human,
        notes=notes,
        measure=measure,
    )
