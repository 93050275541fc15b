"""Judging side by side with the field: verdicts a second and CPU a verdict, against one loopback server, in one run.

    python benchmarks/judging.py [--battles 5000] [--repeats 3] [--openai PYTHON] [--alpaca-eval PYTHON] [--memory]

The server speaks OpenAI's chat protocol, sits in a process of its own and answers after 20 ms or at once. Contenders
take turns; every cell is the median of the repeats, with the smallest and the largest:

    bare     an aiohttp loop of N workers that posts the bodies and parses the replies as JSON, and keeps nothing
    openai   the same with the `openai` SDK (AsyncOpenAI); --openai names the interpreter that has it
    ours     `play`: both answers from the arena file, the judge's prompt, the call, the verdict parsed and stored

Each contender is a process of its own and posts the same judge prompts (answers of about 1,000 characters). The time
is from before the first call until after the last verdict is committed; CPU is the client's own, the thread that writes
the arena file included. `--alpaca-eval` names an interpreter that has alpaca_eval 0.6.6 (pandas below 3), which then
judges a few hundred pairs against the same server. `--memory` measures ours on 5,000 and 50,000 battles, each on a new
prompt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

LATENCIES = (20, 0)  # milliseconds
CONCURRENCY = (64, 256)
_WORDS = 180  # an answer of about 1,000 characters
_REPLY = (
    "The first answer covers what the user asked and gives the steps in order, with one small slip in the third. The "
    "second is shorter, skips the case that the user named, and repeats itself towards the end; both are clear. "
    "On accuracy they are close, on completeness the first is ahead.\n\nScores: {} {}"
)


# ---------------------------------------------------------------------- the server


class _Connection(asyncio.Protocol):
    """As little HTTP as a chat server needs: the path's first part is the latency in milliseconds."""

    replies: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.buffer = b""
        self.served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            # replies differ, so that no client gains by their being equal; the body's own length picks one
            reply = self.replies[length % len(self.replies)]
            latency = int(head.split(b" ", 2)[1].split(b"/", 2)[1])
            self.buffer = self.buffer[end + 4 + length :]
            if latency:
                self.loop.call_later(latency / 1000, self.transport.write, reply)
            else:
                self.transport.write(reply)


