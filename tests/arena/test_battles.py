"""The runner: the same battles in any order and after any interruption, nothing asked twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_battles import LONG, PROMPTS, Chunky, Judging, contestant, fight, make_plan, outcomes, summarise

from arenaloop.arena import battles
from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import all_pairs
from arenaloop.arena.pairings import Summary, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.planned import estimate_plan
from arenaloop.calls import run
from arenaloop.calls.answers import Answers, Contestant
from arenaloop.calls.judging import unit_seed
from arenaloop.calls.progress import Tally
from arenaloop.errors import EndpointDownError
from arenaloop.models.base import ChunkedModel
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store, reads, rows
from arenaloop.types import Completion, Prompt, Request, Status, derive_seed

# ---------------------------------------------------------------------- the same battles, however they are run


@pytest.mark.parametrize("pairs", ["all", "target:b", "sample:17"])
def test_concurrency_and_order_do_not_change_a_battle(tmp_path: Path, pairs: str) -> None:
    found = []
    shuffled = random.Random(1).sample(LONG, len(LONG))
    for n, (prompts, workers) in enumerate([(LONG, 1), (LONG, 64), (shuffled, None), (shuffled, 7)]):
        contestants = [contestant(name, concurrency=workers or 64) for name in "abc"]
        plan = make_plan(Judging(), contestants, prompts, pairs, concurrency=workers)
        some, tally = fight(tmp_path / f"{n}.db", plan, prompts)
        assert len(some) == plan.battles
        assert all(bool(p.battles) for p in some)
        assert [p.prompt_id for p in some] == sorted((p.prompt_id for p in some), key=plan.prompt_ids.index)
        assert tally.verdicts == tally.verdicts_total == 2 * plan.battles
        found.append(outcomes(some))
    assert found[0] == found[1] == found[2] == found[3]


def test_both_seats_are_judged_and_merged(path: Path) -> None:
    judging = Judging()
    found, _ = fight(path, make_plan(judging, [contestant("a"), contestant("b")], PROMPTS[:1]), PROMPTS[:1])
    (one,) = found
    seats = [read_judge_prompt(text) for text, _ in judging.heard]
    assert [s[1][0][0] for s in seats if s] == ["a", "b"]  # each has been in the first seat
    assert len(one.battles) == 1
    assert one.a_first is not None
    assert one.b_first is not None
    assert one.battles[0].score_a == (one.a_first.score_first + one.b_first.score_second) / 2
    assert one.battles[0].verdicts == (one.a_first.key, one.b_first.key)
    assert one.a_first.first_hash == one.b_first.second_hash


def test_every_turn_is_asked_in_its_conversation(path: Path) -> None:
    heard: list[Request] = []
    prompt = Prompt(({"role": "system", "content": "s"}, {"role": "user", "content": "one"}), ("two", "three"))
    found, _ = fight(path, make_plan(Judging(), [contestant("a", heard), contestant("b")], [prompt]), [prompt])
    assert found[0].battles
    assert [[m["role"] for m in r.messages][1:] for r in heard] == [
        ["user"],
        ["user", "assistant", "user"],
        ["user", "assistant", "user", "assistant", "user"],
    ]
    assert len({r.seed for r in heard}) == 3  # each turn has a seed of its own
    assert len({r.key for r in heard}) == 1


def test_an_answer_is_shared_by_all_pairs(path: Path) -> None:
    heard: list[Request] = []
    fight(path, make_plan(Judging(), [contestant("a", heard), contestant("b"), contestant("c"), contestant("d")]))
    assert len(heard) == len(PROMPTS)


def test_one_model_under_two_names_answers_once(path: Path) -> None:
    """A model against itself, a common check of a judge: one key, so one answer, and every battle decided."""
    heard: list[Request] = []
    count = Counter[str]()

    async def script(request: Request) -> str:
        heard.append(request)
        count[request.key] += 1
        await asyncio.sleep(0)
        return f"sample {count[request.key]}"

    model = ScriptedModel("m", script)
    found, _ = fight(path, make_plan(Judging(), [Contestant("m1", model), Contestant("m2", model)]))
    assert len(heard) == len(PROMPTS)
    assert all(bool(p.battles) for p in found)


def test_sampled_battles_ask_only_who_meets(path: Path) -> None:
    heard: list[Request] = []
    contestants = [contestant(name, heard) for name in "abcd"]
    plan = make_plan(Judging(), contestants, pairs="sample:5")
    found, tally = fight(path, plan)
    wanted = {(p.prompt_id, name) for p in found for name in (p.model_a, p.model_b)}
    assert len(found) == 5
    assert len(heard) == len(wanted) == tally.answers == tally.answers_total


def test_the_judge_is_asked_no_more_at_once_than_it_takes(path: Path) -> None:
    judging = Judging(concurrency=3)
    plan = make_plan(judging, [contestant("a"), contestant("b")], concurrency=64)
    fight(path, plan)
    assert judging.most <= 3


def test_memory_does_not_grow_with_prompts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts are read from the file some dozens at a time, as workers take them."""
    started, done, most = 0, Counter[str](), 0
    read = rows.prompt_of

    def count(row: tuple[Any, ...]) -> Prompt:
        nonlocal started, most
        started += 1
        most = max(most, started - sum(n == 2 for n in done.values()))
        return read(row)

    def script(request: Request) -> str:
        found = read_judge_prompt(request.messages[0]["content"])
        assert found is not None
        done[found[0][0]] += 1
        return "Scores: 5 6"

    prompts = [Prompt.of(f"question {n}") for n in range(300)]
    plan = make_plan(Judging(script), [contestant("a"), contestant("b")], prompts, concurrency=2)
    with Store(path) as store:
        store.add_prompts(prompts)
        store.flush()
        monkeypatch.setattr(reads, "prompt_of", count)
        play(plan, store)
    assert started == 300
    assert most < 60


