"""The exported rewards file before a server of this process: batches, flags, faults, and when it ends a training."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from arenaloop.data.export import reward_client
from arenaloop.data.export.reward_client import RewardError, arenaloop_reward, compute_score, reward_func


class Server:
    """Replies as `answer` says, a body or a status; the reward of an answer is its length, and "bad" is flagged."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.faults: list[int] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.heard.append(body)
                server.keys.append(self.headers["Authorization"])
                status = server.faults.pop() if server.faults else 200
                answers = body.get("answers") or body["query"]
                flags = ["unparsed" if one == "bad" else None for one in answers]
                rewards = [0.5 if flag else float(len(one)) for one, flag in zip(answers, flags, strict=True)]
                scores = [None if flag else one for one, flag in zip(rewards, flags, strict=True)]
                extra = {"failed": [float(flag is not None) for flag in flags]}
                reply = {"rewards": rewards, "scores": scores, "flags": flags, "extra_logs": extra}
                data = json.dumps(reply if status == 200 else {"error": "the budget is spent"}).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/get_reward"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    one = Server()
    monkeypatch.setenv("ARENALOOP_REWARD_URL", one.url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # a near server is asked without it
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(reward_client, "PAUSE", 0.0)
    monkeypatch.setattr(reward_client, "_flags", reward_client._Flags())
    yield one
    one.http.shutdown()
    one.http.server_close()


def test_trl_is_given_none_for_what_has_no_reward(server: Server) -> None:
    logged: dict[str, float] = {}
    prompts = [[{"role": "user", "content": f"q{n}"}] for n in range(70)]
    completions: list[Any] = [[{"role": "assistant", "content": "x" * n}] for n in range(69)]
    completions.append([{"role": "assistant", "content": "bad"}])
    found = arenaloop_reward(
        prompts=prompts,
        completions=completions,
        prompt_id=[str(n) for n in range(70)],
        completion_ids=[[1]] * 70,
        log_metric=logged.__setitem__,
    )
    assert found == [*map(float, range(69)), None]
    assert logged == {"arenaloop/failed": 1 / 70}
    assert sorted(len(body["answers"]) for body in server.heard) == [6, 32, 32]
    assert arenaloop_reward(["q"], ["text"]) == [4.0]
    assert server.heard[-1]["prompt_ids"] == [None]


def test_verl_awaits_64_at_once(server: Server) -> None:
    async def score(n: int) -> dict[str, float]:
        return await compute_score("arenaloop", "x" * n, "", {"prompt_id": f"p{n}"}, reward_router_address=None)

    async def play() -> list[dict[str, float]]:
        return await asyncio.gather(*(score(n) for n in range(64)))

    assert asyncio.run(play()) == [{"score": float(n), "failed": 0.0} for n in range(64)]
    assert len({body["prompt_ids"][0] for body in server.heard}) == 64
    assert asyncio.run(compute_score("arenaloop", "bad", "")) == {"score": 0.5, "failed": 1.0}


def test_openrlhf_gets_the_reply_of_its_own_shape(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARENALOOP_REWARD_KEY", "a key")
    found = reward_func(["one"], ["o"], ["id"])
    assert (found["rewards"], found["extra_logs"]) == ([3.0], {"failed": [0.0]})
    assert server.heard == [{"query": ["one"], "prompts": ["o"], "labels": ["id"]}]
    assert server.keys == ["Bearer a key"]


@pytest.mark.parametrize("fault", [500, 429, 502])
def test_a_fault_that_passes_is_tried_again(server: Server, fault: int) -> None:
    server.faults = [fault] * 4
    assert arenaloop_reward(["q"], ["four"]) == [4.0]
    assert len(server.heard) == 5


@pytest.mark.parametrize(
    "call", [lambda: arenaloop_reward(["q"], ["a"]), lambda: asyncio.run(compute_score("", "a", ""))]
)
@pytest.mark.parametrize("fault", [503, 401, 400, 302])
def test_what_does_not_pass_ends_the_training(server: Server, call: Callable[[], Any], fault: int) -> None:
    server.faults = [fault] * 9
    with pytest.raises(RewardError, match=f"HTTP {fault}: .*the budget is spent"):
        call()
    assert len(server.heard) == 1


def test_a_server_that_is_not_there_ends_the_training(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARENALOOP_REWARD_URL", "http://user:secret@127.0.0.1:9/get_reward")
    with pytest.raises(RewardError) as ended:
        arenaloop_reward(["q"], ["a"])
    assert "secret" not in str(ended.value)


def test_too_many_flags_end_the_training(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["bad" if n % 20 == 0 else "good" for n in range(96)]  # 5 of them, too few to judge by
    assert arenaloop_reward(answers, answers).count(None) == 5
    assert arenaloop_reward(["good"] * 4, ["good"] * 4)  # 5 of 100 are what is borne
    with pytest.raises(RewardError, match="6 of the last 101 rewards are missing, most often: unparsed"):
        arenaloop_reward(["bad"], ["bad"])
    monkeypatch.setenv("ARENALOOP_MOST_FAILED", "0.5")
    assert arenaloop_reward(["bad"], ["bad"]) == [None]
