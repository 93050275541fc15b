"""Calls handed out to workers that come and go: the play and the workers of engine `ray`, on one event loop."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import Judging, contestant, make_plan, outcomes
from till import PRICE, Said, running_till, scores, usage
from workers_here import Place, by_workers

from arenaloop.arena.battles import play
from arenaloop.arena.pairings import pairings
from arenaloop.calls.budget import Budget
from arenaloop.calls.notices import told_notices
from arenaloop.calls.progress import Tally
from arenaloop.errors import BudgetSpentError, EndpointDownError, StoppedError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.store import Store
from arenaloop.store.counts import commonest_error
from arenaloop.types import Prompt, Sampling

PROMPTS = [Prompt.of(f"question {n}") for n in range(20)]
SEATINGS = 40


async def no_sleep(seconds: float) -> None:
    """Pauses take no time."""


def told(n: int, body: dict[str, Any], size: int) -> Said:
    """Scores that the two answers determine, whatever their delimiters are."""
    seen = re.findall(r"[ab]: \d+", json.dumps(body["messages"]))
    return Said(scores({"messages": seen}), size // 4, 15, usage(size // 4, 15))


def moody(n: int, body: dict[str, Any], size: int) -> Said:
    """Every third call fails, and may be tried again."""
    said = told(n, body, size)
    return said if n % 3 else replace(said, how="gateway", usage=None)


def judged(url: str, **options: Any) -> Judging:
    judging = Judging()
    model = OpenAIModel("j", "j", url, price=PRICE, sleep=no_sleep, **{"concurrency": 6, "retries": 30, **options})
    judging.judge = PairwiseJudge(model, sampling=Sampling(max_tokens=100))
    return judging


def fight(path: Path, url: str, budget: Budget | None = None, **options: Any) -> tuple[Store, Tally]:
    """Forty seatings; the arena file is left open, unless the run stops."""
    store = Store(path)
    store.add_prompts(PROMPTS)
    store.flush()
    plan = make_plan(judged(url, **options), [contestant("a"), contestant("b")], PROMPTS)
    try:
        return store, play(plan, store, budget=budget)
    except StoppedError:
        store.close()
        raise


def battles(store: Store, url: str) -> list[tuple[object, ...]]:
    plan = make_plan(judged(url), [contestant("a"), contestant("b")], PROMPTS)
    return outcomes(list(pairings(plan, store)))


def test_battles_and_counts_are_those_of_this_process(tmp_path: Path) -> None:
    with running_till(moody) as till:
        here, tally = fight(tmp_path / "here.db", till.url)
        asked = till.calls
        with by_workers(Place(), Place(), Place()) as engine:
            there, other = fight(tmp_path / "there.db", till.url)
        assert battles(here, till.url) == battles(there, till.url)
        assert len({str(battle[3]) for battle in battles(there, till.url)}) > 2
        assert other.calls - SEATINGS == till.calls - asked > SEATINGS  # answers by script are calls, too
        assert other.usd == pytest.approx(tally.usd, rel=0.2)
        assert other.in_flight == 0
        assert {model.name for model in engine.opened} == {"j"}
        assert there.usage().calls_cut_off == 0
        for store in (here, there):
            store.close()


def test_orders_that_overtake_each_other_are_followed_in_order(tmp_path: Path) -> None:
    """Else calls of a model that is not told of yet would be lost, and waited for without end."""
    with running_till(moody) as till:
        here, _ = fight(tmp_path / "here.db", till.url)
        for seed in range(3):
            with by_workers(Place(delays=random.Random(seed)), Place(delays=random.Random(-1 - seed))):
                there, other = fight(tmp_path / f"{seed}.db", till.url)
            assert battles(here, till.url) == battles(there, till.url)
            assert other.in_flight == 0
            there.close()
        here.close()


def test_limits_are_divided() -> None:
    model = OpenAIModel("m", "m", "http://127.0.0.1:1/v1", concurrency=7, rpm=60, tpm=900)
    shares = [model.share(at, 3) for at in range(3)]
    assert [share.limits.concurrency for share in shares] == [3, 2, 2]
    assert {share.limits.rpm for share in shares} == {20}
    few = OpenAIModel("m", "m", "http://127.0.0.1:1/v1", concurrency=2, rpm=60)
    assert [
        share and (share.limits.concurrency, share.limits.rpm) for share in (few.share(n, 3) for n in range(3))
    ] == [
        (1, 30),
        (1, 30),
        None,
    ]


def test_a_budget_of_calls_holds_over_all_workers_and_their_retries(tmp_path: Path) -> None:
    with running_till(moody) as till, by_workers(Place(), Place()):
        with pytest.raises(BudgetSpentError):
            fight(tmp_path / "arena.db", till.url, Budget(calls=SEATINGS + 25))
        with Store(tmp_path / "arena.db", readonly=True) as store:
            assert store.usage().calls == SEATINGS + 25
            assert till.calls == SEATINGS + 25 - store.sizes()["responses"]  # answers by script are calls, too
        assert till.calls > 25  # not all answers came first


@pytest.mark.parametrize("at", [7, 20])
def test_a_lost_workers_calls_are_handed_out_again_and_count(at: int, tmp_path: Path) -> None:
    place = Place()

    def deadly(n: int, body: dict[str, Any], size: int) -> Said:
        if n == at:
            assert engine.loop is not None
            engine.loop.call_soon_threadsafe(place.kill)
        return told(n, body, size)

    with running_till(told) as till:
        whole, _ = fight(tmp_path / "whole.db", till.url)
        wanted = battles(whole, till.url)
        whole.close()
    with running_till(deadly) as till, by_workers(place, Place()) as engine:
        store, tally = fight(tmp_path / "arena.db", till.url)
        assert battles(store, till.url) == wanted
        assert SEATINGS <= till.calls <= SEATINGS + 3  # a half of six places
        assert till.calls <= store.usage().calls - SEATINGS <= SEATINGS + 3
        assert any("a Ray worker on here is lost (killed)" in line for line in tally.notices)
        store.close()


def test_a_call_that_workers_die_of_fails_and_the_others_are_answered(tmp_path: Path) -> None:
    places = [Place(), Place()]

    def poisonous(n: int, body: dict[str, Any], size: int) -> Said:
        if "question 13" in json.dumps(body):
            assert engine.loop is not None
            for place in places:
                if any("question 13" in str(call) for orders in place.actor.heard for call in orders.calls):
                    engine.loop.call_soon_threadsafe(place.kill)
        return told(n, body, size)

    with running_till(poisonous) as till, by_workers(*places) as engine:
        store, _ = fight(tmp_path / "arena.db", till.url, concurrency=2)
        store.flush()
        assert commonest_error(store) == "lost with 5 Ray workers, one after the other"
        assert sum(bool(battle[3]) for battle in battles(store, till.url)) == len(PROMPTS) - 1
        assert till.calls <= SEATINGS - 2 + 2 * 5 * 3  # of each seating three samples
        store.close()


def test_when_no_worker_is_left_the_run_stops_and_goes_on_later(tmp_path: Path) -> None:
    place = Place(lives=1)

    def deadly(n: int, body: dict[str, Any], size: int) -> Said:
        if n == 10:
            assert engine.loop is not None
            engine.loop.call_soon_threadsafe(place.kill)
        return told(n, body, size)

    with running_till(deadly) as till:
        with by_workers(place) as engine, pytest.raises(StoppedError, match="all Ray workers are lost"):
            fight(tmp_path / "arena.db", till.url)
        store, _ = fight(tmp_path / "arena.db", till.url)
        assert all(battle[3] for battle in battles(store, till.url))
        assert SEATINGS <= till.calls <= SEATINGS + 6
        store.close()


def test_a_server_that_is_down_stops_the_run_and_is_named_with_the_node(tmp_path: Path) -> None:
    with (
        by_workers(Place(), Place()),
        pytest.raises(EndpointDownError, match=r"on here: http://127\.0\.0\.1:1/v1 cannot be reached"),
    ):
        fight(tmp_path / "arena.db", "http://127.0.0.1:1/v1", retries=1)
    with Store(tmp_path / "arena.db", readonly=True) as store:
        assert store.usage().calls == SEATINGS  # nothing was sent to the server


def test_what_is_odd_about_replies_comes_home(tmp_path: Path) -> None:
    def odd(n: int, body: dict[str, Any], size: int) -> Said:
        return replace(told(n, body, size), usage=usage(3, 15))

    with running_till(odd) as till, by_workers(Place(), Place()):
        store, _ = fight(tmp_path / "arena.db", till.url)
        assert any(f"of {SEATINGS} of {SEATINGS} prompts it read a part only" in line for line in told_notices(store))
        store.close()
