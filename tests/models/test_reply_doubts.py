"""Replies that read like any other and are doubtful: another model's, cut off, contradictory, an error's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arenaloop.models.notices import Notices
from arenaloop.models.openai_wire import Reader, ReplyError, read_replies, read_reply
from arenaloop.models.reply_doubts import FailedTexts, contradicted_key, cut_at, odd_form, plain_model
from arenaloop.types import Message, Status

ASKED: list[Message] = [{"role": "user", "content": "What is the capital of France?"}]


def reply(text: str, *, tokens: int = 5, **fields: Any) -> bytes:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": tokens}
    return json.dumps({"model": "m", "choices": [choice], "usage": usage, **fields}).encode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06"), ("gpt-4o", "openai/gpt-4o"), ("qwen2.5-7b", "/models/Qwen2.5-7B-Instruct"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"), ("x/llama-3-8b", "x/llama-3-8b:free"),
        ("qwen2.5-7b", "qwen2.5-7b-q4_k_m.gguf"), ("gemini-2.0-flash", "gemini-2.0-flash-001"),
    ],
)  # fmt: skip
def test_names_of_one_model_are_told_together(one: str, other: str) -> None:
    assert plain_model(one) == plain_model(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("gpt-4o", "gpt-4o-mini"), ("gpt-4", "gpt-4-turbo"), ("llama3:8b", "llama3:70b"), ("m1", "m2"),
     ("openai/gpt-4o", "meta-llama/llama-3.2-1b-instruct:free")],
)  # fmt: skip
def test_names_of_two_models_are_told_apart(one: str, other: str) -> None:
    assert plain_model(one) != plain_model(other)


def test_replies_of_another_model_are_counted_and_named() -> None:
    reader = Reader()
    for model in ("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o", "llama-3.2-1b:free"):
        read_reply(reply("Paris.", model=model), reader=reader, asked=ASKED)
    (line,) = Notices.merged(reader.notices.to_json()).lines()
    assert line.startswith("1 of 4 replies come from another model than the others (gpt-4o): llama-3.2-1b:free (1)")


def test_a_server_that_names_each_reply_anew_fills_no_list() -> None:
    notices = Notices()
    for number in range(1000):
        notices.answered_by(f"m{number}x", 1)
    assert len(notices.to_json()["counts"]) <= 21


def test_one_model_under_several_names_is_no_oddity() -> None:
    reader = Reader()
    for model in ("gpt-4o", "gpt-4o-2024-08-06", "openai/gpt-4o", "eu.openai.gpt-4o-v1:0", ""):
        read_reply(reply("Paris.", model=model), reader=reader, asked=ASKED)
    assert reader.notices.lines() == []


@pytest.mark.parametrize(
    ("text", "tokens", "limit", "cut"),
    [
        ("and then the tre", 64, 64, True), ("one, two,", 70, 64, True), ("and then the tre", 63, 64, False),
        ("It is over.", 64, 64, False), ("He said “no.”", 64, 64, False), ("```\nx\n```", 64, 64, False),
        ("完了しました。", 64, 64, False), ("Well done 🎉", 64, 64, False), ("7", 1, 1, False),
        ("and then", None, 64, False), ("and then", 64, None, False), ("**Scores:** 7 5 **", 64, 64, False),
    ],
)  # fmt: skip
def test_an_answer_as_long_as_it_may_be_that_ends_in_a_sentence_was_cut(
    text: str, tokens: int | None, limit: int | None, cut: bool
) -> None:
    assert cut_at(text, tokens, limit) is cut


def test_answers_that_were_probably_cut_are_told_from_two_on() -> None:
    reader = Reader()
    for expected in (0, 1):
        (one,) = read_replies(reply("and then the tre", tokens=64), reader=reader, asked=ASKED, limit=64).answers
        assert one.status is Status.OK
        assert len(reader.notices.lines()) == expected
    assert "2 of 2 replies are called whole" in reader.notices.lines()[0]


def test_a_key_twice_with_two_values_is_named() -> None:
    raw = reply("XX").replace(b'"content": "XX"', b'"content": "It is 12.", "content": "It is 99."')
    with pytest.raises(ReplyError, match="the reply holds the key 'content' twice"):
        read_reply(raw, asked=ASKED)
    same = reply("XX").replace(b'"content": "XX"', b'"content": "XX", "content": "XX"')
    assert read_reply(same, asked=ASKED).text == "XX"


@pytest.mark.parametrize("key", [b"choices", b"message", b"finish_reason", b"usage"])
def test_other_keys_that_matter_are_compared_too(key: bytes) -> None:
    raw = reply("XX").replace(b'"%b": ' % key, b'"%b": 1, "%b": ' % (key, key))
    assert contradicted_key(raw, [{}]) == key.decode()


def test_a_text_that_spells_keys_is_no_key() -> None:
    text = 'Write {"content": 1, "content": 2}, "message": "content'
    assert read_reply(reply(text), asked=ASKED).text == text


@pytest.mark.parametrize(
    "text",
    [
        "The server is currently overloaded with other requests. Sorry about that! Please retry your request in 20 s.",
        "Request failed: upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
        "Error communicating with backend (status code 503)",
        "I'm sorry, something went wrong. Please try again later.",
        "Rate limit reached for x on tokens per min (TPM): Limit 30000. Please try again in 6ms.", "502 Bad Gateway",
        "Model Qwen is currently loading, please retry", "CUDA out of memory. Tried to allocate 2 GiB", "[ERROR]",
        "An unexpected error occurred.", "Connection reset by peer", "upstream request timeout", "no healthy upstream",
        "Error 524: A timeout occurred", "Invalid API key provided.",
        "<html><body><h1>502 Bad Gateway</h1></body></html>",
        "The bot is temporarily unavailable. Please try again later.", "litellm.RateLimitError: overloaded_error",
        "You exceeded your current quota, please check your plan and billing details.",
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.",
        '{"error": {"message": "overloaded", "code": 529}}',
    ],
)  # fmt: skip
def test_an_error_told_as_an_answer_is_a_failed_call_with_its_words(text: str) -> None:
    reader = Reader()
    found = read_reply(reply(text, tokens=30), reader=reader, asked=ASKED)
    assert found.status is Status.ERROR
    assert found.error == f"an error's words in the place of an answer: {text}"
    assert found.tokens_out == 30  # it was paid for
    assert "1 of 1 replies hold an error's words" in reader.notices.lines()[0]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What is HTTP 503?", "503 Service Unavailable: the server is overloaded; try again later."),
        ("Tell a customer that we are down.", "Sorry, something went wrong. Please try again later."),
        ("What is the capital of France?", "Try again tomorrow, and take the limit of the function."),
        ("What is the capital of France?", "The server brought the soup."),
        ("How do I boil an egg?", "If the shell fails, try again with a fresh egg; a timeout helps."),
        ("Translate: Der Dienst ist nicht verfügbar.", "The service is temporarily unavailable."),
        ("What is the capital of France?", "Sorry, I can't help with that."),
        ("What is the capital of France?", "I was unable to find it; please try again with more detail."),
        ("What is love?", "Failure is a teacher, and time a healer."),
    ],
)
def test_an_answer_about_errors_is_an_answer(question: str, text: str) -> None:
    assert not FailedTexts().holds(text, [question])


def test_words_that_only_may_be_an_errors_are_it_under_many_prompts() -> None:
    texts = FailedTexts()
    told = [texts.holds(f"Insufficient balance, id req_0{number}", [f"question {number}"]) for number in (1, 2, 2, 3)]
    assert told == [False, False, False, True]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (json.dumps('It is "13",\nso it is.'), "quoted"), ('"To be or not to be"', None), ('"a" and "b"', None),
        ("assistant\n\nIt is 13.", "role"), ("Assistant:\nIt is 13.", "role"),
        ("Assistant professor\nis a title", None),
        ("AI is a field.", None),
    ],
)  # fmt: skip
def test_how_a_reply_is_written_down_is_told(text: str, form: str | None) -> None:
    assert odd_form(text) == form
