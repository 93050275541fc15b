"""The engines side by side: verdicts a second and CPU a verdict by `local` and by `ray`, and Ray Data beside them.

    python benchmarks/engines.py [--battles 3000] [--repeats 3] [--concurrency 64] [--ray-data PYTHON]
    python benchmarks/engines.py --memory 100000

The server of `judging.py` answers after 20 ms; the contenders take turns on the same battles, at equal concurrency.
Ray and its workers are up before the clock runs. CPU is told of the driver alone, and of all processes but the server:
the workers, and the raylet and the head of the cluster, which run on this machine too. `ray / local` is the ratio of
their speeds within a turn.

`--ray-data` names an interpreter that has `ray[data]` and pydantic. Its HTTP processor then sends 640 of the same
requests (batches of 64, one actor, `max_retries=2`) to a server that fails one first try in ten with HTTP 500, and
engine `ray` does: how many requests the server had at once, and how many rows hold an error's body for an answer.

`--memory N` judges N verdicts by engine `ray` with two workers, and prints the driver's resident memory on the way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from judging import ours, prepare, serving

ROWS = 640  # of the comparison with Ray Data
WORKERS = {"local": 0, "ray, 1 worker": 1, "ray, 2 workers": 2}


# ---------------------------------------------------------------------- clients: each prints one JSON object


def judge(workers: int, url: str, folder: Path, concurrency: int, sample: bool) -> dict[str, Any]:
    """By the engine `ray` with so many workers, or by `local` with none."""
    from arenaloop.calls.engines.base import ENGINE
    from arenaloop.calls.engines.ray_engine import RayEngine

    engine = RayEngine(None, workers) if workers else None
    if engine is not None:
        asyncio.run(engine.open([]))
        ENGINE.set(engine)
    marks: list[tuple[float, float]] = []

    def look(tally: Any) -> None:
        if not marks or tally.verdicts >= tally.verdicts_total * (len(marks)) / 20:
            marks.append((tally.verdicts / max(1, tally.verdicts_total), _resident()))

    before = _children_cpu()
    result = ours(url, folder, concurrency, look if sample else None)
    result |= {"all": result["cpu"] + _children_cpu() - before, "marks": marks}
    if engine is not None:
        engine.close()
    return result


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _children_cpu() -> float:
    """CPU seconds of all processes below this one."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(stat.parent.name)], used[int(stat.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])

    def below(process: int) -> bool:
        while process in parents and process != os.getpid():
            process = parents[process]
        return process == os.getpid()

    ticks = sum(ticks for process, ticks in used.items() if process != os.getpid() and below(process))
    return ticks / os.sysconf("SC_CLK_TCK")


def ray_data(url: str, folder: Path) -> dict[str, Any]:
    """Ray Data's HTTP processor over the requests; how many rows hold an error's body."""
    import ray
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    bodies = [json.loads(line) for line in folder.joinpath("bodies.jsonl").read_text().splitlines()[:ROWS]]
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    config = HttpRequestProcessorConfig(url=f"{url}/chat/completions", batch_size=64, concurrency=1, max_retries=2)
    processor = build_processor(
        config, preprocess=lambda row: {"payload": row["body"]}, postprocess=lambda row: {"reply": row["http_response"]}
    )
    rows = processor(ray.data.from_items([{"body": body} for body in bodies])).take_all()
    return {"rows": len(rows), "errors": sum(not row["reply"].get("choices") for row in rows)}


# ---------------------------------------------------------------------- a server that counts, and fails now and then


async def _serve() -> None:
    from aiohttp import web

    seen: Counter[bytes] = Counter()
    flying = most = requests = 0

    async def chat(request: web.Request) -> web.Response:
        nonlocal flying, most, requests
        body = await request.read()
        requests += 1
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.02)
        flying -= 1
        seen[body] += 1
        if seen[body] == 1 and len(seen) % 10 == 0:
            return web.json_response({"error": {"message": "try again"}}, status=500)
        message = {"role": "assistant", "content": "Close.\n\nScores: 6 5"}
        usage = {"prompt_tokens": 900, "completion_tokens": 9}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    async def told(_: web.Request) -> web.Response:
        return web.json_response({"most": most, "requests": requests})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/told", told)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@contextmanager
