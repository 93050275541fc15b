"""A local model as judge is asked in chunks that depend on the plan alone, and are asked again whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from scripted_battles import PROMPTS, Chunky, Judging, contestant, make_plan, number, scores

from arenaloop.arena.battles import play
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant, answer
from arenaloop.calls.progress import Tally
from arenaloop.errors import EndpointDownError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Status, content_hash


class ChunkedJudge:
    """A judging model that answers in chunks, and whose words depend on their chunk."""

    def __init__(self, size: int = 8, die_at: int | None = None, garbage: int = 0) -> None:
        self.name, self.concurrency, self.fingerprint = "local judge", size, content_hash("chunked judge")
        self.size, self.die_at, self.garbage = size, die_at, garbage
        self.chunks: list[list[Request]] = []
        self.judge = PairwiseJudge(self)

    def plan(self, requests: Sequence[Request]) -> list[list[Request]]:
        return [list(requests[i : i + self.size]) for i in range(0, len(requests), self.size)]

    async def complete(self, request: Request) -> Completion:
        raise AssertionError("a chunked model is asked in chunks")

    async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
        if self.die_at is not None and len(self.chunks) == self.die_at:
            raise EndpointDownError("out of memory")
        self.chunks.append(list(requests))
        together = [request.key for request in requests]
        for request in requests:
            found = read_judge_prompt(request.messages[0]["content"])
            assert found is not None
            _, first, second = found
            told = "no idea" if request.sample < self.garbage else scores(repr(first), repr(second), request.sample)
            yield request, Completion(f"{number(together)}\n{told}", usd=0.0, tokens_out=3)

    async def aclose(self) -> None:
        pass


def plan_of(judge: ChunkedJudge, **options: object) -> BattlePlan:
    return make_plan(judge, [contestant("a"), contestant("b"), contestant("c")], **options)  # type: ignore[arg-type]


def played(path: Path, plan: BattlePlan) -> Tally:
    with Store(path) as store:
        store.add_prompts(PROMPTS)
        store.flush()
        return play(plan, store)


def raws(path: Path, plan: BattlePlan) -> list[tuple[str, str]]:
    """Key and words of every verdict that counts."""
    with Store(path, readonly=True) as store:
        keys = [key for p in pairings(plan, store) for battle in p.battles for key in battle.verdicts]
        return sorted((v.key, v.raw) for v in store.verdicts(keys).values())


def test_seatings_come_in_full_chunks(path: Path) -> None:
    judge = ChunkedJudge()
    plan = plan_of(judge)
    tally = played(path, plan)
    assert [len(chunk) for chunk in judge.chunks] == [8] * 9  # 12 prompts, 3 pairs, both seats
    assert (tally.verdicts, tally.calls, tally.failed, tally.in_flight) == (72, 72 + 36, 0, 0)
    judge.chunks.clear()
    again = played(path, plan)
    assert (again.verdicts, again.cached, again.calls, judge.chunks) == (72, 72, 0, [])


@pytest.mark.parametrize("at", [0, 1, 4, 8])
@pytest.mark.parametrize("concurrency", [None, 2])
def test_resumed_after_a_death_the_words_are_the_same(path: Path, at: int, concurrency: int | None) -> None:
    whole = ChunkedJudge()
    played(path.with_name("whole.db"), plan_of(whole))
    dying = ChunkedJudge(die_at=at)
    with pytest.raises(EndpointDownError, match="out of memory"):
        played(path, plan_of(dying, concurrency=concurrency))
    rest = ChunkedJudge()
    tally = played(path, plan_of(rest, concurrency=concurrency))
    assert tally.cached == 8 * at
    assert len(rest.chunks) == 9 - at
    assert len(raws(path, plan_of(rest))) == 72
    # keys hold the texts alone, while delimiters in the prompts hold the file's secret
    assert raws(path, plan_of(rest)) == raws(path.with_name("whole.db"), plan_of(whole))


def test_garbage_is_asked_again_together(path: Path) -> None:
    judge = ChunkedJudge(garbage=2)
    tally = played(path, plan_of(judge))
    assert (tally.verdicts, tally.failed) == (72, 0)
    assert [len(chunk) for chunk in judge.chunks] == [8] * 27
    assert [chunk[0].sample for chunk in judge.chunks[:3]] == [0, 1, 2]
    assert all(len({request.sample for request in chunk}) == 1 for chunk in judge.chunks)


def test_what_stays_unread_has_failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 1_000)  # a judge that is never read would stop it
    judge = ChunkedJudge(garbage=9)
    tally = played(path, plan_of(judge, reask=1))
    assert (tally.verdicts, tally.failed, len(judge.chunks)) == (72, 72, 18)
    later = ChunkedJudge()
    again = played(path, plan_of(later, reask=1))
    assert (again.failed, again.cached, len(later.chunks)) == (0, 0, 9)


def test_equal_texts_are_asked_once(path: Path) -> None:
    judge = ChunkedJudge()
    same = [Contestant(name, ScriptedModel(name, lambda request: "the same")) for name in "ab"]
    plan = make_plan(judge, [*same, contestant("c")])  # type: ignore[arg-type]
    tally = played(path, plan)
    # of a and b one verdict a prompt, and c against either is one question in each seat
    assert sum(map(len, judge.chunks)) == 12 * 3
    assert (tally.verdicts, tally.cached) == (72, 72 - 36)


def test_answers_for_a_chunk_are_asked_beside_each_other(path: Path) -> None:
    """A served contestant is asked for all answers of a chunk at once, not one after the other."""
    running = most = 0

    async def slow(request: Request) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return f"answer to {request.messages[0]['content']}"

    judge = ChunkedJudge(size=64)
    served = Contestant("a", ScriptedModel("a", slow, concurrency=8))
    tally = played(path, make_plan(judge, [served, contestant("b")]))  # type: ignore[arg-type]
    assert most == 8
    assert (tally.verdicts, tally.answers, tally.in_flight) == (24, 24, 0)


def test_a_dead_server_ends_the_wait_of_a_chunk(path: Path) -> None:
    class Dead(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            if request.messages[0]["content"].endswith("7"):
                raise EndpointDownError("http://a cannot be reached")
            return await super().complete(request)

    judge = ChunkedJudge()
    with pytest.raises(EndpointDownError, match="http://a"):
        played(path, make_plan(judge, [Contestant("a", Dead("a", lambda request: "fine")), contestant("b")]))  # type: ignore[arg-type]
    whole = ScriptedModel("a", lambda request: "fine")
    tally = played(path, make_plan(judge, [Contestant("a", whole), contestant("b")]))  # type: ignore[arg-type]
    assert (tally.verdicts, tally.failed) == (24, 0)


def test_one_local_model_under_two_names_answers_once(path: Path) -> None:
    local = Chunky(size=5)
    judging = Judging()
    twins = [Contestant(name, local) for name in ("one", "other")]
    plan = make_plan(judging, [*twins, contestant("c")])
    tally = played(path, plan)
    assert sum(map(len, local.chunks)) == len(PROMPTS)
    assert (tally.answers, tally.answers_total, tally.failed) == (36, 36, 0)
    with Store(path, readonly=True) as store:
        assert all(p.battles for p in pairings(plan, store))


def test_a_turn_that_failed_is_followed_by_none(path: Path) -> None:
    class Failing(Chunky):
        async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
            async for request, completion in super().complete_many(requests):
                failed = len(request.messages) == 1 and request.messages[0]["content"].endswith("1")
                yield request, Completion(status=Status.ERROR, error="too long", usd=0.0) if failed else completion

    local = Failing(size=4)
    prompts = [Prompt(({"role": "user", "content": f"question {n}"},), ("and then?",)) for n in range(4)]
    with Store(path) as store:
        store.add_prompts(prompts)
        store.flush()
        tally = answer([Contestant("local", local)], [p.id for p in prompts], store)
    assert [len(chunk) for chunk in local.chunks] == [4, 3]
    assert (tally.answers, tally.failed) == (4, 1)
