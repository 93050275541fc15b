"""Bodies become questions or are refused in one line; replies hold a number for each row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_serving import openrlhf_body

from arenaloop.serving.wire import Fallback, KnownPrompts, WireError, answer_of, read_body, reply
from arenaloop.types import Prompt

ASKED = Prompt.of("What is 2 + 2?", source_id=7)
TWO_TURNS = Prompt(({"role": "user", "content": "Hi"},), ("And?",))
KNOWN = KnownPrompts([ASKED, TWO_TURNS])


def read(body: Any, known: KnownPrompts = KNOWN) -> list[tuple[Any, str]]:
    """The prompt's text or the flag, and the answer, of each row."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    batch = read_body(raw, known, most_characters=100)
    return [(q.flag or (q.prompt and q.prompt.last_user), q.answer) for q in batch.questions]


def test_openrlhf_rows_are_known_by_their_labels() -> None:
    assert read(openrlhf_body("rendered otherwise", "four", ASKED.id)) == [("What is 2 + 2?", "four")]
    assert read(openrlhf_body("rendered otherwise", "four", "7")) == [("What is 2 + 2?", "four")]
    assert read(openrlhf_body("x", "four", TWO_TURNS.id)) == [("Hi", "four")]
    assert read(openrlhf_body("x", "four", "of another")) == [("unknown_prompt", "")]
    # without prompts of its own the server can only take the text, and sees a template in this one
    assert read(openrlhf_body("x", "four", ""), KnownPrompts()) == [("marked_up", "")]
    bare = {"query": ["2 + 2 =four</s></s>\n"], "prompts": ["2 + 2 ="], "labels": [None]}
    assert read(bare, KnownPrompts()) == [("2 + 2 =", "four")]


@pytest.mark.parametrize(
    ("query", "prompt", "answer"),
    [
        ("ask: say", "ask: ", "say"),
        ("ask: say<|im_end|>\n<|endoftext|>", "ask: ", "say"),
        ("ask: I close </think>", "ask: ", "I close </think>"),
        (f"cut {'p' * 80}: say<|eot_id|>", f"a prompt that was cut {'p' * 80}: ", "say"),
        (f"{'p' * 80}: {'p' * 80}: say", f"x{'p' * 80}: ", None),  # behind which of the two?
        ("another", "ask: ", None),
        ("say", "", "say"),
    ],
)
def test_the_answer_is_what_follows_the_prompt(query: str, prompt: str, answer: str | None) -> None:
    assert answer_of(query, prompt) == answer


@given(st.text(), st.text(min_size=1))
def test_an_answer_without_end_tokens_comes_out_whole(prompt: str, answer: str) -> None:
    if "<" not in answer and "[" not in answer and "]" not in answer:
        assert answer_of(prompt + answer, prompt) == answer


def test_plain_rows_are_known_by_id_or_text() -> None:
    messages = [{"role": "user", "content": "What is 2 + 2?"}]
    body = {"prompts": [messages, "What is 2 + 2?", "else", "else"], "answers": ["a", "b", "c", "d"]}
    found = read(body | {"prompt_ids": [None, None, None, ASKED.id]})
    assert found == [*(("What is 2 + 2?", one) for one in "ab"), ("unknown_prompt", ""), ("What is 2 + 2?", "d")]
    assert read({"prompt_ids": [7], "answers": ["a"]}) == [("What is 2 + 2?", "a")]
    assert read({"prompts": ["any"], "answers": ["a"]}, KnownPrompts()) == [("any", "a")]
    assert read({"prompts": [], "answers": []}) == []
    assert read({"prompts": ["What is 2 + 2?"], "answers": ["x" * 99]}) == [("too_long", "")]
    assert read(b'{"prompts": ["What is 2 + 2?"], "answers": ["\\ud800"]}') == [("not_unicode", "")]


def asked(role: str, content: object) -> dict[str, Any]:
    """A body of one answer to a prompt of one message."""
    return {"answers": ["a"], "prompts": [[{"role": role, "content": content}]]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[" * 200_000, "the body is not JSON"),
        (b'{"answers": ' + b"9" * 5000 + b"}", "the body is not JSON"),
        ([1], "the body is not a JSON object"),
        ({}, "neither query, prompts and labels nor prompts and answers (found: nothing)"),
        ({"q": 1, "x" * 99: 2}, f"neither query, prompts and labels nor prompts and answers (found: q, {'x' * 40})"),
        ({"answers": "a"}, "answers is not a list"),
        ({"answers": ["a"]}, "neither prompts nor prompt_ids beside the answers"),
        ({"answers": [None], "prompts": ["p"]}, "answers[0] is not a text"),
        ({"answers": ["a"], "prompts": ["p", "q"]}, "prompts has 2 rows, and there are 1 answers"),
        ({"answers": ["a"], "prompts": [3]}, "prompts[0] is neither a text nor a list of messages"),
        ({"answers": ["a"], "prompts": [[]]}, "prompts[0] is neither a text nor a list of messages"),
        (asked("root", "x"), "prompts[0] holds a message whose role is none of system, user, assistant"),
        (asked("user", 3), "prompts[0] holds a message without a text"),
        (asked("assistant", "x"), "prompts[0] does not end with the user's turn"),
        ({"query": ["a"], "prompts": [3]}, "prompts[0] is not a text"),
        ({"query": ["a"]}, "prompts[0] is not a text"),
        ({"query": ["a"] * 5000, "prompts": []}, "5,000 rows, of which a body may hold 4,096"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused_in_a_line(body: Any, said: str) -> None:
    with pytest.raises(WireError) as refused:
        read(body)
    assert str(refused.value) == said


def test_a_missing_reward_has_a_number_and_a_flag() -> None:
    stands = Fallback()
    assert stands.value == 0.0
    stands.note(2.0)
    stands.note(4.0)
    found = reply("plain", [2.0, "unparsed", 4], lambda: stands.value)
    assert found == {
        "rewards": [2.0, 3.0, 4.0],
        "scores": [2.0, None, 4.0],
        "flags": [None, "unparsed", None],
        "failed": 1,
        "extra_logs": {"failed": [0.0, 1.0, 0.0]},
    }
    theirs = reply("openrlhf", ["late"], lambda: Fallback(-1.0).value)
    assert theirs["rewards"] == theirs["scores"] == [-1.0]  # they compute with both
