"""The sandbox's server speaks OpenAI's language, and whoever plays behind it answers as it does without one."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from arenaloop.errors import ConfigError
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.scripted import Script, ScriptedModel
from arenaloop.sandbox.editors import EDITORS
from arenaloop.sandbox.judge import SandboxJudge
from arenaloop.sandbox.players import SKILLS, Player
from arenaloop.sandbox.server import running_server, serve
from arenaloop.sandbox.tasks import draw
from arenaloop.types import Request, Status

JUDGE_PROMPT = """Compare the answers between the marker lines.
Marker: 00ff

=== 00ff user prompt ===
What is larger, 3 or 5?
=== 00ff answer 1 ===
5
=== 00ff answer 2 ===
3
=== 00ff end ===
"""


def post(url, body, path="/chat/completions", method="POST"):
    """Status and body of a plain HTTP request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = urllib.request.Request(url + path, data if method == "POST" else None, method=method)
    try:
        with urllib.request.urlopen(asked) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def chat(text="hi", **fields):
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture(scope="module")
def echo():
    """A server with contestants that show what reaches them."""

    def broken(request):
        raise RuntimeError("out of order")

    def show(request):
        return json.dumps([list(request.messages), request.sampling.key(), request.sample])

    contestants = {"echo": lambda r: r.messages[-1]["content"], "show": show, "broken": broken}
    with running_server(contestants) as url:
        yield url


def test_a_completion_has_openais_form(echo):
    status, reply = post(echo, chat("two words"))
    assert status == 200
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "echo"
    (choice,) = reply["choices"]
    assert choice["message"] == {"role": "assistant", "content": "two words", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert reply["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert post(echo, chat())[1]["id"] != reply["id"]


def test_models_are_listed(echo):
    status, reply = post(echo, None, "/models", "GET")
    assert status == 200
    assert [row["id"] for row in reply["data"]] == ["echo", "show", "broken"]


@pytest.mark.parametrize(
    ("fields", "text", "finish_reason", "tokens"),
    [
        ({"max_tokens": 2}, "a b ", "length", 2),
        ({"max_completion_tokens": 3}, "a b c", "stop", 3),
        ({"stop": " c"}, "a b", "stop", 2),
        ({"stop": ["c", "b"], "max_tokens": 1}, "a ", "stop", 1),
        ({"max_tokens": None, "stop": None, "n": 1, "stream": False, "user": "x"}, "a b c", "stop", 3),
    ],
)
def test_limits_and_stops(echo, fields, text, finish_reason, tokens):
    status, reply = post(echo, chat("a b c", **fields))
    assert status == 200
    assert reply["choices"][0]["message"]["content"] == text
    assert reply["choices"][0]["finish_reason"] == finish_reason
    assert reply["usage"]["completion_tokens"] == tokens


def test_the_whole_request_reaches_the_contestant(echo):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "é"}]}]
    body = {"model": "show", "messages": messages, "temperature": 0, "top_p": 0.5, "seed": 7}
    told = json.loads(post(echo, body)[1]["choices"][0]["message"]["content"])
    assert told[0] == [{"role": "system", "content": "s"}, {"role": "user", "content": "é"}]
    assert told[1][:2] == [0, 0.5]
    assert told[2] == 7


