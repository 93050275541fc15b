"""Every server is asked once before anything else is bought or trained: a wrong key or URL costs one call, not a night.

What is asked is a part of what is wanted anyway: a few battles on the first prompt, so that each server that answers
and each that judges is asked. Answers and verdicts are stored and not asked again. Where no such battle is known yet
(pairs are chosen as verdicts come in, all need a model of this process, or a recipe's own models are to be trained
first), servers answer the first prompt, and each judge compares two lines of ours there: a call that nothing else
needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from arenaloop.arena.attribution import blames_server
from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Pair, Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Answers, Contestant, answer
from arenaloop.calls.budget import Budget
from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, decide
from arenaloop.calls.recorded import ingest_pairs
from arenaloop.errors import BudgetSpentError, EndpointDownError
from arenaloop.judges.base import Judge
from arenaloop.judges.unread import UNREAD, Unread, why_unread
from arenaloop.models.advice import advice
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.store import Store
from arenaloop.types import Prompt, Response, Status, Verdict

__all__ = ["Preflight", "preflight", "scouts"]


class Preflight(NamedTuple):
    """What was seen: how many calls were made, and a line for each judge whose answer could not be read."""

    calls: int = 0
    warnings: tuple[str, ...] = ()


def scouts(plan: BattlePlan) -> BattlePlan | None:
    """The few battles on the first prompt in which every server takes part; None where none is known or can be fought.

    Models in this process are left out: what they answer or judge in one chunk is not to depend on this.
    """
    local = {c.name for c in plan.contestants if c.local}
    judged = _served_judges(plan)
    if plan.schedule.wanted is not None or any(map(_chunked, plan.judges)):
        return None
    first = next((i for i in plan.prompt_ids if plan.schedule.on(i)), None)
    if first is None:
        return None
    chosen: list[Pair] = []
    left = {one.name for one in _servers(plan)}
    for pair in plan.schedule.on(first):
        if not local & {*pair} and (left & {*pair} or (judged and not chosen)):
            chosen.append(pair)
            left -= {*pair}
    if not chosen:
        return None
    playing = [one for one in plan.contestants if any(one.name in pair for pair in chosen)]
    return replace(plan, contestants=playing, prompt_ids=[first], schedule=Schedule(tuple(chosen)), reask=0)


def preflight(plan: BattlePlan, store: Store, budget: Budget | None = None, *, judging: bool = True) -> Preflight:
    """Ask each server of a plan once, and see that it answers.

    Args:
        plan: the whole of what is wanted; its prompts are in the arena file.
        judging: whether judges are asked, too; not where their verdicts are ordered in batches.

    Raises:
        EndpointDownError: a server, the model's name or the key is not as it should be; says which.
        StoppedError: as of `play`, but for a budget that is spent: whoever goes on says so.
    """
    if not plan.prompt_ids or not (_servers(plan) or _served_judges(plan)):
        return Preflight()
    few = scouts(plan) if judging else None
    try:
        calls = 0 if few is None else play(few, store, budget=budget).calls
        fought = set() if few is None else {one.name for one in few.contestants}
        alone = [one for one in _servers(plan) if one.name not in fought]
        first = plan.prompt_ids[0] if few is None else few.prompt_ids[0]
        if alone:
            asked = answer(alone, [first], store, seed=plan.seed, concurrency=plan.concurrency, budget=budget)
            calls += asked.calls
        judges = _served_judges(plan) if judging and few is None else []
        prompt = store.prompt(first)
        assert prompt is not None
        if judges:
            calls += _compare(judges, prompt, plan, store, budget)
    except BudgetSpentError:
        return Preflight()
    store.flush()
    said = _answered(plan, [*(few.contestants if few is not None else ()), *alone], prompt, store)
    if few is None:
        found = {judge.name: _own_verdicts(judge, prompt, store) for judge in judges}
    else:
        found = {judge.name: _verdicts(judge, few, prompt, said, store) for judge in few.judges}
    asked_judges = judges if few is None else few.judges
    lines = [line for judge in asked_judges if (line := _checked(judge, found[judge.name])) is not None]
    return Preflight(calls, tuple(lines))


_OWN = ("One.", "Two, in a few more words.")
"""What a judge compares where no answer is there yet."""


def _servers(plan: BattlePlan) -> list[Contestant]:
    return [one for one in plan.contestants if isinstance(one.asked, OpenAIModel)]


def _served_judges(plan: BattlePlan) -> list[Judge]:
    return [judge for judge in plan.judges if isinstance(getattr(judge, "model", None), OpenAIModel)]


def _chunked(judge: Judge) -> bool:
    return bool(getattr(getattr(judge, "model", None), "chunk_size", None))


def _own(prompt: Prompt) -> tuple[Response, Response]:
    one, two = (Response(prompt.id, "preflight", (text,) * prompt.turns) for text in _OWN)
    return one, two


def _compare(judges: Sequence[Judge], prompt: Prompt, plan: BattlePlan, store: Store, budget: Budget | None) -> int:
    """Let each judge compare two lines of ours, from one seat; how many calls that took."""
    pair = _own(prompt)
    ingest_pairs(store, [(prompt, *pair)])
    store.flush()
    statuses = InStore(store.verdict)
    units = [
        JudgeUnit(AskedJudge(judge, store.secret, seed=plan.seed, reask=0), (prompt, *pair), statuses)
        for judge in judges
    ]
    return decide(lambda: iter(units), store, concurrency=plan.concurrency, budget=budget, closing=judges).calls


def _own_verdicts(judge: Judge, prompt: Prompt, store: Store) -> list[Verdict]:
    found = store.verdict(judge.key(prompt, *_own(prompt)))
    return [] if found is None else [found]


def _answered(plan: BattlePlan, contestants: Sequence[Contestant], prompt: Prompt, store: Store) -> dict[str, Response]:
    """What was answered; raises EndpointDownError where a server is to blame that it was not."""
    answers = Answers(store, contestants, plan.recorded, seed=plan.seed)
    stored = store.responses_of(prompt)
    said: dict[str, Response] = {}
    for one in contestants:
        key = answers.key(one.name, prompt.id) or ""
        if (response := stored.get(key)) is None:
            continue
        said[one.name] = response
        if response.status is Status.ERROR and blames_server(error := store.answer_error(key)):
            raise _down(f"model {one.name}", error)
    return said


def _verdicts(
    judge: Judge, few: BattlePlan, prompt: Prompt, said: Mapping[str, Response], store: Store
) -> list[Verdict]:
    return [
        found
        for one, two in few.seatings(prompt.id, few.schedule.on(prompt.id))
        if one in said and two in said and said[one].battles and said[two].battles
        if (found := store.verdict(judge.key(prompt, said[one], said[two]))) is not None
    ]


def _checked(judge: Judge, verdicts: Sequence[Verdict]) -> str | None:
    """A line where none of its verdicts could be read; raises EndpointDownError where its server is to blame."""
    failed = [verdict for verdict in verdicts if verdict.status is Status.ERROR]
    if failed and len(failed) == len(verdicts) and blames_server(failed[0].error):
        raise _down(f"judge {judge.name}", failed[0].error)
    unread = [Unread(verdict.status, verdict.raw) for verdict in verdicts if verdict.status in UNREAD]
    return why_unread(judge, unread) if unread and len(unread) == len(verdicts) else None


def _down(who: str, error: str | None) -> EndpointDownError:
    return EndpointDownError(f"{who}: its first call failed, and nothing else was asked: {error}{advice(error or '')}")
