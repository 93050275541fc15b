"""A million verdicts in one arena file: what an append costs, and what asking again costs when nothing is left.

    python benchmarks/million.py [--verdicts 1000000] [--models 10] [--dir DIR] [--latency]

Ten contestants and a judge behind a port where nobody listens: whatever were asked again would fail the run. The rows
are made by the same plan and keys as the command's and go through the store's own append path (answers and judge texts
of about 300 characters). Then `arenaloop battle` runs with the same settings in a process of its own: it opens the
file, finds nothing left, reads everything back, ranks, and writes its result files. `arenaloop rank DIR` follows.

Limits: 0.2 ms CPU and wall an append, 20 s for the battle command. Exits with 1 if one is missed.

``--latency`` measures instead how long an append waits for its commit at a steady 1,000 to 10,000 appends a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from arenaloop.arena.matchmaking import all_pairs
from arenaloop.calls.answers import Contestant
from arenaloop.config import JudgeSettings, ModelSettings
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.base import Model
from arenaloop.specs import contestant, judge, model_settings
from arenaloop.store import Store, response_key
from arenaloop.types import Completion, Prompt, Response, Verdict, content_hash

NOBODY = "http://127.0.0.1:9/v1"  # the discard port
JUDGES_PHRASE = "the first answer names its sources and stays close to what was asked while the other one wanders off"
JUDGES_WORDS = JUDGES_PHRASE.split()
PHRASE = "a small boat with two brown sails came slowly round the point at noon, and nobody on the beach looked up from"
WORDS = PHRASE.split()
ARENALOOP = [sys.executable, "-c", "from arenaloop.cli import main; main()"]
CHUNK = 20_000


def prose(rng: random.Random, length: int, known: list[str] = WORDS) -> str:
    """Words up to about `length` characters."""
    words: list[str] = []
    size = 0
    while size < length:
        words.append(rng.choice(known))
        size += len(words[-1]) + 1
    return " ".join(words)


def prompts(count: int) -> Iterator[Prompt]:
    """Prompts of about 150 characters."""
    rng = random.Random(1)
    for number in range(count):
        yield Prompt.of(f"Question {number}: {prose(rng, 135)}?")


def fill(store: Store, contestants: list[Contestant], decider: PairwiseJudge, count: int) -> None:
    """Prompts and answers."""
    rng = random.Random(2)
    some: list[Prompt] = []
    for prompt in prompts(count):
        some.append(prompt)
        rows = []
        for c in contestants:
            text = answer(c, prompt, rng)
            model = c.model
            assert isinstance(model, Model)
            key = response_key(prompt.id, model.fingerprint, c.sampling.key(), 0)
            said = Completion(text, finish_reason="stop", tokens_in=40, tokens_out=70, usd=0.0001, seconds=0.8)
            rows.append((key, 0, prompt.id, c.name, said, content_hash([text])))
        store.add_turns(rows)
    store.add_prompts(some)
    store.flush()


def answer(c: Contestant, prompt: Prompt, rng: random.Random) -> str:
    """An answer of its own for each contestant and prompt."""
    return f"{c.name} on {prompt.id}: {prose(rng, 270)}"


def verdicts(contestants: list[Contestant], decider: PairwiseJudge, count: int) -> Iterator[Verdict]:
    """Both seats of every pair on every prompt, as the judge would have read them."""
    texts, rng = random.Random(2), random.Random(3)
    strength = {c.name: 6.5 - 0.3 * place for place, c in enumerate(contestants)}
    pairs = all_pairs([c.name for c in contestants])
    for prompt in prompts(count):
        said = {c.name: Response(prompt.id, c.name, (answer(c, prompt, texts),)) for c in contestants}
        for pair in pairs:
            for first, second in (pair, pair[::-1]):
                scores = [round(min(10.0, max(1.0, rng.gauss(strength[name], 1.5)))) for name in (first, second)]
                raw = f"{prose(rng, 290, JUDGES_WORDS)}.\n\nScores: {scores[0]} {scores[1]}"
                told = Completion(raw, finish_reason="stop", tokens_in=500, tokens_out=75, usd=0.0003, seconds=1.1)
                yield decider.read(prompt, said[first], said[second], told)


def append(store: Store, rows: Iterator[Verdict]) -> tuple[int, list[tuple[float, float]]]:
    """Append everything; (rows, [(CPU, wall) seconds an append in each chunk, until all of it is committed])."""
    total = 0
    costs = []
    while chunk := list(islice(rows, CHUNK)):
        cpu, wall = time.process_time(), time.perf_counter()
        for verdict in chunk:
            store.add_verdict(verdict)
        store.flush()
        costs.append(((time.process_time() - cpu) / len(chunk), (time.perf_counter() - wall) / len(chunk)))
        total += len(chunk)
    return total, costs


def run(arguments: list[str]) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak MB so far of any child) of one command of ours."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    code = subprocess.run([*ARENALOOP, *arguments], stdout=subprocess.DEVNULL, env=os.environ).returncode
    wall = time.perf_counter() - began
    if code != 0:
        sys.exit(f"arenaloop {arguments[0]} ended with {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, after.ru_maxrss / 1024


class Timed(Store):
    """A store that notes when each verdict was committed."""

    def __init__(self, path: Path) -> None:
        self.committed: dict[str, float] = {}
        super().__init__(path)

    def _committed(self, batch: list[Any]) -> None:
        super()._committed(batch)
        now = time.perf_counter()
        for _, rows in batch:
            for row in rows:
                self.committed[row[0]] = now


def latency(folder: Path, contestants: list[Contestant], decider: PairwiseJudge) -> None:
    """From append to commit, at steady rates, on a thread that does nothing else."""
    rows = list(islice(verdicts(contestants, decider, 300), 26_000))
    print(f"{'appends/s':>10} {'median ms':>10} {'95 % ms':>10} {'99 % ms':>10} {'worst ms':>10} {'CPU ms each':>12}")
    for rate in (1_000, 3_000, 10_000):
        store = Timed(folder / f"latency{rate}.db")
        with store:
            arrived = {}
            cpu, began = time.process_time(), time.perf_counter()
            for number, verdict in enumerate(rows[: 2 * rate]):
                while (now := time.perf_counter()) < began + number / rate:
                    time.sleep(0.0002)
                arrived[verdict.key] = now
                store.add_verdict(verdict)
            store.flush()
            cpu = time.process_time() - cpu
        waits = sorted(1000 * (store.committed[key] - at) for key, at in arrived.items())
        points = "".join(f"{waits[int(share * len(waits))]:11.1f}" for share in (0.5, 0.95, 0.99))
        print(f"{rate:10,}{points} {waits[-1]:10.1f} {1000 * cpu / len(waits):12.3f}", flush=True)


def main() -> None:
    """Build, ask again, rank; print figures and limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--dir", type=Path, help="where the run directory is made and kept; default: a temporary one")
    parser.add_argument("--latency", action="store_true", help="measure commit latency instead")
    options = parser.parse_args()
    names = [f"m{number}" for number in range(options.models)]
    contestants = [contestant(model_settings(f"{NOBODY}#{name}", name, kind=ModelSettings)) for name in names]
    decider = judge(JudgeSettings(spec=f"{NOBODY}#judge"))
    assert isinstance(decider, PairwiseJudge)
    where = tempfile.TemporaryDirectory() if options.dir is None else nullcontext(str(options.dir))
    with where as folder:
        out = Path(folder) / "run"
        out.mkdir(parents=True, exist_ok=True)
        if options.latency:
            latency(out, contestants, decider)
            return
        per_prompt = options.models * (options.models - 1)
        count = -(-options.verdicts // per_prompt)
        asked = Path(folder) / "prompts.jsonl"
        asked.write_text("".join(json.dumps({"prompt": p.last_user}) + "\n" for p in prompts(count)))
        missed = False
        if not (out / "arena.db").exists():
            with Store(out / "arena.db") as store:
                fill(store, contestants, decider, count)
                total, costs = append(store, verdicts(contestants, decider, count))
            cpu, wall = (1000 * sum(cost[i] for cost in costs) / len(costs) for i in (0, 1))
            first, last = costs[0][0] * 1000, costs[-1][0] * 1000
            size = (out / "arena.db").stat().st_size / 1e6
            print(
                f"append: {total:,} verdicts, {cpu:.4f} ms CPU and {wall:.4f} ms wall each "
                f"(CPU of the first {CHUNK:,}: {first:.4f}, of the last: {last:.4f}) · file {size:,.0f} MB",
                flush=True,
            )
            missed |= max(cpu, wall) > 0.2
        arguments = ["battle", "--prompts", str(asked), "--judge", f"{NOBODY}#judge", "--out", str(out)]
        for name in names:
            arguments += ["--model", f"{name}={NOBODY}#{name}"]
        for what in ("resumed, everything looked through", "finished, run again"):
            wall, cpu, peak = run(arguments)
            missed |= wall > 20
            summary = json.loads((out / "summary.json").read_text())
            print(
                f"battle, {what}: {wall:.1f} s wall, {cpu:.1f} s CPU, peak {peak:,.0f} MB · "
                f"{summary['battles_decided']:,} of {summary['battles_wanted']:,} battles decided",
                flush=True,
            )
            missed |= summary["battles_decided"] != summary["battles_wanted"]
        wall, cpu, peak = run(["rank", str(out)])
        print(f"rank: {wall:.1f} s wall, {cpu:.1f} s CPU, peak {peak:,.0f} MB")
    sys.exit(missed)


if __name__ == "__main__":
    main()
