"""AlpacaFarm on a tiny target, trained for real: stages, tables, resuming, and what a change leaves alone."""

from __future__ import annotations

import copy
import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_farm import FARM, ROLLOUTS, Heard, run, settings

from arenaloop.errors import ConfigError, InputError, StoppedError
from arenaloop.jsonl import write_jsonl
from arenaloop.recipes.alpaca_farm_costs import estimate_costs
from arenaloop.recipes.alpaca_farm_plan import outline
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.stage import Result
from arenaloop.specs.recipes.alpaca_farm import build_alpaca_farm
from arenaloop.store import Store

torch.set_num_threads(1)


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


class Timed(Observer):
    """Takes the processor time of a stage's training, from outside, and stops once it has moved on or is done."""

    def __init__(self, stop_after: str) -> None:
        self.spent = 0.0
        self.told: Mapping[str, Any] = {}
        self._stop_after = stop_after

    def phase(self, stage: str, doing: str) -> None:
        if doing == "training":
            self._since = time.process_time()

    def _stop(self) -> None:
        self.spent = time.process_time() - self._since
        raise KeyboardInterrupt

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        if self._stop_after == "step":
            while time.process_time() - self._since < 0.5:  # so that it would be missed
                pass
            self._stop()

    def done(self, stage: str, result: Mapping[str, object]) -> None:
        self.told = result
        self._stop()


def test_an_interrupted_trainings_time_counts(tmp_path: Path) -> None:
    one = settings(methods={"DPO": FARM["methods"]["DPO"]}, sft=FARM["sft"] | {"log_every": 1})
    stopped, finished = Timed("step"), Timed("done")
    for heard in (stopped, finished):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, one, heard)
    assert stopped.spent > 0.5
    told = finished.told["cpu_seconds"]
    assert told >= 0.99 * (stopped.spent + finished.spent) - 0.02
    assert told < stopped.spent + finished.spent + 0.5  # once each


def test_a_plan_counts_what_is_sampled_labelled_and_judged(tmp_path: Path) -> None:
    checked = settings(labels="simulated", annotators={"pool": "synthetic"}, samples=4)
    recipe = build_alpaca_farm(checked, tmp_path, dry=True)
    parts = {(part.stage, part.what): part for part in estimate_costs(recipe, tmp_path, None).parts}
    assert parts["pairs", "samples"].calls == 40 * 4
    assert parts["pairs", "labels"].labels == 40 * 2
    assert parts["evaluation", "verdicts"].calls == 8 * 12 * 2
    assert parts["evaluation", "verdicts"].labels == 8 * 12
    assert parts["Best of 4", "answers"].calls == 4 * 12
    assert parts["Expert iteration", "samples"].calls == 16 * 2
    assert parts["PPO", "samples"].calls == 2 * 16
    assert parts["SFT", "training"].seconds is None
    assert not list(tmp_path.iterdir())


def test_a_finished_run_has_nothing_left_to_ask(whole: tuple[Path, Result]) -> None:
    out, _ = whole
    with Store(out / "arena.db", readonly=True) as store:
        costs, anew = (
            estimate_costs(build_alpaca_farm(settings(*changes), out, dry=True), out, store)
            for changes in ((), ("sft.learning_rate=0.02",))
        )
    asked = [part for part in costs.parts if part.what != "samples" or part.stage == "pairs"]
    assert sum(part.calls for part in asked) == 0
    done, seconds = (
        one.total("seconds", [part for part in one.parts if part.stage == "SFT" and part.what == "training"])
        for one in (costs, anew)
    )
    assert done == 0  # and trained again it takes as long as it took
    assert seconds == pytest.approx(
        json.loads((out / "checkpoints/SFT/training.json").read_text())["result"]["seconds"]
    )


def test_what_a_reward_costs_is_unknown_and_never_nothing(tmp_path: Path) -> None:
    methods = {"PPO": FARM["methods"]["PPO"] | {"reward": "http://127.0.0.1:9/score"}}
    costs = estimate_costs(build_alpaca_farm(settings(methods=methods), tmp_path, dry=True), tmp_path, None)
    (scores,) = [part for part in costs.parts if part.what.startswith("scores by")]
    assert (scores.calls, scores.usd, scores.seconds) == (32, None, None)
    assert costs.total("usd") is None
    assert any("a price is missing" in line for line in costs.lines())


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
    pairs = f"data.preference={whole[0] / 'data' / 'pairs.jsonl'}"
    given = settings("labels=file", pairs, "data.overlap=share", methods=some)
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


@pytest.mark.parametrize("first", ["best_of_n", "expert_iteration"])
def test_a_paid_reward_of_best_of_n_is_refused_whoever_else_asks_it(tmp_path: Path, first: str) -> None:
    (tmp_path / "rubric.yaml").write_text("spec: sandbox:judge\n")
    reward = f"judge:{tmp_path / 'rubric.yaml'}"
    methods = {"best_of_n": {"method": "best_of_n", "n": 2, "reward": reward}}
    methods["expert_iteration"] = FARM["methods"]["Expert iteration"] | {"reward": reward}
    ordered = {name: methods[name] for name in (first, *(one for one in methods if one != first))}
    with pytest.raises(ConfigError, match=r"methods\.best_of_n: "):
        build_alpaca_farm(settings(methods=ordered), tmp_path / "out", dry=True)


