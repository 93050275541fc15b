"""`rank` on a million battles: plain, at equal length, and at equal style out of Chatbot Arena's metadata.

    python benchmarks/controlled_rank.py [--battles 1000000] [--models 100] [--dir DIR]

Writes a Parquet file with `conv_metadata` once, and prints wall and CPU seconds of each command, start-up included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

OWN = {
    "header_count": ("h1", "h2", "h3", "h4", "h5", "h6"),
    "list_count": ("ordered", "unordered"),
    "bold_count": ("**", "__"),
}


def write(path: Path, battles: int, models: int, seed: int = 0) -> None:
    """Battles with a length and a header effect."""
    rng = np.random.default_rng(seed)
    strength = rng.normal(0.0, 1.0, models)
    a = rng.integers(0, models, battles)
    b = (a + rng.integers(1, models, battles)) % models
    length = np.exp(rng.normal(6.0, 0.6, (2, battles))).astype(np.int64)
    counts = {name: rng.poisson(mean, (2, battles)) for name, mean in zip(OWN, (2.0, 5.0, 3.0), strict=True)}
    headers = counts["header_count"]
    x = (length[0] - length[1]) / (length.sum(axis=0) + 1) + 0.4 * (headers[0] - headers[1]) / (headers.sum(axis=0) + 1)
    won = rng.random(battles) < 1.0 / (1.0 + np.exp(-(strength[a] - strength[b] + x)))
    fields: dict[str, pl.Series] = {}
    for side, letter in enumerate("ab"):
        fields[f"sum_assistant_{letter}_tokens"] = pl.Series(length[side])
        for name, keys in OWN.items():
            parts = {key: counts[name][side] if key == keys[0] else np.zeros(battles, dtype=np.int64) for key in keys}
            fields[f"{name}_{letter}"] = pl.DataFrame(parts).to_struct(name)
    pl.DataFrame({
        "question_id": np.arange(battles) % 50_000,
        "model_a": [f"m{code:03d}" for code in a],
        "model_b": [f"m{code:03d}" for code in b],
        "winner": np.where(won, "model_a", "model_b"),
        "conv_metadata": pl.DataFrame(fields).to_struct("conv_metadata"),
    }).write_parquet(path)  # fmt: skip


def main(battles: int, models: int, directory: Path) -> None:
    """Print a line a command."""
    path = directory / "battles.parquet"
    write(path, battles, models)
    for control in ((), ("--control", "length"), ("--control", "style")):
        before, began = os.times(), time.perf_counter()
        command = [sys.executable, "-m", "arenaloop", "rank", str(path), *control, "--json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"rank {' '.join(control):17} {time.perf_counter() - began:6.1f} s wall, {cpu:5.1f} s CPU", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--dir", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(given.battles, given.models, given.dir or Path(temporary))
