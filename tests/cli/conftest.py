"""The command in this process, and a server whose answers a test decides."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from arenaloop.cli import main


class Result(NamedTuple):
    """How one command ended. `lines` are those of stderr."""

    code: int
    out: str
    lines: list[str]


@pytest.fixture
def arenaloop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Runs `arenaloop ARGUMENTS` in an empty folder, with no key in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["arenaloop", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, captured.out, captured.err.splitlines())

    return call


class Served:
    """A loopback server; `answer` maps a request's body to a text, a whole reply, an HTTP status, or None to hang."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], str | dict[str, Any] | int | None] = lambda body: "Scores: 7 5"
        self.heard: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.closing = threading.Event()
        self.hanging = threading.Event()
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                served.heard.append(body)
                served.paths.append(self.path)
                said = served.answer(body)
                if said is None:
                    served.hanging.set()
                    served.closing.wait()
                    return
                status = said if isinstance(said, int) else 200
                choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 3, "completion_tokens": 2}
                reply = {"error": {"message": "no"}} if status != 200 else {"choices": [choice], "usage": usage}
                data = json.dumps(said if isinstance(said, dict) else reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.close()


@pytest.fixture
def battles(tmp_path: Path) -> Path:
    """400 battles of four models, in which length counts beside them."""
    rng = np.random.default_rng(0)
    rows = []
    for t in range(400):
        a, b = rng.choice(4, 2, replace=False)
        length = int(rng.integers(10, 900)), int(rng.integers(10, 900))
        won = rng.random() < 1 / (1 + np.exp(-(0.5 * (b - a) + (length[0] - length[1]) / 500)))
        rows.append(
            {"model_a": f"m{a}", "model_b": f"m{b}", "winner": "model_a" if won else "model_b",
             "prompt_id": t % 80, "length_a": length[0], "length_b": length[1]}
        )  # fmt: skip
    path = tmp_path / "battles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
