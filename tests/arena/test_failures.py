"""Failures of single calls are data: recorded, told, asked again, and never a tie."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_battles import LONG, PROMPTS, Judging, contestant, failing, fight, make_plan, number, summarise

from arenaloop.arena.battles import play
from arenaloop.calls import run
from arenaloop.calls.answers import Answers, Contestant
from arenaloop.errors import EndpointDownError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Status

# ---------------------------------------------------------------------- failures are data


@pytest.mark.parametrize("status", [Status.UNPARSED, Status.TRUNCATED, Status.EMPTY])
@pytest.mark.parametrize("times", [1, 2])
def test_a_garbage_verdict_is_asked_again_warmer(path: Path, status: Status, times: int) -> None:
    judging = Judging(failing(times, status))
    found, tally = fight(path, make_plan(judging, [contestant("a"), contestant("b")], reask=2))
    assert all(p.battles for p in found)
    assert tally.failed == 0
    assert {sample for _, sample in judging.heard} == set(range(times + 1))
    assert all((r.sampling.temperature >= 0.7) == (r.sample > 0) for r in judging.requests)
    assert {p.a_first.sample for p in found if p.a_first} == {times}
    seeds = {r.seed for r in judging.requests}
    assert len(seeds) == len(judging.requests)


@pytest.mark.parametrize("reask", [0, 1, 2])
def test_without_an_outcome_a_battle_is_undecided_never_a_tie(
    path: Path, reask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "MOST_UNREAD", 1_000)
    judging = Judging(failing(99))
    plan = make_plan(judging, [contestant("a"), contestant("b")], reask=reask)
    found, tally = fight(path, plan)
    assert all(not p.battles for p in found)
    assert all(p.a_first and p.a_first.status is Status.UNPARSED for p in found)
    assert len(judging.heard) == 2 * len(PROMPTS) * (reask + 1)
    assert tally.failed == 2 * len(PROMPTS)
    summary = summarise(found).to_json()
    assert (summary["battles_wanted"], summary["battles_decided"], summary["verdicts_ok"]) == (12, 0, 0)
    assert summary["verdicts_failed"] == {"unparsed": 24, "refused": 0, "truncated": 0, "empty": 0, "error": 0}
    assert (summary["flip_rate"], summary["first_seat_win_rate"]) == (None, None)


@pytest.mark.parametrize("status", [Status.ERROR, Status.REFUSED])
def test_an_error_is_not_asked_again_in_the_same_run(path: Path, status: Status) -> None:
    judging = Judging(failing(99, status))
    found, _ = fight(path, make_plan(judging, [contestant("a"), contestant("b")]))
    assert {sample for _, sample in judging.heard} == {0}
    assert summarise(found).failed == {status.value: 24}


def test_failures_are_asked_again_on_the_next_run_and_only_they(path: Path) -> None:
    bad = {p.id for p in PROMPTS[:3]}

    def sulk(request: Request) -> str | Completion:
        found = read_judge_prompt(request.messages[0]["content"])
        assert found is not None
        if Prompt.of(found[0][0]).id in bad:
            return Completion(status=Status.ERROR, error="HTTP 500", usd=0.0)
        return Judging.decide(request)

    contestants = [contestant("a"), contestant("b")]
    before, _ = fight(path, make_plan(Judging(sulk), contestants))
    assert {p.prompt_id for p in before if not p.battles} == bad
    judging = Judging()
    after, tally = fight(path, make_plan(judging, contestants))
    assert len(judging.heard) == 6
    assert (tally.cached, tally.calls, tally.failed) == (18, 6, 0)
    assert all(p.battles for p in after)
    assert [p for p in after if p.prompt_id not in bad] == [p for p in before if p.prompt_id not in bad]
    with Store(path, readonly=True) as store:
        assert store.usage().calls == 24 + 24 + 6  # failures were calls, too
        attempts = Counter(n for _, n in store._reader.execute("SELECT key, COUNT(*) FROM verdicts GROUP BY key"))
    assert attempts == {1: 18, 2: 6}


@pytest.mark.parametrize("status", [Status.ERROR, Status.REFUSED])
def test_an_answer_that_failed_does_not_battle_and_is_asked_again(path: Path, status: Status) -> None:
    calls = Counter[str]()

    def sulk(request: Request) -> str | Completion:
        calls[request.key] += 1
        if request.messages[0]["content"] == "question 3" and calls[request.key] == 1:
            return Completion(status=status, error="HTTP 500", usd=0.0)
        return "fine"

    moody = Contestant("moody", ScriptedModel("moody", sulk))
    judging = Judging()
    found, tally = fight(path, make_plan(judging, [moody, contestant("b"), contestant("c")]))
    assert {(p.prompt_id, p.model_a) for p in found if not p.battles} == {(PROMPTS[3].id, "moody")}
    assert [p.a_first for p in found if not p.battles] == [None, None]
    assert calls.total() == len(PROMPTS)  # once in a run, though two pairs want it
    assert tally.failed == 1 + 4
    found, tally = fight(path, make_plan(judging, [moody, contestant("b"), contestant("c")]))
    assert all(p.battles for p in found)
    assert calls.total() == len(PROMPTS) + 1
    assert tally.calls == 1 + 4


@pytest.mark.parametrize("said", ["", "   ", Completion("cut", status=Status.TRUNCATED, usd=0.0)])
def test_empty_and_cut_answers_are_judged_like_any_other(path: Path, said: str | Completion) -> None:
    quiet = Contestant("quiet", ScriptedModel("quiet", lambda _: said))
    found, tally = fight(path, make_plan(Judging(), [quiet, contestant("b")]))
    assert all(p.battles for p in found)
    assert tally.failed == 0


def test_a_follow_up_is_not_asked_after_a_failed_turn(path: Path) -> None:
    heard: list[Request] = []
    prompt = Prompt(({"role": "user", "content": "one"},), ("two",))

    def fail(request: Request) -> Completion:
        heard.append(request)
        return Completion(status=Status.ERROR, error="x")

    plan = make_plan(Judging(), [Contestant("a", ScriptedModel("a", fail)), contestant("b")], [prompt])
    found, _ = fight(path, plan, [prompt])
    assert not found[0].battles
    assert len(heard) == 1


def test_a_cut_first_turn_marks_the_response(path: Path) -> None:
    """A whole second turn must not make a response with a cut first one fit to be learned from."""
    prompt = Prompt(({"role": "user", "content": "one"},), ("two",))

    def cut(request: Request) -> str | Completion:
        return "whole" if len(request.messages) > 1 else Completion("cu", status=Status.TRUNCATED, usd=0.0)

    plan = make_plan(Judging(), [Contestant("a", ScriptedModel("a", cut)), contestant("b")], [prompt])
    with Store(path) as store:
        store.add_prompts([prompt])
        store.flush()
        play(plan, store)
        stored = Answers(store, plan.contestants, {}, seed=0).stored("a", prompt)
    assert stored is not None
    assert stored.texts == ("cu", "whole")
    assert stored.status is Status.TRUNCATED


def test_equal_texts_share_a_verdict(path: Path) -> None:
    """Three models that say the same: one text pair a prompt, judged once, counted for every battle and seat."""
    judging = Judging(lambda _: "Scores: 7 5")
    contestants = [Contestant(n, ScriptedModel(n, lambda _: "same")) for n in "abc"]
    found, tally = fight(path, make_plan(judging, contestants))
    assert len(judging.heard) == len(PROMPTS)
    assert set(judging.heard.values()) == {1}
    assert tally.verdicts == 2 * len(found) == 2 * 3 * len(PROMPTS)
    summary = summarise(found).to_json()
    assert summary["verdicts_ok"] == 2 * 3 * len(PROMPTS)
    assert summary["first_seat_win_rate"] == 1.0
    assert summary["flip_rate"] == 1.0
    assert all(p.battles and p.battles[0].winner == "tie" for p in found)


def test_a_shared_verdict_that_fails_is_asked_once(path: Path) -> None:
    judging = Judging(failing(99, Status.ERROR))
    contestants = [Contestant(n, ScriptedModel(n, lambda _: "same")) for n in "abc"]
    found, _ = fight(path, make_plan(judging, contestants))
    assert set(judging.heard.values()) == {1}
    assert summarise(found).failed == {"error": 2 * len(found)}


def test_two_judges_and_two_rules_in_one_file(path: Path) -> None:
    """Changed settings ask only what is new: a merge rule asks nothing, another judge everything."""
    contestants = [contestant("a"), contestant("b")]
    fight(path, make_plan(Judging(), contestants))
    strict = Judging()
    found, tally = fight(path, make_plan(strict, contestants, merge="agree_or_tie"))
    assert not strict.heard
    assert tally.cached == 24
    assert {b.winner for p in found for b in p.battles} <= {"model_a", "model_b", "tie"}
    other = Judging()
    other.judge = PairwiseJudge(ScriptedModel("other", other.judge.model._script))  # type: ignore[attr-defined]
    fight(path, make_plan(other, contestants))
    assert len(other.heard) == 24


@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.4, 0.8]), st.integers(0, 2))
@settings(max_examples=25)
def test_whatever_fails_a_healthy_run_completes_it(seed: int, rate: float, reask: int) -> None:
    """Runs in which answers and verdicts fail at random and servers go away, then a healthy one.

    Then every battle is decided; no outcome was ever asked for twice; and all calls that were made are counted.
    """
    rng = random.Random(seed)
    kinds = [Status.ERROR, Status.REFUSED, Status.TRUNCATED, Status.EMPTY]
    calls, fails = 0, True

    class Flaky(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            nonlocal calls
            await asyncio.sleep(0)
            if fails and rng.random() < rate / 40:
                raise EndpointDownError("gone")
            calls += 1
            if fails and rng.random() < rate:
                if rng.random() < 0.5 and self.name == "judge":
                    return Completion("no scores", usd=0.0)
                return Completion(status=rng.choice(kinds), usd=0.0)
            return await super().complete(request)

    prompts = LONG[:5]
    judging = Judging()
    judging.judge = PairwiseJudge(Flaky("judge", Judging.decide))
    contestants = [Contestant(n, Flaky(n, lambda r, n=n: f"{n} {number(n, r.key) % 3}")) for n in "abc"]  # type: ignore[misc]
    plan = make_plan(judging, contestants, prompts, reask=reask, concurrency=rng.choice([1, 5, None]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arena.db"
        for _ in range(3):
            with suppress(EndpointDownError):
                found, tally = fight(path, plan, prompts)
                summary = summarise(found)
                assert summary.wanted == 15
                assert tally.verdicts == 30
                assert summary.decided == sum(bool(p.battles) for p in found)
        fails = False
        found, _ = fight(path, plan, prompts)
        assert all(p.battles for p in found)
        again, tally = fight(path, plan, prompts)
        assert again == found
        assert tally.calls == 0
        with Store(path, readonly=True) as store:
            good = "SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM {} WHERE status = 'ok' GROUP BY key{})"
            assert list(store._reader.execute(good.format("verdicts", ""))) == [(1,)]
            assert list(store._reader.execute(good.format("responses", ", turn"))) in ([(1,)], [(None,)])
            # those in flight when a server went away were cancelled, and are not told of
            assert store.usage().calls <= calls
