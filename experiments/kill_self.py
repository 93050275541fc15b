"""Kill Self- and Meta-Rewarding with SIGKILL at random moments, resume each time, compare with an unbroken run.

    python experiments/kill_self.py [--recipes self_rewarding meta_rewarding] [--kills 10] [--seed 0] [--small]

The target is the small world's, tiny, answers by itself and is trained for real. Its judging of answers and of
judgements, and the judge of held-out battles, are models behind a server of this process, which counts its calls and
draws each judgement by the seed that comes with it; each iteration's judge is a model of its own. Moments are drawn as
in `kill_recipe`: one in each of as many equal parts of the unbroken run's life, by turns of its events (calls and
training steps) and of its time; the first and the last but one wait for the next write of a checkpoint or a model. What
has to hold, else the exit code is 1:

* summary, leaderboard, preference rows, weights and metrics are those of the unbroken run, but for seconds and keys;
* an unbroken run asks each question once, and a kill makes it ask again at most what was not kept yet: calls in flight
  and those answered within the last moment, as many again;
* no verdict and no judgement with an outcome, and no answer with a text, is stored twice.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from kill_recipe import Watched
from killing import Served, kept, kill, life, stored

from arenaloop.sandbox.judge import SandboxJudge, read_answer_prompt, read_judge_prompt
from arenaloop.sandbox.server import read_request
from arenaloop.terminal import counted

CONCURRENCY = 4
LATENCY = 0.02  # seconds of a call
SCORE = (
    '{#- parser: score, layout: answer -#}\nPoints from 0 to 5, and a last line "Score: 3".\n{% include "material" %}\n'
)
WINNER = (
    '{#- parser: winner, layout: judgements -#}\nThe better judgement, and a last line "Winner: A".\n'
    '{% include "material" %}\n'
)
_ROWS = {
    "optimizer": "muon", "learning_rate": 0.01, "batch_size": 16, "max_length": 64, "threads": 1, "device": "cpu",
    "group_by_length": False, "schedule": "linear", "checkpoint_every": 2, "log_every": 1,
}  # fmt: skip


def recipe(folder: Path, url: str, seed: int, name: str, small: bool) -> Path:
    """The recipe's file, with its templates beside it."""
    meta = name == "meta_rewarding"
    (folder / "score.jinja").write_text(SCORE)
    (folder / "winner.jinja").write_text(WINNER)
    comparing = {"template": str(folder / "winner.jinja"), "iterations": 1}
    settings = {
        "recipe": name,
        "seed": seed,
        "concurrency": CONCURRENCY,
        "target": {
            "model": "sandbox:target", "sampling": {"max_tokens": 12}, "chunk_size": 16, "device": "cpu",
            "options": {"width": 32, "layers": 1, "heads": 4},
        },
        "judge": {"spec": f"{url}#judge"},
        "data": {
            "demonstrations": "sandbox:demonstrations?n=96",
            "prompts": f"sandbox:prompts?n={12 if small else 32}",
            "test": f"sandbox:prompts?n={6 if small else 8}&split=test",
        },
        "iterations": 1 if small else 2,
        "samples": 3,
        "sampling": {"temperature": 1.0, "max_tokens": 12},
        "self_judge": {"template": str(folder / "score.jinja"), "votes": 3, "sampling": {"temperature": 1.0}},
        "allow_truncated": True,  # so few steps do not teach it to stop
        "sft": _ROWS | {"epochs": 3},
        "dpo": _ROWS | {"max_length": 2048, "learning_rate": 0.0005, "nll_weight": 1.0, "epochs": 2},
        **({"meta": comparing, "gates": {"meta": None}} if meta else {}),
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


class Forked:
    """A run in a process of its own, begun by one that has loaded all modules already; what it says goes to `log`."""

    _server = multiprocessing.get_context("forkserver")
    _server.set_forkserver_preload(
        ["torch", "transformers", "arenaloop.train.dpo", "arenaloop.specs.recipes", "kill_self"]
    )

    def __init__(self, file: Path, out: Path, url: str, log: Path) -> None:
        self._process = self._server.Process(target=child, args=(file, out, url, log), daemon=True)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """As of `subprocess.Popen`."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As of `subprocess.Popen`."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """As of `subprocess.Popen`."""
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """As of `subprocess.Popen`."""
        assert number == signal.SIGKILL
        self._process.kill()


def child(file: Path, out: Path, url: str, log: Path) -> None:
    """Run or resume the recipe, with served judges in the model's place as a judge."""
    said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    import torch

    from arenaloop.config import JudgeSettings, JudgesItselfSettings, read_yaml, validate
    from arenaloop.recipes.observer import Observer
    from arenaloop.recipes.self_rewarding import run
    from arenaloop.recipes.self_rewarding_plan import meta_of
    from arenaloop.specs.judges import meta, pointwise
    from arenaloop.specs.recipes import RECIPES
    from arenaloop.specs.recipes.self_rewarding import build_self_rewarding
    from arenaloop.store import Store

    torch.set_num_threads(1)
    values = read_yaml(str(file))
    settings = validate(RECIPES[values["recipe"]].settings, values, str(file))
    assert isinstance(settings, JudgesItselfSettings)
    comparing = meta_of(settings)

    def served(name: str, template: str, temperature: float) -> JudgeSettings:
        decoding = {"temperature": temperature}
        spec = {"spec": f"{url}#{name}", "template": template, "sampling": decoding, "concurrency": CONCURRENCY}
        return validate(JudgeSettings, spec | {"send_seed": True}, name)

    class Phases(Observer):
        def phase(self, stage: str, doing: str) -> None:
            os.write(2, f"phase {stage} {doing}\n".encode())

    made = build_self_rewarding(settings, out)
    made = replace(
        made,
        rubric=lambda name, path: pointwise(served(f"rubric-{name}", settings.self_judge.template, 1.0)),
        meta=None if comparing is None else lambda name, path: meta(served(f"meta-{name}", comparing.template, 0.0)),
    )
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / "arena.db") as store:
        run(made, store, out, Phases())


