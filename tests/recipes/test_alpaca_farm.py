"""AlpacaFarm on a tiny target, trained for real: stages, tables, resuming, and what a change leaves alone."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import RECIPE, TRAINING

from arenaloop.config import AlpacaFarmSettings, override, validate
from arenaloop.errors import ConfigError, InputError, StoppedError
from arenaloop.jsonl import write_jsonl
from arenaloop.recipes import alpaca_farm
from arenaloop.recipes.alpaca_farm_plan import outline
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.stage import Result
from arenaloop.specs.recipes.alpaca_farm import build_alpaca_farm
from arenaloop.store import Store

torch.set_num_threads(1)

ROWS = TRAINING | {"epochs": 1, "learning_rate": 0.001}
ROLLOUTS = {
    "iterations": 2, "rollout_batch": 16, "step_batch": 8, "samples": 2, "max_length": 64, "max_new_tokens": 8,
    "learning_rate": 1e-4, "threads": 1, "device": "cpu", "stop_cut": 1.0,
}  # fmt: skip
FARM: dict[str, Any] = {
    "recipe": "alpaca_farm",
    "target": RECIPE["target"],
    "judge": RECIPE["judge"],
    "labels": "gold",
    "data": {
        "sft": "sandbox:demonstrations?n=96",
        "preference": "sandbox:prompts?n=40",
        "unlabeled": "sandbox:prompts?n=16",
        "evaluation": "sandbox:prompts?n=12&split=test",
    },
    "sft": TRAINING | {"epochs": 2},
    "reward_model": ROWS,
    "methods": {
        "FeedME": {"method": "feedme", "training": ROWS},
        "Conditioned": {"method": "reward_conditioning", "training": ROWS},
        "DPO": {"method": "dpo", "training": ROWS},
        "Best of 4": {"method": "best_of_n", "n": 4},
        "Expert iteration": {"method": "expert_iteration", "training": ROWS | {"samples": 2, "max_new_tokens": 8}},
        "PPO": {"method": "ppo", "training": ROLLOUTS},
        "PPO, gold": {"method": "ppo", "reward": "sandbox:gold", "training": ROLLOUTS},
        "Quark": {"method": "quark", "training": ROLLOUTS | {"samples": 1}},
    },
}


def settings(*changes: str, **more: Any) -> AlpacaFarmSettings:
    return validate(AlpacaFarmSettings, override({**FARM, **more}, changes), "recipe.yaml")


class Heard(Observer):
    """Notes what is trained, and can stop a run where it is told to."""

    def __init__(self, stop_at: str = "") -> None:
        self.trained: list[str] = []
        self.notes: list[str] = []
        self._stop_at = stop_at

    def phase(self, stage: str, doing: str) -> None:
        if stage == self._stop_at:
            raise KeyboardInterrupt
        if doing == "training":
            self.trained.append(stage)

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(out: Path, checked: AlpacaFarmSettings, heard: Observer | None = None) -> Result:
    recipe = build_alpaca_farm(checked, out)
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / "arena.db") as store:
        return alpaca_farm.run(recipe, store, out, heard)


def lasting(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without what depends on the clock or on the invocation."""
    plain = copy.deepcopy(dict(summary))
    for row in (*plain["stages"], *plain["methods"]):
        row.pop("seconds", None), row.pop("cpu_seconds", None)
    keys = ("methods", "stages", "rank_correlation", "labels", "battles_wanted", "battles_decided", "flip_rate")
    return {key: plain[key] for key in keys}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One unbroken run that the tests below look at and compare with."""
    out = tmp_path_factory.mktemp("whole")
    return out, run(out, settings())


def test_every_method_starts_at_sft_and_meets_the_baseline(whole: tuple[Path, Result]) -> None:
    out, result = whole
    names = ["SFT", "RM", *FARM["methods"]]
    assert [stage["name"] for stage in result.stages] == names
    trained = [name for name in names if name != "Best of 4"]
    assert sorted(
        path.name for path in (out / "checkpoints").iterdir() if not path.name.startswith("start-")
    ) == sorted(trained)
    methods = {row["method"]: row for row in result.summary["methods"]}
    assert set(methods) == set(FARM["methods"])
    assert result.summary["battles_decided"] == 12 * len(methods)
    for row in methods.values():
        assert row["lower"] <= row["win_rate"] <= row["upper"]
        assert 0 <= row["gold_lower"] <= row["gold_win_rate"] <= row["gold_upper"] <= 100
    order = [row["win_rate"] for row in result.summary["methods"]]
    assert order == sorted(order, reverse=True)
    assert json.loads((out / "summary.json").read_text()) == result.summary


def test_pairs_are_labelled_by_the_truth(whole: tuple[Path, Result]) -> None:
    from arenaloop.sandbox.tasks import utility

    out, result = whole
    pairs = [json.loads(line) for line in (out / "data" / "pairs.jsonl").read_text().splitlines()]
    assert len(pairs) == result.summary["labels"]["pairs"] > 10
    for row in pairs:
        asked = row["prompt"][-1]["content"]
        chosen, rejected = (utility(asked, row[side][0]["content"]) for side in ("chosen", "rejected"))
        assert chosen is not None
        assert rejected is not None
        assert chosen >= rejected


def test_the_truths_win_rate_is_that_of_utilities(whole: tuple[Path, Result]) -> None:
    """By another way: greedy answers read from the arena file, compared one by one."""
    from arenaloop.sandbox.tasks import utility
    from arenaloop.specs.data import load_prompts

    out, result = whole
    prompts = load_prompts(FARM["data"]["evaluation"], 0).prompts
    with Store(out / "arena.db") as store:
        said = {
            name: {p.id: row.texts[-1] for p in prompts for row in store.responses_of(p).values() if row.model == name}
            for name in ("SFT", "DPO")
        }
    scores = []
    for prompt in prompts:
        mine, theirs = (utility(prompt.last_user, said[name][prompt.id]) for name in ("DPO", "SFT"))
        assert mine is not None
        assert theirs is not None
        scores.append(0.5 if mine == theirs else float(mine > theirs))
    row = next(row for row in result.summary["methods"] if row["method"] == "DPO")
    assert row["gold_win_rate"] == pytest.approx(100 * sum(scores) / len(scores))


@pytest.mark.parametrize("stop_at", ["pairs", "RM", "Expert iteration", "evaluation"])
def test_a_stopped_run_goes_on_to_the_same_end(whole: tuple[Path, Result], tmp_path: Path, stop_at: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, settings(), Heard(stop_at))
    assert lasting(run(tmp_path, settings()).summary) == lasting(whole[1].summary)


def test_another_setting_of_one_method_trains_that_method_alone(tmp_path: Path) -> None:
    some = {name: FARM["methods"][name] for name in ("FeedME", "DPO", "Best of 4")}
    first = run(tmp_path, settings(methods=some))
    heard = Heard()
    changed = run(tmp_path, settings("methods.DPO.training.beta=0.5", methods=some), heard)
    assert heard.trained == ["DPO"]
    rows = [{row["method"]: row for row in result.summary["methods"]} for result in (first, changed)]
    assert rows[0]["FeedME"] == rows[1]["FeedME"]
    heard = Heard()
    run(tmp_path, settings("methods.DPO.training.beta=0.5", methods=some), heard)
    assert heard.trained == []


def test_labelled_pairs_of_a_file_give_the_same_policy(whole: tuple[Path, Result], tmp_path: Path) -> None:
    some = {"DPO": FARM["methods"]["DPO"]}
    given = settings("labels=file", f"data.preference={whole[0] / 'data' / 'pairs.jsonl'}", methods=some)
    result = run(tmp_path, given)
    weights = [(out / "checkpoints" / "DPO" / "model.safetensors").read_bytes() for out in (whole[0], tmp_path)]
    assert weights[0] == weights[1]
    assert [stage["name"] for stage in result.stages] == ["SFT", "DPO"]  # nobody asks for a reward model
    assert "labels" not in result.summary


def test_annotators_label_the_pairs_and_noise_costs_no_call(tmp_path: Path) -> None:
    some = {"FeedME": FARM["methods"]["FeedME"]}
    simulated = ["annotators.pool=sandbox:judge", "annotators.p_label_flip=0.25"]
    labels = run(tmp_path, settings(*simulated, labels="simulated", methods=some)).summary["labels"]
    assert labels["pairs"] + sum(labels["undecided"].values()) == labels["calls"] + labels["drawn_by_noise"]
    assert 5 < labels["drawn_by_noise"] < 35  # about half of forty
    rows = [json.loads(line) for line in (tmp_path / "data" / "pairs.jsonl").read_text().splitlines()]
    assert sum(not row["verdicts"] for row in rows) == labels["drawn_by_noise"]
    assert run(tmp_path, settings(*simulated, labels="simulated", methods=some)).summary["labels"] == labels
    with Store(tmp_path / "arena.db") as store:
        calls = store.usage().calls
    simulated[1] = "annotators.p_label_flip=0"
    without = run(tmp_path, settings(*simulated, labels="simulated", methods=some)).summary["labels"]
    assert without["drawn_by_noise"] == 0
    with Store(tmp_path / "arena.db") as store:  # those that noise had drawn are asked now
        assert store.usage().calls - calls >= labels["drawn_by_noise"]


def counted(out: Path) -> dict[str, int]:
    """Rows of calls by table; none of them is about what another one was about."""
    rows = {}
    with sqlite3.connect(out / "arena.db") as db:
        for table in ("responses", "verdicts", "judgements"):
            count, keys = db.execute(f"SELECT COUNT(*), COUNT(DISTINCT key) FROM {table}").fetchone()
            assert count == keys
            rows[table] = count
    return rows


def test_a_judges_reward_asks_through_the_runs_own_file_and_budget(tmp_path: Path) -> None:
    """Its verdicts stand beside all others, count towards the budget, and are asked once."""
    (tmp_path / "rubric.yaml").write_text("spec: sandbox:judge\n")
    rewarded = {"method": "ppo", "reward": f"judge:{tmp_path / 'rubric.yaml'}", "training": ROLLOUTS}
    out = tmp_path / "out"
    with pytest.raises(StoppedError, match="the budget is spent"):
        run(out, settings("budget_calls=100", methods={"PPO": rewarded}))
    assert 0 < counted(out)["judgements"] < counted(out)["responses"] < 100
    run(out, settings(methods={"PPO": rewarded}))
    rows = counted(out)
    with Store(out / "arena.db") as store:
        calls = store.usage().calls
    assert calls == sum(rows.values())
    assert rows["judgements"] > 10
    heard = Heard()
    run(out, settings(methods={"PPO": rewarded}), heard)
    assert heard.trained == []
    with Store(out / "arena.db") as store:
        assert store.usage().calls == calls


def test_a_pool_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the pool a model"):
        build_alpaca_farm(settings(labels="simulated"), tmp_path / "out", dry=True)


def test_evaluation_prompts_are_left_out_of_every_split(tmp_path: Path) -> None:
    held_out = [{"prompt": "reverse: kalom"}, {"prompt": "spell: tarin"}]
    write_jsonl(tmp_path / "test.jsonl", held_out)
    write_jsonl(tmp_path / "prompts.jsonl", [*held_out, {"prompt": "Reverse:  KALOM"}, {"prompt": "double: bo"}])
    pair = {"chosen": "a", "rejected": "b"}
    write_jsonl(tmp_path / "pairs.jsonl", [row | pair for row in (*held_out, {"prompt": "double: mu"})])
    changes = [f"data.evaluation={tmp_path / 'test.jsonl'}", f"data.unlabeled={tmp_path / 'prompts.jsonl'}"]
    recipe = build_alpaca_farm(
        settings(*changes, "labels=file", f"data.preference={tmp_path / 'pairs.jsonl'}"), tmp_path / "out", dry=True
    )
    assert [prompt.last_user for prompt in recipe.material.unlabeled] == ["double: bo"]
    assert [row["prompt"] for row in recipe.material.given or ()] == ["double: mu"]
    assert {what: n for what, n in recipe.material.left_out.items() if n} == {
        "unlabeled prompts": 3,
        "labelled pairs": 2,
    }
    assert "3 left out of unlabeled prompts: evaluation prompts" in outline(recipe).facts


REFUSED = {
    "baseline=Somebody": "baseline 'Somebody' is no contestant",
    "methods={SFT: {method: dpo}}": "SFT is a stage's own name",
    "methods={a/b: {method: dpo}}": "cannot name a checkpoint's directory",
    "methods={D: {method: dpo, reward: sandbox:gold}}": "a reward does nothing there",
    "methods={B: {method: best_of_n, training: {epochs: 1}}}": "best_of_n trains nothing",
    "methods={P: {method: ppo, training: {clipp: 1}}}": "'clip'",
    "methods={}": "nothing is compared",
    "samples=1": "samples",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_cannot_run_is_refused_in_one_line(tmp_path: Path, change: str) -> None:
    with pytest.raises((ConfigError, InputError)) as refused:
        build_alpaca_farm(settings(change), tmp_path / "out", dry=True)
    assert REFUSED[change] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_split_that_evaluation_prompts_empty_is_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", [{"prompt": "reverse: kalom"}])
    same = f"{tmp_path / 'test.jsonl'}"
    with pytest.raises(InputError, match=r"data\.unlabeled: nothing is left for Expert iteration"):
        build_alpaca_farm(settings(f"data.evaluation={same}", f"data.unlabeled={same}"), tmp_path / "out", dry=True)


def test_other_pairs_train_again_what_learns_from_them(whole: tuple[Path, Result], tmp_path: Path) -> None:
    """Also labels that came later: a comparison is one of methods on the same pairs."""
    rows = (whole[0] / "data" / "pairs.jsonl").read_text().splitlines()
    some = {name: FARM["methods"][name] for name in ("DPO", "PPO, gold")}
    for count, trained in ((len(rows) - 1, ["SFT", "DPO", "PPO, gold"]), (len(rows), ["DPO"])):
        (tmp_path / "pairs.jsonl").write_text("\n".join(rows[:count]) + "\n")
        heard = Heard()
        changes = ("labels=file", f"data.preference={tmp_path / 'pairs.jsonl'}")
        run(tmp_path / "out", settings(*changes, methods=some), heard)
        assert heard.trained == trained
