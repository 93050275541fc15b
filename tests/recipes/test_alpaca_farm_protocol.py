"""AlpacaFarm's protocol: who evaluates, what noise labels have, what is measured apart, and what people say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_farm import FARM, Heard, run, settings

from arenaloop.calls.annotating import AnnotationPlan, annotate
from arenaloop.data.formats.labels import read_labels
from arenaloop.data.formats.pairs import read_pairs
from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import write_jsonl
from arenaloop.recipes.alpaca_farm_plan import outline
from arenaloop.recipes.stage import Result
from arenaloop.specs.annotators import pool, pool_settings
from arenaloop.specs.recipes.alpaca_farm import build_alpaca_farm
from arenaloop.store import Store

torch.set_num_threads(1)

SOME = {name: FARM["methods"][name] for name in ("FeedME", "DPO")}
POOLED = {"methods": SOME, "judge": "annotators", "annotators": {"pool": "synthetic", "p_label_flip": 0.0}}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run whose evaluator is the pool; PPO's value network starts from the reward model, and pairs are held out."""
    out = tmp_path_factory.mktemp("pooled")
    valued = FARM["methods"]["PPO, gold"]["training"] | {"value_start": "reward_model"}
    more = {"PPO": {"method": "ppo", "reward": "sandbox:gold", "training": valued}}
    data = FARM["data"] | {"validation": "sandbox:prompts?n=12&split=dev"}
    return out, run(out, settings(**POOLED | {"methods": SOME | more, "data": data}))


def test_a_pool_evaluates_as_annotate_does(pooled: tuple[Path, Result], tmp_path: Path) -> None:
    """Two ways to the same labels: the recipe, and a pool of preset p_eval on the pairs of one policy."""
    out, result = pooled
    assert result.summary["battles_wanted"] == 12 * 3
    assert result.summary["verdicts_ok"] > 0
    rows = lines(out / "data" / "evaluation.jsonl")
    mine = [row for row in rows if row["generator_1"] == "DPO"]
    write_jsonl(tmp_path / "pairs.jsonl", mine)
    pairs = read_pairs(tmp_path / "pairs.jsonl").pairs
    plan = AnnotationPlan(pairs, pool(pool_settings("synthetic", None, {"preset": "p_eval"})))
    with Store(tmp_path / "arena.db") as store:
        labels = annotate(plan, store)
    assert [label.preference for label in labels] == [row["preference"] for row in mine]
    won = sum(2.0 - row["preference"] for row in mine) / len(mine)
    row = next(row for row in result.summary["methods"] if row["method"] == "DPO")
    assert row["win_rate"] == pytest.approx(100 * won)


@pytest.mark.parametrize("preset", ["p_eval", "p_sim"])
def test_another_preset_trains_nothing_again(pooled: tuple[Path, Result], tmp_path: Path, preset: str) -> None:
    flips = {"p_eval": 0.0, "p_sim": 0.25}[preset]
    judged = {"judge": {"spec": "annotators", "options": {"preset": preset}}}
    recipe = build_alpaca_farm(settings(**POOLED | judged), tmp_path, dry=True)
    assert recipe.judge.pool.p_label_flip == flips  # type: ignore[union-attr]
    assert recipe.verdicts_each == {"p_eval": 2, "p_sim": 1}[preset]


def test_noise_and_one_seat_evaluate_too(tmp_path: Path) -> None:
    """p_sim: half of the labels are coins, which both the battles and the label file hold."""
    judged = {"judge": {"spec": "annotators", "options": {"preset": "p_sim"}}, "opponents": ["sandbox:scholar"]}
    data = FARM["data"] | {"evaluation": "sandbox:prompts?n=60&split=test"}
    summary = run(tmp_path, settings(**POOLED | judged | {"data": data, "methods": {}})).summary
    battles = lines(tmp_path / "battles.jsonl")
    assert summary["battles_decided"] == summary["battles_wanted"] == len(battles) == 60
    by = Counter(battle["judge"] for battle in battles)
    assert 20 <= by["annotators"] <= 40  # noise; the other half by several members
    assert len(by) > 4
    said = {row["instruction"]: row["preference"] for row in lines(tmp_path / "data" / "evaluation.jsonl")}
    with Store(tmp_path / "arena.db") as store:
        for battle in battles:
            prompt = store.prompt(battle["prompt_id"])
            assert prompt is not None
            won = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}[battle["winner"]]
            assert said[prompt.last_user] == 2.0 - (won if battle["model_a"] == "scholar" else 1.0 - won)


def test_pairs_of_validation_prompts_measure_and_teach_nothing(pooled: tuple[Path, Result]) -> None:
    out, result = pooled
    asked = [
        {row["prompt"][-1]["content"] for row in lines(out / "data" / f"{name}.jsonl")}
        for name in ("pairs", "validation")
    ]
    assert asked[1]
    assert not asked[0] & asked[1]
    (table,) = [table for table in result.summary["tables"] if table["title"].startswith("Pairs not learned from")]
    assert [row[0] for row in table["rows"]] == ["RM", "DPO"]
    assert all(row[1] == len(lines(out / "data" / "validation.jsonl")) for row in table["rows"])
    assert all(0 <= float(cell.split()[0]) <= 100 for row in table["rows"] for cell in row[2:])


def test_a_value_network_may_start_from_the_runs_reward_model(pooled: tuple[Path, Result]) -> None:
    names = [stage["name"] for stage in pooled[1].stages]
    assert names == ["SFT", "RM", "FeedME", "DPO", "PPO"]  # the reward itself is another


def test_labels_of_the_truth_and_of_the_evaluator_are_files_that_audit_reads(pooled: tuple[Path, Result]) -> None:
    out, _ = pooled
    said, true = (read_labels(out / "data" / f"{name}.jsonl") for name in ("evaluation", "truth"))
    assert len(said) == len(true) == 36
    assert {label.annotator for label in said} == {"annotators"}
    assert [label.outputs for label in said] == [label.outputs for label in true]