# ---------------------------------------------------------------------- resuming


def test_a_finished_run_asks_nothing(path: Path) -> None:
    first, heard = Judging(), list[Request]()
    before, tally = fight(path, make_plan(first, [contestant("a", heard), contestant("b"), contestant("c")]))
    assert tally.cached == 0
    assert tally.calls == sum(first.heard.values()) + 3 * len(PROMPTS)
    again, heard_again = Judging(), list[Request]()
    after, tally = fight(path, make_plan(again, [contestant("a", heard_again), contestant("b"), contestant("c")]))
    assert not again.heard
    assert not heard_again
    assert after == before
    assert (tally.calls, tally.cached) == (0, 2 * len(before))
    assert tally.usd == 0.0


# ---------------------------------------------------------------------- local models


def test_a_chunked_model_answers_whole_chunks(path: Path) -> None:
    model = Chunky()
    assert isinstance(model, ChunkedModel)
    found, tally = fight(path, make_plan(Judging(), [Contestant("local", model), contestant("b")]))
    assert all(p.battles for p in found)
    assert sorted(len(c) for c in model.chunks) == [4, 4, 4]
    assert sorted(text for c in model.chunks for text in c) == sorted(p.last_user for p in PROMPTS)
    assert tally.answers == tally.answers_total == 24
    again = Chunky()
    after, tally = fight(path, make_plan(Judging(), [Contestant("local", again), contestant("b")]))
    assert not again.chunks
    assert after == found
    assert tally.calls == 0


@pytest.mark.parametrize("die_at", [0, 1, 2, 4])
def test_an_interrupted_chunk_is_generated_again_whole(tmp_path: Path, die_at: int) -> None:
    def plan(model: Chunky) -> BattlePlan:
        return make_plan(Judging(), [Contestant("local", model), contestant("b")], LONG)

    whole, _ = fight(tmp_path / "whole.db", plan(Chunky()), LONG)
    unbroken = Chunky()
    fight(tmp_path / "count.db", plan(unbroken), LONG)
    path = tmp_path / "cut.db"
    dying = Chunky(die_at=die_at)
    with pytest.raises(EndpointDownError, match="out of memory"):
        fight(path, plan(dying), LONG)
    again = Chunky()
    found, _ = fight(path, plan(again), LONG)
    assert outcomes(found) == outcomes(whole)
    done = dying.chunks[:die_at]
    assert done == unbroken.chunks[:die_at]
    assert again.chunks == unbroken.chunks[die_at:]  # from the broken one on, in the same cuts


