"""Kill a demo with SIGKILL at random moments, run it again each time, and compare with an unbroken run.

    python experiments/kill_and_resume.py [--kills 10] [--rounds 1] [--seed 0] [--small]

Checks that the final leaderboard is the same to the last digit and that no verdict with an outcome was asked twice.
Prints one line a kill and a verdict at the end; exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

from gold import SMALL

ARENALOOP = [sys.executable, "-c", "from arenaloop.cli import main; main()"]


def command(rounds: int, seed: int, small: bool) -> list[str]:
    """The demo, or a tiny one, but for its directory."""
    if not small:
        return [*ARENALOOP, "demo", "--rounds", str(rounds), "--seed", str(seed), "--split", "dev"]
    demo = str(resources.files("arenaloop.sandbox").joinpath("demos", "arena_learning.yaml"))
    return [*ARENALOOP, "run", demo, *(f"--set={change}" for change in (*SMALL, f"seed={seed}"))]


def start(line: list[str], out: Path) -> subprocess.Popen[bytes]:
    """A process of its own."""
    return subprocess.Popen([*line, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def counts(out: Path) -> tuple[int, int, int]:
    """(stored verdicts, keys with more than one outcome, responses stored more than once with a text)."""
    path = out / "arena.db"
    if not path.exists():
        return 0, 0, 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        try:
            stored = db.execute("SELECT COUNT(*) FROM verdicts").fetchone()[0]
            twice = "SELECT COUNT(*) FROM (SELECT key FROM {} WHERE status = 'ok' GROUP BY {} HAVING COUNT(*) > 1)"
            verdicts = db.execute(twice.format("verdicts", "key")).fetchone()[0]
            responses = db.execute(twice.format("responses", "key, turn")).fetchone()[0]
        except sqlite3.OperationalError:  # killed before the tables were made
            return 0, 0, 0
    return stored, verdicts, responses


def main() -> None:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a tiny world, to see whether it runs")
    options = parser.parse_args()
    line = command(options.rounds, options.seed, options.small)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        began = time.monotonic()
        if start(line, whole).wait() != 0:
            sys.exit("the unbroken run failed")
        length = time.monotonic() - began
        print(f"unbroken run: {length:.0f} s, {counts(whole)[0]:,} verdicts", flush=True)
        kill = finished = 0
        while kill < options.kills:
            out = broken / str(finished)
            process = start(line, out)
            # a start-up, and then a moment anywhere: in training, battles, writing
            wait = rng.uniform(2.0, 5.0 + 0.15 * length)
            try:
                process.wait(timeout=wait)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kill += 1
                stages = sorted(p.parent.name for p in (out / "checkpoints").glob("*/training.json"))
                stored = counts(out)[0]
                print(
                    f"kill {kill} after {wait:4.1f} s: {stored:,} verdicts, trainings {', '.join(stages) or 'none'}",
                    flush=True,
                )
            else:  # that run is through: the next kills fall on a new one
                finished += 1
        if start(line, broken / str(finished)).wait() != 0:
            sys.exit("the resumed run failed")
        expected = json.loads((whole / "leaderboard.json").read_text())
        failed = False
        for out in sorted(broken.iterdir()):
            same = json.loads((out / "leaderboard.json").read_text()) == expected
            stored, verdicts, responses = counts(out)
            failed |= not same or verdicts > 0
            print(
                f"resumed run {out.name}: leaderboard equal {same} · {stored:,} verdicts stored · "
                f"asked twice: {verdicts} verdicts, {responses} answers"
            )
        sys.exit(failed)


if __name__ == "__main__":
    main()
