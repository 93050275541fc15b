from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arenaloop.report.cards import Undecided, battle_card, final_seatings, undecided, undecided_card, unread_by_model
from arenaloop.report.scope import Scope
from arenaloop.report.shown_battles import Pick
from arenaloop.store import Store
from arenaloop.types import Battle, Completion, Outcome, Prompt, Status, Verdict, Winner, content_hash

ALL = Scope(())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "arena.db") as store:
        yield store


def answer(store: Store, prompt: Prompt, model: str, text: str, status: Status = Status.OK) -> str:
    text_hash = content_hash([text])
    error = "HTTP 500" if status is Status.ERROR else None
    row = (f"{model}-{prompt.id}", 0, prompt.id, model, Completion(text=text, status=status, error=error), text_hash)
    store.add_turns([row])
    return text_hash


def verdict(store: Store, prompt: Prompt, first: str, second: str, status: Status, **more: Any) -> Verdict:
    told = {"key": content_hash(first, second, str(more)), "judge": "j"} | more
    if status is Status.OK:
        told.setdefault("outcome", Outcome.A)
    made = Verdict(prompt_id=prompt.id, first_hash=first, second_hash=second, status=status, **told)
    store.add_verdict(made)
    return made


def battle(prompt: Prompt, one: Verdict, other: Verdict) -> Pick:
    return Pick(0, "random", Battle(prompt.id, "a", "b", Winner.TIE, 5.0, 5.0, True, "j", (one.key, other.key)))


def test_texts_stand_with_their_models_whichever_seat_is_known(store: Store) -> None:
    prompt = Prompt.of("q")
    store.add_prompts([prompt])
    a, b = answer(store, prompt, "a", "text of a"), answer(store, prompt, "b", "text of b")
    one, other = verdict(store, prompt, a, b, Status.OK), verdict(store, prompt, b, a, Status.OK)
    store.flush()
    for known in ({one.key: one, other.key: other}, {one.key: one}, {other.key: other}):
        card = battle_card(battle(prompt, one, other), store, known)
        turn = card.turns[0]
        assert (turn.user.head, turn.answer_a.head, turn.answer_b.head) == ("q", "text of a", "text of b")
        assert [(s.first, s.second) for s in card.seats] == [("a", "b"), ("b", "a")]
        assert [bool(s.calls) for s in card.seats] == [v.key in known for v in (one, other)]
    card = battle_card(battle(prompt, one, other), store, {one.key: one})
    assert [[call.winner for call in s.calls] for s in card.seats] == [["a"], []]


def test_an_empty_answer_is_shown_empty_even_where_another_one_failed_first(store: Store) -> None:
    prompt = Prompt.of("q")
    store.add_prompts([prompt])
    answer(store, prompt, "c", "", Status.ERROR)  # leaves a row with an empty text
    answer(store, prompt, "c", "what came back later")
    a, b = answer(store, prompt, "a", "", Status.EMPTY), answer(store, prompt, "b", "text of b")
    one, other = verdict(store, prompt, a, b, Status.OK), verdict(store, prompt, b, a, Status.OK)
    store.flush()
    card = battle_card(battle(prompt, one, other), store, {one.key: one, other.key: other})
    assert card.turns[0].answer_a is not None
    assert card.turns[0].answer_a.length == 0


def test_missing_rows_are_said_to_be_missing(store: Store) -> None:
    prompt = Prompt.of("never stored")
    one = Verdict(key="x", prompt_id=prompt.id, first_hash="f", second_hash="s", judge="j", status=Status.ERROR)
    card = battle_card(battle(prompt, one, one), store, {})
    assert card.snippet == "(this prompt is not in the arena file)"
    assert [s.calls for s in card.seats] == [[], []]
    assert not card.same_text


