"""Kill the shards of a battle with SIGKILL at random moments, run them again, merge, and compare with one process.

    python experiments/kill_shards.py [--shards 8] [--prompts 160] [--kills 16] [--seed 0] [--small]

All shards run at once against one server on loopback, which counts every question. Checks that the merged directory is
that of the unsharded run byte for byte (battles, leaderboard, settings; of the summary all but times and calls, and of
its notices all but the counts: what a killed process had read since it last kept them is in none), that no verdict or
answer with an outcome was asked twice, that the calls on the server's side are at most the questions and what was in
flight at each death, and that merging again changes no byte. Prints a line a kill; exits
with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from killing import ARENALOOP, Process, Served, begin, kill, stored

OF_TIME = {"cached", "seconds", "human_equivalent", "calls", "calls_cut_off", "tokens_in", "tokens_out"}
CONCURRENCY = 8


def answer(body: dict[str, Any]) -> tuple[str, str]:
    """Players answer by name and prompt, the judge by a hash of what it is shown, less delimiters of a run's own."""
    said = body["messages"][-1]["content"]
    if body["model"] != "judge":
        return f"{body['model']} {said}", f"{body['model']} says {hashlib.md5(said.encode()).hexdigest()[:6]}"
    shown = re.findall(r"w0\d+|(?:old|new|third) says [0-9a-f]{6}", said)
    key = hashlib.md5(" ".join(shown).encode()).hexdigest()
    return f"judge {key}", f"Scores: {int(key[:4], 16) % 9 + 1} {int(key[4:8], 16) % 9 + 1}"


def results(out: Path) -> dict[str, Any]:
    """What a directory came to, times and calls aside."""
    summary = json.loads((out / "summary.json").read_text())
    files = {name: (out / name).read_bytes() for name in ("battles.jsonl", "leaderboard.json", "config.yaml")}
    summary["notices"] = [re.sub(r"[\d,]*\d", "N", one) for one in summary.get("notices", [])]
    return files | {"summary": {name: value for name, value in summary.items() if name not in OF_TIME}}


def contents(out: Path) -> dict[str, str]:
    """Hashes of all files but the index of SQLite's log, which SQLite makes anew."""
    files = (path for path in out.iterdir() if not path.name.endswith("-shm"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    """Run, kill, resume, merge, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=160)
    parser.add_argument("--kills", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="two shards and two kills, to see whether it runs")
    options = parser.parse_args()
    if options.small:
        options.shards, options.prompts, options.kills = 2, 30, 2
    rng = random.Random(options.seed)
    served = Served(answer)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(compare(options, rng, served, Path(folder)))


def compare(options: argparse.Namespace, rng: random.Random, served: Served, folder: Path) -> bool:
    """Whether anything differs."""
    prompts = folder / "prompts.jsonl"
    rows = ({"prompt": f"Write about w0{n}, please."} for n in range(options.prompts))
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = [*ARENALOOP, "battle", "--prompts", str(prompts), "--judge", f"{served.url}#judge"]
    line += [part for name in ("old", "new", "third") for part in ("--model", f"{name}={served.url}#{name}")]
    line += ["--concurrency", str(CONCURRENCY), "--no-preflight"]
    log = folder / "log"
    if begin([*line, "--out", str(folder / "whole")], log).wait() != 0:
        sys.exit(f"the unbroken run failed: {log.read_text()}")
    questions = dict(served.asked)
    print(f"unbroken run: {sum(questions.values()):,} calls, {stored(folder / 'whole')['verdicts'][0]:,} verdicts")
    served.asked.clear()
    names = range(1, options.shards + 1)
    outs = {n: folder / f"shard-{n}" for n in names}

    def start(n: int) -> Process:
        return begin([*line, "--shard", f"{n}/{options.shards}", "--out", str(outs[n])], log)

    def progress(n: int) -> int:
        counts = stored(outs[n])
        return counts["verdicts"][0] + counts["responses"][0]

    moments: dict[int, list[int]] = {n: [] for n in names}
    for one in range(options.kills):  # in rows that a shard has by then; it will have nine a prompt, about
        moments[one % options.shards + 1].append(rng.randrange(1, max(2, 7 * options.prompts // options.shards)))
    killed: list[int] = []

    def live(n: int) -> int | None:
        for rows in sorted(moments[n]):
            if kill(start(n), lambda: progress(n), rows, rng.uniform(0, 0.05)):
                killed.append(n)
                print(f"kill {len(killed)}: shard {n} at {progress(n):,} rows", flush=True)
        return start(n).wait()

    with ThreadPoolExecutor(options.shards) as lives:
        codes = list(lives.map(live, names))
    flying = 2 * CONCURRENCY * len(killed)  # answers and verdicts in flight, at most
    print(f"{len(killed)} kills; the shards ended with {sorted({str(code) for code in codes})}", flush=True)
    merge = [*ARENALOOP, "merge", str(folder / "all"), *map(str, rng.sample(list(outs.values()), len(outs)))]
    if begin(merge, log).wait() != 0:
        sys.exit(f"merging failed: {log.read_text()[-2000:]}")
    before = contents(folder / "all")
    ours, theirs = results(folder / "all"), results(folder / "whole")
    same, again = ours == theirs, begin(merge, log).wait()
    for name in (name for name in ours if ours[name] != theirs[name]):
        print(f"differs: {name}: {ours[name]!s:.2000} and {theirs[name]!s:.2000}")
    unchanged = again == 0 and contents(folder / "all") == before
    twice = {table: count for table, (_, count) in stored(folder / "all").items() if count}
    calls, most = sum(served.asked.values()), sum(questions.values()) + flying
    print(
        f"merged equal to the unbroken run: {same} · merging again changes nothing: {unchanged} · "
        f"asked twice with an outcome: {twice or 'none'} · calls {calls:,} of {sum(questions.values()):,} questions, "
        f"{most:,} at most with what was in flight"
    )
    return not (same and unchanged and not twice and calls <= most and not any(codes))


if __name__ == "__main__":
    main()
