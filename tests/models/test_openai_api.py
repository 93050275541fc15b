"""The client against a loopback server that misbehaves in every way that servers do; nothing sleeps."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.errors import ConfigError, EndpointDownError
from arenaloop.models.base import Model
from arenaloop.models.openai_api import OpenAIModel, Price
from arenaloop.models.openai_wire import read_reply, retry_after
from arenaloop.types import Completion, Request, Sampling, Status

KEY = "sk-Very-Secret_0123456789"
HANG, RESET = object(), object()


def http(status, body, *headers, length=None):
    """Raw bytes of a reply; `length` lies about the body's."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data) if length is None else length}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def said(text="hello", *, finish_reason="stop", usage=None, **message):
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **message}}
    return http(200, {"choices": [choice], **({"usage": usage} if usage else {})})


class Stub:
    """A server that gives each reply of a script in turn, the last one for ever; a function makes one of the body."""

    def __init__(self, *script):
        self.script = list(script)
        self.bodies, self.heads = [], []
        self.connections = self.open = self.most_open = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                body = await reader.readexactly(int(re.search(r"content-length: (\d+)", head, re.I)[1]))
                self.heads.append(head)
                self.bodies.append(json.loads(body))
                reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                self.open += 1
                self.most_open = max(self.open, self.most_open)
                if callable(reply):
                    reply = await reply(self.bodies[-1])
                self.open -= 1
                if reply is HANG:
                    await asyncio.Event().wait()
                if reply is RESET:
                    writer.transport.abort()
                    return
                writer.write(reply)
                if b"Connection: close" in reply:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


class Clock:
    """Stands in for sleeping, and remembers how long."""

    def __init__(self):
        self.waits = []

    async def sleep(self, seconds):
        self.waits.append(seconds)
        await asyncio.sleep(0)


def request(text="hi", **sampling):
    return Request(({"role": "user", "content": text},), Sampling(**sampling))


def ask(*script, asked=None, **options):
    """One request to a scripted server: (completion, stub, waits)."""

    async def main():
        clock = Clock()
        async with Stub(*script) as stub:
            model = OpenAIModel("m", "model-id", stub.url, sleep=clock.sleep, **options)
            completion = await model.complete(asked or request())
            await model.aclose()
            return completion, stub, clock.waits

    return asyncio.run(main())


def test_naming_a_model_does_not_load_the_http_stack():
    code = "import sys, arenaloop.models.openai_api; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------ what is sent


def test_the_body_holds_the_request_and_nothing_unasked():
    asked = replace(request("é\ud800", temperature=0.5, top_p=0.9, max_tokens=7, stop=("#",)), seed=2**40 + 5)
    _, stub, _ = ask(said(), asked=asked)
    settings = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "stop": ["#"]}
    assert stub.bodies == [{"model": "model-id", **settings, "messages": [{"role": "user", "content": "é?"}]}]
    assert stub.heads[0].startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    assert "authorization" not in stub.heads[0].lower()
    assert "Content-Type: application/json" in stub.heads[0]
    _, stub, _ = ask(said(), asked=asked, send_seed=True, drop_params=["temperature", "max_tokens"])
    assert {k: v for k, v in stub.bodies[0].items() if k != "messages"} == {
        "model": "model-id", "top_p": 0.9, "stop": ["#"], "seed": 5,
    }  # fmt: skip
    _, stub, _ = ask(said(), extra_body={"top_k": 1, "temperature": 1, "chat_template_kwargs": {"thinking": False}})
    assert stub.bodies[0]["temperature"] == stub.bodies[0]["top_k"] == 1
    assert stub.bodies[0]["chat_template_kwargs"] == {"thinking": False}


def test_openais_own_server_gets_its_own_name_of_max_tokens():
    body = json.loads(OpenAIModel("m", "x")._body(request(max_tokens=7)))
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body
    body = json.loads(OpenAIModel("m", "x", drop_params=["max_tokens"])._body(request()))
    assert "max_completion_tokens" not in body


def test_the_contestants_system_prompt_comes_before_the_conversations():
    given_system = Request(({"role": "system", "content": "theirs"}, {"role": "user", "content": "hi"}))
    _, stub, _ = ask(said(), asked=given_system, system="mine")
    assert stub.bodies[0]["messages"][0] == {"role": "system", "content": "mine\n\ntheirs"}
    assert [m["role"] for m in stub.bodies[0]["messages"]] == ["system", "user"]
    _, stub, _ = ask(said(), system="mine")
    assert stub.bodies[0]["messages"][0] == {"role": "system", "content": "mine"}


