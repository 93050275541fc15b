"""Run directories as the runner writes them, played by scripted models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arenaloop.arena.matchmaking import Schedule, all_pairs
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import run_tournament, write_summary
from arenaloop.calls.answers import Contestant
from arenaloop.jsonl import write_jsonl
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.recipes.account import stage_details, told
from arenaloop.recipes.stage import StageResult
from arenaloop.report.charts import stage_curves
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Status

Script = Callable[[Request], Any]
CONFIG = "models:\n- spec: sandbox:scholar\n  name: x\nseed: 0\n"


def play_into(
    out: Path,
    players: dict[str, Script],
    judge: Script | None,
    prompts: Sequence[Prompt],
    *,
    judge_name: str = "referee",
    config: str = CONFIG,
    judge_object: Any = None,
    merge: Any = "mean",
    **more: Any,
) -> Path:
    """Play all pairs on all prompts and write every result file; `judge_object` judges instead of a script."""
    out.mkdir(parents=True, exist_ok=True)
    fighters = [Contestant(name, ScriptedModel(name, script)) for name, script in players.items()]
    plan = BattlePlan(
        contestants=fighters,
        judge=judge_object or PairwiseJudge(ScriptedModel(judge_name, judge or referee)),
        merge=merge,
        prompt_ids=[p.id for p in prompts],
        schedule=Schedule(tuple(all_pairs(list(players)))),
    )
    (out / "config.yaml").write_text(config, encoding="utf-8")
    with Store(out / "arena.db") as store:
        store.add_prompts(prompts)
        store.flush()
        done = run_tournament(plan, store, out)
        write_summary(out, store, done.summary, done.tally.cached, **more)
    return out


def referee(request: Request) -> Any:
    """A point for each "good" of an answer; question 7 goes to the first seat, 3 is not readable, 4 is refused."""
    text = request.messages[-1]["content"]
    first, second = (text.split(f" answer {seat} ===")[1].split("===")[0] for seat in (1, 2))
    if "question 7\n" in text:
        return "The first is better.\n\nScores: 9 2"
    if "question 3\n" in text:
        return "I cannot tell, and say no scores."
    if "question 4\n" in text:
        return Completion(status=Status.REFUSED, error="policy", tokens_in=5, tokens_out=0)
    return f"I counted.\n\nScores: {4 + first.count('good')} {4 + second.count('good')}"


def echo(request: Request) -> str:
    """Repeats the question; has no answer to question 5."""
    text = request.messages[-1]["content"]
    if text == "question 5":
        raise RuntimeError("the echo is out")
    return text


@pytest.fixture
def play() -> Callable[..., Path]:
    """`play_into`, for tests that bring their own players."""
    return play_into


@pytest.fixture
def battle_run(tmp_path: Path) -> Path:
    prompts = [Prompt.of(f"question {i}", family="plain") for i in range(40)]
    players: dict[str, Script] = {
        "good": lambda r: "a good good answer to " + r.messages[-1]["content"],
        "fine": lambda r: "a good answer to " + r.messages[-1]["content"],
        "echo": echo,
    }
    return play_into(tmp_path / "run", players, referee, prompts)


@pytest.fixture
def recipe_run(tmp_path: Path) -> Path:
    """A recipe's directory: two stages, with the accounting that a recipe writes."""
    prompts = [Prompt.of(f"question {i}") for i in range(30)]
    players: dict[str, Script] = {
        "SFT-I0": lambda r: "an answer",
        "DPO-I1": lambda r: "a good good answer",
        "teacher": lambda r: "a good answer",
    }
    stages = [
        {"name": "SFT-I0", "rating": 950.0, "lower": 930.0, "upper": 970.0, "gold_accuracy": 0.5, "gold_utility": 0.6,
         "mean_length": 9.0, "rows": 100, "seconds": 12.5},
        {"name": "DPO-I1", "rating": 1040.0, "lower": 1020.0, "upper": 1060.0, "gold_accuracy": 0.8,
         "gold_utility": 0.9, "mean_length": 18.0, "rows": 21, "seconds": 130.0},
    ]  # fmt: skip
    selection = {
        "rows": 21,
        "dropped": {"gap below k": 7, "equal texts": 2},
        "chosen_by": {"teacher": 20, "SFT-I0": 1},
        "rejected_by": {"SFT-I0": 21},
        "gap_histogram": {"0": 7, "1": 2, "3": 21},
    }
    first = StageResult("base", rows=100, steps=8)
    second = StageResult(
        "SFT-I0", rows=21, steps=4, rows_dropped={"too long": 3}, metrics={"accuracy": 0.94}, selection=selection
    )
    opponents = [{"model": "teacher", "rating": 1010.0}]
    details = [stage_details(name, result) for name, result in (("SFT-I0", first), ("DPO-I1", second))]
    out = play_into(
        tmp_path / "recipe",
        players,
        referee,
        prompts,
        config="recipe: arena_learning\nname: tiny\n",
        seed=0,
        stages=stages,
        prose=told(stages, opponents, 28, lambda one, other: (28, 0, 0)),
        tables=[table for tables, _ in details for table in tables],
        curves=[*stage_curves(stages, opponents), *(curve for _, curves in details for curve in curves)],
    )
    with Store(out / "arena.db") as store:  # which holds stages under all settings that the directory has seen
        for key, many in (("old", 999), ("newer", 888)):
            store.put_stage("DPO-I1", key, replace(second, rows=many, selection={"rows": many}).to_json())
    rows = [
        {
            "prompt": [{"role": "user", "content": f"pool {i}"}],
            "chosen": [{"role": "assistant", "content": f"better {i}"}],
            "rejected": [{"role": "assistant", "content": f"worse {i}"}],
            "chosen_model": "teacher",
            "rejected_model": "SFT-I0",
            "margin": 3.0,
            "prompt_id": f"id{i}",
        }
        for i in range(21)
    ]
    write_jsonl(out / "data" / "DPO-I1.jsonl", rows)
    return out
