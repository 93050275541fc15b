"""A test set of a large pool: seconds of CPU and memory of `arenaloop testset` with the built-in embeddings.

    python benchmarks/testset.py [--prompts 300000] [--clusters 500] [--dir DIR]

The pool is made up: a vocabulary of 60,000 words of Zipf's frequencies, 2,000 topics that each prefer 60 of them, ways
of asking that prompts share, lengths from 5 to some 600 words with a median of 25, one prompt in ten of two turns.
The command runs whole, in a process of its own: it reads the file, embeds, clusters, has the sandbox's judge rate 20
prompts of each cluster, and writes the sets and their cards; then once more, when nothing is left to do. Each line says
when it came.

Limits: 1,200 s of CPU (ten minutes of two cores), 4 GB. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from arenaloop.jsonl import write_jsonl

ARENALOOP = [sys.executable, "-c", "from arenaloop.cli import main; main()"]
FORMS = (
    "Write a short story about", "Explain to a beginner how to", "What differs between", "Can you help me with",
    "Summarise the following text in three sentences:", "Give me a list of", "Fix the bug in this function:", "Why do",
    "Translate into French:", "Compare", "How would you design", "Prove that", "Act as a lawyer and advise me on", "",
)  # fmt: skip
WORDS, TOPICS, OWN = 60_000, 2_000, 60
CPU_LIMIT, MEMORY_LIMIT = 1_200.0, 4.0


def pool(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of a prompt file."""
    drawn = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    words = ["".join(drawn.choice(letters, size)) for size in drawn.integers(2, 12, WORDS)]
    chances = 1.0 / np.arange(1, WORDS + 1)
    common = np.cumsum(chances / chances.sum())
    topics = drawn.integers(100, WORDS, (TOPICS, OWN))
    for at in range(count):
        topic, size = topics[drawn.integers(TOPICS)], int(np.clip(drawn.lognormal(np.log(25), 0.9), 5, 600))
        numbers = np.searchsorted(common, drawn.random(size)).clip(0, WORDS - 1)
        own = drawn.random(size) < 0.4
        numbers[own] = drawn.choice(topic, int(own.sum()))
        text = f"{FORMS[drawn.integers(len(FORMS))]} {' '.join(words[n] for n in numbers)}".strip()
        second = f"Now do the same for {words[topic[0]]}, shorter."
        yield {"turns": [text, second], "id": at} if at % 10 == 0 else {"prompt": text, "id": at}


def run(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds of CPU, of wall time, and GB at most of one command; its lines are shown with the second they came in."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen([*ARENALOOP, *arguments], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            print(f"  {time.perf_counter() - start:6.1f} s  {line}", end="", flush=True)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - start, after.ru_maxrss / 2**20


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=300_000)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--dir", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        file, out = folder / f"pool-{options.prompts}.jsonl", folder / f"test-{options.prompts}.jsonl"
        if not file.exists():
            write_jsonl(file, pool(options.prompts))
        sizes = ["--clusters", str(options.clusters), "--diverse", str(2 * options.clusters)]
        sizes += ["--hard", str(2 * options.clusters)]
        command = ["testset", "--prompts", str(file), "--judge", "sandbox:judge", *sizes, "--out", str(out)]
        cpu, wall, memory = run(command)
        print(f"{options.prompts:,} prompts: {cpu:.1f} s of CPU, {wall:.1f} s of wall time, {memory:.2f} GB at most")
        before = out.read_bytes()
        again, wall, _ = run(command)
        print(f"once more: {again:.1f} s of CPU, {wall:.1f} s of wall time; the same set: {out.read_bytes() == before}")
        card = json.loads((folder / f"test-{options.prompts}.card.json").read_text())
        print(f"clusters of {card['clusters']['smallest']:,} to {card['clusters']['largest']:,} prompts")
        if cpu > CPU_LIMIT or memory > MEMORY_LIMIT or out.read_bytes() != before:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