@pytest.mark.parametrize(
    ("url", "base", "goes_to"),
    [
        ("http://h:1/v1", "http://h:1/v1", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/", "http://h:1/v1", "http://h:1/v1/chat/completions"),
        (" https://h/v1/chat/completions/ ", "https://h/v1", "https://h/v1/chat/completions"),
        ("http://[::1]:1", "http://[::1]:1", "http://[::1]:1/chat/completions"),
        ("https://h/d/chat/completions?api-version=1", "https://h/d", "https://h/d/chat/completions?api-version=1"),
    ],
)
def test_urls_are_trimmed(url, base, goes_to):
    model = OpenAIModel("m", "x", url)
    assert (model.base_url, model._url) == (base, goes_to)
    assert model.fingerprint == OpenAIModel("n", "x", base).fingerprint


@pytest.mark.parametrize("url", ["", "h:8000/v1", "ftp://h/v1", "http:///v1", "http://h:99999/v1", "http://[::1/v1"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigError, match="not the URL of a server"):
        OpenAIModel("m", "x", url)


def test_impossible_settings_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        OpenAIModel("m", "x", drop_params=["temperatur"])
    with pytest.raises(ConfigError, match="extra_body may not set 'stream'"):
        OpenAIModel("m", "x", extra_body={"stream": True})
    with pytest.raises(ConfigError, match="concurrency"):
        OpenAIModel("m", "x", concurrency=0)
    monkeypatch.delenv("THE_KEY", raising=False)
    with pytest.raises(ConfigError, match="THE_KEY is not set"):
        OpenAIModel("m", "x", key_env="THE_KEY")
    monkeypatch.setenv("THE_KEY", "sk-\x01abc")
    with pytest.raises(ConfigError) as caught:
        OpenAIModel("m", "x", key_env="THE_KEY")
    assert "abc" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        OpenAIModel("m", "x", "http://user:secret@h/v1")
    assert "secret" not in str(caught.value)


def test_the_fingerprint_holds_what_determines_answers(monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    base = OpenAIModel("m", "x", "http://h/v1")
    same = OpenAIModel("n", "x", "http://h/v1/", key_env="THE_KEY", concurrency=3, timeout=1, price=Price(1, 1))
    assert base.fingerprint == same.fingerprint
    others = [
        OpenAIModel("m", "y", "http://h/v1"),
        OpenAIModel("m", "x", "http://i/v1"),
        OpenAIModel("m", "x", "http://h/v1", system="s"),
        OpenAIModel("m", "x", "http://h/v1", extra_body={"top_k": 1}),
        OpenAIModel("m", "x", "http://h/v1", drop_params=["top_p"]),
        OpenAIModel("m", "x", "http://h/v1", send_seed=True),
    ]
    assert len({base.fingerprint, *(m.fingerprint for m in others)}) == 1 + len(others)
    assert isinstance(base, Model)


# ------------------------------------------------------------------ what comes back


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
    deepseek = {"prompt_tokens": 10, "completion_tokens": 0, "prompt_cache_hit_tokens": 10}
    assert ask(said(usage=deepseek), price=Price(2.0, 8.0, cached=0.0))[0].usd == 0
    without, _, _ = ask(said(), price=Price(2.0, 8.0))
    assert (without.tokens_in, without.tokens_out, without.usd) == (None, None, None)
    assert ask(said(), price=Price(0, 0))[0].usd == 0
    odd = {"prompt_tokens": "many", "completion_tokens": -1, "prompt_tokens_details": None}
    assert ask(said(usage=odd))[0].tokens_in is None


@settings(deadline=None)
@given(raw=st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["choices", "message", "content", "usage", "error", "refusal"]), inner),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_body_is_a_completion_or_a_value_error(raw):
    try:
        completion = read_reply(raw, price=Price(1, 1), seconds=0.0, calls=1)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either outcome is fine
    else:
        assert completion.status in (Status.OK, Status.EMPTY, Status.REFUSED)


# ------------------------------------------------------------------ what goes wrong and passes


@pytest.mark.parametrize(
    "fault",
    [
        *(http(status, {"error": {"message": "busy"}}) for status in (408, 409, 425, 429, 500, 502, 503, 529)),
        RESET,
        http(200, b'{"choices": [{"mess'),
        http(200, b'{"choices"', "Connection: close", length=1000),
        http(200, b"<html>a proxy</html>"),
        http(200, {"error": {"message": "overloaded", "code": 502}}),
        http(200, {"choices": []}),
        http(200, [1]),
        http(200, {"choices": [{"message": {"content": 7}}]}),
        http(200, b"\xff\xfe"),
        b"rubbish\r\n\r\n",
    ],
)
def test_a_fault_that_passes_is_tried_again(fault):
    completion, stub, waits = ask(fault, fault, said("at last"))
    assert (completion.text, completion.status, completion.calls) == ("at last", Status.OK, 3)
    assert len(stub.bodies) == 3
    assert len(waits) == 2
    assert 0 <= waits[0] <= 0.5
    assert 0 <= waits[1] <= 1.0


def test_a_server_that_hangs_is_left_after_the_timeout():
    completion, _, _ = ask(HANG, said("at last"), timeout=0.05)
    assert (completion.text, completion.calls) == ("at last", 2)
    completion, _, waits = ask(HANG, timeout=0.02, retries=2)
    assert (completion.status, completion.calls, len(waits)) == (Status.ERROR, 3, 2)
    assert completion.error == "no answer within 0.02 s"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (http(503, {"error": {"message": "no\n \x1b[2J capacity"}}), r"HTTP 503: no \[2J capacity$"),
        (http(200, b"<html>"), "HTTP 200: not JSON"),
        (http(200, {"error": {"message": "overloaded"}}), "HTTP 200: no choices in the reply: overloaded"),
        (RESET, r"(Client\w+|ServerDisconnected)Error: "),
    ],
)
def test_a_fault_that_stays_is_a_completion(fault, error):
    completion, stub, waits = ask(fault, retries=3, price=Price(1, 1))
    assert completion.status is Status.ERROR
    assert re.match(error, completion.error)
    assert (completion.calls, len(stub.bodies), len(waits)) == (4, 4, 3)
    assert (completion.text, completion.usd) == ("", 0.0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["Retry-After: 7"], 7.0),
        (["retry-after: 1.5"], 1.5),
        (["retry-after-ms: 250", "Retry-After: 7"], 0.25),
        (["Retry-After: 99999"], 600.0),
    ],
)
def test_the_servers_wish_to_wait_is_kept(headers, seconds):
    completion, _, waits = ask(http(429, {}, *headers), said())
    assert completion.calls == 2
    assert seconds <= waits[0] <= seconds + 0.125


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