def test_two_local_models_take_turns(path: Path) -> None:
    one, two = Chunky("one", 4), Chunky("two", 5)
    plan = make_plan(Judging(), [Contestant("one", one), contestant("b"), Contestant("two", two)])
    found, _ = fight(path, plan)
    assert all(p.battles for p in found)
    assert len(one.chunks) == 3
    assert len(two.chunks) == 3
    assert one.closed >= 1


def test_a_failed_row_of_a_chunk_is_asked_again_next_time_with_its_later_turns(path: Path) -> None:
    """The chunk is generated again whole; turns that followed the old texts must not be kept under the new ones."""

    class Moody(Chunky):
        fail = True

        async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
            first = len(requests[0].messages) == 1
            async for n, (request, said) in aenumerate(super().complete_many(requests)):
                if first and n == 0 and self.fail:
                    yield request, Completion(status=Status.ERROR, error="x", usd=0.0)
                elif first:
                    yield request, Completion(f"{said.text} {self.fail}", usd=0.0)
                else:
                    yield request, Completion("after " + request.messages[-2]["content"], usd=0.0)

    prompts = [Prompt(({"role": "user", "content": f"q{n}"},), ("more",)) for n in range(4)]
    model = Moody()
    plan = make_plan(Judging(), [Contestant("local", model), contestant("b")], prompts)
    found, _ = fight(path, plan, prompts)
    assert sum(not p.battles for p in found) == 1
    model.fail = False
    with Store(path) as store:
        play(plan, store)
        found = list(pairings(plan, store))
        answers = Answers(store, plan.contestants, {}, seed=0)
        responses = [answers.stored("local", p) for p in prompts]
    assert all(p.battles for p in found)
    assert all(r is not None and r.texts[1] == "after " + r.texts[0] for r in responses)


async def aenumerate(
    items: AsyncIterator[tuple[Request, Completion]],
) -> AsyncIterator[tuple[int, tuple[Request, Completion]]]:
    n = 0
    async for item in items:
        yield n, item
        n += 1


# ---------------------------------------------------------------------- counting


def test_summary_counts_by_hand(path: Path) -> None:
    """Two prompts, one pair. Prompt 0: a wins from both seats. Prompt 1: the first seat wins twice (a flip)."""
    prompts = PROMPTS[:2]

    def script(request: Request) -> str:
        found = read_judge_prompt(request.messages[0]["content"])
        assert found is not None
        first_is_a = found[1][0].startswith("a")
        if found[0][0] == "question 0":
            return "Scores: 9 2" if first_is_a else "Scores: 2 9"
        return "Scores: 6 5"

    found, _ = fight(path, make_plan(Judging(script), [contestant("a"), contestant("b")], prompts), prompts)
    assert summarise(found).to_json() == {
        "battles_wanted": 2,
        "battles_decided": 2,
        "verdicts_ok": 4,
        "verdicts_failed": {"unparsed": 0, "refused": 0, "truncated": 0, "empty": 0, "error": 0},
        "flip_rate": 0.5,
        "first_seat_win_rate": 0.75,
    }
    summary = summarise(found)
    assert Summary.of(summary.counts()) == summary
    stored = summary.counts()
    del stored["both"]  # as earlier versions stored it
    assert Summary.of(stored).flip_rate == 0.5
    twice = summarise(found)
    twice.merge(summary)
    assert twice == summarise([*found, *found])


def test_money_is_unknown_once_one_price_is() -> None:
    tally = Tally()
    tally.spent(1, 0.5)
    tally.spent(0, None)  # nothing was asked
    assert tally.usd == 0.5
    tally.spent(2, None)
    assert (tally.calls, tally.usd) == (3, None)
    tally.spent(1, 1.0)
    assert tally.usd is None


def test_progress_is_reported_and_ends_complete(path: Path) -> None:
    seen: list[tuple[int, int]] = []
    plan = make_plan(Judging(), [contestant("a"), contestant("b")])
    with Store(path) as store:
        store.add_prompts(PROMPTS)
        store.flush()
        play(plan, store, lambda tally: seen.append((tally.verdicts, tally.verdicts_total)))
    assert seen[-1] == (24, 24)


