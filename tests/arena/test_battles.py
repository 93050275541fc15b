"""The runner: the same battles in any order and after any interruption, nothing asked twice, failures kept as data."""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.arena import material
from arenaloop.arena.answers import Answers, Contestant, Tally
from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import all_pairs, schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.results import Pairing, Summary, pairings, summarise
from arenaloop.errors import EndpointDownError, InputError, StorageError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.base import ChunkedModel
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Sampling, Status, content_hash

Heard = Counter[tuple[str, int]]
PROMPTS = [Prompt.of(f"question {n}") for n in range(12)]
LONG = [
    Prompt(({"role": "user", "content": f"question {n}"},), tuple(f"follow {i}" for i in range(n % 3)))
    for n in range(9)
]


def number(*parts: object) -> int:
    return int(content_hash(*parts)[:8], 16)


def contestant(name: str, heard: list[Request] | None = None, **options: object) -> Contestant:
    """Answers with a text that depends on its name and the whole conversation."""

    async def script(request: Request) -> str:
        if heard is not None:
            heard.append(request)
        for _ in range(number(name, request.key) % 4):  # answers arrive in another order than they were asked in
            await asyncio.sleep(0)
        said = [m["content"] for m in request.messages]
        return f"{name}: {number(name, said) % 1000}"

    return Contestant(name, ScriptedModel(name, script, **options), Sampling())  # type: ignore[arg-type]


def scores(first: str, second: str, sample: int) -> str:
    a, b = number(first, sample) % 9 + 1, number(second, sample) % 9 + 1
    return f"Explained.\nScores: {a} {b}"


class Judging:
    """A judge by script that counts what it is asked, by judge prompt and sample."""

    def __init__(self, script: Callable[[Request], str | Completion] | None = None, concurrency: int = 64) -> None:
        self.heard: Heard = Counter()
        self.requests: list[Request] = []
        self.running = self.most = 0
        self.script = script or self.decide

        async def count(request: Request) -> str | Completion:
            self.heard[request.messages[0]["content"], request.sample] += 1
            self.requests.append(request)
            self.running += 1
            self.most = max(self.most, self.running)
            for _ in range(number(request.key) % 3):
                await asyncio.sleep(0)
            self.running -= 1
            return self.script(request)

        self.judge = PairwiseJudge(ScriptedModel("judge", count, concurrency=concurrency))

    @staticmethod
    def decide(request: Request) -> str:
        found = read_judge_prompt(request.messages[0]["content"])
        assert found is not None
        _, first, second = found
        return scores(repr(first), repr(second), request.sample)


def make_plan(
    judging: Judging,
    contestants: Sequence[Contestant],
    prompts: Sequence[Prompt] = PROMPTS,
    pairs: str = "all",
    **options: object,
) -> BattlePlan:
    names, ids = [c.name for c in contestants], [p.id for p in prompts]
    return BattlePlan(contestants, judging.judge, ids, schedule(pairs, names, ids, 0), **options)  # type: ignore[arg-type]


def fight(path: Path, plan: BattlePlan, prompts: Sequence[Prompt] = PROMPTS) -> tuple[list[Pairing], Tally]:
    with Store(path) as store:
        store.add_prompts(prompts)
        store.flush()
        tally = play(plan, store)
        return list(pairings(plan, store)), tally