def _reply(first: int, second: int) -> bytes:
    message = {"role": "assistant", "content": _REPLY.format(first, second), "refusal": None}
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "judge",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 900, "completion_tokens": 90, "total_tokens": 990},
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def _serve() -> None:
    _Connection.replies = tuple(_reply(n % 9 + 1, n % 7 + 1) for n in range(64))
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving() -> Iterator[str]:
    """The server in a process of its own; yields its root URL."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------------- clients: each prints one JSON object


async def _pool(bodies: Iterable[bytes], concurrency: int, post: Callable[[bytes], Awaitable[Any]]) -> dict[str, Any]:
    todo = iter(bodies)
    scores = 0

    async def work() -> None:
        nonlocal scores
        for body in todo:
            reply = await post(body)
            scores += "Scores:" in reply

    cpu, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return {"verdicts": scores, "seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}


@asynccontextmanager
async def _bare(url: str) -> AsyncIterator[Callable[[bytes], Awaitable[Any]]]:
    import aiohttp

    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def post(body: bytes) -> Any:
            async with session.post(f"{url}/chat/completions", data=body) as response:
                return json.loads(await response.read())["choices"][0]["message"]["content"]

        yield post


@asynccontextmanager
async def _openai(url: str) -> AsyncIterator[Callable[[bytes], Awaitable[Any]]]:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def post(body: bytes) -> Any:
            reply = await client.chat.completions.create(**json.loads(body))
            return reply.choices[0].message.content

        yield post


async def _client(kind: str, url: str, folder: Path, concurrency: int) -> dict[str, Any]:
    bodies = folder.joinpath("bodies.jsonl").read_bytes().splitlines()
    async with (_bare if kind == "bare" else _openai)(url) as post:
        return await _pool(bodies, concurrency, post)


def ours(url: str, folder: Path, concurrency: int, on_progress: Callable[[Any], None] | None = None) -> dict[str, Any]:
    """Judge what `prepare` has written; what `on_progress` does is part of the measurement."""
    import aiohttp  # noqa: F401  as with the others, loading it is not part of the measurement

    from arenaloop.arena.battles import play
    from arenaloop.arena.matchmaking import Schedule
    from arenaloop.arena.plan import BattlePlan
    from arenaloop.calls.answers import Contestant
    from arenaloop.calls.recorded import PackedKeys, places
    from arenaloop.judges.pairwise import PairwiseJudge
    from arenaloop.models.openai_api import OpenAIModel
    from arenaloop.models.recorded import RecordedModel
    from arenaloop.store import Store

    with Store(folder / "arena.db") as store:
        place = places(
            row[0] for row in store._reader.execute("SELECT prompt_id FROM responses WHERE model = 'a' ORDER BY id")
        )
        recorded = {"a": PackedKeys(place), "b": PackedKeys(place)}  # as `match_recorded` gives them
        for name, prompt_id, key in store._reader.execute("SELECT model, prompt_id, key FROM responses"):
            recorded[name].add(prompt_id, key)
        plan = BattlePlan(
            [Contestant(n, RecordedModel(n, folder / f"{n}.jsonl")) for n in "ab"],
            PairwiseJudge(OpenAIModel("judge", "judge", url, concurrency=concurrency)),
            list(place),
            Schedule((("a", "b"),)),
            recorded=recorded,
            concurrency=concurrency,
        )
        before = _resident()
        cpu, start = time.process_time(), time.perf_counter()
        tally = play(plan, store, on_progress)  # returns when everything is committed
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        peak = _peak()
        ((stored,),) = store._reader.execute("SELECT COUNT(*) FROM verdicts WHERE status = 'ok'")
        assert stored == tally.verdicts == 2 * plan.battles, (stored, tally)
    return {"verdicts": stored, "seconds": seconds, "cpu": cpu, "rss": peak, "rss_before": before}


def _peak() -> float:
    """Largest resident memory so far, in MiB (`ru_maxrss` would count that of the process which started this one)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _resident() -> float:
    """Resident memory now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _alpaca(url: str, folder: Path, concurrency: int) -> dict[str, Any]:
    """AlpacaEval's own annotator over a few hundred pairs, one seat each, with a parser for this server's reply."""
    os.environ |= {"OPENAI_API_KEY": "none", "OPENAI_API_BASE": url, "OPENAI_BASE_URL": url}
    import yaml
    from alpaca_eval.annotators import PairwiseAnnotator

    config = folder / "alpaca"
    config.mkdir(exist_ok=True)
    config.joinpath("prompt.txt").write_text(
        "<|im_start|>user\nWhich is better?\n{instruction}\n(a)\n{output_1}\n(b)\n{output_2}\n<|im_end|>"
    )
    settings = {
        "prompt_template": str(config / "prompt.txt"),
        "fn_completions": "openai_completions",
        "completions_kwargs": {"model_name": "judge", "max_tokens": 100, "num_procs": concurrency},
        "fn_completion_parser": "regex_parser",
        "completion_parser_kwargs": {"outputs_to_match": {1: r"Scores: [5-9]", 2: r"Scores: [1-4]"}},
        "batch_size": 1,
    }
    config.joinpath("configs.yaml").write_text(yaml.safe_dump({"alpaca": settings}))
    rows = {name: _rows(folder / f"{name}.jsonl") for name in "ab"}
    cpu, start = _tree_cpu(), time.perf_counter()
    annotator = PairwiseAnnotator(
        annotators_config=str(config), caching_path=str(folder / "alpaca" / "cache.json"), seed=0
    )
    told = annotator.annotate_head2head(outputs_1=rows["a"], outputs_2=rows["b"])
    seconds = time.perf_counter() - start
    done = sum(row["preference"] is not None for row in told)
    return {"verdicts": done, "seconds": seconds, "cpu": _tree_cpu() - cpu}


def _tree_cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def _rows(path: Path, count: int = 300) -> list[dict[str, str]]:
    with path.open() as file:
        return [json.loads(line) for line, _ in zip(file, range(count), strict=False)]


# ---------------------------------------------------------------------- what is judged


def prepare(folder: Path, battles: int, *, bodies: bool = True) -> None:
    """Prompts, two models' answers and the arena file that holds them, and the bodies that the other clients post."""
    from arenaloop.calls.answers import Contestant
    from arenaloop.calls.recorded import ingest_recorded, match_recorded
    from arenaloop.judges.pairwise import PairwiseJudge
    from arenaloop.models.recorded import RecordedModel
    from arenaloop.models.scripted import ScriptedModel
    from arenaloop.store import Store
    from arenaloop.types import Prompt

    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlucmfw", k=rng.randint(2, 8))) for _ in range(3000)]

    def text(count: int) -> str:
        return " ".join(rng.choices(words, k=count))

    prompts = [Prompt.of(f"{n}: {text(40)}") for n in range(battles)]
    judge = PairwiseJudge(ScriptedModel("judge", lambda _: ""))
    contestants = []
    for name in "ab":
        with (folder / f"{name}.jsonl").open("w") as file:
            for prompt in prompts:
                row = {"instruction": prompt.last_user, "output": f"{text(_WORDS)}.", "generator": name}
                file.write(json.dumps(row) + "\n")
        contestants.append(Contestant(name, RecordedModel(name, folder / f"{name}.jsonl")))
    if bodies:
        _write_bodies(folder, prompts, contestants, judge)
    folder.joinpath("arena.db").unlink(missing_ok=True)
    with Store(folder / "arena.db") as store:
        store.add_prompts(prompts)
        ingest_recorded(store, contestants, prompts, match_recorded(contestants, prompts))


