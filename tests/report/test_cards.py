from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arenaloop.report.cards import Undecided, battle_card, final_seatings, undecided, undecided_card
from arenaloop.report.picks import Pick
from arenaloop.store import Store
from arenaloop.types import Battle, Completion, Outcome, Prompt, Status, Verdict, content_hash


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


def verdict(store: Store, prompt: Prompt, first: str, second: str, status: Status, **more: object) -> Verdict:
    made = Verdict(
        key=content_hash(first, second, str(more)), prompt_id=prompt.id, first_hash=first, second_hash=second,
        judge="j", status=status, outcome=Outcome.A if status is Status.OK else None, **more,  # type: ignore[arg-type]
    )  # fmt: skip
    store.add_verdict(made)
    return made


def battle(prompt: Prompt, one: Verdict, other: Verdict) -> Pick:
    return Pick(0, "random", Battle(prompt.id, "a", "b", "tie", 5.0, 5.0, True, "j", (one.key, other.key)))


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
        assert [s.verdict is not None for s in card.seats] == [v.key in known for v in (one, other)]
    assert [s.winner for s in battle_card(battle(prompt, one, other), store, {one.key: one}).seats] == ["a", None]


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
    assert [s.verdict for s in card.seats] == [None, None]
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
    found = undecided(store, ["a", "b", "c"])
    expected = {(prompt.id, "a", "b"), (prompt.id, "a", "c"), (other_prompt.id, "a", "b")}
    assert {item.key for item in found} == expected
    seats = final_seatings(store, found)
    item = next(item for item in found if item.key == (prompt.id, "a", "b"))
    card = undecided_card(item, store, seats)
    assert card.problem == "the judge gave no readable verdict (unparsed)"
    assert {s.verdict.key for s in card.seats if s.verdict} == {last.key, decided.key}
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
    assert undecided(store, ["a", "b"]) == []
    item = Undecided(prompt.id, "a", "b", a, b)
    assert final_seatings(store, [item])[prompt.id, a, b] == good.key
    assert final_seatings(store, []) == {}


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
    assert card.turns[0].answer_a.length == 100_000  # type: ignore[union-attr]
    assert card.turns[0].answer_a.left_out > 90_000  # type: ignore[union-attr]