def test_an_evaluators_model_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("spec: http://127.0.0.1:9/v1#m\n")
    told = settings(judge="annotators", labels="gold", annotators={"model": str(tmp_path / "m.yaml")})
    assert build_alpaca_farm(told, tmp_path / "out", dry=True).judge.name
    noisy = {"spec": "annotators", "options": {"pool": "synthetic", "preset": "p_sim", "noise_model": "difficulty"}}
    with pytest.raises(ConfigError, match="noise_model difficulty ranks pairs among each other"):
        build_alpaca_farm(settings(judge=noisy, labels="gold"), tmp_path / "out", dry=True)


def test_a_pool_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the pool a model"):
        build_alpaca_farm(settings(labels="simulated"), tmp_path / "out", dry=True)


def overlapping(folder: Path) -> list[str]:
    """Splits of files that have prompts in common."""
    held_out = [{"prompt": "reverse: kalom"}, {"prompt": "spell: tarin"}]
    write_jsonl(folder / "test.jsonl", held_out)
    write_jsonl(folder / "prompts.jsonl", [*held_out, {"prompt": "Reverse:  KALOM"}, {"prompt": "double: bo"}])
    pair = {"chosen": "a", "rejected": "b"}
    asked = (*held_out, {"prompt": "double: mu"}, {"prompt": "Double: bo"})
    write_jsonl(folder / "pairs.jsonl", [row | pair for row in asked])
    files = {"data.evaluation": "test", "data.unlabeled": "prompts", "data.preference": "pairs"}
    return ["labels=file", *(f"{key}={folder / name}.jsonl" for key, name in files.items())]


def test_splits_that_overlap_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        build_alpaca_farm(settings(*overlapping(tmp_path)), tmp_path / "out", dry=True)
    assert str(refused.value) == (
        "data.preference and data.evaluation overlap: 2 rows of data.preference ask what is asked in data.evaluation "
        "(“reverse: kalom”); data.overlap: leave_out leaves them out"
    )


@pytest.mark.parametrize("overlap", ["leave_out", "share"])
def test_what_overlaps_is_left_out_of_the_split_that_learns(tmp_path: Path, overlap: str) -> None:
    changes = [*overlapping(tmp_path), f"data.overlap={overlap}"]
    if overlap == "leave_out":
        write_jsonl(tmp_path / "more.jsonl", [{"prompt": "double: li"}])
        rows = (tmp_path / "prompts.jsonl").read_text() + (tmp_path / "more.jsonl").read_text()
        (tmp_path / "prompts.jsonl").write_text(rows)
    of_rows = {name: FARM["methods"][name] for name in ("FeedME", "DPO", "Expert iteration")}  # of no roll-outs
    recipe = build_alpaca_farm(settings(*changes, methods=of_rows), tmp_path / "out", dry=True)
    left = {"leave_out": ["double: li"], "share": ["double: bo"]}[overlap]
    assert [prompt.last_user for prompt in recipe.material.unlabeled] == left
    assert [row["prompt"] for row in recipe.material.given or ()] == ["double: mu", "Double: bo"]
    told = {(one.split, one.other): one.rows for one in recipe.material.overlaps}
    own = {("data.unlabeled", "data.preference"): 1} if overlap == "leave_out" else {}
    assert told == {("data.unlabeled", "data.evaluation"): 3, ("data.preference", "data.evaluation"): 2} | own
    assert "3 left out of data.unlabeled: asked in data.evaluation" in outline(recipe).facts


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
    changes = ("data.overlap=leave_out", f"data.evaluation={same}", f"data.unlabeled={same}")
    with pytest.raises(InputError, match=r"data\.unlabeled: nothing is left for Expert iteration"):
        build_alpaca_farm(settings(*changes), tmp_path / "out", dry=True)


def test_other_pairs_train_again_what_learns_from_them(whole: tuple[Path, Result], tmp_path: Path) -> None:
    """Also labels that came later: a comparison is one of methods on the same pairs."""
    rows = (whole[0] / "data" / "pairs.jsonl").read_text().splitlines()
    some = {name: FARM["methods"][name] for name in ("DPO", "PPO, gold")}
    for count, trained in ((len(rows) - 1, ["SFT", "DPO", "PPO, gold"]), (len(rows), ["DPO"])):
        (tmp_path / "pairs.jsonl").write_text("\n".join(rows[:count]) + "\n")
        heard = Heard()
        changes = ("labels=file", f"data.preference={tmp_path / 'pairs.jsonl'}", "data.overlap=share")
        run(tmp_path / "out", settings(*changes, methods=some), heard)
        assert heard.trained == trained
