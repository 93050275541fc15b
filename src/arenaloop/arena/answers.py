"""Contestants' answers: asked once, stored, and found again.

API and scripted models are asked turn by turn as battles need them; local models go through fixed chunks in the
background, one model in memory at a time; recorded answers are copied into the arena file before the first call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from arenaloop.errors import InputError
from arenaloop.models.base import ChunkedModel, Model
from arenaloop.models.recorded import RecordedModel, match_keys
from arenaloop.store import Store, recorded_key, response_key, whole_response
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

__all__ = ["Answers", "Contestant", "Tally", "match_recorded"]

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


@dataclass(slots=True)
class Tally:
    """Live counts of one invocation, for progress lines and budgets.

    Attributes:
        answers, verdicts: units finished (found or asked); `answers_total`, `verdicts_total`: wanted.
        calls: requests sent, retries included. `cached`: verdicts found in the arena file.
        failed: answers and verdicts of this invocation that ended without a result.
        usd: money spent in this invocation; None once a price is unknown.
    """

    answers: int = 0
    answers_total: int = 0
    verdicts: int = 0
    verdicts_total: int = 0
    calls: int = 0
    cached: int = 0
    failed: int = 0
    usd: float | None = 0.0

    def spent(self, calls: int, usd: float | None) -> None:
        """Add the cost of one finished unit."""
        self.calls += calls
        if calls:
            self.usd = None if self.usd is None or usd is None else self.usd + usd


def match_recorded(
    contestants: Sequence[Contestant], prompts: Sequence[Prompt], *, allow_missing: bool = False
) -> dict[str, dict[str, str]]:
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
    found: dict[str, dict[str, str]] = {}
    for c in recorded:
        assert isinstance(c.model, RecordedModel)
        keys = found.setdefault(c.name, {})
        for answer in c.model.rows():
            for prompt_id in {i for key in answer.keys for i in ids_by_key.get(key, ())}:
                if len(answer.texts) == turns[prompt_id]:
                    keys.setdefault(prompt_id, recorded_key(prompt_id, answer.texts))
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
        tally: live counts.
        sample: index of this sample among several answers to the same prompt.
    """

    def __init__(
        self,
        store: Store,
        contestants: Sequence[Contestant],
        recorded: Mapping[str, Mapping[str, str]],
        *,
        seed: int,
        tally: Tally | None = None,
        sample: int = 0,
    ) -> None:
        self.store = store
        self.contestants = {c.name: c for c in contestants}
        self._recorded = recorded
        self._seed = seed
        self._sample = sample
        self._tally = tally or Tally()
        self._limits: dict[int, asyncio.Semaphore] = {}
        self._chunks: dict[str, _Chunks] = {}
        self._talking: dict[str, asyncio.Future[None]] = {}  # conversations under way, by response key
        self._asked: set[str] = set()  # failures of this invocation: not asked again before the next one

    def key(self, name: str, prompt_id: str) -> str | None:
        """Under which key the answer is stored; None if a recorded contestant has none."""
        c = self.contestants[name]
        if isinstance(c.model, RecordedModel):
            return self._recorded[name].get(prompt_id)
        return response_key(prompt_id, c.model.fingerprint, c.sampling.key(), self._sample)

    def stored(self, name: str, prompt: Prompt) -> Response | None:
        """The stored answer, also a failed one; None if there is none."""
        key = self.key(name, prompt.id)
        return None if key is None else self.store.response(key, prompt, name)

    async def get(
        self, name: str, prompt: Prompt, stored: MutableMapping[tuple[str, int], tuple[str, Status]]
    ) -> Response | None:
        """The contestant's answer, asked now if need be; None if a recorded contestant has none.

        The caller asks once per (contestant, prompt) at a time. A failed answer is returned with its status.

        Args:
            name: the contestant.
            prompt: what to answer.
            stored: what `Store.turns_of` found for the prompt when work on it began; answers are added to it.
        """
        c = self.contestants[name]
        if isinstance(c.model, RecordedModel):
            response = self._recorded_response(name, prompt, stored)
        elif name in self._chunks:
            chunks = self._chunks[name]
            await chunks.done[chunks.index[prompt.id]].wait()
            response = self.stored(name, prompt)
        else:
            limit = self._limits.setdefault(id(c.model), asyncio.Semaphore(c.model.concurrency))
            response = await self._converse(c, c.model, prompt, limit, stored)
        if name not in self._chunks:  # a chunk's answers were counted when it was done
            self._tally.answers += 1
        return response

    def _recorded_response(
        self, name: str, prompt: Prompt, stored: Mapping[tuple[str, int], tuple[str, Status]]
    ) -> Response | None:
        key = self.key(name, prompt.id)
        if key is None:
            return None
        turns = [stored[key, turn] for turn in range(prompt.turns)]
        return whole_response(prompt.id, name, turns)

    async def _converse(
        self,
        c: Contestant,
        model: Model,
        prompt: Prompt,
        limit: asyncio.Semaphore,
        stored: MutableMapping[tuple[str, int], tuple[str, Status]],
    ) -> Response:
        key = response_key(prompt.id, model.fingerprint, c.sampling.key(), self._sample)
        while (twin := self._talking.get(key)) is not None:  # the same model under another name: one answer for both
            await twin
        done = self._talking[key] = asyncio.get_running_loop().create_future()
        turns: list[tuple[str, Status]] = []
        try:
            for turn in range(prompt.turns):
                found = stored.get((key, turn))
                if found is None or (found[1] in _NO_ANSWER and key not in self._asked):
                    before = [text for text, _ in turns]
                    async with limit:
                        completion = await model.complete(self._request(c, prompt, before, key))
                    found = stored[key, turn] = completion.text, completion.status
                    self._keep(c, key, turn, prompt.id, completion, before)
                turns.append(found)
                if found[1] in _NO_ANSWER:
                    break
        finally:
            del self._talking[key]
            if not done.done():  # a twin that is cancelled while it waits cancels what it waits for
                done.set_result(None)
        return whole_response(prompt.id, c.name, turns)

    def _request(self, c: Contestant, prompt: Prompt, texts: Sequence[str], key: str) -> Request:
        messages: tuple[Message, ...] = tuple(prompt.conversation(texts))
        seed = derive_seed("answer", self._seed, key, len(texts))
        return Request(messages=messages, sampling=c.sampling, sample=self._sample, seed=seed, key=key)

    def _keep(
        self, c: Contestant, key: str, turn: int, prompt_id: str, completion: Completion, before: Sequence[str]
    ) -> None:
        text_hash = content_hash([*before, completion.text])
        self.store.add_turns([(key, turn, prompt_id, c.name, completion, text_hash)])
        self._count(key, completion)

    def _count(self, key: str, completion: Completion) -> None:
        self._tally.spent(completion.calls, completion.usd)
        if completion.status in _NO_ANSWER:
            self._asked.add(key)
            self._tally.failed += 1

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
                self._tally.answers += len(ids)
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
                by_key = {keys[p.id]: p for p in live}
                requests = [self._request(c, p, before[p.id], keys[p.id]) for p in live]
                rows = []
                async for request, completion in c.model.complete_many(requests):
                    prompt = by_key[request.key]
                    text_hash = content_hash([*before[prompt.id], completion.text])
                    rows.append((request.key, turn, prompt.id, c.name, completion, text_hash))
                self.store.add_turns(rows)
                for key, _, prompt_id, _, completion, _ in rows:
                    self._count(key, completion)
                    stored[prompt_id] = (completion.text, completion.status)
            for p in live:
                s = stored[p.id]
                before[p.id].append(s[0] if s is not None else "")
