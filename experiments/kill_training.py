"""Kill trainings with SIGKILL at random moments, run them again each time, and compare with an unbroken one.

    python experiments/kill_training.py [--methods ppo quark rloo] [--kills 10] [--seed 0] [--set KEY=VALUE]… [--small]

The reward is a judging model behind a server of this process, which counts its calls. The moments are drawn over the
unbroken training's life, one in each of as many equal parts; every third kill waits for the next write of a checkpoint,
the last for that of the model, so that these are hit too. What has to hold, else the exit code is 1:

* weights, and roll-outs when they are unpacked, are the same bytes; the metrics are the same but for seconds;
* an unbroken training asks the judge each question once. A kill makes it ask again at most what it had not kept yet:
  the calls in flight, and those answered within the last moment, before they were on the disk: as many again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from killing import ARENALOOP, Served, begin, kept, kill, life

from arenaloop.sandbox.judge import read_answer_prompt
from arenaloop.sandbox.target import build_target

CONCURRENCY = 4
SETTINGS = (
    "rollout_batch=32", "samples=4", "step_batch=16", "max_new_tokens=8", "learning_rate=1e-3", "warmup_steps=1",
    "kl_target=0.5", "checkpoint_every=2", "stop_cut=1", "stop_distinct=0", "threads=1", "device=cpu",
)  # fmt: skip
OWN = {"quark": ("best_only=false", "reset_pool=false")}
"""What makes a method keep most between its steps: Quark its pool of answers, all parts, reward tokens."""


def scored(body: dict[str, Any]) -> tuple[str, str]:
    """What is asked about, and a score that the answer's text decides."""
    read = read_answer_prompt(body["messages"][-1]["content"])
    answer = "" if read is None else "".join(read[1])
    score = round(5 * sum(letter in "aeiou" for letter in answer) / max(len(answer), 1), 2)
    return json.dumps(read), f"Read.\n\nScore: {score}"


def rolled_out(out: Path, since: float) -> int:
    """Roll-outs that the metrics tell of, which a training that goes on writes anew; -1 before it has begun."""
    metrics = out / "metrics.jsonl"
    if metrics.exists():
        return metrics.read_bytes().count(b"\n") if metrics.stat().st_mtime >= since else -1
    return 0 if (out / "training.json").exists() else -1


def one_method(method: str, folder: Path, settings: Sequence[str], kills: int, rng: random.Random) -> bool:
    """Run, kill, resume, compare; print a row; whether all is as promised."""
    start = build_target(folder / "start", 0, width=32, layers=1, heads=2)
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"say {n}"}) + "\n" for n in range(40)))
    told: list[tuple[dict[str, Any], Counter[str]]] = []
    killed = inside = 0
    ends: list[float] = []
    while (
        killed < kills or not told
    ):  # the first is the unbroken one; one that ended before its kill makes room for more
        judge, out = Served(scored), folder / str(len(told))
        log = folder / f"{out.name}.log"
        (folder / f"{out.name}.yaml").write_text(f"spec: {judge.url}#judge\nconcurrency: {CONCURRENCY}\n")
        line = [*ARENALOOP, "train", method, "--model", f"hf:{start}", "--data", str(prompts), "--out", str(out)]
        line += ["--reward", f"judge:{folder / out.name}.yaml", *(f"--set={each}" for each in settings)]
        since, process = time.time(), begin(line, log)
        if not told:
            ends = life(process, partial(rolled_out, out, since), (out / "config.json").exists)
        while told and killed < kills:
            moment = rng.uniform(killed, killed + 1) / kills * ends[-1]
            after = sum(end <= moment for end in ends[:-1])
            last = killed == kills - 1
            write = ".saving" if last else "checkpoint.tmp" if killed % 3 == 2 else ""
            more = 0.0 if last else moment - (ends[after - 1] if after else 0.0)
            writing = (out / write).exists if write else None
            if not kill(process, partial(rolled_out, out, since), after, more, writing):
                break
            killed, inside = killed + 1, inside + bool(write)
            since, process = time.time(), begin(line, log)
        if process.wait() != 0:
            sys.exit(f"{method}: exit code {process.returncode}: {log.read_text()[-2000:].strip()}")
        told.append((kept(out), judge.asked))
        judge.server.shutdown()
    (whole, once), broken = told[0], told[1:]
    same = {part: all(found[part] == whole[part] for found, _ in broken) for part in whole}
    again = sum(asked.total() - len(asked) for _, asked in broken)
    fine = all(same.values()) and once.total() == len(once) and all(set(asked) == set(once) for _, asked in broken)
    fine &= again <= 2 * CONCURRENCY * killed
    equal = " | ".join("equal" if value else "DIFFERENT" for value in same.values())
    calls = " + ".join(f"{asked.total():,}" for _, asked in broken)
    print(
        f"| {method} | {killed} ({inside}) of {len(broken)} | {ends[-1]:.0f} s, {len(ends) - 1} | {equal} | "
        f"{once.total():,} for {len(once):,} | {calls} | {again} |",
        flush=True,
    )
    return fine


def main() -> None:
    """Every method in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["ppo", "quark", "rloo"])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a further setting of the trainings")
    parser.add_argument("--small", action="store_true", help="short trainings, to see whether it runs")
    options = parser.parse_args()
    print("settings:", *SETTINGS, *options.set)
    print("| method | kills (inside a write) of trainings | life, roll-outs | weights | roll-outs | metrics ", end="")
    print("| calls for questions, unbroken | broken | asked again |\n|---|---|---|---|---|---|---|---|---|", flush=True)
    fine = True
    for method in options.methods:
        settings = [*SETTINGS, *OWN.get(method, ()), f"iterations={4 if options.small else 16}", *options.set]
        with tempfile.TemporaryDirectory() as folder:
            fine &= one_method(method, Path(folder), settings, options.kills, random.Random(options.seed))
    sys.exit(not fine)


if __name__ == "__main__":
    main()
