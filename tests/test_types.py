"""The vocabulary: ids, seats, and what a verdict may be."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.types import (
    Completion,
    Outcome,
    Prompt,
    Response,
    Sampling,
    Status,
    Verdict,
    content_hash,
    derive_seed,
)

# any text that Python can hold, lone surrogates included: broken bytes of a model end up so
TEXTS = st.text(st.characters(), max_size=40)
ROLES = st.sampled_from(["user", "assistant"])
MESSAGES = st.lists(st.builds(lambda r, c: {"role": r, "content": c}, ROLES, TEXTS), max_size=4)
PROMPTS = st.builds(
    lambda history, last, follow: Prompt((*history, {"role": "user", "content": last}), tuple(follow)),
    MESSAGES,
    TEXTS,
    st.lists(TEXTS, max_size=3),
)


def canonical(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def test_prompt_id_golden() -> None:
    """A second implementation of the documented rule, and its literal value: ids must never drift between versions."""
    prompt = Prompt(({"role": "user", "content": "Hi"},), ("More?",))
    rule = blake2b(b'[[{"content":"Hi","role":"user"}],["More?"]]', digest_size=8).hexdigest()
    assert prompt.id == rule == "a792e5e9abbb1e92"


@given(PROMPTS)
def test_prompt_id_is_the_hash_of_messages_and_follow_ups(prompt: Prompt) -> None:
    parts = [[dict(m) for m in prompt.messages], list(prompt.follow_ups)]
    assert prompt.id == blake2b(canonical(parts), digest_size=8).hexdigest()
    assert len(prompt.id) == 16
    assert prompt.turns == 1 + len(prompt.follow_ups)


@given(TEXTS, st.sampled_from([" ", "\n", "\t", "\x00", "​"]))
def test_nothing_is_trimmed(text: str, space: str) -> None:
    ids = {Prompt.of(t).id for t in (text, text + space, space + text)}
    assert len(ids) == len({text, text + space, space + text})


def test_tags_and_key_order_do_not_change_the_id() -> None:
    one = Prompt(({"role": "user", "content": "x"},), tags={"source_id": 1})
    two = Prompt(({"content": "x", "role": "user"},))
    assert one.id == two.id == Prompt.of("x", category="math").id


def test_the_border_between_turns_is_part_of_the_id() -> None:
    assert Prompt.of("a").id != Prompt(({"role": "user", "content": "a"},), ("",)).id
    assert content_hash(["ab", "c"]) != content_hash(["a", "bc"])
    assert content_hash("a", "b") != content_hash("ab")


@given(PROMPTS, st.data())
def test_conversation_interleaves_answers_and_follow_ups(prompt: Prompt, data: st.DataObject) -> None:
    answers = data.draw(st.lists(TEXTS, max_size=prompt.turns))
    talk = prompt.conversation(answers)
    assert talk[: len(prompt.messages)] == [dict(m) for m in prompt.messages]
    later = talk[len(prompt.messages) :]
    assert [m["content"] for m in later if m["role"] == "assistant"] == answers
    assert [m["content"] for m in later if m["role"] == "user"] == list(prompt.follow_ups[: len(answers)])
    assert talk[-1]["role"] == ("assistant" if len(answers) == prompt.turns else "user")


@given(st.sampled_from(list(Outcome)))
def test_swap_is_an_involution_and_mirrors_the_score(outcome: Outcome) -> None:
    assert outcome.swap().swap() is outcome
    assert outcome.score_a + outcome.swap().score_a == 1.0


@given(st.floats(1, 10), st.floats(1, 10))
def test_outcome_from_scores(a: float, b: float) -> None:
    assert Outcome.from_scores(a, b) is Outcome.from_scores(b, a).swap()
    assert (Outcome.from_scores(a, b) is Outcome.TIE) == (a == b)
    assert (Outcome.from_scores(a, b) is Outcome.A) == (a > b)


@given(st.sampled_from(list(Status)), st.sampled_from([None, *Outcome]))
def test_a_verdict_has_an_outcome_exactly_when_it_is_ok(status: Status, outcome: Outcome | None) -> None:
    def make() -> Verdict:
        return Verdict("k", "p", "f", "s", "judge", status, outcome=outcome)

    if (outcome is not None) == (status is Status.OK):
        assert make().outcome is outcome
    else:
        with pytest.raises(ValueError, match="outcome exactly when"):
            make()


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_response_text_hash(texts: list[str]) -> None:
    response = Response("p", "m", tuple(texts))
    assert response.text_hash == blake2b(canonical([texts]), digest_size=16).hexdigest()
    assert response.text_hash == Response("other", "model", tuple(texts)).text_hash
    assert response.text_hash != Response("p", "m", (*texts, "")).text_hash


@pytest.mark.parametrize("status", list(Status))
def test_which_responses_battle(status: Status) -> None:
    battles = Response("p", "m", ("",), status=status).battles
    assert battles == (status in {Status.OK, Status.TRUNCATED, Status.EMPTY})


@given(st.lists(st.integers() | TEXTS, max_size=4))
def test_seeds_are_63_bits_and_repeat(parts: list[object]) -> None:
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(*parts)
    assert seed != derive_seed(*parts, "more")


def test_sampling_key_tells_all_settings_apart() -> None:
    base = Sampling()
    changes: dict[str, Any] = {"temperature": 1.0, "top_p": 0.5, "max_tokens": 9}
    others = [replace(base, **{k: v}) for k, v in changes.items()]
    others.append(replace(base, stop=("x",)))
    keys = {json.dumps(s.key()) for s in (base, *others)}
    assert len(keys) == 5


def test_records_are_frozen_and_slotted() -> None:
    for record, name in ((Prompt.of("x"), "id"), (Completion(), "text"), (Response("p", "m", ()), "model")):
        with pytest.raises(FrozenInstanceError):
            setattr(record, name, "changed")
        assert not hasattr(record, "__dict__")
