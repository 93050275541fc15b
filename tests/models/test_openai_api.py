"""What the client sends, and many calls at once; nothing sleeps."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from misbehaving_server import KEY, RESET, Stub, ask, http, request, said

from arenaloop.errors import ConfigError, EndpointDownError
from arenaloop.models.base import Model
from arenaloop.models.openai_api import OpenAIModel, Price
from arenaloop.models.server_url import ServerUrl
from arenaloop.types import Completion, Request, Status


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
    body = json.loads(OpenAIModel("m", "x").body(request(max_tokens=7)))
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body
    body = json.loads(OpenAIModel("m", "x", drop_params=["max_tokens"]).body(request()))
    assert "max_completion_tokens" not in body


def test_the_contestants_system_prompt_comes_before_the_conversations():
    given_system = Request(({"role": "system", "content": "theirs"}, {"role": "user", "content": "hi"}))
    _, stub, _ = ask(said(), asked=given_system, system="mine")
    assert stub.bodies[0]["messages"][0] == {"role": "system", "content": "mine\n\ntheirs"}
    assert [m["role"] for m in stub.bodies[0]["messages"]] == ["system", "user"]
    _, stub, _ = ask(said(), system="mine")
    assert stub.bodies[0]["messages"][0] == {"role": "system", "content": "mine"}


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
            assert isinstance(answers, AsyncGenerator)
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
            done: list[Any] = []
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
            model.urls = (ServerUrl.of(stub.url),)
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


# ------------------------------------------------------------------ judges that are read by log-probabilities


def test_a_server_that_gives_fewer_alternatives_is_asked_for_fewer():
    async def answer(body):
        few = body["top_logprobs"] <= 5
        return said("1") if few else http(400, {"error": {"message": "top_logprobs must be at most 5"}})

    completion, stub, _ = ask(answer, asked=replace(request(), top_logprobs=20))
    assert completion.status is Status.OK
    assert [body["top_logprobs"] for body in stub.bodies] == [20, 5]
    refusal = http(400, {"error": {"message": "no logprobs here"}})
    completion, stub, _ = ask(refusal, asked=replace(request(), top_logprobs=20))
    assert completion.status is Status.ERROR
    assert len(stub.bodies) == 2, "once more, and no further"


def test_a_prefill_is_a_last_turn_of_the_assistants():
    _, stub, _ = ask(said(), asked=replace(request("hi"), prefill="Scores:"), system="mine")
    assert [(m["role"], m["content"]) for m in stub.bodies[0]["messages"]] == [
        ("system", "mine"), ("user", "hi"), ("assistant", "Scores:"),
    ]  # fmt: skip
