"""Kill a battle run with SIGKILL again and again while its judge's server misbehaves, and compare with an unbroken run.

    python experiments/chaos.py [--battles 2000] [--kills 20] [--concurrency 32] [--seed 0] [--late 10]
                                [--json]

The judge is a loopback server in a process of its own. A fifth of the seatings meet a fault: most pass when they are
tried again (429 with and without Retry-After, 500, 502, 503, a reset connection, a hang until the client's timeout, a
body that is cut short, a body that is not what it should be), some need another verdict (garbage, empty, cut off), and
one in fifty is never readable (garbage, empty, cut off, refused, rejected). What a seating meets depends on the two
answers and on how often the server has seen it, so an unbroken run and a broken one decide the same battles.

The server gives every answer a number, which the arena file stores with the row. So it is known of every answer that
was sent in full whether its row is there after a kill. Checked, after each kill and at the end: nothing that was stored
is missing; no verdict with an outcome is stored twice; what was paid for and is not stored are calls that were in
flight or answers of the last 10 ms (`--late`: on a machine that does other work, what was sent to the run may lie there
for longer before the run is given the processor); every battle is decided or recorded as undecided; the leaderboard is
that of the unbroken run, digit for digit. Exits with 1 if anything else is found.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

MODELS = 5  # ten pairs, so that each prompt is twenty seatings
TIMEOUT = 1.0  # seconds, the client's; a hang is longer
LATENCY = 0.01  # seconds an answer takes
PASSING = ["429", "429 after", "500", "502", "503", "reset", "hang", "cut body", "wrong body", "no choices"]
REASKED = ["garbage", "empty", "length"]
PERMANENT = ["garbage", "empty", "length", "refused", "rejected"]
ANSWER_OF = re.compile(r"m(\d+) on question (\d+)\b")
ARENALOOP = [sys.executable, "-c", "from arenaloop.cli import main; main()"]
Seating = tuple[int, int, int]


def fate(seating: Seating) -> tuple[str, str, int]:
    """What a seating meets: ("ok" | "passing" | "reasked" | "permanent", which fault, how many times)."""
    drawn = int.from_bytes(blake2b(repr(seating).encode(), digest_size=8).digest(), "big")
    share, pick, times = drawn % 1000, drawn // 1000, 1 + drawn // 10**6 % 2
    if share < 140:
        return "passing", PASSING[pick % len(PASSING)], times
    if share < 180:
        return "reasked", REASKED[pick % len(REASKED)], times
    if share < 200:
        return "permanent", PERMANENT[pick % len(PERMANENT)], 0
    return "ok", "", 0


def scores(seating: Seating) -> tuple[int, int]:
    """The judge's opinion: later models are better, with noise of the prompt and a bias for the first seat."""
    question, first, second = seating
    noise = random.Random(repr((question, min(first, second), max(first, second))))
    quality = {name: noise.gauss(4 + 0.5 * name, 1.5) for name in sorted((first, second))}
    return tuple(max(1, min(10, round(quality[name] + bias))) for name, bias in ((first, 0.3), (second, 0.0)))  # type: ignore[return-value]


# ---------------------------------------------------------------------- the server