def outcomes(found: Sequence[Pairing]) -> list[tuple[object, ...]]:
    """What a battle came to; tags in prompts differ between files, as each has its own secret."""
    return sorted((p.prompt_id, p.model_a, p.model_b, [(b.winner, b.score_a) for b in p.battles]) for p in found)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arena.db"


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
    assert one.battles[0].score_a == (one.a_first.score_first + one.b_first.score_second) / 2  # type: ignore[operator]
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
    read = material.prompt_of

    def count(row: Sequence[object]) -> Prompt:
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
        monkeypatch.setattr(material, "prompt_of", count)
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


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("stop_after", [0, 1, 7, 11])
@pytest.mark.parametrize("who", ["judge", "contestant"])
def test_an_endpoint_that_dies_stops_the_run_resumably(tmp_path: Path, stop_after: int, who: str) -> None:
    contestants = [contestant("a"), contestant("b")]
    whole, _ = fight(tmp_path / "whole.db", make_plan(Judging(), contestants))

    count, dead = 0, True

    def may_die() -> None:
        nonlocal count
        count += 1
        if dead and count > stop_after:
            raise EndpointDownError("http://x cannot be reached")

    class Dying(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            may_die()
            return await super().complete(request)

    judging = Judging()
    if who == "judge":
        judging.judge = PairwiseJudge(Dying("judge", judging.judge.model._script))  # type: ignore[attr-defined]
        mine = contestants
    else:
        mine = [Contestant("a", Dying("a", contestants[0].model._script)), contestants[1]]  # type: ignore[union-attr]
    path = tmp_path / "cut.db"
    with pytest.raises(EndpointDownError, match="cannot be reached"):
        fight(path, make_plan(judging, mine, concurrency=4))
    with Store(path, readonly=True) as store:
        kept = {key for table in ("responses", "verdicts") for (key,) in store.select(f"SELECT key FROM {table}")}
    assert len(kept) >= stop_after - 3  # of the calls that were let through at most those in flight are lost
    first = judging.heard.copy()
    dead = False
    found, tally = fight(path, make_plan(judging, mine, concurrency=4))
    assert outcomes(found) == outcomes(whole)
    twice = [unit for unit, n in judging.heard.items() if n > 1]
    assert len(twice) <= 3
    assert tally.cached == first.total() - len(twice)
    with Store(path, readonly=True) as store:
        assert store.usage().calls == 2 * len(PROMPTS) + 2 * len(whole)  # nothing was stored twice
        assert kept <= {key for t in ("responses", "verdicts") for (key,) in store.select(f"SELECT key FROM {t}")}


@pytest.mark.parametrize("who", ["model", "judge"])
def test_an_endpoint_that_dies_while_twins_wait_stops_the_run(path: Path, who: str) -> None:
    """Contestants of one model share their answers and verdicts: one asks, the others wait, and all are stopped."""
    first = True

    async def dying(request: Request) -> str:
        nonlocal first
        if not first:
            await asyncio.get_running_loop().create_future()
        first = False
        for _ in range(50):
            await asyncio.sleep(0)
        raise EndpointDownError("http://x cannot be reached")

    class Dying(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            return Completion(text=await dying(request))

    judging = Judging()
    model: ScriptedModel = ScriptedModel("same", lambda request: "the same")
    if who == "judge":
        judging.judge = PairwiseJudge(Dying("judge", lambda request: ""))
    else:
        model = Dying("same", lambda request: "")
    twins = [Contestant(name, model, Sampling()) for name in ("a", "b", "c")]
    with pytest.raises(EndpointDownError, match="cannot be reached"):
        fight(path, make_plan(judging, twins))


@pytest.mark.parametrize("who", ["model", "judge"])
def test_an_interruption_while_twins_wait_is_only_that(path: Path, who: str) -> None:
    async def hang(request: Request) -> str:
        await asyncio.get_running_loop().create_future()
        return ""

    def interrupt(tally: Tally) -> None:
        nonlocal reports
        reports += 1
        if reports == 2:
            signal.raise_signal(signal.SIGINT)

    reports = 0
    judging = Judging()
    model = ScriptedModel("same", hang if who == "model" else lambda request: "the same")
    if who == "judge":
        judging.judge = PairwiseJudge(ScriptedModel("judge", hang))
    twins = [Contestant(name, model, Sampling()) for name in ("a", "b", "c")]
    with Store(path) as store:
        store.add_prompts(PROMPTS)
        store.flush()
        with pytest.raises(KeyboardInterrupt):
            play(make_plan(judging, twins), store, interrupt)


def test_a_full_disk_stops_the_run_resumably(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = Store.add_verdict
    left = 5

    def fail(self: Store, verdict: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StorageError(f"{self.path}: database or disk is full")
        add(self, verdict)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add_verdict", fail)
        with pytest.raises(StorageError, match="full"):
            fight(path, make_plan(Judging(), [contestant("a"), contestant("b")]))
    judging = Judging()
    found, tally = fight(path, make_plan(judging, [contestant("a"), contestant("b")]))
    assert all(p.battles for p in found)
    assert tally.cached == 5  # those that had been stored


def test_a_user_error_that_shows_late_keeps_its_class(path: Path) -> None:
    """Damaged weights show when a model is loaded, in the middle of a run; for a person it is still one line."""

    class Damaged(Chunky):
        async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
            raise InputError("weights/model.safetensors: damaged")
            yield

    with pytest.raises(InputError, match="damaged"):
        fight(path, make_plan(Judging(), [Contestant("local", Damaged()), contestant("b")]))


def test_a_bug_is_not_taken_for_a_stop(path: Path) -> None:
    class Broken(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            raise BrokenError

    with pytest.raises(BrokenError):
        fight(path, make_plan(Judging(), [Contestant("a", Broken("a", lambda _: "")), contestant("b")]))


# ---------------------------------------------------------------------- failures are data


def failing(times: int, status: Status = Status.UNPARSED) -> Callable[[Request], str | Completion]:
    """Fails the first `times` samples of every seating."""

    def script(request: Request) -> str | Completion:
        if request.sample >= times:
            return Judging.decide(request)
        if status is Status.UNPARSED:
            return "I would rather not say."
        return Completion("Scores: 9 1", status=status, error="HTTP 500", usd=0.0)

    return script


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
def test_without_an_outcome_a_battle_is_undecided_never_a_tie(path: Path, reask: int) -> None:
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
        attempts = Counter(n for _, n in store.select("SELECT key, COUNT(*) FROM verdicts GROUP BY key"))
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
    contestants = [Contestant(n, Flaky(n, lambda r, n=n: f"{n} {number(n, r.key) % 3}")) for n in "abc"]
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
            assert list(store.select(good.format("verdicts", ""))) == [(1,)]
            assert list(store.select(good.format("responses", ", turn"))) in ([(1,)], [(None,)])
            # those in flight when a server went away were cancelled, and are not told of
            assert store.usage().calls <= calls


# ---------------------------------------------------------------------- local models


class Chunky:
    """A chunked model whose texts depend on their chunk, as those of a real one do through padding and rounding."""

    def __init__(self, name: str = "local", size: int = 4, die_at: int | None = None) -> None:
        self.name, self.size, self.concurrency = name, size, size
        self.fingerprint = content_hash("chunky", name)
        self.die_at = die_at
        self.chunks: list[list[str]] = []
        self.closed = 0

    def plan(self, requests: Sequence[Request]) -> list[list[Request]]:
        ordered = sorted(requests, key=lambda r: (len(r.messages[-1]["content"]), r.key))
        return [ordered[i : i + self.size] for i in range(0, len(ordered), self.size)]

    async def complete(self, request: Request) -> Completion:
        raise AssertionError("a chunked model is asked in chunks")

    async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
        self.chunks.append([r.messages[-1]["content"] for r in requests])
        whole = [list(r.messages) for r in requests]
        for n, request in enumerate(requests):
            await asyncio.sleep(0)
            if self.die_at is not None and len(self.chunks) > self.die_at and n == len(requests) // 2:
                raise EndpointDownError("out of memory")
            yield request, Completion(f"{self.name} {number(whole, n)}", usd=0.0)

    async def aclose(self) -> None:
        self.closed += 1


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