# ------------------------------------------------------------------ what goes wrong for good


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 301])
def test_a_permanent_failure_is_not_tried_again(status):
    completion, stub, waits = ask(http(status, {"error": {"message": "no " * 200}}, "Location: http://h/"))
    assert completion.status is Status.ERROR
    assert completion.error.startswith(f"HTTP {status}: no no")
    assert len(completion.error) == 200
    assert (completion.calls, len(stub.bodies), waits) == (1, 1, [])


def test_an_exhausted_quota_is_not_tried_again_and_a_filtered_prompt_is_refused():
    completion, _, _ = ask(http(429, {"error": {"message": "quota", "code": "insufficient_quota"}}))
    assert (completion.status, completion.calls) == (Status.ERROR, 1)
    completion, _, _ = ask(http(400, {"error": {"message": "filtered", "code": "content_filter"}}))
    assert (completion.status, completion.finish_reason) == (Status.REFUSED, "content_filter")


def test_a_forgotten_v1_is_hinted_at():
    async def main():
        async with Stub(http(404, b"Not Found")) as stub:
            model = OpenAIModel("m", "x", stub.url.removesuffix("/v1"))
            completion = await model.complete(request())
            await model.aclose()
            return completion

    assert "mostly ends in /v1" in asyncio.run(main()).error


def test_a_server_that_is_not_there_stops_the_run():
    async def main():
        async with Stub(said()) as stub:
            pass
        clock = Clock()
        model = OpenAIModel("m", "x", stub.url, sleep=clock.sleep, retries=2)
        with pytest.raises(EndpointDownError) as caught:
            await model.complete(request())
        await model.aclose()
        return stub.url, str(caught.value), clock.waits

    url, message, waits = asyncio.run(main())
    assert message.startswith(f"{url} cannot be reached (tried 3 times): ")
    assert "\n" not in message
    assert len(waits) == 2


