"""Contestants' answers: asked once, stored, and found again.

API and scripted models are asked turn by turn as somebody needs them; local models go through fixed chunks in the
background, one model in memory at a time; recorded answers are copied into the arena file before the first call
(`recorded`). Several samples of one model are contestants of their own, told apart by `Contestant.sample`; of those
that a best-of-n contestant's model gives one is chosen, and stored as that contestant's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from arenaloop.calls.best_of_n import choose_best
from arenaloop.calls.budget import Budget
from arenaloop.calls.contestants import Contestant, samples_of
from arenaloop.calls.prefetch import Material, materials
from arenaloop.calls.progress import Tally
from arenaloop.calls.reask import ANSWERED
from arenaloop.calls.run import Executor, begin, run
from arenaloop.calls.turns import TurnUnit
from arenaloop.calls.units import Asked, Planned, Who
from arenaloop.errors import ConfigError
from arenaloop.models.base import ChunkedModel
from arenaloop.models.best_of_n import BestOfN
from arenaloop.models.recorded import RecordedModel
from arenaloop.store import Store, Turn, response_keys, whole_response
from arenaloop.types import Prompt, Request, Response, Sampling

__all__ = ["Answers", "Contestant", "answer", "answer_async", "samples_of"]


@dataclass(slots=True)
class _Chunk:
    """Answers of a local model that are given together: contestants whose answer it is, and prompt ids."""

    members: list[tuple[list[Contestant], str]]
    done: asyncio.Event


class Answers:
    """Finds contestants' answers to stored prompts, and asks for those that are missing.

    Args:
        store: the arena file; prompts and recorded answers are already in it. None only to plan (`planned`, `seat`).
        contestants: who answers.
        recorded: response keys of recorded contestants by prompt id (`recorded.match_recorded`).
        seed: the run's seed; each request derives its own.
        executor: only needed to ask.

    Raises:
        ConfigError: a recorded contestant that `recorded` lacks.
    """

    def __init__(
        self,
        store: Store | None,
        contestants: Sequence[Contestant],
        recorded: Mapping[str, Mapping[str, str]],
        *,
        seed: int,
        executor: Executor | None = None,
    ) -> None:
        self.store = store
        self.contestants = {c.name: c for c in contestants}
        self._drawn = {c.name: c.drawn for c in contestants if isinstance(c.model, BestOfN)}
        self._players = self.contestants | {one.name: one for some in self._drawn.values() for one in some}
        if len(self._players) < len(self.contestants) + sum(map(len, self._drawn.values())):
            raise ConfigError("a contestant has the name of another one's sample (NAME#1, …): give it another name")
        if unmatched := [c.name for c in contestants if c.asked is None and c.name not in recorded]:
            raise ConfigError(f"{unmatched[0]}: its answers are recorded, but were not matched with the prompts")
        self._seed = seed
        self._executor = executor
        self._keys: dict[str, Callable[[str], str | None]] = {
            c.name: recorded[c.name].get
            if isinstance(c.model, RecordedModel)
            else response_keys(c.model.fingerprint, c.sampling.key(), c.sample)
            for c in self._players.values()
        }
        self._chunks: dict[str, dict[str, _Chunk]] = {}  # by contestant and prompt
        self._local: list[list[_Chunk]] = []  # by model
        asked = [c for c in self._players.values() if c.asked is not None and c.name not in self._drawn]
        models = {id(c.asked): Asked(c.asked, c.asked.concurrency) for c in asked if c.asked is not None}
        self._asked = {c.name: models[id(c.asked)] for c in asked}
        self._siblings: dict[str, list[Contestant]] = {}
        for c in asked:  # samples that one call of a server may bring
            same = [other for other in asked if other.asked is c.asked and other.sampling == c.sampling]
            same = [other for other in same if other.part_of == c.part_of]
            if len(same) > 1 and self._asked[c.name].samples > 1:
                self._siblings[c.name] = same

    def key(self, name: str, prompt_id: str) -> str | None:
        """Under which key the answer is stored; None if a recorded contestant has none."""
        return self._keys[name](prompt_id)

    def stored(self, name: str, prompt: Prompt) -> Response | None:
        """The stored answer, also a failed one; None if there is none."""
        key = self.key(name, prompt.id)
        return None if key is None or self.store is None else self.store.response(key, prompt, name)

    def settle(self, name: str, material: Material) -> bool:
        """Put an answer that need not be asked into `material.answers` (None where a recorded one is missing).

        Returns:
            Whether there was nothing to ask.
        """
        if name in material.answers:
            return True
        if name in self._chunks:  # its chunk may be under way
            return False
        prompt = material.prompt
        key = self.key(name, prompt.id)
        if key is None:
            material.answers[name] = None
            return True
        turns: list[Turn] = []
        for turn in range(prompt.turns):
            found = material.turns.get((key, turn))
            if found is None or found[1] not in ANSWERED:
                return False
            turns.append(found)
        material.answers[name] = _response(prompt, name, turns)
        return True

    def planned(self, name: str, material: Material) -> Iterator[Planned]:
        """The turns of an answer, each asked or still to be asked; none of a recorded contestant.

        Those of the best of n are its samples', unless it is chosen.
        """
        if name in self._drawn:
            for one in [] if self.settle(name, material) else self._drawn[name]:
                yield from self.planned(one.name, material)
            return
        c, before = self._players[name], list[str]()
        to_come: tuple[Who, ...] = ()
        for turn in range(material.prompt.turns if c.asked is not None else 0):
            unit = self._unit(c, material, tuple(before))
            yield Planned(unit, to_come)
            stands = unit.stored(0) in ANSWERED
            before.append(material.turns[unit.response_key, turn][0] if stands else "")
            to_come += () if stands else (unit.who,)

    def seat(self, name: str, material: Material) -> tuple[Response, tuple[Who, ...]]:
        """What a judge is shown of an answer, and whose texts are still to come in it (as of `Planned`)."""
        if self.settle(name, material) and (answer := material.answers[name]) is not None:
            return answer, ()
        turns = material.prompt.turns
        return Response(material.prompt.id, name, ("",) * turns), (("contestant", name),) * turns

    async def get(self, name: str, material: Material) -> Response | None:
        """The contestant's answer, asked now unless it is settled; None if a recorded contestant has none.

        A failed answer is returned with its status.

        Raises:
            HaltedError: it would have to be asked, and the run is stopping.
        """
        if name in material.answers:
            return material.answers[name]
        if (waiting := material.waiting.get(name)) is not None:
            return await waiting
        future = material.waiting[name] = asyncio.get_running_loop().create_future()
        try:
            if name in self._chunks:  # whose answers are counted when it is done
                await self._chunks[name][material.prompt.id].done.wait()
                material.answers[name] = self.stored(name, material.prompt)
            else:
                material.answers[name] = await self._answer(self.contestants[name], material)
                self._open.tally.answers += 1
        except BaseException:
            future.cancel()  # whoever waits for it is stopped with the rest
            raise
        response = material.answers[name]
        if not future.done():
            future.set_result(response)
        return response

    @property
    def _open(self) -> Executor:
        assert self._executor is not None, "these answers are for reading"
        return self._executor

    async def _answer(self, c: Contestant, material: Material) -> Response | None:
        if not isinstance(c.model, BestOfN):
            return await self._converse(c, material)
        samples = self._drawn[c.name]
        if isinstance(c.asked, ChunkedModel):
            for one in samples:
                await self._chunks[one.name][material.prompt.id].done.wait()
        else:
            await self._open.gate.together(partial(self._converse, one, material) for one in samples)
        names = (c.name, *(one.name for one in samples))
        key, *keys = [found for name in names if (found := self.key(name, material.prompt.id)) is not None]
        return await choose_best(c.model, c.name, key, keys, material, self._open.store, sample=c.sample)

    async def _converse(self, c: Contestant, material: Material) -> Response | None:
        """Ask turn by turn; the same model under another name is asked once for both."""
        prompt, turns = material.prompt, list[Turn]()
        for _ in range(prompt.turns):
            unit = self._unit(c, material, [text for text, _, _ in turns])
            if not turns and c.name in self._siblings:
                await self._ask_samples(c, material)
            await self._open.settle(unit)
            found = material.turns[unit.response_key, len(turns)]
            turns.append(found)
            if found[1] not in ANSWERED:
                break
        return _response(prompt, c.name, turns)

    def _unit(self, c: Contestant, material: Material, before: Sequence[str]) -> TurnUnit:
        key = self.key(c.name, material.prompt.id)
        assert key is not None
        return TurnUnit(c, self._asked[c.name], material, key, before, self._seed)

    async def _ask_samples(self, c: Contestant, material: Material) -> None:
        """First turns of samples that are missing, by as few calls as the server's ``n`` allows."""
        players = material.players
        same = self._siblings[c.name]
        wanted = [other for other in same if players is None or (other.part_of or other.name) in players]
        units = [self._unit(other, material, ()) for other in wanted]
        missing = [unit for unit in units if unit.stored(0) is None]
        size = self._asked[c.name].samples
        for start in range(0, len(missing), size):
            if len(part := missing[start : start + size]) > 1:
                await self._open.settle_chunk(part)

    # ------------------------------------------------------------------ local models

    def plan_local(self, prompt_ids: Sequence[str]) -> list[str]:
        """Cut the prompts into chunks for each local contestant.

        Returns:
            The order in which prompts become ready: that of the last local contestant; the given order without one.
        """
        order = list(prompt_ids)
        for c in self._players.values():
            if not isinstance(c.model, ChunkedModel) or c.name in self._chunks:
                continue
            kinds: dict[tuple[Sampling, int], list[Contestant]] = {}  # one model under two names answers once
            for other in self._players.values():
                if other.model is c.model:
                    kinds.setdefault((other.sampling, other.sample), []).append(other)
            twins = list(kinds.values())
            # the prompt's id stands in for the key, so that ties in length sort alike for every model
            requests = [
                Request(messages=tuple(p.conversation(())), sampling=one.sampling, sample=at, key=p.id)
                for p in self._prompts(prompt_ids)
                for at, (one, *_) in enumerate(twins)
            ]
            plan = c.model.plan(requests)
            chunks = [_Chunk([(twins[r.sample], r.key) for r in chunk], asyncio.Event()) for chunk in plan]
            for same in twins:
                by_prompt = {i: chunk for chunk in chunks for who, i in chunk.members if who is same}
                self._chunks |= {one.name: by_prompt for one in same}
            self._local.append(chunks)
            order = list(dict.fromkeys(r.key for chunk in plan for r in chunk))
        return order

    def _prompts(self, prompt_ids: Sequence[str]) -> list[Prompt]:
        found = (self._open.store.prompt(i) for i in prompt_ids)
        return [p for p in found if p is not None]

    async def run_local(self) -> None:
        """Answer all planned chunks, one local model in memory at a time."""
        for chunks in self._local:
            for chunk in chunks:
                await self._answer_chunk(chunk)
                self._open.tally.answers += sum(not one.part_of for same, _ in chunk.members for one in same)
                chunk.done.set()
            if len(self._local) > 1 and (model := chunks[0].members[0][0][0].asked) is not None:
                await model.aclose()

    async def _answer_chunk(self, chunk: _Chunk) -> None:
        prompts = {p.id: Material(p) for p in self._prompts(list(dict.fromkeys(i for _, i in chunk.members)))}
        said: dict[str, list[str]] = {}
        generated = False
        for turn in range(max(material.prompt.turns for material in prompts.values())):
            units = []
            for (c, *_), prompt_id in chunk.members:
                material = prompts[prompt_id]
                unit = self._unit(c, material, ())
                unit.before = tuple(said.setdefault(unit.response_key, []))
                if turn < material.prompt.turns and len(unit.before) == turn:  # after a turn that failed none follows
                    if not generated and (stored := self._open.store.turn(unit.response_key, turn)) is not None:
                        material.turns[unit.response_key, turn] = (*stored, "")
                    units.append(unit)
            # Generated again whole, so that an interrupted chunk gives what an unbroken one would have given; and what
            # followed the turns that it had before follows no more.
            if generated or any(self._open.next_sample(unit) is not None for unit in units):
                generated = True
                await self._open.settle_chunk(units, whole=True)
            for unit in units:
                if (found := unit.material.turns.get((unit.response_key, turn))) is not None and found[1] in ANSWERED:
                    said[unit.response_key].append(found[0])


