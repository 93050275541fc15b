"""AlpacaFarm's protocol: who evaluates, what noise labels have, what is measured apart, and what people say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
import torch
from small_farm import FARM, Heard, run, settings

from arenaloop.calls.annotating import AnnotationPlan, annotate
from arenaloop.config import AlpacaFarmSettings
from arenaloop.data.formats.labels import read_labels
from arenaloop.data.formats.pairs import read_pairs
from arenaloop.data.formats.training_rows import read_preference
from arenaloop.errors import ConfigError, InputError, StoppedError
from arenaloop.jsonl import write_jsonl
from arenaloop.recipes.alpaca_farm_plan import outline
from arenaloop.recipes.stage import Result
from arenaloop.recipes.standing import Standing, write_standing
from arenaloop.recipes.under_way import begin
from arenaloop.specs.annotators import pool, pool_settings
from arenaloop.specs.labels import evaluator
from arenaloop.specs.recipes.alpaca_farm import build_alpaca_farm
from arenaloop.store import Store

torch.set_num_threads(1)

SOME = {name: FARM["methods"][name] for name in ("FeedME", "DPO")}
POOLED = {"methods": SOME, "judge": "annotators", "annotators": {"pool": "synthetic", "p_label_flip": 0.0}}
VALUED = FARM["methods"]["PPO, gold"]["training"] | {"value_start": "reward_model"}
WHOLE = POOLED | {
    "methods": SOME | {"PPO": {"method": "ppo", "reward": "sandbox:gold", "training": VALUED}},
    "data": FARM["data"] | {"validation": "sandbox:prompts?n=12&split=dev"},
    "opponents": ["sandbox:scholar"],
}
"""PPO's value network starts from the reward model, pairs are held out, and one model's answers differ from SFT's."""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run whose evaluator is the pool."""
    out = tmp_path_factory.mktemp("pooled")
    return out, run(out, settings(**WHOLE))


def test_a_pool_evaluates_as_annotate_does(pooled: tuple[Path, Result], tmp_path: Path) -> None:
    """Two ways to the same labels: the recipe, and a pool of preset p_eval on the pairs of one policy."""
    out, result = pooled
    assert result.summary["battles_wanted"] == 12 * 4
    assert result.summary["verdicts_ok"] > 0
    rows = lines(out / "data" / "evaluation.jsonl")
    mine = [row for row in rows if row["generator_1"] == "scholar"]
    write_jsonl(tmp_path / "pairs.jsonl", mine)
    pairs = read_pairs(tmp_path / "pairs.jsonl").pairs
    plan = AnnotationPlan(pairs, pool(pool_settings("synthetic", None, {"preset": "p_eval"})))
    with Store(tmp_path / "arena.db") as store:
        labels = annotate(plan, store)
    assert [label.preference for label in labels] == [row["preference"] for row in mine]
    won = sum(2.0 - row["preference"] for row in mine) / len(mine)
    row = next(row for row in result.summary["methods"] if row["method"] == "scholar")
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


def test_a_pool_that_ran_out_of_budget_goes_on_and_pays_nothing_twice(tmp_path: Path) -> None:
    pool_of_one = {"judge": "annotators", "annotators": {"pool": "sandbox:judge"}, "methods": {}}
    one = pool_of_one | {"opponents": ["sandbox:scholar"]}
    whole = run(tmp_path / "whole", settings(**one)).summary
    (tmp_path / "cut").mkdir()
    with Store(tmp_path / "cut" / "arena.db") as store:  # as the command does
        begin(store, ["SFT"], whole["battles_wanted"], "")
    with pytest.raises(StoppedError, match="budget"):
        run(tmp_path / "cut", settings(f"budget_calls={whole['calls'] - 10}", **one))
    board, summary, told = _read_by_others(tmp_path / "cut", settings(**one))
    decided = summary["battles_decided"]
    assert 0 < decided < 12 == summary["battles_wanted"]
    assert board.battles == decided
    assert told == f"1 of 1 stage through, {decided} of 12 battles decided"
    again = run(tmp_path / "cut", settings(**one)).summary
    assert [again[key] for key in ("calls", "methods", "verdicts_ok")] == [
        whole[key] for key in ("calls", "methods", "verdicts_ok")
    ]
    final = json.loads((tmp_path / "cut" / "leaderboard.json").read_text())
    board, summary, _ = _read_by_others(tmp_path / "cut", settings(**one))
    assert (summary["battles_decided"], board.to_dict()["leaderboard"]) == (12, final["leaderboard"])


