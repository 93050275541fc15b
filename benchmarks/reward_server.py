"""The reward server beside bare judging: 256 posts at once in OpenRLHF's shape, before a judge that fails one in five.

    python benchmarks/reward_server.py [--rows 2000] [--repeats 3] [--latency 100] [--concurrency 64]

A judge in a process of its own answers after `--latency` milliseconds. One request in five fails: of one row in twenty
every answer is unreadable, and of the other requests 16 % get an HTTP 500, an HTTP 429, a connection that is reset or
an answer that cannot be read. The same rows go through both, each on a new arena file and in a process of its own, in
turn:

    bare     every row is asked by the executor that all verbs use
    server   `arenaloop reward-server`, to which a client posts the rows as OpenRLHF 0.11.2 does: one sample a post, a
             session of its own for each, 256 at once

Prints for each the median of the repeats, with the smallest and the largest: verdicts a second, and CPU of the process
that judges for a thousand verdicts; then the ratios, and of the server: how many answers were HTTP 200, the slowest of
them, rows flagged, verdicts that stand twice in the arena file, and requests that the judge got for a row. A tenth of
the rows comes twice, and is asked about once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

AT_ONCE = 256
PROMPTS = 64
FAULTS, NEVER = 25, 20
"""Of so many requests four fail; of so many rows one is never judged."""
_ROW = re.compile(rb"(\d+)\. The tide")
_ANSWER = "The tide comes in twice a day, since the earth turns under two bulges of the sea. " * 12


# ---------------------------------------------------------------------- the judge behind


def _reply(status: str, body: dict[str, Any]) -> bytes:
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


def _said(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 500, "completion_tokens": 60, "total_tokens": 560}
    return _reply("200 OK", {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})


_GOOD = [_said(f"The answer is clear and right, with one slip in the second step.\n\nScore: {n % 6}") for n in range(6)]
_BAD = [
    _reply("500 Internal Server Error", {"error": {"message": "worker died"}}),
    _said("It is hard to say."),
    _reply("429 Too Many Requests", {"error": {"message": "slow down"}}),
    None,  # the connection is reset
]


class _Judge(asyncio.Protocol):
    """As little HTTP as a chat server needs."""

    latency = 0.1
    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            if head.startswith(b"get"):  # how many it got
                self.buffer = self.buffer[end + 4 :]
                self.transport.write(_reply("200 OK", {"requests": _Judge.requests}))
                continue
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            _Judge.requests += 1
            n = _Judge.requests
            asked = self.buffer[end + 4 : end + 4 + length]
            row = _ROW.search(asked)
            if row is not None and int(row[1]) % NEVER == 7:
                reply = _BAD[1]
            else:
                place = n % FAULTS
                reply = _BAD[place // 6] if place % 6 == 0 and place < 24 else _GOOD[n % len(_GOOD)]
            self.buffer = self.buffer[end + 4 + length :]
            asyncio.get_running_loop().call_later(self.latency, self._answer, reply)

    def _answer(self, reply: bytes | None) -> None:
        if reply is None:
            self.transport.abort()
        else:
            self.transport.write(reply)


async def _judge(latency: float) -> None:
    _Judge.latency = latency / 1000
    server = await asyncio.get_running_loop().create_server(_Judge, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def judging(latency: float) -> Iterator[str]:
    """The judge's base URL."""
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", str(latency)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def _requests(url: str) -> int:
    import urllib.request

    with urllib.request.urlopen(url) as reply:
        return int(json.loads(reply.read())["requests"])


# ---------------------------------------------------------------------- the rows


def rows(count: int) -> list[tuple[str, str]]:
    """Prompt and answer of each row; the last tenth repeats the first."""
    new = count - count // 10
    numbers = [*range(new), *range(count - new)]
    return [(f"Why are there tides? ({n % PROMPTS})", f"{n}. {_ANSWER}") for n in numbers]


def _write(folder: Path, url: str, concurrency: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "judge.yaml").write_text(f"spec: {url}#judge\nconcurrency: {concurrency}\nretries: 6\nreask: 2\n")
    prompts = {prompt for prompt, _ in rows(2 * PROMPTS)}
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in sorted(prompts)))


def _bare(folder: Path, count: int) -> dict[str, Any]:
    """Judge all rows; how long it took from before the first call until the last verdict is committed."""
    from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, decide
    from arenaloop.specs.rewarders import rewarder
    from arenaloop.store import Store
    from arenaloop.types import Prompt, Response

    made = rewarder(f"judge:{folder / 'judge.yaml'}")
    cpu, start = time.process_time(), time.perf_counter()
    with Store(folder / "arena.db") as store:
        asked = AskedJudge(made.judge, store.secret, reask=made.reask)
        shown = [(Prompt.of(prompt), answer) for prompt, answer in rows(count)]
        units = [
            JudgeUnit(asked, (p, Response(p.id, "policy", (answer,))), InStore(store.judgement)) for p, answer in shown
        ]
        store.add_prompts({p.id: p for p, _ in shown}.values())
        decide(lambda: iter(units), store, closing=[made.judge])
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}


