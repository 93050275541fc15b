"""`arenaloop reward-server` as a process: what it refuses, what it prints, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reward_serving import openrlhf_body

from arenaloop.types import Prompt

Command = Callable[..., Any]


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        found: dict[str, Any] = json.loads(reply.read())
    return found


def test_it_serves_until_interrupted_and_goes_on_with_what_it_knows(served: Any, tmp_path: Path) -> None:
    served.answer = lambda body: "Fine.\n\nScore: 4"
    (tmp_path / "judge.yaml").write_text(f"spec: {served.url}#judge\nprice: {{input: 1, output: 1}}\n")
    asked = [Prompt.of(f"Question {n}") for n in range(3)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p.last_user}) + "\n" for p in asked))
    for calls in (4, 5):  # one of them is the trial, which is paid once as well
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "arenaloop", "reward-server", "--reward", "judge:judge.yaml", "--out", "out"),
                *("--prompts", "prompts.jsonl", "--port", "0", "--budget-calls", "9", "--budget-usd", "1"),
            ],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            for n, prompt in enumerate(asked):
                assert post(url, openrlhf_body("as shown", f"Answer {n}", prompt.id))["rewards"] == [4.0]
            if calls == 5:
                assert post(url, {"prompts": ["Question 1", "else"], "answers": ["new", "new"]})["flags"] == [
                    None,
                    "unknown_prompt",
                ]
            server.send_signal(signal.SIGINT)
            out, told = server.communicate(timeout=60)
        assert server.returncode == 0, told
        assert out == ""
        assert "rewards by judge for 3 prompts" in told
        assert "Traceback" not in told
        assert len(served.heard) == calls
    assert "5 rewards · 1 flagged (1 unknown_prompt) · 1 call · 4 from the arena file · $0.00" in " ".join(told.split())


def test_what_cannot_be_served_is_refused(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text(f"spec: {served.url}#judge\n")
    (tmp_path / "p.jsonl").write_text("")
    serve = ("reward-server", "--out", "out", "--port", "0", "--reward")

    def refused(*words: object) -> str:
        result = arenaloop(*serve, *words)
        assert result.code == 2, result
        assert not (tmp_path / "out").exists()
        (line,) = result.lines
        return str(line)

    assert "expected one of" in refused("jugde:judge.yaml")
    assert "expected a judge's YAML file" in refused("judge:judge.json")
    assert "--fallback nan: mean, or a finite number" in refused("judge:judge.yaml", "--fallback", "nan")
    assert "not set" in refused("judge:judge.yaml", "--key-env", "NO_SUCH_VARIABLE_9")
    assert "the file is empty" in refused("judge:judge.yaml", "--prompts", "p.jsonl")
    assert "#ANSWERS.jsonl" in refused("battles:judge.yaml")
    assert "price" in refused("judge:judge.yaml", "--budget-usd", 1)
    assert served.heard == []


def test_a_judge_that_does_not_answer_is_known_before_it_listens(
    arenaloop: Command, served: Any, tmp_path: Path
) -> None:
    (tmp_path / "judge.yaml").write_text(f"spec: {served.url}#judge\nretries: 0\n")
    serve = ("reward-server", "--out", "out", "--port", "0", "--reward", "judge:judge.yaml")
    served.answer = lambda body: 401
    stopped = arenaloop(*serve)
    assert (stopped.code, stopped.out) == (4, "")
    assert "its first call failed" in stopped.lines[-1]
    assert "check the key" in stopped.lines[-1]
    assert len(served.heard) == 1


def test_an_address_that_is_taken_is_named(arenaloop: Command, served: Any) -> None:
    port = served.server.server_address[1]
    refused = arenaloop("reward-server", "--out", "out", "--port", port, "--reward", "sandbox:gold")
    assert refused.code == 2
    assert f"cannot serve on 127.0.0.1:{port}" in refused.lines[-1]
