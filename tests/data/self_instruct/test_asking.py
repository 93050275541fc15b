"""New prompts are asked for once, in rounds, and come out alike however the asking was broken off."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget
from arenaloop.data.self_instruct.asking import SaturatedError, estimate_writing, stored, write
from arenaloop.data.self_instruct.plan import SelfInstruct, Written
from arenaloop.errors import BudgetSpentError, EndpointDownError
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.author import Author
from arenaloop.sandbox.tasks import draw
from arenaloop.store import Store
from arenaloop.types import Completion, Request, Sampling, Status

SEEDS = [task.prompt.last_user for task in draw(20, 1)]
Say = Callable[[Request], str | Completion]


class Writer:
    """A scripted writer that notes what it was asked, and whose answers come in a drawn order."""

    def __init__(self, say: Say | None = None, concurrency: int = 64) -> None:
        self.say: Say = Author() if say is None else say
        self.heard: Counter[tuple[str, int]] = Counter()
        order = random.Random(concurrency)

        async def answer(request: Request) -> str | Completion:
            self.heard[request.messages[-1]["content"], request.sample] += 1
            for _ in range(order.randrange(8)):
                await asyncio.sleep(0)
            return self.say(request)

        self.contestant = Contestant("writer", ScriptedModel("writer", answer, concurrency=concurrency), Sampling(0.6))

    def plan(self, count: int = 60, **more: Any) -> SelfInstruct:
        return SelfInstruct(SEEDS, self.contestant, count, **{"least": 2, "calls_per_round": 8, **more})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "arena.db") as opened:
        yield opened


def test_what_is_kept_comes_from_its_call(store: Store) -> None:
    writer = Writer()
    found = write(writer.plan(), store)
    assert len(found.kept) >= 60
    assert len({one.text for one in found.kept}) == len(found.kept)
    assert found.calls == {"ok": len(writer.heard)}
    for one in [*found.kept, *found.dropped]:
        turn = store.turn(one.response, 0)
        assert turn is not None
        assert f"{9 + one.item}. {one.text}" in turn[0]
        assert len(one.shown) == 8
    kept = [one.text for one in found.kept]
    early = {one.text for one in found.kept if one.call < 8}
    for one in found.kept:
        own = [text for text in one.shown if text not in SEEDS]
        assert len(own) == (0 if one.call < 8 else 2)
        assert set(own) <= (early if one.call < 16 else set(kept))
    document = found.to_json()
    assert document["written"] == document["kept"] + document["beyond"] + sum(document["dropped"].values())
    row = found.kept[-1].row("writer")
    assert row["messages"] == [{"role": "user", "content": kept[-1]}]
    assert row["tags"]["self_instruct"]["call"] == found.kept[-1].call


def test_more_are_the_same_ones_and_further_ones(tmp_path: Path) -> None:
    few, many = Writer(), Writer()
    with Store(tmp_path / "few.db") as one, Store(tmp_path / "many.db") as other:
        first = write(few.plan(30), one)
        longer = write(few.plan(130), one)
        assert max(few.heard.values()) == 1
        assert longer.kept[:30] == first.kept[:30]
        assert write(many.plan(130), other).kept[:130] == longer.kept[:130]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_how_many_calls_are_in_flight_changes_nothing(tmp_path: Path, concurrency: int) -> None:
    with Store(tmp_path / "one.db") as one, Store(tmp_path / "other.db") as other:
        assert (
            write(Writer(concurrency=concurrency).plan(), one).kept
            == write(Writer().plan(concurrency=concurrency), other).kept
            == write(Writer().plan(), other).kept
        )


def test_broken_off_at_any_call_it_goes_on(tmp_path: Path) -> None:
    """The store is closed after each crash, as a new process finds it."""
    with Store(tmp_path / "whole.db") as whole:
        unbroken = Writer()
        kept = write(unbroken.plan(200), whole).kept
    died, writer = 0, Writer()
    author, rng = Author(), random.Random(0)

    def say(request: Request) -> str:
        if rng.random() < 0.3:
            raise KeyboardInterrupt
        return author(request)

    writer.say = say
    path = tmp_path / "broken.db"
    for _ in range(100):
        with Store(path) as opened:
            try:
                found = write(writer.plan(200), opened)
                break
            except KeyboardInterrupt:
                died += 1
    assert found.kept == kept
    assert died > 2
    assert set(writer.heard) == set(unbroken.heard)
    assert writer.heard.total() - len(writer.heard) <= 8 * died  # what was in flight


def test_a_budget_stops_it_and_says_how_far_it_came(store: Store) -> None:
    writer = Writer()
    plan, written = writer.plan(), Written(writer.plan())
    with pytest.raises(BudgetSpentError, match=r"5 of 5 calls\); 0 of 60 new prompts kept; with a higher budget"):
        write(plan, store, budget=Budget(calls=5), written=written)
    found = write(plan, store, budget=Budget(calls=500))
    assert max(writer.heard.values()) == 1
    assert len(found.kept) >= 60


def test_a_call_that_failed_is_given_up_once_others_were_answered(store: Store) -> None:
    author, writer = Author(), Writer()
    bad = {3, 11, 12}
    numbers = {call.prompt.last_user: call.number for call in Written(writer.plan()).next_calls(8)}

    def say(request: Request) -> str | Completion:
        number = numbers.setdefault(request.messages[-1]["content"], len(numbers))
        return Completion(status=Status.REFUSED, usd=0.0) if number in bad else author(request)

    writer.say = say
    first = write(writer.plan(), store)
    assert first.calls["refused"] >= 1
    asked, writer.say = writer.heard.total(), author
    assert write(writer.plan(), store).kept == first.kept
    assert writer.heard.total() == asked
    assert stored(writer.plan(), store).kept == first.kept


def test_where_all_calls_fail_it_stops_and_asks_again(store: Store) -> None:
    writer = Writer(lambda request: Completion(status=Status.REFUSED, usd=0.0))
    with pytest.raises(SaturatedError, match=r"none of the last 8 calls gave a list of prompts; 0 of 60 new prompts"):
        write(writer.plan(), store)
    writer.say = Author()
    assert len(write(writer.plan(), store).kept) >= 60
    assert set(writer.heard.values()) <= {1, 2}


def test_a_writer_that_only_repeats_is_asked_no_more(store: Store) -> None:
    def parrot(request: Request) -> str:
        return "\n".join(f"{at}. {text}" for at, text in enumerate(SEEDS[:8], start=9))

    writer = Writer(parrot)
    told = (
        r"writer gives nothing new: of the 64 prompts of the last 8 calls 0 were new; 0 of 60 new prompts kept "
        r"\(64 like one that is there\); take more or other seeds"
    )
    for _ in range(2):  # the second time nothing is asked
        with pytest.raises(SaturatedError, match=told):
            write(writer.plan(), store)
    assert writer.heard.total() == 8
    with pytest.raises(SaturatedError):
        write(writer.plan(stop_below=0, calls_per_round=4), store)


def test_the_cut_end_of_a_list_is_no_prompt(store: Store) -> None:
    author = Author(repeats=0.0, odd=0.0)

    def cut(request: Request) -> Completion:
        text = author(request).partition("\n\n")[0][:-3]
        return Completion(text, status=Status.TRUNCATED, finish_reason="length", usd=0.0)

    found = write(Writer(cut).plan(20), store)
    assert {one.item for one in [*found.kept, *found.dropped]} == set(range(7))
    assert set(found.calls) == {"truncated"}


def test_of_few_seeds_the_same_question_is_a_further_sample(store: Store) -> None:
    writer = Writer()
    plan = replace(writer.plan(30), people=SEEDS[:1])
    found = write(plan, store)
    assert len(found.kept) >= 30
    assert max(writer.heard.values()) == 1
    samples = Counter(sample for _, sample in writer.heard)
    assert samples[1] >= 1
    assert max(Counter(one.response for one in found.kept if one.item == 0).values()) == 1


class Together:
    """A local model whose lists depend on their company."""

    def __init__(self, size: int = 4, dies: int | None = None) -> None:
        self.name, self.fingerprint, self.concurrency, self.dies = "local", "local", size, dies
        self.chunks: list[list[str]] = []
        self.author = Author()

    def plan(self, requests: Sequence[Request]) -> list[list[Request]]:
        ordered = sorted(requests, key=lambda r: (len(r.messages[-1]["content"]), r.key))
        return [ordered[i : i + self.concurrency] for i in range(0, len(ordered), self.concurrency)]

    async def complete(self, request: Request) -> Completion:
        raise AssertionError

    async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
        self.chunks.append([r.messages[-1]["content"] for r in requests])
        if self.dies is not None and len(self.chunks) > self.dies:
            raise EndpointDownError("out of memory")
        for request in requests:
            yield request, Completion(self.author(replace(request, sample=len(requests))), usd=0.0)

    async def aclose(self) -> None:
        """Nothing to free."""


def test_a_local_model_answers_in_the_same_company_however_many_are_wanted(tmp_path: Path) -> None:
    def made(model: Together, count: int, name: str) -> Written:
        plan = SelfInstruct(SEEDS, Contestant("local", model, Sampling(0.6)), count, least=2, calls_per_round=8)
        with Store(tmp_path / name) as opened:
            return write(plan, opened)

    whole, broken = Together(), Together(dies=2)
    kept = made(whole, 70, "whole.db").kept
    with pytest.raises(EndpointDownError):
        made(broken, 70, "broken.db")
    broken.dies = None
    assert made(broken, 30, "broken.db").kept[:30] == kept[:30]
    assert made(broken, 70, "broken.db").kept == kept
    assert sorted(map(sorted, broken.chunks[:2] + broken.chunks[3:])) == sorted(map(sorted, whole.chunks))


def test_what_is_to_come_is_estimated(store: Store) -> None:
    writer = Writer()
    before, expected = estimate_writing(writer.plan(200), None)
    assert before.done == 0
    assert expected.calls == 36  # 200 / (8 * 0.7), rounded up
    assert any("70% of what is written is taken to be new (assumed)" in note for note in expected.roles[0].notes)
    write(writer.plan(60), store)
    before, expected = estimate_writing(writer.plan(200), store)
    assert before.done == len(writer.heard)
    share = len(before.kept) / (8 * before.done)
    assert expected.calls == pytest.approx((200 - len(before.kept)) / (8 * share), abs=1)
    write(writer.plan(200), store)
    assert estimate_writing(writer.plan(200), store)[1].calls == 0