def _write_bodies(folder: Path, prompts: list[Any], contestants: list[Any], judge: Any) -> None:
    from arenaloop.types import Response

    with (folder / "bodies.jsonl").open("w") as file:
        for prompt, *answers in zip(prompts, *(c.model.rows() for c in contestants), strict=True):
            one, two = (Response(prompt.id, n, a.texts) for n, a in zip("ab", answers, strict=True))
            for first, second in ((one, two), (two, one)):
                request = judge.request(prompt, first, second, secret="s", seed=0)
                body = {"model": "judge", "temperature": 0.0, "top_p": 1.0, "max_tokens": 512}
                file.write(json.dumps(body | {"messages": request.messages}, ensure_ascii=False) + "\n")


# ---------------------------------------------------------------------- the table


def _run(python: str, kind: str, url: str, folder: Path, concurrency: int) -> dict[str, Any]:
    if kind == "ours":  # every repeat begins with no verdict
        fresh = folder / "fresh"
        fresh.mkdir(exist_ok=True)
        for old in fresh.iterdir():
            old.unlink()
        shutil.copyfile(folder / "arena.db", fresh / "arena.db")
        folder = fresh
    command = [python, __file__, "--client", kind, "--url", url, "--folder", str(folder)]
    done = subprocess.run([*command, "--concurrency", str(concurrency)], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _cell(values: list[float], form: str = ",.0f") -> str:
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def speed(url: str, folder: Path, pythons: dict[str, str], repeats: int) -> None:
    """Every contender in every cell, by turns."""
    for latency in LATENCIES:
        for concurrency in CONCURRENCY:
            found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in pythons}
            for _ in range(repeats):
                for kind, python in pythons.items():
                    found[kind].append(_run(python, kind, f"{url}/{latency}/v1", folder, concurrency))
            print(f"\n{latency} ms, concurrency {concurrency}        verdicts/s                  CPU ms/verdict")
            for kind, results in found.items():
                rate = _cell([r["verdicts"] / r["seconds"] for r in results])
                cpu = _cell([1e3 * r["cpu"] / r["verdicts"] for r in results], ".3f")
                # ratios within a turn: the machine's mood of that minute is in both
                turns = zip(results, found["ours"], strict=True)
                ratio = _cell([m["seconds"] / t["seconds"] for m, t in turns], ".2f")
                print(f"  {kind:<8} {rate:>32} {cpu:>28}   ours / it: {ratio}")


def memory(url: str) -> None:
    """Peak resident memory of ours, battles on new prompts."""
    peaks = []
    for battles in (5_000, 50_000):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            subprocess.run([sys.executable, __file__, "--prepare", str(battles), "--folder", place], check=True)
            result = _run(sys.executable, "ours", f"{url}/0/v1", folder, 64)
        peaks.append(result["rss"])
        print(
            f"{battles:>7,} battles: peak RSS {result['rss']:.0f} MiB "
            f"({result['rss_before']:.0f} before the first call)"
        )
    print(f"  growth {peaks[1] / peaks[0] - 1:+.1%}")


def main() -> None:
    """Parse arguments and run what they ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--battles", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--openai", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--alpaca-eval", metavar="PYTHON")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only-memory", action="store_true")
    for hidden in ("--client", "--url", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--concurrency", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.serve:
        asyncio.run(_serve())
    elif a.prepare:
        prepare(Path(a.folder), a.prepare, bodies=False)
    elif a.client:
        folder = Path(a.folder)
        if a.client == "ours":
            result = ours(a.url, folder, a.concurrency)
        elif a.client == "alpaca":
            result = _alpaca(a.url, folder, a.concurrency)
        else:
            result = asyncio.run(_client(a.client, a.url, folder, a.concurrency))
        print(json.dumps(result))
    else:
        with serving() as url, tempfile.TemporaryDirectory() as place:
            if not a.only_memory:
                compare(a, url, Path(place))
            if a.memory or a.only_memory:
                memory(url)


def compare(a: argparse.Namespace, url: str, folder: Path) -> None:
    """The speed table, and the peer beside it."""
    prepare(folder, a.battles)
    print(f"{2 * a.battles:,} verdicts a run, {a.repeats} repeats: median (min–max); load {os.getloadavg()[0]:.1f}")
    pythons = {"bare": sys.executable, "ours": sys.executable}
    if (
        subprocess.run([a.openai, "-c", "import openai, aiohttp"], stderr=subprocess.DEVNULL, check=False).returncode
        == 0
    ):
        pythons["openai"] = a.openai
    else:
        print(f"{a.openai} has no openai: left out")
    speed(url, folder, pythons, a.repeats)
    if a.alpaca_eval:
        print("\nalpaca_eval, 300 pairs, 20 ms, at most 64 threads")
        result = _run(a.alpaca_eval, "alpaca", f"{url}/20/v1", folder, 64)
        n = result["verdicts"]
        print(
            f"  {n / result['seconds']:.0f} judgements/s, {1e3 * result['cpu'] / n:.1f} CPU ms each ({n} of 300 told)"
        )


if __name__ == "__main__":
    main()
