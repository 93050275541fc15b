"""What a server says when it does not answer is read, blamed, and answered with what helps."""

from __future__ import annotations

import asyncio

import pytest
from misbehaving_server import KEY, Clock, Stub, ask, http, request, said

from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_errors import (
    Blame,
    blame,
    error_text,
    exactly_decoded,
    http_fault,
    remedy,
    reported_fault,
    trust_remedy,
)
from arenaloop.types import Status

FORM = "drop_params: "


@pytest.mark.parametrize(
    ("error", "status", "whose"),
    [
        ({"message": "slow", "code": 429}, 429, Blame.SERVER),
        ({"message": "slow", "code": "429"}, 429, Blame.SERVER),
        ({"message": "slow", "type": "rate_limit_error"}, 429, Blame.SERVER),
        ({"message": "slow", "status": "RESOURCE_EXHAUSTED"}, 429, Blame.SERVER),
        ({"message": "pay", "code": 402}, 402, Blame.MODEL),
        ({"message": "pay", "type": "insufficient_balance"}, 402, Blame.MODEL),
        ({"message": "who", "code": 401}, 401, Blame.MODEL),
        ({"message": "who", "status": "UNAUTHENTICATED"}, 401, Blame.MODEL),
        ({"message": "down", "code": 503}, 503, Blame.SERVER),
        ({"message": "down", "type": "overloaded_error"}, 503, Blame.SERVER),
        ({"message": "what", "type": "invalid_request_error"}, 400, Blame.REQUEST),
        ({"message": "long", "code": "context_length_exceeded"}, 400, Blame.NOBODY),
        ("Rate limit reached", 429, Blame.SERVER),
        ({"message": "hm"}, 200, Blame.SERVER),
    ],
)
def test_an_error_inside_a_200_is_that_status(error, status, whose):
    fault = reported_fault({"error": error, "choices": None})
    assert fault.status == status
    assert blame(fault.status, fault.code, fault.text) is whose
    completion, stub, _ = ask(http(200, {"error": error}), retries=1)
    assert completion.status is Status.ERROR
    assert len(stub.bodies) == (2 if whose is Blame.SERVER else 1)


def test_an_error_that_is_none_is_passed_over():
    assert reported_fault({"error": None, "choices": [{}]}) is None
    assert reported_fault({"error": {}, "choices": [{}]}) is None
    assert reported_fault({"object": "error", "message": "no", "code": 404}).status == 404
    completion, _, _ = ask(http(200, {"error": {"code": 429}}, "Retry-After: 3"), said("at last"))
    assert completion.text == "at last"


@pytest.mark.parametrize(
    ("text", "helps"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
         f"{FORM}[max_tokens] and extra_body: {{max_completion_tokens: 512}}"),
        ("Unsupported value: 'temperature' does not support 0.0. Only the default (1) value is supported.",
         f"{FORM}[temperature]"),
        ("`temperature` and `top_p` cannot both be specified for this model.", f"{FORM}[top_p]"),
        ("top_p: extra fields not permitted", f"{FORM}[top_p]"),
        ("Unrecognized request argument supplied: stop", f"{FORM}[stop]"),
        ("max_tokens is not supported", f"{FORM}[max_tokens]"),
        ("'max_tokens' is too large: 512. The maximum context length is 512 tokens", "sampling.max_tokens (512)"),
        ("the input length exceeds the context length", "sampling.max_tokens (512)"),
        ("`inputs` tokens + `max_new_tokens` must be <= 1024", "sampling.max_tokens (512)"),
        ("logprobs are not supported by this model", "--verdict text"),
    ],
)  # fmt: skip
def test_a_refused_setting_is_answered_with_the_line_that_helps(text, helps):
    completion, _, _ = ask(http(400, {"error": {"message": text}}))
    assert helps in completion.error
    assert "\n" not in completion.error


@pytest.mark.parametrize("text", ["I do not know", "the stop is near", "bad temperature today"])
def test_where_nothing_is_known_to_help_nothing_is_said(text):
    assert remedy(http_fault(400, {}, text.encode()), max_tokens=1) == ""


def moved(location, base="http://h/v1"):
    fault = http_fault(308, {"Location": location}, b"")
    return fault.reason + remedy(fault, max_tokens=1, base_url=base)


def test_a_redirect_is_named_and_said_how_to_write():
    assert moved("https://h/v1/chat/completions").endswith("write the URL with https, https://h/v1")
    assert moved("/v2/chat/completions/").endswith("write the URL as http://h/v2")
    assert moved("https://u:pw@other/v1/chat/completions?token=x").endswith("write the URL as https://other/v1")
    assert "login page" in moved("https://sso/login?next=/v1")
    assert moved("").endswith("redirects are not followed")
    assert moved("http://[broken").endswith("redirects are not followed")


