"""Kill AlpacaFarm with SIGKILL at random moments, run it again each time, and compare with an unbroken run.

    python experiments/kill_recipe.py [--kills 10] [--seed 0] [--methods DPO PPO] [--small]

Annotators, the judge and one method's reward are models behind a server of this process, which counts its calls; the
small world's own target is trained by every kind of method. The moments are drawn over the unbroken run's life, one in
each of as many equal parts, by turns of its calls and steps and of its time; so they fall in labelling, battles and
trainings. Every third kill waits for the next write of a checkpoint or a model, if there is one. What has to hold, else
the exit code is 1:

* the methods' leaderboard, the ratings, the labelled pairs and all weights, roll-outs and metrics are those of the
  unbroken run, but for seconds and keys;
* an unbroken run asks each question once. A kill makes it ask again at most what it had not kept yet: the calls in
  flight, and those answered within the last moment, before they were on the disk: as many again;
* no verdict with an outcome, and no answer with a text, is stored twice.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from killing import ARENALOOP, Served, begin, kept, kill, life, stored

from arenaloop.sandbox.judge import SandboxJudge, read_answer_prompt, read_judge_prompt, read_pairs_prompt
from arenaloop.sandbox.server import read_request
from arenaloop.terminal import counted

CONCURRENCY = 4
LATENCY = 0.05  # seconds of a call, so that judging takes its share of the run's life
_ROWS = {
    "optimizer": "muon", "learning_rate": 0.002, "batch_size": 16, "max_length": 64, "threads": 1, "device": "cpu",
    "group_by_length": False, "checkpoint_every": 2, "log_every": 1,
}  # fmt: skip
_ROLLOUTS = {
    "iterations": 6, "rollout_batch": 32, "step_batch": 16, "samples": 2, "max_length": 64, "max_new_tokens": 8,
    "learning_rate": 0.0001, "threads": 1, "device": "cpu", "stop_cut": 1.0, "checkpoint_every": 2,
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "FeedME": {"method": "feedme", "training": _ROWS},
    "DPO": {"method": "dpo", "training": _ROWS},
    "Best of 4": {"method": "best_of_n", "n": 4},
    "Expert iteration": {"method": "expert_iteration", "training": _ROWS | {"samples": 4, "max_new_tokens": 8}},
    "PPO": {"method": "ppo", "training": _ROLLOUTS},
    "PPO, judge": {"method": "ppo", "reward": "judge:{folder}/rubric.yaml", "training": _ROLLOUTS},
    "Quark": {"method": "quark", "training": _ROLLOUTS | {"samples": 1, "rollout_batch": 16}},
}
MEMBERS = [
    {"name": "reasons", "template": "annotator_reasoned", "batch": 4, "sampling": {"temperature": 1.0}},
    {"name": "persona", "template": "annotator_persona", "batch": 3, "criteria": "You like it short."},
    {"name": "plain", "template": "annotator_plain"},
    {"name": "scores", "template": "pairwise"},
]


def recipe(folder: Path, url: str, seed: int, methods: list[str], small: bool) -> Path:
    """The recipe's file, with those of the models that it asks."""
    pool = {"p_label_flip": 0.1, "model": {"spec": f"{url}#annotator"}, "members": MEMBERS}
    (folder / "pool.yaml").write_text(yaml.safe_dump(pool))
    (folder / "rubric.yaml").write_text(yaml.safe_dump({"spec": f"{url}#rubric", "concurrency": CONCURRENCY}))
    times = 1 if small else 3
    chosen = json.loads(json.dumps({name: METHODS[name] for name in methods}).replace("{folder}", str(folder)))
    settings = {
        "recipe": "alpaca_farm",
        "seed": seed,
        "concurrency": CONCURRENCY,
        "target": {
            "model": "sandbox:target", "sampling": {"max_tokens": 8}, "chunk_size": 64, "device": "cpu",
            "options": {"width": 32, "layers": 1, "heads": 4},
        },
        "judge": {"spec": f"{url}#judge"},
        "annotators": {"pool": str(folder / "pool.yaml")},
        "data": {
            "sft": "sandbox:demonstrations?n=96",
            "preference": f"sandbox:prompts?n={60 * times}",
            "unlabeled": "sandbox:prompts?n=16",
            "evaluation": f"sandbox:prompts?n={8 * times}&split=test",
        },
        "sft": _ROWS | {"learning_rate": 0.01, "epochs": 2},
        "reward_model": _ROWS,
        "methods": chosen,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def answered(body: dict[str, Any]) -> tuple[str, str]:
    """What is asked of which model, by the texts alone (codes in prompts are each run's own), and what it says."""
    text = body["messages"][-1]["content"]
    asked = read_judge_prompt(text) or read_answer_prompt(text) or read_pairs_prompt(text)
    said = SandboxJudge()(read_request(body))
    name = text.partition("Marker: ")[0]  # members' words differ
    return json.dumps([body["model"], name, body.get("temperature"), asked]), said


class Watched:
    """A run directory's progress: questions asked so far, and steps in the metrics of its trainings."""

    def __init__(self, out: Path, served: Served) -> None:
        self.out, self.served = out, served
        self.again()

    def again(self) -> None:
        """A new process begins."""
        self._since, self._asked = time.time(), self.served.asked.total()

    def metrics(self) -> list[Path]:
        """Of all trainings that there are."""
        return list((self.out / "checkpoints").glob("*/metrics.jsonl"))

    def __call__(self) -> int:
        """Events so far; -1 before this process has made one."""
        metrics = self.metrics()
        if self.served.asked.total() == self._asked and all(one.stat().st_mtime < self._since for one in metrics):
            return -1
        return len(self.served.asked) + sum(one.read_bytes().count(b"\n") for one in metrics)

    def writing(self) -> bool:
        """Whether a checkpoint or a model is being written."""
        return any(next((self.out / "checkpoints").glob(f"*/{name}"), None) for name in ("checkpoint.tmp", ".saving"))

    def noting(self, seen: list[tuple[int, str]]) -> Callable[[], None]:
        """Notes how many calls are in flight, and what is done."""
        return lambda: seen.append((self.served.flying, self.where()))

    def where(self) -> str:
        """What it does now: asks models, or trains."""
        if self.served.flying:
            return counted(self.served.flying, "call") + " in flight"
        metrics = self.metrics()
        return f"training {max(metrics, key=lambda one: one.stat().st_mtime).parent.name}" if metrics else "start"


def lasting(out: Path) -> dict[str, Any]:
    """What a run came to, without seconds and without keys."""
    summary = json.loads((out / "summary.json").read_text())
    for row in summary["methods"]:
        row.pop("cpu_seconds")
    pairs = [json.loads(line) for line in (out / "data" / "pairs.jsonl").read_text().splitlines()]
    trained = {path.name: kept(path) for path in sorted((out / "checkpoints").iterdir())}
    return {
        "methods": [summary["methods"], summary["rank_correlation"]],
        "ratings": json.loads((out / "leaderboard.json").read_text()),
        "labels": [summary["labels"], [{k: v for k, v in row.items() if k != "verdicts"} for row in pairs]],
        **{
            part: {name: found[part] for name, found in trained.items()} for part in ("weights", "roll-outs", "metrics")
        },
    }


def main() -> None:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="NAME")
    parser.add_argument("--small", action="store_true", help="few prompts, to see whether it runs")
    options = parser.parse_args()
    rng, served = random.Random(options.seed), Served(answered, LATENCY)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = recipe(folder, served.url, options.seed, options.methods, options.small)
        runs: list[tuple[dict[str, Any], Counter[str], int]] = []
        ends: list[float] = []
        killed = flying = 0
        missed = False  # the last one waited for a write, and the run ended before there was one
        while killed < options.kills or len(runs) < 2:  # the first is the unbroken one; one that ended makes room
            out = folder / str(len(runs))
            log = folder / f"{out.name}.log"
            line = [*ARENALOOP, "run", str(file), "--out", str(out)]
            served.asked = Counter()
            watched, process = Watched(out, served), begin(line, log)
            if not runs:
                ends = life(process, watched, (out / "summary.json").exists)
            while runs and killed < options.kills:
                share, more = rng.uniform(killed, killed + 1) / options.kills, rng.uniform(0.0, 2 * LATENCY)
                # as time goes, most of which is training; and as events go, most of which are calls
                passed = sum(end <= share * ends[-1] for end in ends[:-1])
                after = passed if killed % 2 else int(share * (len(ends) - 1))
                writing = watched.writing if killed % 3 == 2 and not missed else None
                seen: list[tuple[int, str]] = []
                if missed := not kill(process, watched, after, more, writing, watched.noting(seen)):
                    break
                killed, flying = killed + 1, flying + seen[-1][0]
                print(f"kill {killed} at event {watched():,} of {len(ends) - 1:,}: {seen[-1][1]}", flush=True)
                time.sleep(2 * LATENCY)  # the server is done with what nobody reads any more
                watched.again()
                process = begin(line, log)
            if process.wait() != 0:
                sys.exit(f"exit code {process.returncode}: {log.read_text()[-2000:].strip()}")
            runs.append((lasting(out), served.asked, sum(again for _, again in stored(out).values())))
            if len(runs) == 1:
                calls = f"{served.asked.total():,} calls for {len(served.asked):,} questions"
                print(f"unbroken: {ends[-1]:.0f} s, {calls}, {len(ends) - 1:,} events", flush=True)
    (whole, once, _), broken = runs[0], runs[1:]
    same = {part: all(found[part] == whole[part] for found, _, _ in broken) for part in whole}
    again = sum(asked.total() - len(asked) for _, asked, _ in broken)
    twice = sum(count for _, _, count in broken)
    print("|", " | ".join(same), "| calls for questions | asked again, in flight at a kill | stored twice |")
    print("|---" * (len(same) + 3) + "|")
    told = " + ".join(f"{asked.total():,} for {len(asked):,}" for _, asked, _ in broken)
    equal = " | ".join("equal" if value else "DIFFERENT" for value in same.values())
    print(f"| {equal} | {told} | {again}, {flying} | {twice} |", flush=True)
    fine = all(same.values()) and once.total() == len(once) and all(set(asked) == set(once) for _, asked, _ in broken)
    sys.exit(not (fine and again <= 2 * CONCURRENCY * killed and not twice))


if __name__ == "__main__":
    main()
