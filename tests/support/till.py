"""A chat server on loopback that bills what it generates, whatever its client gets to see of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from arenaloop.models.openai_wire import Price

PRICE = Price(10.0, 30.0)
How = Literal["whole", "late", "cut", "unreadable", "gateway", "failed"]


@dataclass(frozen=True)
class Said:
    """An answer: what is billed, what is told of it, and how it goes back."""

    text: str
    tokens_in: int
    tokens_out: int
    usage: dict[str, Any] | None
    how: How = "whole"


def scores(body: dict[str, Any]) -> str:
    """Scores that depend on the request alone."""
    h = blake2b(json.dumps(body["messages"]).encode(), digest_size=2).digest()
    return f"They differ in what they cover, and in how it is said.\n\nScores: {1 + h[0] % 10} {1 + h[1] % 10}"


def usage(tokens_in: int, tokens_out: int) -> dict[str, Any]:
    """As servers tell it."""
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


class Till:
    """Requests, and what they cost; `hold` keeps answers back until `open` is set."""

    def __init__(self, answer: Callable[[int, dict[str, Any], int], Said]) -> None:
        self.answer = answer
        self.calls, self.billed, self.dearest = 0, 0.0, 0.0
        self.open = threading.Event()
        self.open.set()
        self.over = threading.Event()
        self.changed = threading.Condition()
        self.url = ""

    def take(self, body: dict[str, Any], size: int) -> Said:
        """Answer a request of `size` bytes, and bill it at once."""
        with self.changed:
            said = self.answer(self.calls, body, size)
            self.calls += 1
            usd = PRICE.usd(said.tokens_in, said.tokens_out) or 0.0
            self.billed += usd
            self.dearest = max(self.dearest, usd)
            self.changed.notify_all()
        return said

    def wait_for(self, calls: int, alive: Callable[[], bool]) -> None:
        """Wait until so many requests have come, or whoever sends them has ended."""
        with self.changed:
            while self.calls < calls and alive():
                self.changed.wait(0.05)


@contextmanager
def running_till(answer: Callable[[int, dict[str, Any], int], Said]) -> Iterator[Till]:
    """A till on a free port of loopback, in threads of this process."""
    till = Till(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Silence."""

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            said = till.take(json.loads(raw), len(raw))
            till.open.wait()
            if said.how == "late":
                till.over.wait()
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said.text}}
            reply: dict[str, Any] = {"choices": [choice]}
            if said.usage is not None:
                reply["usage"] = said.usage
            data = b'{"choices": [' if said.how == "unreadable" else json.dumps(reply).encode()
            try:
                self.send_response({"gateway": 504, "failed": 500}.get(said.how, 200))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:-9] if said.how == "cut" else data)
                self.wfile.flush()
            except OSError:  # whoever asked is gone
                pass
            self.close_connection = said.how == "cut"

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that was killed is no fault of ours."""

    server = Server(("127.0.0.1", 0), Handler)
    till.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield till
    finally:
        till.over.set()
        till.open.set()
        server.shutdown()
        server.server_close()
        thread.join()
