"""Both seats are asked, or one that the seed draws; whoever has to answer is asked, local or not."""

from __future__ import annotations

from pathlib import Path

from scripted_battles import PROMPTS, Judging, contestant, fight, make_plan

from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.pairings import pairings
from arenaloop.calls.answers import Answers, answer
from arenaloop.store import Store
from arenaloop.types import Request


def test_seeded_seats_ask_once_a_pair(path: Path) -> None:
    judging = Judging()
    plan = make_plan(judging, [contestant(name) for name in "abc"], seats="seeded", seed=5)
    found, tally = fight(path, plan)
    assert (plan.verdicts, tally.verdicts, len(judging.requests)) == (36, 36, 36)
    assert all(len(p.battles) == 1 for p in found)
    assert {(p.a_first is None, p.b_first is None) for p in found} == {(True, False), (False, True)}
    first = [p.a_first is not None for p in found]
    assert 8 < sum(first) < 28  # either seat is drawn about as often
    again, repeated = fight(path, plan)
    assert again == found
    assert repeated.calls == 0


def test_the_seat_hangs_on_seed_prompt_and_pair_and_not_on_the_order_of_models() -> None:
    plan = make_plan(Judging(), [contestant(name) for name in "ab"], seats="seeded", seed=5)
    other = make_plan(Judging(), [contestant(name) for name in "ab"], seats="seeded", seed=6)
    ids = [p.id for p in PROMPTS]
    drawn = [plan.seatings(i, [("a", "b")]) for i in ids]
    assert drawn == [plan.seatings(i, [("b", "a")]) for i in ids]
    assert drawn != [other.seatings(i, [("a", "b")]) for i in ids]


def test_seeded_seats_read_no_verdict_of_the_other_seat(path: Path) -> None:
    """An arena file that holds both seats gives a seeded plan the one that it draws."""
    judging = Judging()
    contestants = [contestant(name) for name in "ab"]
    fight(path, make_plan(judging, contestants, seed=5))
    heard = len(judging.requests)
    seeded = make_plan(judging, contestants, seats="seeded", seed=5)
    found, tally = fight(path, seeded)
    assert (len(judging.requests), tally.cached) == (heard, 12)
    assert all((p.a_first is None) != (p.b_first is None) for p in found)


def test_only_answers_asks_whoever_has_to_answer(path: Path) -> None:
    """A served or scripted contestant is asked without any battle, too."""
    heard: list[Request] = []
    asked = contestant("a", heard)
    judging = Judging()
    with Store(path) as store:
        store.add_prompts(PROMPTS)
        store.flush()
        tally = answer([asked], [p.id for p in PROMPTS], store)
        assert (tally.answers, tally.answers_total, len(heard)) == (12, 12, 12)
        answers = Answers(store, [asked], {}, seed=0)
        assert all(answers.stored("a", p) for p in PROMPTS)
        plan = make_plan(judging, [asked])
        played = play(plan, store)
        assert plan.schedule == Schedule(())
        assert (played.calls, judging.requests, list(pairings(plan, store))) == (0, [], [])
    assert len(heard) == 12