# ---------------------------------------------------------------------- OpenRLHF's client


async def _posts(url: str, count: int) -> dict[str, Any]:
    """Post all rows; statuses, the slowest answer, and flags."""
    import aiohttp

    from arenaloop.types import Prompt

    slowest, statuses, flagged = 0.0, list[int](), 0
    todo = iter(rows(count))

    async def post(prompt: str, answer: str) -> None:
        nonlocal slowest, flagged
        shown = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        body = {"query": [f"{shown}{answer}<|im_end|>"], "prompts": [shown], "labels": [Prompt.of(prompt).id]}
        before = time.perf_counter()
        timeout = aiohttp.ClientTimeout(total=180)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, json=body) as reply:
            statuses.append(reply.status)
            told = await reply.json()
        slowest = max(slowest, time.perf_counter() - before)
        if reply.status == 200:
            assert type(told["rewards"][0]) is type(told["scores"][0]) is float
            assert (told["flags"][0] is not None) == bool(told["extra_logs"]["failed"][0])
            flagged += told["flags"][0] is not None

    async def work() -> None:
        for prompt, answer in todo:
            await post(prompt, answer)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    seconds = time.perf_counter() - start
    good = sum(status == 200 for status in statuses)
    return {"seconds": seconds, "ok": good, "slowest": slowest, "flagged": flagged}


def _child(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _served(folder: Path, count: int) -> dict[str, Any]:
    """Serve the rows to a client of its own process."""
    command = [sys.executable, "-m", "arenaloop", "reward-server", "--reward", f"judge:{folder / 'judge.yaml'}"]
    with subprocess.Popen(
        [*command, "--prompts", str(folder / "prompts.jsonl"), "--out", str(folder), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            start = _cpu(server.pid)
            found = _child("--post", url, "--rows", str(count))
            found["cpu"] = _cpu(server.pid) - start
        finally:
            server.terminate()
    return found


def _cpu(pid: int) -> float:
    """CPU seconds of a process that runs."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def _twice(arena: Path) -> tuple[int, int]:
    """Verdicts that have a score, and how many of them stand more than once."""
    with sqlite3.connect(arena) as store:
        keys = [key for (key,) in store.execute("SELECT key FROM judgements WHERE score IS NOT NULL")]
    return len(keys), len(keys) - len(set(keys))


# ---------------------------------------------------------------------- the table


def _span(values: list[float]) -> str:
    return f"{median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def compare(count: int, repeats: int, latency: float, concurrency: int) -> None:
    """Run both in turn and print the figures."""
    rates: dict[str, list[float]] = {"bare": [], "server": []}
    cpus: dict[str, list[float]] = {"bare": [], "server": []}
    told: list[str] = []
    for _ in range(repeats):
        for name in rates:
            with tempfile.TemporaryDirectory() as place, judging(latency) as url:
                folder = Path(place)
                _write(folder, url, concurrency)
                found = _served(folder, count) if name == "server" else _child("--bare", place, "--rows", str(count))
                kept, twice = _twice(folder / "arena.db")
                rates[name].append(count / found["seconds"])
                cpus[name].append(1e6 * found["cpu"] / count)
                if name == "server":
                    told.append(
                        f"{found['ok']:,} of {count:,} answers HTTP 200, the slowest after {found['slowest']:.1f} s; "
                        f"{found['flagged']:,} flagged; {kept:,} verdicts, {twice} twice; "
                        f"{_requests(url) / (count - count // 10):.2f} requests a row"
                    )
    load = os.getloadavg()[0]
    print(f"{count:,} rows, {latency:g} ms, {concurrency} calls at once, {repeats} repeats, load {load:.1f}")
    print("\n| | rows/s | CPU ms for 1,000 rows |\n|--|--|--|")
    for name in rates:
        print(f"| {name} | {_span(rates[name])} | {_span(cpus[name])} |")
    share = [s / b for s, b in zip(rates["server"], rates["bare"], strict=True)]
    cost = [b / s for s, b in zip(cpus["server"], cpus["bare"], strict=True)]
    print(f"\nserver / bare: rate {median(share):.0%} ({min(share):.0%}-{max(share):.0%}), by CPU {median(cost):.0%}")
    print("\n".join(told))


def main() -> None:
    """Compare, or be one of the processes that are compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency", type=float, default=100.0, help="of the judge, in milliseconds")
    parser.add_argument("--concurrency", type=int, default=64, help="calls that the judge gets at once")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--post", help=argparse.SUPPRESS)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if options.serve is not None:
        asyncio.run(_judge(options.serve))
    elif options.bare is not None:
        print(json.dumps(_bare(options.bare, options.rows)))
    elif options.post is not None:
        print(json.dumps(asyncio.run(_posts(options.post, options.rows))))
    else:
        compare(options.rows, options.repeats, options.latency, options.concurrency)


if __name__ == "__main__":
    main()