def _read_by_others(out: Path, checked: AlpacaFarmSettings) -> Standing:
    """A run as a process reads it that has asked nobody: its pool knows what is stored alone."""
    (there := out.parent / "read").mkdir(exist_ok=True)
    with Store(out / "arena.db", readonly=True) as store:
        found = write_standing(store, there, [evaluator(checked)], "it is going on")
    assert found is not None
    return found


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
    assert len(said) == len(true) == 48
    assert {label.annotator for label in said} == {"annotators"}
    assert [label.outputs for label in said] == [label.outputs for label in true]


# ---------------------------------------------------------------------- people


def people_say(out: Path, path: Path) -> str:
    """What is true of all pairs but the first, and labels of answers that nobody gave and of another prompt."""
    rows = lines(out / "data" / "truth.jsonl")
    rows = [row | {"annotator": "ann"} for row in rows if row["output_1"] != row["output_2"]]
    strange = rows[0] | {"output_1": "what nobody said"}
    other = rows[0] | {"instruction": "who are you"}
    write_jsonl(path, [*rows[1:], strange, other, rows[1] | {"annotator": "bob", "preference": None}])
    return f"data.people={path}"


def test_people_rank_the_methods_beside_the_truth(pooled: tuple[Path, Result], tmp_path: Path) -> None:
    out, before = pooled
    said = people_say(out, tmp_path / "people.jsonl")
    with Store(out / "arena.db") as store:
        ends = store.ends()
    heard = Heard()
    after = run(out, settings(said, **WHOLE), heard).summary
    assert heard.trained == []
    with Store(out / "arena.db") as store:
        assert store.ends() == ends  # no answer and no verdict more, those of the pool's own among them
    told = [[(row["method"], row["win_rate"]) for row in one["methods"]] for one in (before.summary, after)]
    assert told[0] == told[1]
    labels = len(lines(tmp_path / "people.jsonl"))
    assert after["people"] == {
        "labels": labels - 2, "matched": labels - 3, "about_other_prompts": 1, "without_preference": 1
    }  # fmt: skip
    assert "1 about answers that nobody gave here (the first: line" in after["prose"][2]
    by = {row["method"]: row for row in after["methods"]}
    agree = [name for name, row in by.items() if row["people_win_rate"] == row["gold_win_rate"]]
    assert len(agree) >= len(by) - 1  # all but whose pair is missing
    assert after["rank_correlation_people"].keys() == {"spearman", "lower", "upper"}
    (table,) = [table for table in after["tables"] if table["title"].startswith("Win rates")]
    assert "by people" in table["columns"]


def test_peoples_labels_about_other_prompts_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    row = {"instruction": "who are you", "output_1": "a", "output_2": "b", "preference": 1}
    write_jsonl(tmp_path / "people.jsonl", [row])
    with pytest.raises(InputError, match=r"no label is about a prompt of data\.evaluation \(1 ask other prompts\)"):
        build_alpaca_farm(settings(f"data.people={tmp_path / 'people.jsonl'}"), tmp_path / "out", dry=True)


# ---------------------------------------------------------------------- labels


