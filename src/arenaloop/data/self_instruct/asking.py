"""Asks for new prompts: each call once, stored, and found again, within one budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from arenaloop.calls.answers import Answers, Contestant
from arenaloop.calls.budget import Budget
from arenaloop.calls.estimate import estimate
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.prefetch import Material, materials
from arenaloop.calls.progress import Tally
from arenaloop.calls.reask import ANSWERED
from arenaloop.calls.run import Executor, begin, run
from arenaloop.calls.units import Planned
from arenaloop.data.self_instruct.plan import Call, SelfInstruct, Written
from arenaloop.errors import StoppedError
from arenaloop.store import Store
from arenaloop.types import Response

__all__ = ["SaturatedError", "estimate_writing", "stored", "write"]

_ROOM = "self_instruct"


class SaturatedError(StoppedError):
    """The writer gives nothing new, or no lists at all; the message says what it gave."""


def write(
    plan: SelfInstruct,
    store: Store,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    budget: Budget | None = None,
    written: Written | None = None,
) -> Written:
    """Have the wanted prompts written, or find them; blocking.

    Of a call that failed nothing more is expected once another one has been answered: what follows would be another
    run's.

    Args:
        plan: what is wanted.
        store: where the calls are kept.
        on_progress, budget: as of `calls.run.run` and `calls.run.begin`.
        written: what was written so far is put into it, so that it is known where this stops.

    Raises:
        ConfigError: the budget is in dollars, and the price of the writer is not known.
        SaturatedError: the writer gives nothing new.
        StoppedError: the budget is spent, a server is down, or the arena file cannot be written. What was stored stays.
    """
    state = Written(plan) if written is None else written
    asyncio.run(_write(plan, state, store, on_progress, budget))
    if state.missing:
        told = ", ".join(f"{n:,} {why}" for why, n in state.reasons().items()) or "nothing was read"
        raise SaturatedError(
            f"{plan.writer.name} gives nothing new: {state.saturated}; {len(state.kept):,} of {plan.count:,} new "
            f"prompts kept ({told}); take more or other seeds, another seed, or another model"
        )
    return state


async def _write(
    plan: SelfInstruct,
    state: Written,
    store: Store,
    on_progress: Callable[[Tally], None] | None,
    budget: Budget | None,
) -> None:
    model = plan.writer.asked
    assert model is not None
    tally = begin(store, budget, [model], unit="lists", so_far=_so_far(state))

    def jobs(executor: Executor) -> Iterator[Any]:
        yield _drive(plan, state, store, executor)

    await run(store, tally, jobs, closing=[model], on_progress=on_progress)


def _so_far(state: Written) -> str:
    return f"{min(len(state.kept), state.plan.count):,} of {state.plan.count:,} new prompts kept"


async def _drive(plan: SelfInstruct, state: Written, store: Store, executor: Executor) -> None:
    """Rounds, until there are enough or nothing new comes."""
    identity, tally = plan.identity, executor.tally
    given_up = _given_up(store, identity)
    failed: list[int] = []  # since the last call that was answered
    while not state.over:
        calls = state.next_calls(_block(plan.writer))
        tally.answers_total = max(state.done + len(calls), min(state.done + state.calls_left(), 10 * state.done + 100))
        wanted = [call for call in calls if call.number not in given_up]
        await _ask(plan, wanted, store, executor)
        tally.answers = state.done + len(calls)
        answers, failed_before = _read(plan, calls, store, given_up), len(failed)
        for call, (key, answer) in zip(calls, answers, strict=True):
            state.take(call, answer, key)
            if call.number in given_up:
                continue
            if answer is None or answer.status not in ANSWERED:
                failed.append(call.number)
        answered = len(wanted) > len(failed) - failed_before
        if answered and failed:
            for number in failed:
                store.put_note(_ROOM, f"{identity}/{number}", True, wait=False)
            failed = []
        tally.so_far = _so_far(state)


def _block(writer: Contestant) -> int | None:
    """Calls that a model answers together, whatever is needed, as its answers may depend on their company."""
    return writer.asked.concurrency if writer.local and writer.asked is not None else None


def _given_up(store: Store | None, identity: str) -> set[int]:
    """Calls that failed while others were answered."""
    if store is None:
        return set()
    return {int(key.rpartition("/")[2]) for key, _ in store.notes(_ROOM) if key.startswith(f"{identity}/")}


def _by_sample(calls: Sequence[Call]) -> dict[int, list[Call]]:
    """Calls by how often the same was asked before, so that no answer stands for two."""
    found: dict[int, list[Call]] = {}
    for call in calls:
        found.setdefault(call.sample, []).append(call)
    return found


async def _ask(plan: SelfInstruct, calls: Sequence[Call], store: Store, executor: Executor) -> None:
    store.add_prompts([call.prompt for call in calls])
    store.flush()
    for sample, some in _by_sample(calls).items():
        writer = replace(plan.writer, sample=sample)
        answers = Answers(store, [writer], {}, seed=plan.seed, executor=executor)
        ids = [call.prompt.id for call in some]
        answers.plan_local(ids)
        if writer.local:
            await answers.run_local()
            continue
        missing = iter([one for one in materials(store, ids) if not answers.settle(writer.name, one)])
        workers = plan.concurrency or len(ids)
        ask = partial(_get, answers, writer.name)
        await executor.gate.together(partial(executor.work, missing, ask) for _ in range(min(workers, len(ids))))


async def _get(answers: Answers, name: str, material: Material) -> None:
    await answers.get(name, material)


def _read(
    plan: SelfInstruct, calls: Sequence[Call], store: Store, given_up: set[int]
) -> list[tuple[str, Response | None]]:
    """Key and answer of each call; None of one that was given up."""
    each = {n: Answers(store, [replace(plan.writer, sample=n)], {}, seed=plan.seed) for n in {c.sample for c in calls}}
    out: list[tuple[str, Response | None]] = []
    for call in calls:
        answers = each[call.sample]
        key = answers.key(plan.writer.name, call.prompt.id) or ""
        gone = call.number in given_up
        out.append((key, None if gone else answers.stored(plan.writer.name, call.prompt)))
    return out


# ---------------------------------------------------------------------- before anything is asked


def stored(plan: SelfInstruct, store: Store | None) -> Written:
    """What the arena file holds already, up to the first call that is missing; asks nothing."""
    state, given_up = Written(plan), _given_up(store, plan.identity)
    while store is not None and not state.over:
        calls = state.next_calls(_block(plan.writer))
        for call, (key, answer) in zip(calls, _read(plan, calls, store, given_up), strict=True):
            if answer is None and call.number not in given_up:
                return state
            state.take(call, answer, key)
    return state


def estimate_writing(plan: SelfInstruct, store: Store | None, *, measure: bool = False) -> tuple[Written, Estimate]:
    """What is written already, and what the rest will ask and cost. Reads only.

    Args:
        plan: what is wanted.
        store: the arena file as far as there is one; may be open for reading only.
        measure: as of `calls.estimate.estimate`.
    """
    state = stored(plan, store)
    calls = {} if state.over else _stand_ins(state)
    answers = Answers(store, [plan.writer], {}, seed=plan.seed)

    def planned(numbers: Sequence[str]) -> Iterator[Planned]:
        for number in numbers:
            yield from answers.planned(plan.writer.name, Material(calls[number].prompt))

    share = len(state.kept) / (plan.each * state.done) if state.kept else 0.7
    of = "as so far" if state.kept else "assumed"
    note = f"about: {share:.0%} of what is written is taken to be new ({of}), and examples to be as long as the seeds"
    return state, estimate(planned, list(calls), [plan.writer], store, seed=plan.seed, notes=[note], measure=measure)


def _stand_ins(state: Written) -> dict[str, Call]:
    """Calls like those that will be made, as many as are likely to be needed."""
    wanted = state.calls_left()
    first = state.next_calls()[:wanted]
    return {str(number): first[number % len(first)] for number in range(wanted)}