class Judge:
    """A chat server with faults; it notes every request."""

    def __init__(self) -> None:
        self.seen: Counter[Seating] = Counter()
        self.events: list[dict[str, Any]] = []
        self.answered: set[Seating] = set()

    async def events_so_far(self, request: web.Request) -> web.Response:
        """Everything that was noted, or with ``?count`` to how many seatings an answer was sent in full."""
        return web.json_response(len(self.answered) if "count" in request.query else self.events)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """One call."""
        began = time.monotonic()
        text = json.loads(await request.read())["messages"][-1]["content"]
        (first, question), (second, _) = ANSWER_OF.findall(text)[:2]
        seating = (int(question), int(first), int(second))
        kind, fault, times = fate(seating)
        self.seen[seating] += 1
        number = len(self.events) + 1
        event: dict[str, Any] = {"number": number, "seating": seating, "began": began, "sent": None, "ended": None}
        event["what"] = fault if kind == "permanent" or self.seen[seating] <= times else "ok"
        self.events.append(event)
        try:
            await asyncio.sleep(LATENCY)
            if event["what"] in PASSING:
                return await self.fail(request, fault)
            response = self.reply(number, seating, event["what"])
            await response.prepare(request)
            await response.write_eof()
            event["sent"] = time.monotonic()
            self.answered.add(seating)
            return response
        except ConnectionError:  # the client was killed
            return web.Response()
        finally:
            event["ended"] = time.monotonic()

    async def fail(self, request: web.Request, fault: str) -> web.StreamResponse:
        """A fault after which the same request may be answered."""
        if fault.split()[0].isdigit():
            headers = {"Retry-After": "0.05"} if fault.endswith("after") else {}
            error = {"error": {"message": "try again"}}
            return web.json_response(error, status=int(fault.split()[0]), headers=headers)
        if fault == "hang":
            await asyncio.sleep(2 * TIMEOUT)
        if request.transport is None:
            raise ConnectionError
        if fault in ("hang", "reset"):
            request.transport.abort()
            return web.Response()
        if fault == "cut body":
            cut = web.StreamResponse(headers={"Content-Length": "500", "Content-Type": "application/json"})
            await cut.prepare(request)
            await cut.write(b'{"choices": [{"message": {"content": "Both are')
            request.transport.close()
            return cut
        if fault == "wrong body":
            return web.Response(text="<html>the proxy is sorry</html>", content_type="text/html")
        return web.json_response({"choices": []})

    def reply(self, number: int, seating: Seating, what: str) -> web.Response:
        """An answer in full; its number stands in the usage, or in the error."""
        if what == "rejected":
            return web.json_response({"error": {"message": f"call {number} is too long"}}, status=400)
        first, second = scores(seating)
        text = f"Call {number}. Both answer; one does it better.\n\nScores: {first} {second}"
        message: dict[str, Any] = {"role": "assistant", "content": text}
        finish = "stop"
        if what == "garbage":
            message["content"] = "I like them both, and I would rather not say."
        elif what == "empty":
            message["content"] = ""
        elif what == "length":
            message["content"], finish = "Let me begin at the very beginning, when", "length"
        elif what == "refused":
            message = {"role": "assistant", "content": None, "refusal": "I cannot compare these."}
        usage = {"prompt_tokens": number, "completion_tokens": 12}
        return web.json_response({"choices": [{"message": message, "finish_reason": finish}], "usage": usage})


async def serve() -> None:
    """Serve on a free port, told on stdout, until stdin ends."""
    judge = Judge()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", judge.chat)
    app.router.add_get("/events", judge.events_so_far)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