HH = "\n\nHuman: What is a fig?\n\nAssistant:"
SHAPES: dict[str, tuple[list[Mapping[str, Any]], list[tuple[str, str, float]]]] = {
    "AlpacaFarm": (
        [
            {"instruction": "Name a fruit.", "input": "", "output_1": "Fig.", "output_2": "Oak.", "preference": 1},
            {"instruction": "Name", "input": "a tree", "output_1": "Fig.", "output_2": "Oak.", "preference": 2},
            {"instruction": "Name a bird.", "input": "", "output_1": "Owl.", "output_2": "Emu.", "preference": 1.5},
        ],
        [("Name a fruit.", "Fig.", 1.0), ("Name\n\na tree", "Oak.", 1.0)],
    ),
    "UltraFeedback": (
        [
            {
                "prompt": "Name a fruit.",
                "prompt_id": "9f",
                "chosen": [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "Fig."}],
                "rejected": [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "Oak."}],
                "messages": [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "Fig."}],
                "score_chosen": 8.5,
                "score_rejected": 3.0,
            }
        ],
        [("Name a fruit.", "Fig.", 1.0)],
    ),
    "HH": ([{"chosen": f"{HH} A fruit.", "rejected": f"{HH} A tree."}], [("What is a fig?", "A fruit.", 1.0)]),
    "Chatbot Arena": (
        [
            {
                "question_id": "58",
                "model_a": "one",
                "model_b": "two",
                "winner": winner,
                "judge": "arena_user_9",
                "conversation_a": [{"role": "user", "content": asked}, {"role": "assistant", "content": "Fig."}],
                "conversation_b": [{"role": "user", "content": asked}, {"role": "assistant", "content": "Oak."}],
                "turn": 1,
                "language": "English",
            }
            for asked, winner in (("Name a fruit.", "model_a"), ("Name a tree.", "model_b"), ("Hi", "tie (bothbad)"))
        ],
        [("Name a fruit.", "Fig.", 1.0), ("Name a tree.", "Oak.", 1.0)],
    ),
    "soft": (
        [{"instruction": "Name a fruit.", "output_1": "Oak.", "output_2": "Fig.", "preference": 1.75}],
        [("Name a fruit.", "Fig.", 0.75)],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_labelled_pairs_of_every_shape(tmp_path: Path, shape: str) -> None:
    rows, wanted = SHAPES[shape]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    changes = ("labels=file", f"data.preference={tmp_path / 'pairs.jsonl'}")
    recipe = build_alpaca_farm(settings(*changes, methods={"DPO": SOME["DPO"]}), tmp_path / "out", dry=True)
    found = []
    for row in recipe.material.given or ():
        read = read_preference(row)
        found.append((read.prompt[-1]["content"], read.chosen[-1]["content"].strip(), row.get("preference", 1.0)))
    assert found == wanted
    left = len(rows) - len(wanted)
    assert any("1 ties left out" in fact for fact in outline(recipe).facts) == bool(left)


def test_a_file_without_a_better_answer_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", [{"instruction": "x", "output_1": "a", "output_2": "b", "preference": 1.5}])
    changes = ("labels=file", f"data.preference={tmp_path / 'pairs.jsonl'}")
    with pytest.raises(InputError, match=r"no label names a better answer \(1 ties\)"):
        build_alpaca_farm(settings(*changes), tmp_path / "out", dry=True)


@pytest.mark.parametrize("model", ["uniform_flip", "length", "difficulty"])
def test_what_noise_says(tmp_path: Path, model: str) -> None:
    """Rows without a verdict are noise; what each model of it does to them, in the pairs that are learned from."""
    noisy = {"annotators": {"pool": "synthetic", "p_label_flip": 0.25, "noise_model": model}, "labels": "simulated"}
    data = FARM["data"] | {"preference": "sandbox:prompts?n=160"}
    more = {"methods": {}, "opponents": ["sandbox:scholar"], "data": data, "judge": "sandbox:judge"}
    result = run(tmp_path, settings(**noisy | more))
    rows = lines(tmp_path / "data" / "pairs.jsonl")
    noise, asked = ([row for row in rows if bool(row["verdicts"]) == said] for said in (False, True))
    assert len(noise) == result.summary["labels"]["drawn_by_noise"]
    assert 0.3 < len(noise) / len(rows) < 0.7
    longer = sum(_length(row, "chosen") > _length(row, "rejected") for row in noise)
    shorter = sum(_length(row, "chosen") < _length(row, "rejected") for row in noise)
    if model == "length":
        assert longer > 10
        assert shorter == 0
    else:
        assert abs(longer - shorter) < 0.35 * (longer + shorter)
    alike = [sum(map(_alike, some)) / len(some) for some in (noise, asked)]
    assert (alike[0] > 1.3 * alike[1]) == (model == "difficulty")


def _length(row: Mapping[str, Any], side: str) -> int:
    return len(row[side][0]["content"])


def _alike(row: Mapping[str, Any]) -> float:
    """By letters in place, another measure than the noise's own."""
    return SequenceMatcher(None, row["chosen"][0]["content"], row["rejected"][0]["content"]).ratio()


# ---------------------------------------------------------------------- what cannot run


def test_a_baseline_without_answers_is_refused(tmp_path: Path) -> None:
    asked = [{"prompt": "reverse: kalom"}, {"prompt": "spell: tarin"}]
    write_jsonl(tmp_path / "test.jsonl", asked)
    write_jsonl(tmp_path / "old.jsonl", [{"instruction": "reverse: kalom", "output": "molak"}])
    changes = [f"data.evaluation={tmp_path / 'test.jsonl'}", f"opponents=[{{spec: 'file:{tmp_path / 'old.jsonl'}'}}]"]
    with pytest.raises(InputError, match="no answer for 1 of 2 prompts"):
        build_alpaca_farm(settings(*changes, "baseline=old"), tmp_path / "out", dry=True)
    write_jsonl(
        tmp_path / "old.jsonl", [{"instruction": row["prompt"], "output": "molak"} for row in asked]
    )  # of evaluation prompts alone
    assert build_alpaca_farm(settings(*changes, "baseline=old"), tmp_path / "out", dry=True).recorded["old"]
    write_jsonl(tmp_path / "old.jsonl", [{"instruction": "who are you", "output": "me"}])
    with pytest.raises(InputError, match=r"baseline old: no answer to any of the 2 prompts of data\.evaluation"):
        build_alpaca_farm(settings(*changes, "baseline=old", "allow_missing=true"), tmp_path / "out", dry=True)


REFUSED = {
    "data.unlabeled=null": "data.unlabeled: Expert iteration learns from samples to prompts: name some",
    "eval_pairs=20": "eval_pairs: 20 of at most 20 pairs leave none to learn from",
    "judge={spec: annotators, options: {pol: x}}": "judge annotators, options: unknown key 'pol' (did you mean",
    "judge={spec: annotators, options: {p_label_flip: 0.6}}": "judge annotators, options: p_label_flip: ",
    "methods={P: {method: ppo, reward: 'reward:nowhere/RM'}}": "methods.P: nowhere/RM",
    "seats=seeded": "with judge annotators set seat_mode in its options",
    "labels=file": "labels: file reads labelled pairs: data.preference must be a file, not sandbox:prompts?n=20",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_cannot_run_is_refused_in_one_line(tmp_path: Path, change: str) -> None:
    data = FARM["data"] | {"preference": "sandbox:prompts?n=20"}
    changes = ["judge=annotators", "annotators.pool=synthetic"] if change == "seats=seeded" else []
    with pytest.raises((ConfigError, InputError)) as refused:
        build_alpaca_farm(settings(*changes, change, data=data), tmp_path / "out", dry=True)
    assert REFUSED[change] in str(refused.value)
    assert "\n" not in str(refused.value)
