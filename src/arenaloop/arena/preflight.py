"""Every server is asked once before anything else is bought or trained: a wrong key or URL costs one call, not a night.

What is asked is a part of what is wanted anyway: a few battles on the first prompt, so that each server that answers
and each that judges is asked. Answers and verdicts are stored and not asked again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from arenaloop.arena.attribution import blames_server
from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Pair, Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Answers
from arenaloop.calls.budget import Budget
from arenaloop.errors import BudgetSpentError, EndpointDownError
from arenaloop.judges.unread import UNREAD, Unread, why_unread
from arenaloop.models.advice import advice
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.store import Store
from arenaloop.types import Response, Status

__all__ = ["Preflight", "preflight", "scouts"]


class Preflight(NamedTuple):
    """What was seen: how many calls were made, and a line for each judge whose answer could not be read."""

    calls: int = 0
    warnings: tuple[str, ...] = ()


def scouts(plan: BattlePlan) -> BattlePlan | None:
    """The few battles on the first prompt in which every server takes part; None where there is nothing to find out.

    Models in this process are left out: what they answer in one chunk is not to depend on this.
    """
    local = {c.name for c in plan.contestants if c.local}
    servers = {c.name for c in plan.contestants if isinstance(c.asked, OpenAIModel)}
    judged = any(isinstance(getattr(judge, "model", None), OpenAIModel) for judge in plan.judges)
    if plan.schedule.wanted is not None or not (servers or judged):
        return None
    if any(getattr(getattr(judge, "model", None), "chunk_size", None) for judge in plan.judges):
        return None
    first = next((i for i in plan.prompt_ids if plan.schedule.on(i)), None)
    if first is None:
        return None
    chosen: list[Pair] = []
    left = set(servers)
    for pair in plan.schedule.on(first):
        if not local & {*pair} and (left & {*pair} or (judged and not chosen)):
            chosen.append(pair)
            left -= {*pair}
    if not chosen:
        return None
    return replace(plan, prompt_ids=[first], schedule=Schedule(tuple(chosen)), reask=0)


def preflight(plan: BattlePlan, store: Store, budget: Budget | None = None) -> Preflight:
    """Ask each server of a plan once, and see that it answers.

    Args:
        plan: the whole of what is wanted; its prompts are in the arena file.

    Raises:
        EndpointDownError: a server, the model's name or the key is not as it should be; says which.
        StoppedError: as of `play`, but for a budget that is spent: whoever goes on says so.
    """
    few = scouts(plan)
    if few is None:
        return Preflight()
    try:
        tally = play(few, store, budget=budget)
    except BudgetSpentError:
        return Preflight()
    store.flush()
    prompt = store.prompt(few.prompt_ids[0])
    assert prompt is not None
    answers = Answers(store, few.contestants, few.recorded, seed=few.seed)
    stored = store.responses_of(prompt)
    said: dict[str, Response] = {}
    for name in few.players(prompt.id):
        key = answers.key(name, prompt.id) or ""
        if (response := stored.get(key)) is None:
            continue
        said[name] = response
        if response.status is Status.ERROR and blames_server(error := store.answer_error(key)):
            raise _down(f"model {name}", error)
    warnings = []
    for judge in few.judges:
        verdicts = [
            found
            for one, two in few.seatings(prompt.id, few.schedule.on(prompt.id))
            if one in said and two in said and said[one].battles and said[two].battles
            if (found := store.verdict(judge.key(prompt, said[one], said[two]))) is not None
        ]
        failed = [verdict for verdict in verdicts if verdict.status is Status.ERROR]
        if failed and len(failed) == len(verdicts) and blames_server(failed[0].error):
            raise _down(f"judge {judge.name}", failed[0].error)
        unread = [Unread(verdict.status, verdict.raw) for verdict in verdicts if verdict.status in UNREAD]
        if unread and len(unread) == len(verdicts):
            warnings.append(why_unread(judge, unread))
    return Preflight(tally.calls, tuple(warnings))


def _down(who: str, error: str | None) -> EndpointDownError:
    return EndpointDownError(f"{who}: its first call failed, and nothing else was asked: {error}{advice(error or '')}")