def _response(prompt: Prompt, name: str, turns: Sequence[Turn]) -> Response | None:
    if len(turns) == 1:  # nearly all: the hash of its one text is stored beside it
        ((text, status, text_hash),) = turns
        return Response(prompt.id, name, (text,), status, text_hash)
    return whole_response(prompt, name, lambda turn: turns[turn][:2])


# ---------------------------------------------------------------------- only answers


def answer(
    contestants: Sequence[Contestant], prompt_ids: Sequence[str], store: Store, on_progress: Any = None, **options: Any
) -> Tally:
    """Blocking; see `answer_async`."""
    return asyncio.run(answer_async(contestants, prompt_ids, store, on_progress, **options))


async def answer_async(
    contestants: Sequence[Contestant],
    prompt_ids: Sequence[str],
    store: Store,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    seed: int = 0,
    recorded: Mapping[str, Mapping[str, str]] | None = None,
    who: Callable[[str], Sequence[str]] | None = None,
    concurrency: int | None = None,
    budget: Budget | None = None,
) -> Tally:
    """Ask whoever has to answer, local or not, and nobody to judge.

    Args:
        contestants: who answers; K samples of one model are K contestants (`samples_of`).
        prompt_ids: prompts in the arena file.
        store, on_progress, budget: as of `run.run` and `run.begin`.
        seed, recorded: as of `Answers`.
        who: the names of those that answer a prompt; None for all. Local contestants answer every prompt.
        concurrency: answers in progress at once; None for what the models allow.

    Raises:
        ConfigError: the budget is in dollars, and a price is not known.
        StoppedError: the budget is spent, a server is down, or the arena file cannot be written. What was stored stays.
    """
    models = list({id(m): m for c in contestants if (m := c.asked)}.values())
    names = [c.name for c in contestants]
    local = {c.name for c in contestants if c.local}
    wanted = len(names) * len(prompt_ids) if who is None else sum(len(local.union(who(i))) for i in prompt_ids)
    tally = begin(store, budget, models, answers_total=wanted)
    workers = concurrency or min(512, sum(m.concurrency for m in models if not isinstance(m, ChunkedModel)))
    workers = max(workers, any(isinstance(c.model, BestOfN) for c in contestants))  # who chooses

    def jobs(executor: Executor) -> Iterator[Any]:
        answers = Answers(store, contestants, recorded or {}, seed=seed, executor=executor)
        order = answers.plan_local(prompt_ids)

        def missing() -> Iterator[tuple[str, Material] | None]:
            for material in materials(store, order if workers else ()):
                material.players = names if who is None else who(material.prompt.id)
                for name in material.players:
                    if name in local:
                        continue
                    if answers.settle(name, material):
                        tally.answers += 1
                        yield None
                    else:
                        yield name, material

        async def ask(item: tuple[str, Material]) -> None:
            await answers.get(*item)

        yield answers.run_local()
        items = missing()
        for _ in range(workers):
            yield executor.work(items, ask)

    return await run(store, tally, jobs, closing=models, on_progress=on_progress)
