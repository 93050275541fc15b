"""`arenaloop rank` over tables in many parts: CPU seconds and memory of the process, and whether the board is one.

    python benchmarks/stream_ratings.py [--parts 100] [--rows 1000000] [--models 100] [--prompts 10000] [--dir DIR]
        [--repeats 1] [--compare] [--kind parquet|jsonl] [--keep]

Parts are written cheaply and alike every time (numpy, texts by code). Each command is a process of its own, measured by
its parent: user and system time and the largest resident set, start-up included. ``--compare`` also rates the same
battles in memory (one file, `Battles`), and says how far ratings and the ends of intervals lie apart.

Limits: 60 CPU seconds and 600 MB for a hundred parts of a million battles, 1e-6 Elo. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ARENALOOP = [sys.executable, "-c", "from arenaloop.cli import main; main()"]
CPU, MEMORY, APART = 60.0, 600.0, 1e-6


def part(number: int, rows: int, models: int, prompts: int) -> pl.DataFrame:
    """The battles of one part: models by strength, a tenth ties, the first seat a little favoured."""
    rng = np.random.default_rng([7, number])
    theta = np.linspace(-1.5, 1.5, models)
    a = rng.integers(0, models, rows, dtype=np.int32)
    b = (a + 1 + rng.integers(0, models - 1, rows, dtype=np.int32)) % models
    won = rng.random(rows) < 1.0 / (1.0 + np.exp(theta[b] - theta[a] - 0.02))
    outcome = np.where(rng.random(rows) < 0.1, 2, np.where(won, 0, 1))
    names = pl.Series([f"model-{code:03d}" for code in range(models)])
    ids = pl.Series([f"prompt-{code:06d}" for code in range(prompts)])
    words = pl.Series(["model_a", "model_b", "tie"])
    return pl.DataFrame(
        {
            "prompt_id": ids.gather(rng.integers(0, prompts, rows)),
            "model_a": names.gather(a),
            "model_b": names.gather(b),
            "winner": words.gather(outcome),
        }
    )


def measured(arguments: list[str]) -> tuple[float, float, str, str]:
    """CPU seconds and megabytes of a command, start-up included, with what it printed and said beside."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*ARENALOOP, *arguments], stdout=out, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said.seek(0)
        told = said.read().decode()
        if process.returncode not in (0, 3):
            raise SystemExit(f"{' '.join(arguments)}: {told}")
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read().decode(), told


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest distance, in Elo points, between ratings, and ends of intervals, of the same model."""
    theirs = {row["model"]: row for row in other["leaderboard"]}
    return max(
        abs(row[name] - theirs[row["model"]][name])
        for row in one["leaderboard"]
        for name in ("rating", "lower", "upper")
        if row[name] is not None
    )


def main() -> None:
    """Write the parts, rank them, say what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("parts", 100), ("rows", 1_000_000), ("models", 100), ("prompts", 10_000), ("repeats", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--kind", choices=["parquet", "jsonl"], default="parquet")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the parts, and take those that are there")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stream-ratings-", dir=wanted.dir) as folder:
        there = (wanted.dir or Path(folder)) / "parts" if wanted.keep else Path(folder) / "parts"
        there.mkdir(exist_ok=True, parents=True)
        for number in range(wanted.parts):
            path = there / f"part-{number:05d}.{wanted.kind}"
            if not path.exists():
                frame = part(number, wanted.rows, wanted.models, wanted.prompts)
                frame.write_parquet(path) if wanted.kind == "parquet" else frame.write_ndjson(path)
        size = sum(path.stat().st_size for path in there.iterdir())
        battles = wanted.parts * wanted.rows
        print(f"{battles:,} battles in {wanted.parts} parts, {size / 1e6:,.0f} MB; load {os.getloadavg()[0]:.1f}")
        runs = [measured(["rank", str(there), "--stream", "--json"]) for _ in range(wanted.repeats)]
        seconds, memory = [run[0] for run in runs], [run[1] for run in runs]
        print(
            f"streamed: {statistics.median(seconds):.1f} CPU s ({min(seconds):.1f} to {max(seconds):.1f} of "
            f"{len(runs)}), {max(memory):.0f} MB\n{runs[0][3].strip()}"
        )
        missed = battles >= 100_000_000 and (statistics.median(seconds) > CPU or max(memory) > MEMORY)
        if wanted.compare:
            whole = Path(folder) / f"whole.{wanted.kind}"
            if wanted.kind == "parquet":
                pl.scan_parquet(there / "*.parquet").sink_parquet(whole)
            else:
                pl.scan_ndjson(there / "*.jsonl").sink_ndjson(whole)
            # slices need all battles in memory, and the board over them is the same
            code = (
                "import sys, json; from arenaloop.data.formats import read_battles; "
                "from arenaloop.arena.leaderboard import leaderboard; "
                "print(json.dumps(leaderboard(read_battles(sys.argv[1])).to_dict()))"
            )
            ARENALOOP[:] = [sys.executable, "-c", code]
            other = [measured([str(whole)]) for _ in range(wanted.repeats)]
            seconds, memory = [run[0] for run in other], [run[1] for run in other]
            apart = furthest(json.loads(runs[0][2]), json.loads(other[0][2]))
            print(
                f"in memory: {statistics.median(seconds):.1f} CPU s ({min(seconds):.1f} to {max(seconds):.1f}), "
                f"{max(memory):.0f} MB; ratings and ends of intervals lie {apart:.1e} Elo apart at most"
            )
            missed = missed or apart > APART
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