def test_tls_to_a_server_without_it_stops_at_once():
    async def plain_text(reader, writer):
        writer.write(http(400, b"this is HTTP"))
        writer.close()

    async def main():
        server = await asyncio.start_server(plain_text, "127.0.0.1", 0)
        model = OpenAIModel("m", "x", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        with pytest.raises(EndpointDownError, match="tried once"):
            await model.complete(request())
        await model.aclose()
        server.close()

    asyncio.run(main())


def failing(n, of, fault):
    """Completions of the first `of` requests when the first `n` of them fail; the message if the breaker trips."""

    async def main():
        async with Stub(*[fault] * n, said()) as stub:
            model = OpenAIModel("m", "x", stub.url, concurrency=1)
            done = []
            try:
                async for _, completion in model.complete_many([request(str(i)) for i in range(of)]):
                    done.append(completion)
                return done, None
            except EndpointDownError as error:
                return done, str(error)
            finally:
                await model.aclose()

    return asyncio.run(main())


def test_the_breaker_trips_when_the_first_twenty_calls_fail_and_not_sooner():
    unauthorised = http(401, {"error": {"message": "bad key"}})
    done, message = failing(25, 30, unauthorised)
    assert [c.status for c in done] == [Status.ERROR] * 19
    assert "failed the first 20 calls; last: HTTP 401: bad key" in message
    done, message = failing(19, 30, unauthorised)
    assert [c.status for c in done] == [Status.ERROR] * 19 + [Status.OK] * 11
    assert message is None


# ------------------------------------------------------------------ the key


@pytest.mark.parametrize(
    "fault",
    [
        http(401, {"error": {"message": f"Incorrect API key provided: {KEY}."}}),
        http(400, ("x" * 190 + KEY).encode()),
        http(500, f"Authorization: Bearer {KEY}\n".encode()),
        http(200, {"error": KEY}),
        http(418, {"error": {"message": "another's: sk-0987654321abc, Bearer abc.def"}}),
    ],
)
def test_the_key_is_sent_and_shown_nowhere(monkeypatch, fault):
    monkeypatch.setenv("THE_KEY", f" {KEY}\n")

    async def main():
        async with Stub(*[fault] * 20, said()) as stub:
            clock = Clock()
            model = OpenAIModel("m", "x", stub.url, key_env="THE_KEY", retries=0, sleep=clock.sleep)
            shown = []
            for _ in range(20):
                try:
                    shown.append(repr(await model.complete(request())))
                except EndpointDownError as error:
                    shown.append(repr(error))
            shown += [repr(model), str(model), model.fingerprint, repr(vars(model))]
            await model.aclose()
            return stub, " ".join(shown)

    stub, shown = asyncio.run(main())
    assert f"Authorization: Bearer {KEY}\r\n" in stub.heads[0]
    assert "EndpointDownError" in shown
    for part in (KEY, KEY[:12], "sk-0987654321abc", "abc.def"):
        assert part not in shown


# ------------------------------------------------------------------ many at once


def test_many_are_answered_whatever_the_concurrency_and_order():
    async def answer(body):
        text = body["messages"][0]["content"]
        await asyncio.sleep(random.random() * 0.003)
        return said(text.upper())

    async def main(concurrency):
        async with Stub(answer) as stub:
            model = OpenAIModel("m", "x", stub.url, concurrency=concurrency)
            found = {}
            async for asked, completion in model.complete_many([request(f"q{i}") for i in range(40)]):
                found[asked.messages[0]["content"]] = completion.text
            await model.aclose()
            return found, stub

    for concurrency in (1, 7, 64):
        found, stub = asyncio.run(main(concurrency))
        assert found == {f"q{i}": f"Q{i}" for i in range(40)}
        assert stub.most_open <= concurrency
        assert stub.connections <= concurrency
    assert stub.most_open > 7


def test_calls_of_several_callers_share_the_endpoints_limit_and_connections():
    async def answer(body):
        await asyncio.sleep(0.002)
        return said()

    async def main():
        async with Stub(answer) as stub:
            model = OpenAIModel("m", "x", stub.url, concurrency=3)
            await asyncio.gather(*(model.complete(request()) for _ in range(20)))
            await model.aclose()
            return stub

    stub = asyncio.run(main())
    assert stub.most_open == 3
    assert stub.connections == 3


def test_leaving_early_stops_the_workers():
    async def main():
        async with Stub(said()) as stub:
            model = OpenAIModel("m", "x", stub.url, concurrency=2)
            answers = model.complete_many([request() for _ in range(100)])
            await anext(answers)
            await answers.aclose()
            asked = len(stub.bodies)
            assert len(asyncio.all_tasks()) <= 1 + stub.connections
            await model.aclose()
            return asked

    assert asyncio.run(main()) < 100


def test_a_dead_server_ends_many_with_what_was_answered():
    async def main():
        async with Stub(said(), RESET) as stub:

            async def close(seconds):
                stub.server.close()

            model = OpenAIModel("m", "x", stub.url, concurrency=1, retries=1, sleep=close)
            done = []
            try:
                async for _, completion in model.complete_many([request()] * 5):
                    done.append(completion.status)
            except EndpointDownError:
                done.append("down")
            await model.aclose()
            return done

    assert asyncio.run(main()) == [Status.OK, "down"]


def test_a_model_may_be_used_again_after_closing_and_in_another_loop():
    model = None

    async def main(close):
        nonlocal model
        async with Stub(said()) as stub:
            model = model or OpenAIModel("m", "x", stub.url)
            model._url = stub.url + "/chat/completions"
            first: Completion = await model.complete(request())
            if close:
                await model.aclose()
            second = await model.complete(request())
            if close:
                await model.aclose()
            return first.text + second.text

    assert asyncio.run(main(close=True)) == "hellohello"
    assert asyncio.run(main(close=False)) == "hellohello"
    assert asyncio.run(main(close=True)) == "hellohello"
