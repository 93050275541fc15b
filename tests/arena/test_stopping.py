"""How a run stops: what is in flight arrives and is stored, nothing new begins, and the same command goes on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from scripted_battles import PROMPTS, Chunky, Judging, contestant, fight, make_plan, outcomes

from arenaloop.arena.battles import play
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls import gate
from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget
from arenaloop.calls.progress import Tally
from arenaloop.errors import BudgetSpentError, EndpointDownError, InputError, StorageError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Completion, Request, Sampling


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
        kept = {
            key for table in ("responses", "verdicts") for (key,) in store._reader.execute(f"SELECT key FROM {table}")
        }
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
        assert kept <= {
            key for t in ("responses", "verdicts") for (key,) in store._reader.execute(f"SELECT key FROM {t}")
        }


@pytest.mark.parametrize("who", ["model", "judge"])
def test_an_endpoint_that_dies_while_twins_wait_stops_the_run(
    path: Path, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contestants of one model share their answers and verdicts: one asks, the others wait, and all are stopped."""
    monkeypatch.setattr(gate, "_DOWN_GRACE", 0.01)
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
def test_an_interruption_while_twins_wait_is_only_that(path: Path, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_INTERRUPT_GRACE", 0.01)

    async def hang(request: Request) -> str:
        await asyncio.get_running_loop().create_future()
        return ""

    reports = 0

    def interrupt(tally: Tally) -> None:
        nonlocal reports
        reports += 1
        if reports == 2:
            signal.raise_signal(signal.SIGINT)

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
    add = Store.add_records
    left = 5

    def fail(self: Store, verdict: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StorageError(f"{self.path}: database or disk is full")
        add(self, verdict)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add_records", fail)
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


# ---------------------------------------------------------------------- what is in flight


async def turns(count: int) -> None:
    """Let everything else run for a while, without a clock."""
    for _ in range(count):
        await asyncio.sleep(0)


class Slow:
    """A judge whose calls take many turns of the loop; `trip` is called once, when `at` of them are in flight."""

    def __init__(self, at: int, trip: Callable[[], None]) -> None:
        self.asked = self.answered = 0
        self.judging = Judging()

        async def script(request: Request) -> str:
            self.asked += 1
            if self.asked == at:
                trip()
            await turns(60)
            self.answered += 1
            return "Scores: 6 5"

        self.judging.judge = PairwiseJudge(ScriptedModel("judge", script))


def verdicts_in(path: Path) -> int:
    with Store(path, readonly=True) as store:
        ((count,),) = store._reader.execute("SELECT COUNT(*) FROM verdicts")
    return int(count)


def played(path: Path, plan: BattlePlan, *options: object, **more: object) -> Tally:
    with Store(path) as store:
        store.add_prompts(PROMPTS)
        store.flush()
        return play(plan, store, *options, **more)  # type: ignore[arg-type]


def test_a_spent_budget_waits_for_what_is_in_flight(path: Path) -> None:
    slow = Slow(10**6, lambda: None)
    with pytest.raises(BudgetSpentError):
        played(path, make_plan(slow.judging, [contestant("a"), contestant("b")]), budget=Budget(calls=24 + 9))
    assert slow.asked == slow.answered == verdicts_in(path) == 16  # on 8 prompts; one answer more is the rest


def test_a_dead_server_leaves_a_grace_to_the_others(path: Path) -> None:
    """Contestant b's server dies while the judge has calls in flight: those arrive and are stored."""
    slow = Slow(10**6, lambda: None)

    class Dying(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            while slow.asked < 4:
                if len(request.messages[0]["content"]) % 2 == 0:  # questions of two digits: no pair of them is asked
                    await turns(1)
                else:
                    return await super().complete(request)
            raise EndpointDownError("http://b cannot be reached")

    plan = make_plan(slow.judging, [contestant("a"), Contestant("b", Dying("b", lambda _: "b"))])
    with pytest.raises(EndpointDownError, match="http://b"):
        played(path, plan)
    assert 4 <= slow.asked == slow.answered == verdicts_in(path) < 24


def test_an_interrupt_leaves_a_moment_for_what_is_in_flight(path: Path) -> None:
    slow = Slow(5, lambda: signal.raise_signal(signal.SIGINT))
    plan = make_plan(slow.judging, [contestant("a"), contestant("b")], concurrency=6)
    with pytest.raises(KeyboardInterrupt):
        played(path, plan)
    assert 5 <= slow.asked == slow.answered == verdicts_in(path) <= 6
    again = Judging()
    again.judge = PairwiseJudge(ScriptedModel("judge", lambda _: "Scores: 6 5"))
    assert played(path, make_plan(again, plan.contestants)).cached == slow.asked


def test_a_full_disk_waits_for_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def script(request: Request) -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.get_running_loop().create_future()  # would hang for ever
        await turns(20)
        return "Scores: 6 5"

    def fail(self: Store, verdict: object) -> None:
        raise StorageError("database or disk is full")

    judging = Judging()
    judging.judge = PairwiseJudge(ScriptedModel("judge", script))
    monkeypatch.setattr(Store, "add_records", fail)
    with pytest.raises(StorageError, match="full"):
        played(path, make_plan(judging, [contestant("a"), contestant("b")]))
    assert asked > 1


def test_a_full_disk_ends_the_wait_of_a_spent_budget(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a spent budget waits for its last calls, what they bring cannot be stored: that is the reason then."""
    slow = Slow(10**6, lambda: None)

    def fail(self: Store, verdict: object) -> None:
        raise StorageError("database or disk is full")

    monkeypatch.setattr(Store, "add_records", fail)
    with pytest.raises(StorageError, match="full"):
        played(path, make_plan(slow.judging, [contestant("a"), contestant("b")]), budget=Budget(calls=24 + 5))


def test_who_waits_for_a_chunk_keeps_no_run_alive(path: Path) -> None:
    """The budget ends while seatings wait for a local model's next chunk, which will not come."""
    plan = make_plan(Judging(), [Contestant("local", Chunky(size=4)), Contestant("more", Chunky("more", size=3))])
    with pytest.raises(BudgetSpentError):
        played(path, plan, budget=Budget(calls=5))


def test_progress_tells_of_calls_in_flight_and_of_none_at_the_end(path: Path) -> None:
    slow, seen = Slow(10**6, lambda: None), list[int]()
    tally = played(
        path,
        make_plan(slow.judging, [contestant("a"), contestant("b")]),
        lambda tally: seen.append(tally.in_flight),
    )
    assert seen[-1] == tally.in_flight == 0