def test_no_battles_wanted(path: Path) -> None:
    plan = make_plan(Judging(), [contestant("a"), contestant("b")], [])
    found, tally = fight(path, plan, [])
    assert found == []
    assert tally.verdicts_total == 0
    assert all_pairs(["a"]) == []


@given(st.integers(-(10**20), 10**20), st.text() | st.binary(min_size=16, max_size=16).map(bytes.hex))
def test_the_seed_of_a_call_is_derived_as_all_are(seed: int, key: str) -> None:
    assert unit_seed(seed, key) == derive_seed("verdict", seed, key)


# ---------------------------------------------------------------------- a plan that is complete


def complete_plan(store: Store, unreadable: bool = False) -> BattlePlan:
    """A plan whose prompts are in the arena file; its judge writes scores, or nothing that can be read."""
    store.add_prompts(PROMPTS)
    store.flush()
    judging = Judging(lambda _: "no scores" if unreadable else "Scores: 7 5")
    return make_plan(judging, [contestant("a"), contestant("b")], PROMPTS)


def _looked_up(store: Store, plan: BattlePlan, monkeypatch: pytest.MonkeyPatch) -> tuple[Tally, int]:
    """The tally of a further play, and how many prompts were looked at for it."""
    looked = 0
    real = battles.materials  # type: ignore[attr-defined]

    def counting(*arguments: Any) -> Iterator[Any]:
        nonlocal looked
        for one in real(*arguments):
            looked += 1
            yield one

    with monkeypatch.context() as patch:
        patch.setattr(battles, "materials", counting)
        return play(plan, store), looked


def test_a_complete_plan_is_not_looked_through_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "arena.db") as store:
        plan = complete_plan(store)
        first = play(plan, store)
        tally, looked = _looked_up(store, plan, monkeypatch)
        assert (looked, tally.calls) == (0, 0)
        assert (tally.verdicts, tally.cached, tally.answers) == (first.verdicts, first.verdicts, first.answers)
        for other in (replace(plan, reask=0), replace(plan, seed=1), replace(plan, prompt_ids=plan.prompt_ids[1:])):
            assert _looked_up(store, other, monkeypatch)[1] == len(other.prompt_ids)


def test_a_plan_is_looked_through_once_something_was_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "arena.db") as store:
        plan = complete_plan(store)
        play(plan, store)
        [pairing, *_] = pairings(plan, store)
        assert pairing.a_first is not None
        spoiled = store.verdict(pairing.a_first.key)
        assert spoiled is not None
        store.add_verdict(replace(spoiled, status=Status.UNPARSED, outcome=None, score_first=None, score_second=None))
        store.flush()
        tally, looked = _looked_up(store, plan, monkeypatch)
        assert (looked, tally.calls) == (len(plan.prompt_ids), 1)  # the verdict that a stricter parser took back
        assert _looked_up(store, plan, monkeypatch)[1] == 0


def test_a_plan_is_looked_through_once_a_reference_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "arena.db") as store:
        plan = complete_plan(store)
        play(plan, store)
        first, *others = PROMPTS
        for reference in ("4", "5"):
            referred = [replace(first, tags={**first.tags, "reference": reference}), *others]
            by_id = {prompt.id: prompt for prompt in referred}
            (judge,) = [role for role in estimate_plan(plan, by_id.get, store).roles if role.role == "judge"]
            assert judge.calls == 2
            store.add_prompts(referred)
            store.add_prompts(referred)
            tally, looked = _looked_up(store, plan, monkeypatch)
            assert (looked, tally.calls) == (len(PROMPTS), 2)  # both seats of the one pair
            assert all(pairing.winners for pairing in pairings(plan, store))
            assert _looked_up(store, plan, monkeypatch)[1] == 0


def test_a_plan_with_failures_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MOST_UNREAD", 1_000)
    with Store(tmp_path / "arena.db") as store:
        plan = complete_plan(store, unreadable=True)
        play(plan, store)
        assert _looked_up(store, plan, monkeypatch)[1] == len(plan.prompt_ids)