def answered(body: dict[str, Any]) -> tuple[str, str]:
    """What is asked of which model, by the texts alone (codes in prompts are each run's own), and what it says."""
    text = body["messages"][-1]["content"]
    asked = read_judge_prompt(text) or read_answer_prompt(text)
    return json.dumps([body["model"], body.get("seed"), asked or text]), SandboxJudge(noise=0.7)(read_request(body))


def lasting(out: Path) -> dict[str, Any]:
    """What a run came to, without seconds and without keys."""
    summary = json.loads((out / "summary.json").read_text())
    for stage in summary["stages"]:
        for name in ("seconds", "calls", "tokens_in", "tokens_out", "usd"):
            stage.pop(name, None)
    tables = [one for one in summary["tables"] if one["title"] != "Counts"]
    rows = {}
    for path in sorted((out / "data").glob("*.jsonl")):
        each = [json.loads(line) for line in path.read_text().splitlines()]
        rows[path.name] = [{name: value for name, value in row.items() if name != "verdicts"} for row in each]
    trained = {path.name: kept(path) for path in sorted((out / "checkpoints").iterdir())}
    return {
        "summary": [summary["stages"], tables, summary.get("curves")],
        "ratings": json.loads((out / "leaderboard.json").read_text()),
        "preference rows": rows,
        **{part: {name: found[part] for name, found in trained.items()} for part in ("weights", "metrics")},
    }


class Run(Watched):
    """A run directory's progress, and where it is by what it says."""

    def __init__(self, out: Path, served: Served, log: Path) -> None:
        super().__init__(out, served)
        self.log = log

    def where(self) -> str:
        """Its last phase, and how many calls are in flight."""
        said = self.log.read_text() if self.log.exists() else ""
        phases = [line for line in said.splitlines() if line.startswith("phase ")]
        return f"{phases[-1][6:] if phases else 'start'}, {counted(self.served.flying, 'call')} in flight"


def one_recipe(name: str, kills: int, seed: int, small: bool) -> bool:
    """Unbroken and broken runs of one recipe; whether all holds."""
    rng, served = random.Random(seed), Served(answered, LATENCY)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = recipe(folder, served.url, seed, name, small)
        runs: list[tuple[dict[str, Any], Counter[str], int]] = []
        ends: list[float] = []
        killed = flying = 0
        missed = False
        while killed < kills or len(runs) < 2:
            out, log = folder / str(len(runs)), folder / f"{len(runs)}.log"
            served.asked = Counter()
            process = Forked(file, out, served.url, log)
            watched = Run(out, served, log)
            if not runs:
                ends = life(process, watched, (out / "summary.json").exists)
            while runs and killed < kills:
                share, more = rng.uniform(killed, killed + 1) / kills, rng.uniform(0.0, 2 * LATENCY)
                passed = sum(end <= share * ends[-1] for end in ends[:-1])
                after = passed if killed % 2 else int(share * (len(ends) - 1))
                writing = watched.writing if killed in (0, kills - 2) and not missed else None  # as trainings lie there
                seen: list[tuple[int, str]] = []
                if missed := not kill(process, watched, after, more, writing, watched.noting(seen)):
                    break
                killed, flying = killed + 1, flying + seen[-1][0]
                print(f"kill {killed} at event {watched():,} of {len(ends) - 1:,}: {seen[-1][1]}", flush=True)
                time.sleep(2 * LATENCY)  # the server is done with what nobody reads any more
                watched.again()
                process = Forked(file, out, served.url, log)
            if process.wait() != 0:
                sys.exit(f"exit code {process.returncode}: {log.read_text()[-2000:].strip()}")
            runs.append((lasting(out), served.asked, sum(again for _, again in stored(out).values())))
            if len(runs) == 1:
                calls = f"{served.asked.total():,} calls for {len(served.asked):,} questions"
                print(f"{name}, unbroken: {ends[-1]:.0f} s, {calls}, {len(ends) - 1:,} events", flush=True)
    return _tell(name, runs, flying, killed)


def _tell(name: str, runs: list[tuple[dict[str, Any], Counter[str], int]], flying: int, killed: int) -> bool:
    (whole, once, _), broken = runs[0], runs[1:]
    same = {part: all(found[part] == whole[part] for found, _, _ in broken) for part in whole}
    again = sum(asked.total() - len(asked) for _, asked, _ in broken)
    twice = sum(count for _, _, count in broken)
    print("| recipe |", " | ".join(same), "| calls for questions | asked again, in flight at a kill | stored twice |")
    print("|---" * (len(same) + 4) + "|")
    told = " + ".join(f"{asked.total():,} for {len(asked):,}" for _, asked, _ in broken)
    equal = " | ".join("equal" if value else "DIFFERENT" for value in same.values())
    print(f"| {name} | {equal} | {told} | {again}, {flying} | {twice} |", flush=True)
    fine = all(same.values()) and once.total() == len(once) and all(set(asked) == set(once) for _, asked, _ in broken)
    return fine and again <= 2 * CONCURRENCY * killed and not twice


def main() -> None:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["self_rewarding", "meta_rewarding"], metavar="NAME")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="few prompts, to see whether it runs")
    options = parser.parse_args()
    held = [one_recipe(name, options.kills, options.seed, options.small) for name in options.recipes]
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
