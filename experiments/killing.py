"""What the experiments share that kill a run and run it again: the process, its moments, a served model that counts."""

from __future__ import annotations

import gzip
import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

__all__ = ["ARENALOOP", "Process", "Served", "begin", "kept", "kill", "life", "stored"]

ARENALOOP = [sys.executable, "-c", "from arenaloop.cli import main; main()"]
ANSWERS_IN = 0.02  # seconds; longer than the moment in which an answer gets to the disk


class Process(Protocol):
    """A run: as much of `subprocess.Popen` as is needed here."""

    def poll(self) -> int | None:
        """The exit code; None while it runs."""

    def wait(self) -> int | None:
        """Wait for its end; the exit code."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal."""


Progress = Callable[[], int]
"""How far a run has come, in any events that it leaves a trace of; -1 before it has begun to make some."""


class Served:
    """A model on loopback, and how often each question was asked.

    Args:
        answer: (body of the request) → (the question, as it is counted, and the text of the answer).
        seconds: that an answer takes.

    Attributes:
        asked: by question.
        flying: calls that are not answered yet.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], tuple[str, str]], seconds: float = ANSWERS_IN) -> None:
        self.asked: Counter[str] = Counter()
        self.flying = 0
        served, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                question, text = answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                with lock:
                    served.asked[question] += 1
                    served.flying += 1
                time.sleep(seconds)
                with lock:
                    served.flying -= 1
                choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 3, "completion_tokens": 2}
                data = json.dumps({"choices": [choice], "usage": usage}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Clients are killed here."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def begin(line: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """A process of its own; what it says goes to the end of a file."""
    with log.open("ab") as said:
        return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=said)


def life(process: Process, progress: Progress, over: Callable[[], bool]) -> list[float]:
    """Seconds from the beginning of an unbroken run to each of its events, and until it was over."""
    times: list[float] = []
    while process.poll() is None and not over():
        times += [time.monotonic()] * (progress() + 1 - len(times))
        time.sleep(0.002)
    return [moment - times[0] for moment in [*times[1:], time.monotonic()]]


def kill(
    process: Process,
    progress: Progress,
    after: int,
    more: float,
    writing: Callable[[], bool] | None = None,
    note: Callable[[], object] = lambda: None,
) -> bool:
    """Kill a run some seconds after so many events, or when a file is then being written; False: it ended before.

    `note` is called right before.
    """
    awaited = None
    while process.poll() is None:
        if awaited is None and progress() >= after:
            awaited = time.monotonic() + more
        if awaited is not None and time.monotonic() >= awaited and (writing is None or writing()):
            note()
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002 if writing is None else 0.0002)
    return False


def kept(out: Path) -> dict[str, Any]:
    """What a training left: hashes of weights and unpacked roll-outs, and the metrics without seconds."""
    metrics = out / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    packed = sorted((out / "rollouts").glob("*.gz"))
    return {
        "weights": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.glob("*.safetensors"))},
        "roll-outs": {p.name: hashlib.sha256(gzip.decompress(p.read_bytes())).hexdigest() for p in packed},
        "metrics": [{name: value for name, value in row.items() if "seconds" not in name} for row in rows],
    }


def stored(out: Path) -> dict[str, tuple[int, int]]:
    """Rows of a run directory's arena file, by table, and keys that have more than one with an outcome or a text."""
    counts = dict.fromkeys(("verdicts", "judgements", "responses"), (0, 0))
    path = out / "arena.db"
    if path.exists():
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db, suppress(sqlite3.OperationalError):
            for table in counts:  # killed before the tables were made, there are none
                key = "key, turn" if table == "responses" else "key"
                twice = f"SELECT key FROM {table} WHERE status = 'ok' GROUP BY {key} HAVING COUNT(*) > 1"
                found = (f"SELECT COUNT(*) FROM {what}" for what in (table, f"({twice})"))
                rows, again = (db.execute(count).fetchone()[0] for count in found)
                counts[table] = rows, again
    return counts