def test_undecided_battles_are_found_by_their_texts_and_by_failed_answers(store: Store) -> None:
    prompt, other_prompt = Prompt.of("q"), Prompt.of("r")
    store.add_prompts([prompt, other_prompt])
    a, b = answer(store, prompt, "a", "1"), answer(store, prompt, "b", "2")
    same = answer(store, prompt, "c", "2")  # two models wrote the same text: both battles stand on one verdict
    assert same == b
    verdict(store, prompt, a, b, Status.UNPARSED, raw="hm", sample=0)
    last = verdict(store, prompt, a, b, Status.UNPARSED, raw="hm again", sample=1)
    decided = verdict(store, prompt, b, a, Status.OK, raw="fine")
    answer(store, other_prompt, "a", "", Status.ERROR)
    answer(store, other_prompt, "b", "x", Status.REFUSED)
    answer(store, other_prompt, "b", "now it works")  # a failure that was mended is none
    store.flush()
    found = undecided(store, ["a", "b", "c"], ALL)
    expected = {(prompt.id, "a", "b"), (prompt.id, "a", "c"), (other_prompt.id, "a", "b")}
    assert {item.key for item in found} == expected
    seats = final_seatings(store, found, ALL)
    item = next(item for item in found if item.key == (prompt.id, "a", "b"))
    card = undecided_card(item, store, seats)
    assert card.problem == "the judge gave no readable verdict (unparsed)"
    assert set(card.keys) == {last.key, decided.key}
    failed = next(item for item in found if item.prompt_id == other_prompt.id)
    assert failed.problem == "a has no answer to this prompt (error: HTTP 500)"
    assert undecided_card(failed, store, seats).turns[0].answer_a is None


def test_a_seating_that_succeeded_in_a_later_sample_is_decided(store: Store) -> None:
    prompt = Prompt.of("q")
    store.add_prompts([prompt])
    a, b = answer(store, prompt, "a", "1"), answer(store, prompt, "b", "2")
    verdict(store, prompt, a, b, Status.UNPARSED, sample=0)
    good = verdict(store, prompt, a, b, Status.OK, sample=1)
    verdict(store, prompt, a, b, Status.ERROR, sample=2)
    store.flush()
    assert undecided(store, ["a", "b"], ALL) == []
    item = Undecided(prompt.id, "a", "b", a, b)
    assert final_seatings(store, [item], ALL)[prompt.id, a, b] == (good.key,)
    assert final_seatings(store, [], ALL) == {}


def test_long_conversations_keep_the_end_of_the_history_and_count_the_rest(store: Store) -> None:
    history = tuple({"role": ("user", "assistant")[i % 2], "content": f"turn {i}"} for i in range(40))
    prompt = Prompt(messages=(*history, {"role": "user", "content": "now"}), follow_ups=tuple("abcdefghijklmnopqrst"))
    store.add_prompts([prompt])
    a, b = answer(store, prompt, "a", "x" * 100_000), answer(store, prompt, "b", "y")
    one, other = verdict(store, prompt, a, b, Status.OK), verdict(store, prompt, b, a, Status.OK)
    store.flush()
    card = battle_card(battle(prompt, one, other), store, {one.key: one, other.key: other})
    assert [text.head for _, text in card.history] == [f"turn {i}" for i in range(24, 40)]
    assert len(card.turns) == 16
    assert card.turns_left_out == 24 + 5
    assert card.turns[0].answer_a.length == 100_000
    assert card.turns[0].answer_a.left_out > 90_000


# ---------------------------------------------------------------------- juries, lone seats, other settings


def stored(store: Store) -> tuple[Prompt, str, str]:
    prompt = Prompt.of("q")
    store.add_prompts([prompt])
    return prompt, answer(store, prompt, "a", "text of a"), answer(store, prompt, "b", "text of b")


def test_a_jury_shows_every_member_and_how_they_voted(store: Store) -> None:
    prompt, a, b = stored(store)
    members = ("m1", "m2", "m3")
    first = [verdict(store, prompt, a, b, Status.OK, judge=name) for name in members[:2]]
    first.append(verdict(store, prompt, a, b, Status.UNPARSED, judge="m3", raw="hm"))
    second = [verdict(store, prompt, b, a, Status.OK, judge=name, outcome=Outcome.TIE) for name in members]
    store.flush()
    verdicts = {v.key: v for v in (*first, *second)}
    fought = Battle(prompt.id, "a", "b", Winner.MODEL_A, 1.0, 0.0, False, "jury", tuple(verdicts))
    card = battle_card(Pick(0, "random", fought), store, verdicts)
    assert [[call.verdict.judge for call in seat.calls] for seat in card.seats] == [list(members)] * 2
    assert [seat.votes for seat in card.seats] == ["2 for a, 1 without a verdict", "3 tie"]
    assert (card.judges, card.lone) == (list(members), False)
    # a member that was not asked leaves the keys uneven; their texts still tell the seats apart
    fewer = {v.key: v for v in (first[0], *second)}
    uneven = Battle(prompt.id, "a", "b", Winner.MODEL_A, 1.0, 0.0, False, "jury", tuple(fewer))
    assert [len(seat.calls) for seat in battle_card(Pick(0, "random", uneven), store, fewer).seats] == [1, 3]


