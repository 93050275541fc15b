"""What comes back from servers that differ in detail."""

from __future__ import annotations

import json
from dataclasses import replace
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_server import ask, http, request, said

from arenaloop.models.openai_api import OpenAIModel, Price
from arenaloop.models.openai_errors import Blame, blame, retry_after
from arenaloop.models.openai_wire import Reader, encode_body, encode_settings, read_reply
from arenaloop.types import Status


@pytest.mark.parametrize(
    ("reply", "status", "text", "reasoning"),
    [
        (said(" hello\n"), Status.OK, " hello\n", None),
        (said([{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]), Status.OK, "hello", None),
        (said("half", finish_reason="length"), Status.TRUNCATED, "half", None),
        (said("", finish_reason="length"), Status.TRUNCATED, "", None),
        (said(None), Status.EMPTY, "", None),
        (said(" \n"), Status.EMPTY, " \n", None),
        (said(None, refusal="I will not"), Status.REFUSED, "I will not", None),
        (said([{"type": "refusal", "refusal": "no"}]), Status.REFUSED, "no", None),
        (said("part", finish_reason="content_filter"), Status.REFUSED, "part", None),
        (said("", refusal="no", finish_reason="length"), Status.REFUSED, "no", None),
        (http(200, {"choices": [{"finish_reason": "content_filter"}]}), Status.REFUSED, "", None),
        (said("I am sorry, I cannot help", refusal=None), Status.OK, "I am sorry, I cannot help", None),
        (said("a", reasoning_content="why"), Status.OK, "a", "why"),
        (said("a", reasoning="why"), Status.OK, "a", "why"),
        (said("<think>why</think>\n\na"), Status.OK, "a", "why"),
        (said("why</think>a"), Status.OK, "a", "why"),
        (said("<think>on and on", finish_reason="length"), Status.TRUNCATED, "", "on and on"),
        (said("<think>on and on"), Status.EMPTY, "", "on and on"),
        (said([{"type": "text", "text": "<think>why</think>a"}], reasoning="told"), Status.OK, "a", "told\n\nwhy"),
        (said("a", finish_reason=None), Status.OK, "a", None),
    ],
)
def test_statuses_and_reasoning(reply, status, text, reasoning):
    completion, _, waits = ask(reply)
    assert (completion.status, completion.text, completion.reasoning) == (status, text, reasoning)
    assert (completion.calls, completion.error, waits) == (1, None, [])


def test_tokens_and_price():
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 600}}
    completion, _, _ = ask(said(usage=usage), price=Price(2.0, 8.0, cached=0.5))
    assert (completion.tokens_in, completion.tokens_out) == (1000, 10)
    assert completion.usd == pytest.approx((400 * 2.0 + 600 * 0.5 + 10 * 8.0) / 1e6)
    assert ask(said(usage=usage))[0].usd is None  # no price is known
    assert ask(said(usage=usage), price=Price(2.0, 8.0))[0].usd == pytest.approx((1000 * 2.0 + 80) / 1e6)
    deepseek = {"prompt_tokens": 10, "completion_tokens": 3, "prompt_cache_hit_tokens": 10}
    assert ask(said(usage=deepseek), price=Price(2.0, 8.0, cached=0.0))[0].usd == pytest.approx(24 / 1e6)
    assert ask(said(), price=Price(0, 0))[0].usd == 0
    odd = {"prompt_tokens": "many", "completion_tokens": -1, "prompt_tokens_details": None}
    assert ask(said(usage=odd))[0].tokens_in is None


@pytest.mark.parametrize("huge", [2**62, 10**400])
def test_numbers_that_nothing_can_hold_are_none(huge):
    completion, _, _ = ask(said(usage={"prompt_tokens": huge, "completion_tokens": huge}), price=Price(2.0, 8.0))
    assert (completion.status, completion.tokens_in, completion.tokens_out) == (Status.OK, None, None)
    assert completion.usd == completion.usd_estimated > 0
    for logprobs in ({"content": [{"token": "1", "logprob": huge}]}, {"top_logprobs": [{"1": huge}]}):
        choice = {"message": {"content": "1"}, "finish_reason": "stop", "logprobs": logprobs}
        assert ask(http(200, {"choices": [choice]}))[0].logprobs == ({},)


@settings(deadline=None)
@given(raw=st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["choices", "message", "content", "usage", "error", "refusal"]), inner),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_body_is_a_completion_or_a_value_error(raw):
    try:
        completion = read_reply(raw, reader=Reader(Price(1, 1)))
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either outcome is fine
    else:
        assert completion.status in (Status.OK, Status.EMPTY, Status.REFUSED)


def test_retry_after_in_all_its_forms():
    when = "Wed, 21 Oct 2015 07:28:00 GMT"
    now = parsedate_to_datetime(when).timestamp()
    assert retry_after({"Retry-After": when}, now - 30) == 30
    assert retry_after({"Retry-After": when}, now + 30) == 0
    assert retry_after({"Retry-After": format_datetime(parsedate_to_datetime(when))}, now - 2.5) == 2.5
    assert retry_after({"Retry-After": "0"}) == 0
    for nonsense in ("soon", "nan", "inf", "", "Wed, 99 Oct 2015"):
        assert retry_after({"Retry-After": nonsense}, now) is None
    assert retry_after({"retry-after-ms": "x", "Retry-After": "3"}) == 3
    assert retry_after({}) is None


# ------------------------------------------------------------------ log-probabilities and structured output


