"""Kill a demo with SIGKILL at random moments, run it again each time, and compare with an unbroken run.

    python experiments/kill_and_resume.py [--kills 10] [--rounds 1] [--seed 0]

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
from pathlib import Path

COMMAND = [sys.executable, "-c", "from arenaloop.cli import main; main()", "demo"]


def start(out: Path, rounds: int, seed: int) -> subprocess.Popen[bytes]:
    """The demo in a process of its own."""
    arguments = ["--out", str(out), "--rounds", str(rounds), "--seed", str(seed), "--split", "dev"]
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


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
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        began = time.monotonic()
        if start(whole, options.rounds, options.seed).wait() != 0:
            sys.exit("the unbroken run failed")
        length = time.monotonic() - began
        print(f"unbroken run: {length:.0f} s, {counts(whole)[0]:,} verdicts")
        for kill in range(1, options.kills + 1):
            process = start(broken, options.rounds, options.seed)
            # short waits as well as long ones: a kill may fall into start-up, training, battles or writing
            wait = rng.uniform(0.02, 0.35) * length
            try:
                process.wait(timeout=wait)
                print(f"kill {kill}: the run had finished; killing it while it prints its result again")
                process = start(broken, options.rounds, options.seed)
                process.wait(timeout=rng.uniform(0.5, 3.0))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            stored, verdicts, responses = counts(broken)
            stages = sorted(p.name for p in (broken / "checkpoints").glob("*") if (p / "training.json").exists())
            print(f"kill {kill} after {wait:5.1f} s: {stored:,} verdicts stored, stages {', '.join(stages) or 'none'}")
        if start(broken, options.rounds, options.seed).wait() != 0:
            sys.exit("the resumed run failed")
        boards = [json.loads((out / "leaderboard.json").read_text()) for out in (whole, broken)]
        stored, verdicts, responses = counts(broken)
        same = boards[0] == boards[1]
        print(f"leaderboards equal: {same} · verdicts asked twice: {verdicts} · answers stored twice: {responses}")
        print(f"verdicts stored: {counts(whole)[0]:,} unbroken, {stored:,} resumed")
        sys.exit(0 if same and verdicts == 0 else 1)


if __name__ == "__main__":
    main()