def test_a_battle_of_one_seat_knows_which_seat_it_was(store: Store) -> None:
    prompt, a, b = stored(store)
    one = verdict(store, prompt, a, b, Status.OK)  # the first seat won: a
    other = verdict(store, prompt, b, a, Status.OK)  # the first seat won: b
    store.flush()
    for made, winner, seats in ((one, Winner.MODEL_A, ("a", "b")), (other, Winner.MODEL_B, ("b", "a"))):
        fought = Battle(prompt.id, "a", "b", winner, 1.0, 0.0, True, "j", (made.key,))
        card = battle_card(Pick(0, "flipped", fought), store, {made.key: made})
        assert card.lone
        [seat] = card.seats
        assert (seat.first, seat.second) == seats
        assert [call.winner for call in seat.calls] == [seats[0]]
        turn = card.turns[0]
        assert turn.answer_a is not None
        assert turn.answer_b is not None
        assert (turn.answer_a.head, turn.answer_b.head) == ("text of a", "text of b")


def test_equal_texts_take_their_seats_in_the_order_of_their_keys(store: Store) -> None:
    prompt = Prompt.of("q")
    store.add_prompts([prompt])
    same = answer(store, prompt, "a", "same")
    answer(store, prompt, "b", "same")
    one = verdict(store, prompt, same, same, Status.OK)
    store.flush()
    fought = Battle(prompt.id, "a", "b", Winner.TIE, 5.0, 5.0, True, "j", (one.key, one.key))
    card = battle_card(Pick(0, "random", fought), store, {one.key: one})
    assert card.same_text
    assert [[call.winner for call in seat.calls] for seat in card.seats] == [["a"], ["b"]]


def test_verdicts_of_other_settings_stay_out_of_undecided_battles(store: Store) -> None:
    prompt, a, b = stored(store)
    verdict(store, prompt, a, b, Status.UNPARSED, judge_hash="old")
    verdict(store, prompt, b, a, Status.OK, judge_hash="old")
    now = verdict(store, prompt, b, a, Status.UNPARSED, judge_hash="now")
    store.flush()
    scope = Scope(("now",))
    [item] = undecided(store, ["a", "b"], scope)
    assert final_seatings(store, [item], scope) == {(prompt.id, b, a): (now.key,)}
    assert len(undecided(store, ["a", "b"], Scope(("never asked",)))) == 0


def test_a_verdict_that_was_read_again_counts_as_it_was_read_last(store: Store) -> None:
    prompt, a, b = stored(store)
    verdict(store, prompt, a, b, Status.UNPARSED, judge_hash="now", key="k")
    store.flush()
    assert len(undecided(store, ["a", "b"], Scope(("now",)))) == 1
    verdict(store, prompt, a, b, Status.OK, judge_hash="now", key="k")
    store.flush()
    assert undecided(store, ["a", "b"], Scope(("now",))) == []


def test_whose_answers_stand_in_unread_verdicts_is_counted(store: Store) -> None:
    for i in range(3):
        prompt = Prompt.of(f"question {i}")
        texts = {name: answer(store, prompt, name, f"{name} {i}") for name in "abc"}
        verdict(store, prompt, texts["a"], texts["b"], Status.UNPARSED, judge_hash="now")
        verdict(store, prompt, texts["a"], texts["c"], Status.UNPARSED, judge_hash="now")
        verdict(store, prompt, texts["b"], texts["c"], Status.OK if i else Status.ERROR, judge_hash="now")
        verdict(store, prompt, texts["c"], texts["b"], Status.ERROR, judge_hash="old")
    store.flush()
    assert unread_by_model(store, list("abc"), Scope(("now",))) == (7, [("a", 6), ("b", 4), ("c", 4)])
    assert unread_by_model(store, ["b"], Scope(("now",))) == (7, [("b", 4)])
    assert unread_by_model(store, list("abc"), Scope(("never",))) == (0, [])
