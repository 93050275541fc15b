"""Battles read back: the same as looking every row up by itself, and counts that agree with them."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_battles import summarise

from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.pairings import Pairing, Summary, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import battle_line
from arenaloop.calls.answers import Contestant
from arenaloop.jsonl import encode_json
from arenaloop.judges.jury import Jury
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.seats import MergeRule, OneSeatFailed, merge_pair
from arenaloop.models.base import Model
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store, response_key
from arenaloop.types import Battle, Completion, Prompt, Response, Sampling, Status, Verdict, Winner, content_hash

PROMPTS = [Prompt.of(f"question {n}") for n in range(10)] + [Prompt(({"role": "user", "content": "two"},), ("turns",))]
NAMES = ["a", "b", "c"]
TEXTS = {Status.OK: "Scores: {} {}", Status.UNPARSED: "I like both.", Status.TRUNCATED: "So let me", Status.EMPTY: ""}


def nobody(_: object) -> str:
    raise AssertionError("nothing may be asked")


def key_of(plan: BattlePlan, name: str, prompt: Prompt) -> str:
    (model,) = (c.model for c in plan.contestants if c.name == name)
    assert isinstance(model, Model)
    return response_key(prompt.id, model.fingerprint, Sampling().key(), 0)


def make_plan(judge: PairwiseJudge | Jury, **settings: object) -> BattlePlan:
    contestants = [Contestant(name, ScriptedModel(name, nobody)) for name in NAMES]
    ids = [p.id for p in PROMPTS]
    return BattlePlan(contestants, judge, ids, schedule("all", NAMES, ids, 0), **settings)  # type: ignore[arg-type]


def fill(store: Store, plan: BattlePlan, rng: random.Random) -> None:
    """Answers and verdicts of every status, some asked more than once, some not at all."""
    store.add_prompts(PROMPTS)
    for prompt, name in product(PROMPTS, NAMES):
        key, said = key_of(plan, name, prompt), list[str]()
        for turn in range(prompt.turns if rng.random() < 0.95 else prompt.turns - 1):
            status = rng.choice([Status.OK] * 12 + [Status.EMPTY, Status.TRUNCATED, Status.ERROR])
            for attempt in range(rng.choice([1, 1, 1, 2])):
                text = f"{name} {attempt}" if status is not Status.EMPTY else ""
                row = (key, turn, prompt.id, name, Completion(text, status=status), content_hash([*said, text]))
                store.add_turns([row])
            said.append(text)
        response = store.response(key, prompt, name)
        assert response is None or response.text_hash == content_hash(list(response.texts))
    for prompt in PROMPTS:
        said_by = {name: store.response(key_of(plan, name, prompt), prompt, name) for name in NAMES}
        for judge, first, second in product(plan.judges, NAMES, NAMES):
            one, two = said_by[first], said_by[second]
            if first == second or one is None or two is None:
                continue
            for sample in range(rng.choice([0, 1, 1, 1, 2, 3])):
                for _ in range(rng.choice([1, 1, 2])):
                    store.add_verdict(drawn(judge, prompt, one, two, sample, rng))


def drawn(judge: object, prompt: Prompt, one: Response, two: Response, sample: int, rng: random.Random) -> Verdict:
    assert isinstance(judge, PairwiseJudge)
    status = rng.choice([Status.OK] * 5 + list(Status))
    if status in (Status.ERROR, Status.REFUSED):
        return judge.read(prompt, one, two, Completion(status=status), sample=sample)
    text = TEXTS[status].format(rng.randint(1, 10), rng.randint(1, 10))
    ended = status if status is not Status.UNPARSED else Status.OK
    return judge.read(prompt, one, two, Completion(text, status=ended), sample=sample)


def one_by_one(plan: BattlePlan, store: Store) -> list[Pairing]:
    """The plainest way: every response and every verdict by its key."""
    found = []
    for prompt in PROMPTS:
        for a, b in plan.schedule.on(prompt.id):
            one, two = (store.response(key_of(plan, name, prompt), prompt, name) for name in (a, b))
            if one is None or two is None or not (one.battles and two.battles):
                found.append(Pairing(prompt.id, a, b, (), None, None))
                continue
            seats = []
            for first, second in ((one, two), (two, one)):
                told = [final(store, plan, judge, prompt, first, second) for judge in plan.judges]
                seats.append(plan.judge.verdict(told) if isinstance(plan.judge, Jury) else told[0])
            battles = merge_pair(a, b, seats[0], seats[1], plan.merge, plan.one_seat_failed)
            found.append(Pairing(prompt.id, a, b, battles, seats[0], seats[1]))
    return found


def final(
    store: Store, plan: BattlePlan, judge: object, prompt: Prompt, first: Response, second: Response
) -> Verdict | None:
    assert isinstance(judge, PairwiseJudge)
    asked: list[Verdict] = []
    for sample in range(plan.reask + 1):
        verdict = store.verdict(judge.key(prompt, first, second, sample))
        if verdict is None:
            break
        asked.append(verdict)
    return next((v for v in asked if v.outcome), asked[-1] if asked else None)


def judged(summary: Summary) -> Summary:
    """Without the attribution of what is undecided, which the plain way does not have."""
    return replace(summary, lost=Counter(), open=Counter())


def plain(pairing: Pairing, *, keys: bool = True) -> tuple[object, ...]:
    battles = [
        (b.model_a, b.model_b, b.winner, b.score_a, b.score_b, b.flipped, b.judge, b.verdicts if keys else ())
        for b in pairing.battles
    ]
    names = ("key", "prompt_id", "first_hash", "second_hash", "judge", "sample", "status", "score_first", "outcome")
    seats = [v and tuple(getattr(v, name) for name in names) for v in (pairing.a_first, pairing.b_first)]
    return pairing.prompt_id, pairing.model_a, pairing.model_b, battles, seats


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("merge", ["mean", "agree_or_tie", "two_battles"])
@pytest.mark.parametrize("one_seat_failed", ["drop_battle", "use_one"])
def test_battles_are_those_found_row_by_row(
    tmp_path: Path, seed: int, merge: MergeRule, one_seat_failed: OneSeatFailed
) -> None:
    judge = PairwiseJudge(ScriptedModel("judge", nobody))
    plan = make_plan(judge, merge=merge, one_seat_failed=one_seat_failed, reask=seed % 3)
    with Store(tmp_path / "arena.db") as store:
        fill(store, plan, random.Random(seed))
        expected = one_by_one(plan, store)
        found = list(pairings(plan, store))  # while some rows may still be on their way
        assert list(map(plain, found)) == list(map(plain, expected))
        assert judged(summarise(found)) == judged(summarise(expected))
    with Store(tmp_path / "arena.db", readonly=True) as store:
        assert list(map(plain, pairings(plan, store))) == list(map(plain, expected))
    statuses = {v.status for p in found for v in (p.a_first, p.b_first) if v}
    assert len(statuses) >= 3
    assert any(p.battles for p in found)
    assert any(p.a_first is None for p in found)


@pytest.mark.parametrize("seed", range(3))
def test_of_a_jury_every_members_verdict_counts(tmp_path: Path, seed: int) -> None:
    jury = Jury([PairwiseJudge(ScriptedModel(name, nobody)) for name in ("j1", "j2", "j3")])
    plan = make_plan(jury)
    with Store(tmp_path / "arena.db") as store:
        fill(store, plan, random.Random(seed))
        found, expected = list(pairings(plan, store)), one_by_one(plan, store)
        # keys of a jury's battles are those of its members
        assert [plain(p, keys=False) for p in found] == [plain(p, keys=False) for p in expected]
        named = [key for p in found for b in p.battles for key in b.verdicts]
        known = store.verdicts(named)
        assert set(known) == set(named)
        assert {v.judge for v in known.values()} == {"j1", "j2", "j3"}


def test_counts_are_read_back_and_added() -> None:
    """`counts` and `of` are inverse; merging two summaries is counting both."""
    judge = PairwiseJudge(ScriptedModel("judge", nobody))
    one, two = Response("p", "a", ("x",)), Response("p", "b", ("y",))
    rng = random.Random(5)
    found = []
    for _ in range(60):
        seats = [drawn(judge, PROMPTS[0], first, second, 0, rng) for first, second in ((one, two), (two, one))]
        found.append(Pairing("p", "a", "b", merge_pair("a", "b", seats[0], seats[1]), seats[0], seats[1]))
    whole, half, rest = summarise(found), summarise(found[:30]), summarise(found[30:])
    assert Summary.of(whole.counts()) == whole
    half.merge(rest)
    assert half == whole
    verdicts = [v for p in found for v in (p.a_first, p.b_first) if v]
    told = [v.outcome.value for v in verdicts if v.outcome]
    assert whole.ok == len(told)
    assert whole.ok + sum(whole.failed.values()) == len(verdicts)
    assert (whole.first_wins, whole.decisive) == (told.count("A"), len(told) - told.count("TIE"))
    assert whole.flips == sum(b.flipped for p in found for b in p.battles[:1]) > 0
    assert whole.to_json()["first_seat_win_rate"] == whole.first_wins / whole.decisive


ODD = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['q"uote', "back\\slash", "\u2028", "é"]
)
SCORES = st.floats(1, 10) | st.sampled_from([7.0, 0.5, 7, 1, 0.1 + 0.2])


@given(ODD, ODD, ODD, SCORES, SCORES, st.booleans(), st.lists(ODD | st.just("0f" * 16), max_size=3))
def test_a_battle_as_a_line_is_its_row(
    a: str, b: str, judge: str, one: float, two: float, flipped: bool, keys: list[str]
) -> None:
    def battle_row(battle: Battle) -> dict[str, object]:
        return asdict(battle) | {"verdicts": list(battle.verdicts)}

    battle = Battle("p", a, b, Winner.TIE, one, two, flipped, judge, tuple(keys))
    assert battle_line(battle) == encode_json(battle_row(battle))
    odd = Battle("p", a + "\ud800", b, Winner.MODEL_A, one, two, flipped, judge, tuple(keys))
    assert json.loads(battle_line(odd)) == battle_row(odd)


@pytest.mark.parametrize("merge", ["mean", "two_battles"])
def test_with_seeded_seats_one_seat_of_a_pair_decides(tmp_path: Path, merge: MergeRule) -> None:
    judge = PairwiseJudge(ScriptedModel("judge", nobody))
    plan, both = make_plan(judge, merge=merge, seats="seeded"), make_plan(judge)
    with Store(tmp_path / "arena.db") as store:
        fill(store, plan, random.Random(1))
        found = list(zip(pairings(plan, store), pairings(both, store), strict=True))
    sat = set()
    for one, two in found:
        a_sits, b_sits = plan.sits_first(one.prompt_id, (one.model_a, one.model_b))
        assert a_sits != b_sits
        sat.add(a_sits)
        assert (one.a_first, one.b_first) == (two.a_first if a_sits else None, two.b_first if b_sits else None)
        asked = one.a_first or one.b_first
        assert len(one.battles) == (asked is not None and asked.outcome is not None)
    assert sat == {True, False}
