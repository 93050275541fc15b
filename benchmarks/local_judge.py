"""A local model as judge: CPU seconds of the same verdicts asked in chunks and one by one, by turns in one run.

    python benchmarks/local_judge.py [--verdicts 64] [--repeats 5] [--short]

The judge is an untrained tiny model, so its words mean nothing; what is measured is the asking: `play` on recorded
answers, everything stored. Both ways are asked the same prompts and give the same number of tokens. With the default
template a prompt has about 1,700 of the model's tokens (characters); with `--short` one of about 60.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.calls.recorded import ingest_recorded, match_recorded
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.local import LocalModel
from arenaloop.models.recorded import RecordedModel
from arenaloop.sandbox.target import build_target
from arenaloop.sandbox.tasks import draw
from arenaloop.store import Store
from arenaloop.types import Sampling

SAMPLING = Sampling(max_tokens=32)
SHORT = """{# parser: scores #}
{{ tag }}
{{ user }}
{% for seat in seats %}{% for text in seat %}{{ tag }}
{{ text }}
{% endfor %}{% endfor %}{{ tag }}
Scores?
"""


def verdicts(folder: Path, weights: Path, wanted: int, chunk_size: int, template: str) -> tuple[float, float]:
    """CPU and wall seconds of `wanted` verdicts in a fresh arena file, the loading of the model included."""
    tasks = draw(wanted // 2, 0, "train")
    for name in ("a", "b"):
        rows = ({"messages": list(t.prompt.messages), "output": f"{name}{n % 7}"} for n, t in enumerate(tasks))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    contestants = [Contestant(name, RecordedModel(name, folder / f"{name}.jsonl")) for name in ("a", "b")]
    prompts = [task.prompt for task in tasks]
    judge = PairwiseJudge(LocalModel(weights, chunk_size=chunk_size), template=template, sampling=SAMPLING)
    with Store(folder / f"{chunk_size}.db") as store:
        recorded = match_recorded(contestants, prompts)
        store.add_prompts(prompts)
        ingest_recorded(store, contestants, prompts, recorded)
        plan = BattlePlan(
            contestants, judge, [p.id for p in prompts], Schedule((("a", "b"),)), recorded=recorded, reask=0
        )
        cpu, wall = time.process_time(), time.perf_counter()
        tally = play(plan, store)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        assert tally.calls == wanted, tally
    return cpu, wall


def main() -> None:
    """Both ways by turns; prints seconds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="a judge prompt of a few words")
    options = parser.parse_args()
    found: dict[int, list[float]] = {1: [], options.verdicts: []}
    with tempfile.TemporaryDirectory() as place:
        weights = build_target(Path(place) / "weights", 0)
        short = Path(place) / "short.jinja"
        short.write_text(SHORT)
        template = str(short) if options.short else "pairwise"
        for turn in range(options.repeats + 1):
            for chunk_size, seconds in found.items():
                with tempfile.TemporaryDirectory() as folder:
                    cpu, _ = verdicts(Path(folder), weights, options.verdicts, chunk_size, template)
                if turn:  # the first turn loads libraries
                    seconds.append(cpu)
    for chunk_size, seconds in found.items():
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{options.verdicts} verdicts, {chunk_size:>3} at a time: {median(seconds):6.2f} CPU s ({spread})")
    single, together = found.values()
    ratios = [b / a for a, b in zip(single, together, strict=True)]
    print(f"together / one by one: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
