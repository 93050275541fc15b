"""Contestants' answers: asked once, stored, and found again.

API and scripted models are asked turn by turn as battles need them; local models go through fixed chunks in the
background, one model in memory at a time; recorded answers are copied into the arena file before the first call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from arenaloop.calls.gate import Gate
from arenaloop.calls.prefetch import Material, Turn
from arenaloop.calls.recorded import PackedKeys, places
from arenaloop.errors import InputError
from arenaloop.models.base import ChunkedModel, Model
from arenaloop.models.recorded import RecordedModel, match_keys
from arenaloop.store import Store, recorded_key, response_key, response_keys, whole_response
from arenaloop.types import (
    Completion,
    Message,
    Prompt,
    Request,
    Response,
    Sampling,
    Status,
    content_hash,
    derive_seed,
)

__all__ = ["Answers", "Contestant", "ingest_recorded", "match_recorded"]

_NO_ANSWER = (Status.ERROR, Status.REFUSED)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model in the arena, under the name that leaderboards show, and how it decodes."""

    name: str
    model: Model | RecordedModel
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def asked(self) -> Model | None:
        """The model, or None if its answers are recorded and nothing can be asked."""
        return None if isinstance(self.model, RecordedModel) else self.model

    @property
    def local(self) -> bool:
        """Whether it answers in chunks on this machine."""
        return isinstance(self.model, ChunkedModel)


def match_recorded(
    contestants: Sequence[Contestant], prompts: Sequence[Prompt], *, allow_missing: bool = False
) -> dict[str, PackedKeys]:
    """Find which recorded answer belongs to which prompt, without keeping the texts.

    Returns:
        For each recorded contestant, response keys by prompt id.

    Raises:
        InputError: a file lacks answers for some prompts (says how many), unless `allow_missing`; or it is malformed.
    """
    recorded = [c for c in contestants if isinstance(c.model, RecordedModel)]
    if not recorded:
        return {}
    ids_by_key = _ids_by_key(prompts)
    turns = {prompt.id: prompt.turns for prompt in prompts}
    place = places(turns)
    found: dict[str, PackedKeys] = {}
    for c in recorded:
        assert isinstance(c.model, RecordedModel)
        keys = found.setdefault(c.name, PackedKeys(place))
        for answer in c.model.rows():
            for prompt_id in {i for key in answer.keys for i in ids_by_key.get(key, ())}:
                if len(answer.texts) == turns[prompt_id]:
                    keys.add(prompt_id, recorded_key(prompt_id, answer.texts))
        missing = len(prompts) - len(keys)
        if missing and not allow_missing:
            raise InputError(
                f"{c.model.path}: no answer for {missing} of {len(prompts)} prompts "
                f"({c.name}; --allow-missing, in a recipe allow_missing: true, goes on with the rest)"
            )
    return found


def _ids_by_key(prompts: Iterable[Prompt]) -> dict[str, list[str]]:
    """Prompt ids by match key; prompts that differ in their system message alone share the key of their text."""
    ids: dict[str, list[str]] = {}
    for prompt in prompts:
        for key in match_keys(prompt):
            ids.setdefault(key, []).append(prompt.id)
    return ids


def ingest_recorded(
    store: Store, contestants: Sequence[Contestant], prompts: Sequence[Prompt], found: Mapping[str, Mapping[str, str]]
) -> None:
    """Copy the matched recorded answers into the arena file; those already there are left alone."""
    for c in contestants:
        if not isinstance(c.model, RecordedModel):
            continue
        wanted = found[c.name]
        ids_by_key = _ids_by_key(p for p in prompts if p.id in wanted)
        done: set[str] = set()
        for answer in c.model.rows():
            for prompt_id in {i for key in answer.keys for i in ids_by_key.get(key, ())} - done:
                key = recorded_key(prompt_id, answer.texts)
                if key != wanted[prompt_id]:
                    continue
                done.add(prompt_id)
                if store.turn(key, 0) is None:
                    turns = range(len(answer.texts))
                    store.add_turns([_recorded_row(key, turn, prompt_id, c.name, answer.texts) for turn in turns])
    store.flush()


def _recorded_row(
    key: str, turn: int, prompt_id: str, name: str, texts: tuple[str, ...]
) -> tuple[str, int, str, str, Completion, str]:
    text = texts[turn]
    status = Status.OK if text.strip() else Status.EMPTY
    completion = Completion(text=text, status=status, finish_reason="recorded", usd=0.0, calls=0)
    return key, turn, prompt_id, name, completion, content_hash(list(texts[: turn + 1]))


@dataclass(slots=True)
class _Chunks:
    """Which chunk of a local model each prompt is in, and which chunks are done."""

    index: dict[str, int]
    done: list[asyncio.Event] = field(default_factory=list)