@pytest.mark.parametrize(
    ("body", "status", "param", "what"),
    [
        (b"{", 400, None, "not JSON"),
        (b"[1]", 400, None, "not a JSON object"),
        (chat(model="eco"), 404, "model", "known are echo, show, broken (did you mean 'echo'?)"),
        ({"messages": []}, 404, "model", "None does not exist"),
        (chat(messages=[]), 400, "messages", "messages is not a list"),
        (chat(messages=[{"role": "robot", "content": "x"}]), 400, "messages[0].role", "none of"),
        (chat(messages=[{"role": "user", "content": None}]), 400, "messages[0].content", "not a text"),
        (chat(messages=[{"role": "assistant", "content": "x"}]), 400, "messages", "not the user's"),
        (chat(stream=True), 400, "stream", "not offered"),
        (chat(n=2), 400, "n", "n is not 1"),
        (chat(stop=[1]), 400, "stop", "neither"),
        (chat(temperature="hot"), 400, "temperature", "not a number"),
        (chat(temperature=-1), 400, "temperature", "at least 0"),
        (chat(max_tokens=0), 400, "max_tokens", "at least 1"),
        (chat(seed="x"), 400, "seed", "seed is not a number"),
        (chat(model="broken"), 500, None, "broken failed: RuntimeError: out of order"),
    ],
)
def test_errors_have_openais_form(echo, body, status, param, what):
    got, reply = post(echo, body)
    assert got == status
    assert what in reply["error"]["message"]
    assert reply["error"]["param"] == param
    assert reply["error"]["type"] == ("server_error" if status == 500 else "invalid_request_error")


def test_elsewhere_is_a_404_that_says_where(echo):
    status, reply = post(echo, {}, "/completions")
    assert status == 404
    assert "POST /v1/chat/completions is" in reply["error"]["message"]
    assert post(echo, None, "/chat/completions", "GET")[0] == 404


def test_players_and_judge_answer_as_they_do_without_a_server():
    requests = [Request(task.prompt.messages, key=task.prompt.id) for task in draw(12, seed=3, split="test")]
    requests.append(Request(({"role": "user", "content": JUDGE_PROMPT},), key="judge"))
    with running_server() as url:
        assert {row["id"] for row in post(url, None, "/models", "GET")[1]["data"]} == {
            *SKILLS,
            *EDITORS,
            "author",
            "judge",
        }
        scripts: dict[str, Script] = {name: Player(name) for name in ("scholar", "novice")} | {"judge": SandboxJudge()}
        for name, script in scripts.items():
            served, direct = OpenAIModel(name, name, url), ScriptedModel(name, script)
            assert asyncio.run(texts(served, requests)) == asyncio.run(texts(direct, requests))


async def texts(model, requests):
    found = {request.key: completion async for request, completion in model.complete_many(requests)}
    await model.aclose()
    assert {completion.status for completion in found.values()} == {Status.OK}
    return [found[request.key].text for request in requests]


def test_the_judge_gives_scores_over_the_wire():
    with running_server() as url:
        status, reply = post(url, chat(JUDGE_PROMPT, model="judge", temperature=0, max_tokens=512))
    assert status == 200
    assert re.search(r"\n\nScores: [\d.]+ [\d.]+$", reply["choices"][0]["message"]["content"])


def test_a_seed_numbers_the_samples_of_one_prompt():
    (task,) = draw(1, seed=3)
    ask = chat(task.prompt.last_user, model="novice")
    with running_server() as url:
        answers = [post(url, {**ask, "seed": seed})[1]["choices"][0]["message"]["content"] for seed in range(20)]
        again = post(url, {**ask, "seed": 3})[1]["choices"][0]["message"]["content"]
    assert len(set(answers)) > 1
    assert answers == [Player("novice").answer(task.prompt.last_user, seed) for seed in range(20)]
    assert again == answers[3]


def test_the_server_ends_with_its_block():
    with running_server() as url:
        assert post(url, chat(model="judge"))[0] == 200
    with pytest.raises(urllib.error.URLError):
        post(url, chat(model="judge"))


def test_an_address_that_is_taken_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigError, match=r"cannot serve on 127\.0\.0\.1"):
            serve(port=taken.getsockname()[1])


def test_serving_in_a_process_of_its_own():
    code = "from arenaloop.sandbox.server import serve; serve(port=0, seed=1)"
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        verdict = post(url, chat(JUDGE_PROMPT, model="judge"))[1]["choices"][0]["message"]["content"]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (0, "")
    asked = Request(({"role": "user", "content": JUDGE_PROMPT},))
    assert verdict == SandboxJudge(seed=1)(asked) != SandboxJudge(seed=0)(asked)