def token(text, logprob, *others):
    top = [{"token": t, "logprob": p, "bytes": None} for t, p in others]
    return {"token": text, "logprob": logprob, "bytes": None, "top_logprobs": top}


def with_logprobs(found):
    choice = {"finish_reason": "stop", "message": {"content": "[[A]]"}, "logprobs": found}
    return read_reply(json.dumps({"choices": [choice]}).encode()).logprobs


@pytest.mark.parametrize(
    ("found", "read"),
    [
        ({"content": [token("A", -0.1, ("A", -0.1), ("B", -2.5)), token("!", -1, ("!", -1))]},
         ({"A": -0.1, "B": -2.5}, {"!": -1.0})),
        ({"content": [token("A", -0.25)]}, ({"A": -0.25},)),  # no alternatives, but its own
        ({"content": [token("A", -3, ("A", -3), ("A", -0.5), ("A", -4))]}, ({"A": -0.5},)),  # of several bytes one text
        ({"content": [token("A", -1, ("A", -1), (None, -2), ("B", "x"), ("C", None))]}, ({"A": -1.0},)),
        ({"tokens": ["A"], "token_logprobs": [-0.1], "top_logprobs": [{"A": -0.1, "B": -2}, None]},
         ({"A": -0.1, "B": -2.0}, {})),  # the old completions' form
        (None, None),
        ({}, None),
        ({"content": None, "refusal": None}, None),
        ({"content": []}, None),
        ({"content": ["A"]}, None),
        ({"content": [{"top_logprobs": ["A"]}]}, ({},)),
        ([], None),
        ("no", None),
    ],
)  # fmt: skip
def test_logprobs_in_every_form(found, read):
    assert with_logprobs(found) == read


def test_what_is_asked_for_is_sent_and_extra_body_wins():
    schema = {"type": "object", "properties": {"winner": {"enum": ["A", "B", "tie"]}}, "required": ["winner"]}
    model = OpenAIModel("m", "x", "http://h/v1", send_seed=True)
    body = json.loads(model.body(replace(request(), top_logprobs=5, schema=schema, seed=7)))
    assert (body["logprobs"], body["top_logprobs"], body["seed"]) == (True, 5, 7)
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }
    plain = json.loads(model.body(request()))
    assert not {"logprobs", "top_logprobs", "response_format"} & set(plain)
    extra = {"top_logprobs": 2, "seed": 3, "response_format": {"type": "text"}, "model": "other"}
    model = OpenAIModel("m", "x", "http://h/v1", send_seed=True, extra_body=extra)
    body = json.loads(model.body(replace(request(), top_logprobs=5, schema=schema, seed=7)))
    assert {key: body[key] for key in extra} == extra


def test_a_server_without_structured_output_is_an_error_with_its_reason():
    refused = http(400, {"error": {"message": "response_format is not supported"}})
    completion, stub, _ = ask(refused, asked=replace(request(), schema={"type": "object"}))
    assert (completion.status, completion.error) == (
        Status.ERROR,
        "HTTP 400: response_format is not supported; judge with --verdict text",
    )
    assert len(stub.bodies) == 1


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text())))
def test_messages_are_written_as_json_writes_them(turns):
    messages = [{"role": role, "content": content} for role, content in turns]
    body = encode_body(encode_settings({"model": "é", "stop": ("a", "b")}), messages)
    said = [{"role": m["role"], "content": m["content"].encode("utf-8", "replace").decode()} for m in messages]
    assert json.loads(body) == {"model": "é", "stop": ["a", "b"], "messages": said}


# ------------------------------------------------------------------ whose fault it is


@pytest.mark.parametrize(
    ("status", "code", "text", "whose"),
    [
        (503, "", "busy", Blame.SERVER),
        (429, "rate_limit_exceeded", "slow down", Blame.SERVER),
        (429, "insufficient_quota", "pay", Blame.MODEL),
        (401, "", "bad key", Blame.MODEL),
        (402, "", "no credit", Blame.MODEL),
        (403, "", "no access to model", Blame.MODEL),
        (403, "", "your input was flagged", Blame.NOBODY),
        (404, "NotFoundError", "The model `x` does not exist.", Blame.MODEL),
        (400, "model_not_found", "no", Blame.MODEL),
        (301, "", "moved", Blame.MODEL),
        (400, "", "unknown field temperature", Blame.REQUEST),
        (422, "", "top_p: extra fields not permitted", Blame.REQUEST),
        (400, "BadRequestError", "This model's maximum context length is 4096 tokens.", Blame.NOBODY),
        (400, "", "'max_tokens' is too large: 512. This model's maximum context length is 600 tokens", Blame.NOBODY),
        (400, "", "max_tokens is too large: 9999. This model supports at most 4096 completion tokens", Blame.REQUEST),
        (400, "", "Unsupported parameter: 'max_tokens', use 'max_completion_tokens' instead", Blame.REQUEST),
        (422, "", "`inputs` must have less than 1024 tokens. Given: 2000", Blame.NOBODY),
        (400, "", "The input token count (9) exceeds the maximum number of tokens allowed (8)", Blame.NOBODY),
        (400, "", "Please reduce the length of the messages", Blame.NOBODY),
        (400, "exceed_context_size_error", "the request exceeds the available size", Blame.NOBODY),
        (400, "context_length_exceeded", "", Blame.NOBODY),
        (413, "", "", Blame.NOBODY),
    ],
)
def test_whom_a_failure_is_blamed_on(status, code, text, whose):
    assert blame(status, code, text) is whose