class Answers:
    """Asks contestants for answers to stored prompts, each at most once per invocation.

    Args:
        store: the arena file; prompts and recorded answers are already in it.
        contestants: who answers.
        recorded: response keys of recorded contestants by prompt id (`match_recorded`).
        seed: the run's seed; each request derives its own.
        gate: lets calls begin; only needed to ask.
        sample: index of this sample among several answers to the same prompt.
    """

    def __init__(
        self,
        store: Store,
        contestants: Sequence[Contestant],
        recorded: Mapping[str, Mapping[str, str]],
        *,
        seed: int,
        gate: Gate | None = None,
        sample: int = 0,
    ) -> None:
        self.store = store
        self.contestants = {c.name: c for c in contestants}
        self._recorded = recorded
        self._seed = seed
        self._sample = sample
        self._gate = gate
        self._keys: dict[str, Callable[[str], str]] = {}
        self._limits: dict[int, asyncio.Semaphore] = {}
        self._chunks: dict[str, _Chunks] = {}
        self._talking: dict[str, asyncio.Future[None]] = {}  # conversations under way, by response key
        self._asked: set[str] = set()  # failures of this invocation: not asked again before the next one

    def key(self, name: str, prompt_id: str) -> str | None:
        """Under which key the answer is stored; None if a recorded contestant has none."""
        c = self.contestants[name]
        if isinstance(c.model, RecordedModel):
            return self._recorded[name].get(prompt_id)
        if (keys := self._keys.get(name)) is None:
            keys = self._keys[name] = response_keys(c.model.fingerprint, c.sampling.key(), self._sample)
        return keys(prompt_id)

    def stored(self, name: str, prompt: Prompt) -> Response | None:
        """The stored answer, also a failed one; None if there is none."""
        key = self.key(name, prompt.id)
        return None if key is None else self.store.response(key, prompt, name)

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
            if found is None or (found[1] in _NO_ANSWER and key not in self._asked):
                return False
            turns.append(found)
            if found[1] in _NO_ANSWER:
                break
        material.answers[name] = _response(prompt.id, name, turns)
        return True

    async def get(self, name: str, material: Material) -> Response | None:
        """The contestant's answer, asked now if need be; None if a recorded contestant has none.

        The caller asks once per (contestant, prompt) at a time. A failed answer is returned with its status.

        Raises:
            HaltedError: it would have to be asked, and the run is stopping.
        """
        c, prompt = self.contestants[name], material.prompt
        if name in self._chunks:
            chunks = self._chunks[name]
            await chunks.done[chunks.index[prompt.id]].wait()
            return self.stored(name, prompt)
        if not self.settle(name, material):
            assert not isinstance(c.model, RecordedModel)
            limit = self._limits.setdefault(id(c.model), asyncio.Semaphore(c.model.concurrency))
            material.answers[name] = await self._converse(c, c.model, material, limit)
        self._open_gate.tally.answers += 1  # those of a chunk were counted when it was done
        return material.answers[name]

    @property
    def _open_gate(self) -> Gate:
        assert self._gate is not None, "these answers are for reading"
        return self._gate

    async def _converse(self, c: Contestant, model: Model, material: Material, limit: asyncio.Semaphore) -> Response:
        prompt, stored = material.prompt, material.turns
        key = response_key(prompt.id, model.fingerprint, c.sampling.key(), self._sample)
        while (twin := self._talking.get(key)) is not None:  # the same model under another name: one answer for both
            await twin
        done = self._talking[key] = asyncio.get_running_loop().create_future()
        turns: list[Turn] = []
        try:
            for turn in range(prompt.turns):
                found = stored.get((key, turn))
                if found is None or (found[1] in _NO_ANSWER and key not in self._asked):
                    found = stored[key, turn] = await self._ask(c, model, prompt, key, [t[0] for t in turns], limit)
                turns.append(found)
                if found[1] in _NO_ANSWER:
                    break
        finally:
            del self._talking[key]
            if not done.done():  # a twin that is cancelled while it waits cancels what it waits for
                done.set_result(None)
        return _response(prompt.id, c.name, turns)

    async def _ask(
        self, c: Contestant, model: Model, prompt: Prompt, key: str, before: Sequence[str], limit: asyncio.Semaphore
    ) -> Turn:
        """Ask for one turn and store it."""
        ticket, calls = self._open_gate.ticket, 0
        usd: float | None = 0.0
        async with limit:
            try:
                if not getattr(model, "queues", False):
                    ticket.enter()
                completion = await model.complete(self._request(c, prompt, before, key))
                text_hash = content_hash([*before, completion.text])
                self.store.add_turns([(key, len(before), prompt.id, c.name, completion, text_hash)])
                calls, usd = completion.calls, completion.usd
            finally:
                ticket.leave(calls, usd)
        self._count(key, completion)
        return completion.text, completion.status, text_hash

    def _request(self, c: Contestant, prompt: Prompt, texts: Sequence[str], key: str) -> Request:
        messages: tuple[Message, ...] = tuple(prompt.conversation(texts))
        seed = derive_seed("answer", self._seed, key, len(texts))
        return Request(messages=messages, sampling=c.sampling, sample=self._sample, seed=seed, key=key)

    def _count(self, key: str, completion: Completion) -> None:
        if completion.status in _NO_ANSWER:
            self._asked.add(key)
            self._open_gate.tally.failed += 1

    # ------------------------------------------------------------------ local models

    def plan_local(self, prompt_ids: Sequence[str]) -> list[str]:
        """Cut the stage's prompts into chunks for each local contestant.

        Returns:
            The order in which prompts become ready: that of the last local contestant; the given order without one.
        """
        order = list(prompt_ids)
        for c in self.contestants.values():
            if not c.local:
                continue
            assert isinstance(c.model, ChunkedModel)
            # the prompt's id stands in for the key, so that ties in length sort alike for every model
            requests = [
                Request(messages=tuple(p.conversation(())), sampling=c.sampling, key=p.id)
                for p in self._prompts(prompt_ids)
            ]
            plan = c.model.plan(requests)
            index = {r.key: i for i, chunk in enumerate(plan) for r in chunk}
            self._chunks[c.name] = _Chunks(index, [asyncio.Event() for _ in plan])
            order = [r.key for chunk in plan for r in chunk]
        return order

    def _prompts(self, prompt_ids: Sequence[str]) -> list[Prompt]:
        found = (self.store.prompt(i) for i in prompt_ids)
        return [p for p in found if p is not None]

    async def run_local(self) -> None:
        """Answer all planned chunks, one local model in memory at a time."""
        names = list(self._chunks)
        for name in names:
            c, chunks = self.contestants[name], self._chunks[name]
            members: list[list[str]] = [[] for _ in chunks.done]
            for prompt_id, i in chunks.index.items():
                members[i].append(prompt_id)
            for ids, done in zip(members, chunks.done, strict=True):
                await self._answer_chunk(c, self._prompts(ids))
                self._open_gate.tally.answers += len(ids)
                done.set()
            if len(names) > 1:
                assert not isinstance(c.model, RecordedModel)
                await c.model.aclose()

    async def _answer_chunk(self, c: Contestant, prompts: Sequence[Prompt]) -> None:
        assert isinstance(c.model, ChunkedModel)
        keys = {p.id: response_key(p.id, c.model.fingerprint, c.sampling.key(), self._sample) for p in prompts}
        before: dict[str, list[str]] = {p.id: [] for p in prompts}
        generated = False
        for turn in range(max(p.turns for p in prompts)):
            live = [p for p in prompts if turn < p.turns]
            stored = {p.id: self.store.turn(keys[p.id], turn) for p in live}
            missing = (s is None or (s[1] in _NO_ANSWER and keys[i] not in self._asked) for i, s in stored.items())
            # Generated again whole, so that an interrupted chunk gives what an unbroken one would have given; and what
            # followed the turns that it had before follows no more.
            if generated or any(missing):
                generated = True
                requests = {keys[p.id]: self._request(c, p, before[p.id], keys[p.id]) for p in live}
                prompt_ids = {keys[p.id]: p.id for p in live}
                for key, completion in await self._generate(c, c.model, turn, requests, prompt_ids, before):
                    self._count(key, completion)
                    stored[prompt_ids[key]] = (completion.text, completion.status)
            for p in live:
                s = stored[p.id]
                before[p.id].append(s[0] if s is not None else "")

    async def _generate(
        self,
        c: Contestant,
        model: ChunkedModel,
        turn: int,
        requests: Mapping[str, Request],
        prompt_ids: Mapping[str, str],
        before: Mapping[str, Sequence[str]],
    ) -> list[tuple[str, Completion]]:
        """Ask for one turn of a chunk and store it; a chunk enters whole or not at all."""
        gate, rows = self._open_gate, []
        gate.enter(len(requests))
        calls = 0
        usd: float | None = 0.0
        try:
            async for request, completion in model.complete_many(list(requests.values())):
                prompt_id = prompt_ids[request.key]
                text_hash = content_hash([*before[prompt_id], completion.text])
                rows.append((request.key, turn, prompt_id, c.name, completion, text_hash))
            self.store.add_turns(rows)
            calls = sum(row[4].calls for row in rows)
            usd = None if any(row[4].usd is None for row in rows) else sum(row[4].usd or 0.0 for row in rows)
        finally:
            gate.leave(len(requests), calls, usd)
        return [(row[0], row[4]) for row in rows]


def _response(prompt_id: str, name: str, turns: Sequence[Turn]) -> Response:
    if len(turns) == 1:  # nearly all: the hash of its one text is stored beside it
        ((text, status, text_hash),) = turns
        return Response(prompt_id, name, (text,), status, text_hash)
    return whole_response(prompt_id, name, [(text, status) for text, status, _ in turns])