def test_a_redirect_is_not_followed_and_the_key_stays(monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)

    async def main():
        async with Stub(said("stolen")) as other:
            to = f"Location: {other.url}/chat/completions?api_key=abc"
            async with Stub(http(307, b"", to)) as stub:
                model = OpenAIModel("m", "x", stub.url, key_env="THE_KEY", headers={"X-Own": "THE_KEY"})
                completion = await model.complete(request())
                await model.aclose()
            return completion, other

    completion, other = asyncio.run(main())
    assert other.heads == []
    assert f"redirects to {other.url}/chat/completions?api_key=[key]" in completion.error


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"<!doctype html><html><title>Sign in</title><body>Please&nbsp;log in", "text/html",
         "a page of HTML (text/html), not an answer: Sign in Please log in"),
        (b'data: {"id": 1}\n\ndata: [DONE]', "text/event-stream",
         'a stream of events (text/event-stream), which was not asked for: data: {"id": 1} data: [DONE]'),
        (b"", "text/plain", "an empty body (text/plain)"),
        (b"upstream is gone", "text/plain", "not JSON (text/plain): upstream is gone ("),
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_is_shown_by_its_first_words(body, kind, told):
    completion, _, _ = ask(http(200, body, f"Content-Type: {kind}"), retries=0)
    assert completion.error.startswith(f"HTTP 200: {told}")


def test_error_bodies_of_all_kinds():
    head = b"<html><head><title>502 Bad Gateway</title><style>a{}</style></head>"
    page = head + b"<body><h1>502 Bad Gateway</h1></body></html>"
    assert error_text(page) == "502 Bad Gateway 502 Bad Gateway"
    assert error_text(b'[{"error": {"message": "no key"}}]') == "no key"
    assert error_text(b'{"detail": [{"loc": ["body", "top_p"], "msg": "not permitted"}]}') == "top_p: not permitted"
    assert http_fault(502, {"Content-Type": "text/html"}, page).reason == "HTTP 502: 502 Bad Gateway 502 Bad Gateway"
    assert "SSL_CERT_FILE" in trust_remedy("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    assert trust_remedy("refused") == ""


@pytest.mark.parametrize(
    ("coding", "header"),
    [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("utf-16-le", ""), ("utf-32-be", ""), ("utf-8", "latin-1"),
     ("iso-8859-1", "iso-8859-1"), ("cp1252", "Windows-1252"), ("utf-8", "nonsense"), ("utf-8", "base64")],
)  # fmt: skip
def test_a_body_is_decoded_exactly(coding: str, header: str) -> None:
    text = '{"a": "Orléans €"}' if coding != "iso-8859-1" else '{"a": "Orléans"}'
    headers = {"Content-Type": f"application/json; charset={header}"} if header else {}
    assert exactly_decoded(text.encode(coding), headers) == text


@pytest.mark.parametrize("header", ["", "utf-8", "ascii", "rot13", "nonsense"])
def test_a_wrong_byte_is_named_and_never_replaced(header: str) -> None:
    raw = '{"a": "Orléans"}'.encode("latin-1")
    with pytest.raises(UnicodeError, match=r"byte 0xE9 at 10"):
        exactly_decoded(raw, {"Content-Type": f"application/json; charset={header}"})
    assert exactly_decoded(b'"\xed\xa0\xbd"', {}) == '"\ud83d"'  # half a character, as servers write it
    body = '{"choices": [{"message": {"content": "café"}, "finish_reason": "stop"}]}'.encode("latin-1")
    completion, _, _ = ask(http(200, body), retries=0)
    assert (completion.status, completion.text) == (Status.ERROR, "")
    assert "not UTF-8, by byte 0xE9 at 41, and no charset is named" in (completion.error or "")


def test_other_charsets_comments_and_the_order_of_choices():
    latin = '{"choices": [{"message": {"content": "café"}, "finish_reason": "stop"}]}'.encode("latin-1")
    assert ask(http(200, latin, "Content-Type: application/json; charset=iso-8859-1"))[0].text == "café"
    kept = b'\n\n : OPENROUTER PROCESSING\n\n{"choices": [{"message": {"content": "a"}}]}'
    assert ask(http(200, kept))[0].text == "a"
    assert ask(http(200, b"\xef\xbb\xbf" + kept.strip().partition(b"\n\n")[2]))[0].text == "a"
    two = [{"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (1, 0)]
    assert ask(http(200, {"choices": two}))[0].text == "0"


def test_own_headers_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("GATEWAY_KEY", "gateway-key-0123456789")
    monkeypatch.setenv("THE_KEY", KEY)

    async def main():
        async with Stub(said("your key is gateway-key-0123456789")) as stub:
            clock = Clock()
            model = OpenAIModel("m", "x", stub.url, headers={"api-key": "GATEWAY_KEY"}, sleep=clock.sleep)
            completion = await model.complete(request())
            await model.aclose()
            own = OpenAIModel("m", "x", stub.url, key_env="THE_KEY", headers={"Authorization": "GATEWAY_KEY"})
            await own.complete(request())
            await own.aclose()
            return model, completion, stub

    model, completion, stub = asyncio.run(main())
    assert "api-key: gateway-key-0123456789\r\n" in stub.heads[0]
    assert "Authorization: gateway-key-0123456789\r\n" in stub.heads[1]
    assert KEY not in stub.heads[1]
    assert completion.text == "your key is [key]"
    assert model.fingerprint == OpenAIModel("m", "x", stub.url).fingerprint