class Server:
    """The judge's server in a process of its own, and what it has noted."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)

    def ask(self, path: str) -> Any:
        """One look at what it has noted."""
        self.connection.request("GET", path)
        return json.loads(self.connection.getresponse().read())

    def close(self) -> None:
        """End it."""
        self.connection.close()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


# ---------------------------------------------------------------------- the run


def write_inputs(folder: Path, questions: int) -> None:
    """Prompts and recorded answers: only the judge is asked."""
    rows = [{"prompt": f"Question {number}, please."} for number in range(questions)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for model in range(MODELS):
        said = [
            {"instruction": row["prompt"], "output": f"m{model} on question {number}: " + "well " * (3 + model)}
            for number, row in enumerate(rows)
        ]
        (folder / f"m{model}.json").write_text(json.dumps(said))


def start(
    folder: Path, out: Path, port: int, concurrency: int, *more: str, timeout: float = TIMEOUT
) -> subprocess.Popen[bytes]:
    """The battle command; the same every time, with `more` options."""
    judge = folder / f"judge{port}.yaml"
    settings = {"spec": f"http://127.0.0.1:{port}/v1#judge", "timeout": timeout, "concurrency": concurrency}
    judge.write_text(yaml.safe_dump(settings))
    command = [*ARENALOOP, "battle", "--prompts", str(folder / "prompts.jsonl"), "--judge", str(judge)]
    command += ["--out", str(out), "--concurrency", str(2 * concurrency), *more]
    for model in range(MODELS):
        command += ["--model", f"m{model}=file:{folder / f'm{model}.json'}"]
    with open(out.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)


def rows(out: Path) -> dict[tuple[str, int], tuple[str, int | None]]:
    """(status, number of the server's answer) of every stored verdict, by key and attempt."""
    found: dict[tuple[str, int], tuple[str, int | None]] = {}
    if not (out / "arena.db").exists():
        return found
    with closing(sqlite3.connect(f"file:{out / 'arena.db'}?mode=ro", uri=True)) as db:
        if not db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            return found  # killed before its tables were made
        query = "SELECT key, attempt, status, tokens_in, error FROM verdicts"
        for key, attempt, status, number, error in db.execute(query):
            told = re.search(r"call (\d+)", error or "")
            found[key, attempt] = status, int(told[1]) if told else number
    return found


def wait_for(server: Server, process: subprocess.Popen[bytes], seatings: int) -> None:
    """Until the server has answered so many seatings, and one more than now; or the run has ended."""
    least = max(seatings, server.ask("/events?count") + 1)
    while server.ask("/events?count") < least and process.poll() is None:
        time.sleep(0.002)


def unbroken(folder: Path, concurrency: int) -> tuple[Path, list[dict[str, Any]], float]:
    """The run without kills, what its server noted, and how many seconds it took until the first request."""
    out, server = folder / "whole", Server()
    began = time.monotonic()
    try:
        code = start(folder, out, server.port, concurrency).wait()
        events = server.ask("/events")
    finally:
        server.close()
    if code != 3:
        sys.exit(f"the unbroken run ended with {code}: {out.with_suffix('.log').read_text()[-2000:]}")
    return out, events, events[0]["began"] - began


def broken(
    folder: Path,
    concurrency: int,
    kills: int,
    seatings: int,
    start_up: float,
    rng: random.Random,
    late_ms: float,
    show: bool,
) -> tuple[Path, list[dict[str, Any]], dict[str, Any]]:
    """The run that is killed at random moments and started again until it ends by itself.

    Of each kill, so many answers may be lost as there are calls at once, and those sent in the last `late_ms`.
    """
    out, server = folder / "broken", Server()
    counts: dict[str, Any] = dict.fromkeys(("kills", "lost", "timed_out", "allowed", "flying", "missing"), 0)
    counts["oldest_lost_ms"] = 0.0
    # every fifth kill falls into the start, by the clock; the others anywhere, by how far the judging is
    starting = set(range(0, kills, 5))
    moments = iter(sorted(rng.randrange(1, int(0.95 * seatings)) for _ in range(kills - len(starting))))
    known_lost: set[int] = set()
    try:
        for kill in range(kills):
            started = time.monotonic()
            process = start(folder, out, server.port, concurrency)
            if kill in starting:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0, 1.2 * start_up))
            else:
                wait_for(server, process, next(moments))
                time.sleep(rng.uniform(0, 0.02))
            before = rows(out)
            killed = time.monotonic()
            process.send_signal(signal.SIGKILL)
            if process.wait() != -signal.SIGKILL:
                sys.exit(f"the run ended by itself before kill {kill + 1}")
            after, events = rows(out), server.ask("/events")
            numbers = {number for _, number in after.values()}
            # what was in flight at the last kill may have been sent since, to nobody
            sent = [e for e in events if e["began"] > started and e["sent"] is not None and e["sent"] < killed]
            unstored = [e for e in sent if e["number"] not in numbers and e["number"] not in known_lost]
            # an answer that came after the client's timeout was not taken: the same process has asked again
            latest = {tuple(e["seating"]): e["number"] for e in events if e["began"] < killed}
            lost = [e for e in unstored if latest[tuple(e["seating"])] == e["number"]]
            flying = sum(e["began"] < killed and (e["ended"] is None or e["ended"] > killed) for e in events)
            late = sum(e["sent"] > killed - late_ms / 1000 for e in sent)
            known_lost |= {e["number"] for e in unstored}
            ages = [1000 * (killed - e["sent"]) for e in lost]
            counts["kills"] += 1
            counts["lost"] += len(lost)
            counts["timed_out"] += len(unstored) - len(lost)
            counts["flying"] += flying
            counts["allowed"] += concurrency + late
            counts["oldest_lost_ms"] = max(counts["oldest_lost_ms"], *ages, 0.0)
            counts["missing"] += len(before.keys() - after.keys())
            if len(lost) > concurrency + late:
                sys.exit(f"kill {kill + 1}: {len(lost)} answers lost, {late} of the last {late_ms:g} ms")
            if show:
                print(
                    f"kill {kill + 1:2}: {len(after):5,} rows stored · {len(lost):2} answers sent and not stored"
                    f" (oldest {max(ages, default=0):.1f} ms; {late} sent in the last {late_ms:g} ms)"
                    f" · {flying} in the server",
                    flush=True,
                )
        code = start(folder, out, server.port, concurrency).wait()
        events = server.ask("/events")
    finally:
        server.close()
    if code != 3:
        sys.exit(f"the broken run ended with {code}: {out.with_suffix('.log').read_text()[-2000:]}")
    return out, events, counts