def counting() -> Iterator[str]:
    """The counting server in a process of its own; yields its root URL."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------------- tables


def _client(python: str, *arguments: object) -> dict[str, Any]:
    line = [python, __file__, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _judged(workers: int, url: str, folder: Path, concurrency: int, *more: str) -> dict[str, Any]:
    fresh = folder / "fresh"  # every run begins with no verdict
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    shutil.copyfile(folder / "arena.db", fresh / "arena.db")
    options = ("--workers", workers, "--url", url, "--folder", fresh, "--concurrency", concurrency)
    return _client(sys.executable, "--client", "judge", *options, *more)


def _cell(values: list[float], form: str = ",.0f") -> str:
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def speed(url: str, folder: Path, repeats: int, concurrency: int) -> None:
    """Every engine by turns."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in WORKERS}
    for _ in range(repeats):
        for name, workers in WORKERS.items():
            found[name].append(_judged(workers, f"{url}/20/v1", folder, concurrency))
    print(f"{'20 ms':16}{'verdicts/s':>26}{'driver CPU ms/verdict':>28}{'all CPU ms/verdict':>28}   it / local")
    for name, results in found.items():
        rate = _cell([r["verdicts"] / r["seconds"] for r in results])
        driver, everybody = (_cell([1e3 * r[key] / r["verdicts"] for r in results], ".3f") for key in ("cpu", "all"))
        ratio = _cell([t["seconds"] / r["seconds"] for r, t in zip(results, found["local"], strict=True)], ".2f")
        print(f"{name:16}{rate:>26}{driver:>28}{everybody:>28}   {ratio}")


def beside(python: str, folder: Path, concurrency: int) -> None:
    """Ray Data's HTTP processor, and engine `ray`, over the same rows."""
    found = subprocess.run([python, "-c", "import ray.data.llm, pydantic, aiohttp"], capture_output=True, check=False)
    if found.returncode:
        print(f"{python} has no ray[data] with pydantic: Ray Data is left out")
        return
    for name in ("Ray Data", "engine ray"):
        with counting() as url:
            if name == "Ray Data":
                result = _client(python, "--client", "ray-data", "--url", f"{url}/v1", "--folder", folder)
                errors, rows = result["errors"], result["rows"]
            else:
                rows = _judged(2, f"{url}/v1", folder, concurrency)["verdicts"]
                errors = 0  # else `ours` would have said that not all are read
            told = json.loads(subprocess.check_output(["curl", "-s", f"{url}/told"]))
        print(
            f"{name:12} {rows:,} rows, {errors} of them error bodies · {told['requests']:,} requests, "
            f"at most {told['most']} at once"
        )


def memory(url: str, verdicts: int) -> None:
    """The driver's memory on the way."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, verdicts // 2, bodies=False)
        began = time.monotonic()
        result = _judged(2, f"{url}/0/v1", folder, 64, "--sample")
    print(f"{result['verdicts']:,} verdicts in {time.monotonic() - began:.0f} s; the driver's resident memory:")
    for share in (0.0, 0.05, 0.25, 0.5, 0.75, 1.0):
        done, mib = min(result["marks"], key=lambda mark: abs(mark[0] - share))
        print(f"  at {done:4.0%}: {mib:.0f} MiB")
    print(f"  at most: {result['rss']:.0f} MiB")


def main() -> None:
    """Parse arguments and run what they ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--battles", type=int, default=3_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--ray-data", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--memory", type=int, metavar="N")
    for hidden in ("--client", "--url", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--sample", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.serve:
        asyncio.run(_serve())
    elif a.client == "judge":
        print(json.dumps(judge(a.workers, a.url, Path(a.folder), a.concurrency, a.sample)))
    elif a.client:
        print(json.dumps(ray_data(a.url, Path(a.folder))))
    elif a.memory:
        with serving() as url:
            memory(url, a.memory)
    else:
        with serving() as url, tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            prepare(folder, a.battles)
            runs = f"{2 * a.battles:,} verdicts a run, {a.repeats} repeats"
            print(f"{runs}: median (min–max); load {os.getloadavg()[0]:.1f}", flush=True)
            speed(url, folder, a.repeats, a.concurrency)
            small = folder / "small"
            small.mkdir()
            prepare(small, ROWS // 2)
            beside(a.ray_data, small, a.concurrency)


if __name__ == "__main__":
    main()
