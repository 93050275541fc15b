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
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

from gold import SMALL
from killing import ARENALOOP, begin, stored


def command(rounds: int, seed: int, small: bool) -> list[str]:
    """The demo, or a tiny one, but for its directory."""
    if not small:
        return [*ARENALOOP, "demo", "--rounds", str(rounds), "--seed", str(seed), "--split", "dev"]
    demo = str(resources.files("arenaloop.sandbox").joinpath("demos", "arena_learning.yaml"))
    return [*ARENALOOP, "run", demo, *(f"--set={change}" for change in (*SMALL, f"seed={seed}"))]


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
        whole, broken, log = (Path(folder) / name for name in ("whole", "broken", "log"))
        began = time.monotonic()
        if begin([*line, "--out", str(whole)], log).wait() != 0:
            sys.exit("the unbroken run failed")
        length = time.monotonic() - began
        print(f"unbroken run: {length:.0f} s, {stored(whole)['verdicts'][0]:,} verdicts", flush=True)
        kill = finished = 0
        while kill < options.kills:
            out = broken / str(finished)
            process = begin([*line, "--out", str(out)], log)
            # a start-up, and then a moment anywhere: in training, battles, writing
            wait = rng.uniform(2.0, 5.0 + 0.15 * length)
            try:
                process.wait(timeout=wait)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kill += 1
                stages = sorted(p.parent.name for p in (out / "checkpoints").glob("*/training.json"))
                count = stored(out)["verdicts"][0]
                print(
                    f"kill {kill} after {wait:4.1f} s: {count:,} verdicts, trainings {', '.join(stages) or 'none'}",
                    flush=True,
                )
            else:  # that run is through: the next kills fall on a new one
                finished += 1
        if begin([*line, "--out", str(broken / str(finished))], log).wait() != 0:
            sys.exit("the resumed run failed")
        expected = json.loads((whole / "leaderboard.json").read_text())
        failed = False
        for out in sorted(broken.iterdir()):
            same = json.loads((out / "leaderboard.json").read_text()) == expected
            (count, verdicts), (_, responses) = (stored(out)[table] for table in ("verdicts", "responses"))
            failed |= not same or verdicts > 0
            print(
                f"resumed run {out.name}: leaderboard equal {same} · {count:,} verdicts stored · "
                f"asked twice: {verdicts} verdicts, {responses} answers"
            )
        sys.exit(failed)


if __name__ == "__main__":
    main()