def outcomes_of(out: Path) -> list[dict[str, Any]]:
    """The battles, less the keys of their verdicts: what a first sample decides here, a second one may there."""
    lines = (out / "battles.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "verdicts"} for line in lines]


def chaos(
    folder: Path, battles: int, kills: int, concurrency: int, seed: int, late_ms: float, show: bool
) -> dict[str, Any]:
    """Both runs and what they have in common; every figure and whether each promise was kept."""
    questions = -(-battles // (MODELS * (MODELS - 1) // 2))
    write_inputs(folder, questions)
    began = time.monotonic()
    whole, quiet, start_up = unbroken(folder, concurrency)
    if show:
        print(f"unbroken run: {time.monotonic() - began:.1f} s, {len(quiet):,} requests", flush=True)
    seatings = [(q, a, b) for q in range(questions) for a in range(MODELS) for b in range(MODELS) if a != b]
    out, events, counts = broken(
        folder, concurrency, kills, len(seatings), start_up, random.Random(seed), late_ms, show
    )
    never = {s for s in seatings if fate(s)[0] == "permanent"}
    undecided = {(q, min(a, b), max(a, b)) for q, a, b in never}
    readable = Counter(tuple(e["seating"]) for e in events if e["sent"] is not None and e["what"] == "ok")
    again = sum(n - 1 for n in readable.values())
    stored = rows(out)
    decided_keys = Counter(key for (key, _), (status, _) in stored.items() if status == "ok")
    summary = json.loads((out / "summary.json").read_text())
    boards = [(run / "leaderboard.json").read_bytes() for run in (whole, out)]
    outcomes = [outcomes_of(run) for run in (whole, out)]
    failed = summary["verdicts_failed"]
    checks = {
        "the server met every seating": len({tuple(e["seating"]) for e in events}) == len(seatings),
        "every battle is decided or recorded as undecided": summary["battles_wanted"] == len(seatings) // 2
        and summary["battles_decided"] == len(seatings) // 2 - len(undecided)
        and summary["verdicts_ok"] == len(seatings) - len(never)
        and sum(failed.values()) == len(never),
        "no verdict with an outcome is stored twice": max(decided_keys.values()) == 1,
        "nothing stored is missing after a kill": counts["missing"] == 0,
        f"no more is lost than the calls in flight and the last {late_ms:g} ms": counts["lost"] <= counts["allowed"],
        "no more is paid again than was lost or in flight": again
        <= counts["lost"] + counts["timed_out"] + counts["flying"],
        "the battles are those of the unbroken run": outcomes[0] == outcomes[1],
        "the leaderboard is that of the unbroken run": boards[0] == boards[1],
    }
    return {
        "battles": len(seatings) // 2,
        "decided": summary["battles_decided"],
        "failed": failed,
        "requests": {"unbroken": len(quiet), "broken": len(events)},
        "faults": dict(Counter(e["what"] for e in events if e["what"] != "ok").most_common()),
        "rows": len(stored),
        **counts,
        "paid_again": again,
        "seconds": time.monotonic() - began,
        "checks": checks,
    }


def main() -> None:
    """Run both, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--late", type=float, default=10.0, metavar="MS", help="answers so recent may be lost, too")
    parser.add_argument("--json", action="store_true", help="print one JSON document alone")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    with tempfile.TemporaryDirectory() as folder:
        found = chaos(
            Path(folder), options.battles, options.kills, options.concurrency, options.seed, options.late,
            not options.json,
        )  # fmt: skip
    if options.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['decided']:,} of {found['battles']:,} battles decided, verdicts failed for good: "
            f"{', '.join(f'{n} {status}' for status, n in found['failed'].items() if n)}\n"
            f"requests: {found['requests']['unbroken']:,} unbroken, {found['requests']['broken']:,} broken · faults "
            f"{', '.join(f'{n} {what}' for what, n in found['faults'].items())}\n"
            f"answers sent and not stored: {found['lost']} of {found['allowed']} allowed over {found['kills']} kills, "
            f"the oldest {found['oldest_lost_ms']:.1f} ms before its kill · answered after the client's timeout: "
            f"{found['timed_out']} · seatings paid again: {found['paid_again']}"
        )
        for check, kept in found["checks"].items():
            print(f"{'yes' if kept else 'NO '}  {check}")
    sys.exit(not all(found["checks"].values()))


if __name__ == "__main__":
    main()
