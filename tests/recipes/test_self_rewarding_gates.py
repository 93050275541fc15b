"""Gates before training, and the choice of checkpoints, in whole small runs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_recipe
import torch
from small_self import META, SELF, build, run, settings

from arenaloop.arena.board import Leaderboard, Row
from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import JsonRow, write_jsonl
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.self_rewarding_calls import outline
from arenaloop.recipes.self_rewarding_checkpoints import Tried, first_of_best, spacing
from arenaloop.recipes.self_rewarding_costs import estimate_costs
from arenaloop.recipes.self_rewarding_run import NoPairsError
from arenaloop.recipes.self_rewarding_tables import best_stage
from arenaloop.recipes.stage import Result
from arenaloop.sandbox.tasks import draw
from arenaloop.types import Completion, Request, derive_seed

torch.set_num_threads(1)

ONE = ("iterations=1", "data.prompts=sandbox:prompts?n=8")


class Heard(Observer):
    """Notes what is said, and can stop a run at a phase."""

    def __init__(self, stop_at: tuple[str, str] | None = None) -> None:
        self.notes: list[str] = []
        self.phases: list[tuple[str, str]] = []
        self._stop_at = stop_at

    def phase(self, stage: str, doing: str) -> None:
        self.phases.append((stage, doing))
        if (stage, doing) == self._stop_at:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.notes.append(text)


def rows_of(out: Path, stage: str) -> list[JsonRow]:
    return [json.loads(line) for line in (out / "data" / f"{stage}.jsonl").read_text("utf-8").splitlines()]


def table(result: Result, title: str) -> list[dict[str, Any]]:
    (found,) = [one for one in result.summary["tables"] if one["title"] == title]
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def varied(request: Request) -> Completion | None:
    """Judgements that differ and know nothing; verdicts on them are the sandbox's own."""
    if "Winner: A" in request.messages[0]["content"]:
        return None
    lot = derive_seed("varied", request.key)
    return Completion(text=f"Reason {lot % 97}.\nScore: {lot % 6}", finish_reason="stop")


def test_judgements_are_not_learned_from_where_verdicts_on_them_are_not_shown_to_be_right(tmp_path: Path) -> None:
    def first(request: Request) -> Completion | None:
        text = "Winner: A" if "Winner: A" in request.messages[0]["content"] else None
        return varied(request) if text is None else Completion(text=text, finish_reason="stop")

    heard = Heard()
    recipe, _ = build(settings(META, *ONE, "gates.meta=0.5"), tmp_path, first)
    result = run(tmp_path, recipe, heard)
    assert not any("judgements" in row for row in rows_of(tmp_path, "M2"))
    order, meta = table(result, "Gates before training")
    assert (order["gate"], order["against"], order["limit"]) == ("order", "truth", 0.5)
    assert (meta["gate"], meta["right"], meta["passed"]) == ("meta", 0.5, "no")  # each pair once right, once wrong
    assert meta["n"] > 0
    assert meta["lower"] < 0.5 < meta["upper"]
    assert any("gate gates.meta: 0.500 of" in note and "not learned from" in note for note in heard.notes)
    (compared,) = table(result, "How the model judged its judgements")
    assert compared["pairs"] == 0
    judging = result.summary["stages"][1]["selection"]["judging"]
    assert judging["judge_rows_refused"] + sum(judging["judge_dropped"].values()) > 0
    assert "gates.meta" in judging["stopped"]


def test_a_gate_on_the_order_of_answers_warns_or_stops(tmp_path: Path) -> None:
    heard = Heard()
    recipe, asked = build(settings(META, *ONE, "gates.order=0.99"), tmp_path, varied)
    result = run(tmp_path, recipe, heard)
    assert rows_of(tmp_path, "M2")
    assert table(result, "Gates before training")[0]["passed"] == "no"
    assert any("gate order (gates.order): " in note and "learned from all the same" in note for note in heard.notes)
    verdicts = sum("Winner: A" in request.messages[0]["content"] for request in asked)
    strict = settings(META, *ONE, "gates.order=0.99", "gates.order_failed=stop")
    stopping, asked = build(strict, tmp_path / "strict", varied)
    with pytest.raises(
        NoPairsError, match=r"^M2: gate order \(gates\.order\): [01]\.\d+ of \d+ pairs .* the limit is 0.99$"
    ):
        run(tmp_path / "strict", stopping)
    assert verdicts > 0
    assert not any("Winner: A" in request.messages[0]["content"] for request in asked)  # nothing is asked behind it


def test_answers_whose_worth_is_unknown_are_in_no_gate_and_no_correlation(tmp_path: Path) -> None:
    built, _ = build(settings(META, *ONE, "gates.order=0.5", "gates.meta=0.0"), tmp_path, varied)
    recipe = replace(built, truth=lambda prompt, response: None, utility=lambda prompt, response: None)
    result = run(tmp_path, recipe)
    gates = table(result, "Gates before training")
    assert [(one["gate"], one["passed"], one["n"]) for one in gates] == [
        ("order", "not measured", 0),
        ("meta", "not measured", 0),
    ]
    judging = result.summary["stages"][1]["selection"]["judging"]
    assert judging["judge_spearman"] is None
    assert table(result, "How the model judged answers")[0]["truth_unknown"] == judging["truth_unknown"] > 0
    assert result.summary["stages"][1]["gold_utility"] is None


def labelled(path: Path) -> str:
    """A right and a wrong answer to each of some tasks, with people's scores."""
    rows = []
    for task in draw(14, 5, "dev"):
        asked = {"role": "user", "content": task.prompt.last_user}
        for text, score in ((task.answer, 5), ("zzz", 0)):
            rows.append({"messages": [asked, {"role": "assistant", "content": text}], "score": score})
    write_jsonl(path, rows)
    return str(path)


@pytest.mark.long
def test_gates_on_a_labelled_set(tmp_path: Path) -> None:
    """A model that fails there is not even asked to compare its own judgements; another one passes."""
    file = labelled(tmp_path / "labelled.jsonl")

    def judge(right: bool) -> Any:
        def say(request: Request) -> Completion | None:
            text = request.messages[0]["content"]
            lot = derive_seed("said", request.key)
            if "Winner: A" not in text:
                best = 1 if "\nzzz\n" in text else 4
                return Completion(text=f"Reason {lot % 97}.\nScore: {best + lot % 2}", finish_reason="stop")
            one, two = (int(part[0]) for part in text.split("Score: ")[-2:])
            low = "\nzzz\n" in text
            nearer = one == two or ((one < two) == low)
            return Completion(text=f"Winner: {'A' if nearer == right else 'B'}", finish_reason="stop")

        return say

    changes = (*ONE, f"gates.labelled={file}", "gates.meta=0.5", "self_judge.votes=4")
    wrong, _ = build(settings(META, *changes), tmp_path / "wrong", judge(False))
    refused = run(tmp_path / "wrong", wrong)
    order, meta = table(refused, "Gates before training")
    assert (order["against"], order["n"], order["right"], order["passed"]) == ("labelled", 14, 1.0, "yes")
    assert (meta["against"], meta["right"], meta["passed"]) == ("labelled", 0.0, "no")
    assert not any(one["title"] == "How the model judged its judgements" for one in refused.summary["tables"])
    right, asked = build(settings(META, *changes), tmp_path / "right", judge(True))
    passed = run(tmp_path / "right", right)
    assert table(passed, "Gates before training")[1]["passed"] == "yes"
    assert any("judgements" in row for row in rows_of(tmp_path / "right", "M2"))
    for at in (("M2", "labelled answers scored"), ("M2", "judgements compared"), ("M2", "training")):
        out = tmp_path / at[1]
        first, heard = build(settings(META, *changes), out, judge(True))
        with pytest.raises(KeyboardInterrupt):
            run(out, first, Heard(stop_at=at))
        again, later = build(settings(META, *changes), out, judge(True))
        assert lasting(run(out, again)) == lasting(passed)
        assert len(heard) + len(later) == len(asked)


def test_a_gate_that_cannot_be_measured_blocks_only_where_it_is_told_to(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    write_jsonl(file, [{"prompt": task.prompt.last_user} for task in draw(8, 3, "train")])
    data = META["data"] | {"prompts": str(file)}
    for unmeasured, learned in (("pass", True), ("fail", False)):
        out = tmp_path / unmeasured
        changes = ("iterations=1", "gates.meta=0.5", f"gates.unmeasured={unmeasured}")
        recipe, _ = build(settings(META, *changes, data=data), out, varied)
        result = run(out, recipe)
        found = table(result, "Gates before training")
        assert [(one["passed"], one["right"]) for one in found] == [("not measured", None)] * 2
        assert any("judgements" in row for row in rows_of(out, "M2")) == learned


def test_judgements_are_learned_from_no_earlier_than_told(tmp_path: Path) -> None:
    recipe, _ = build(settings(META, "meta.begin=2"), tmp_path, varied)
    run(tmp_path, recipe)
    assert [any("judgements" in row for row in rows_of(tmp_path, stage)) for stage in ("M2", "M3")] == [False, True]


# ---------------------------------------------------------------------- checkpoints


def test_checkpoints_are_evenly_spaced_and_the_earliest_of_the_best_is_taken() -> None:
    assert [spacing(*one) for one in ((40, 4), (41, 4), (3, 4), (7, 1))] == [10, 11, 1, 7]
    tried = [Tried(s, v, None, None, 5) for s, v in ((10, 0.4), (20, 0.6), (30, 0.6 + 1e-12), (40, None))]
    assert first_of_best(tried).step == 20
    assert first_of_best([one._replace(value=None) for one in tried]).step == 40


CHOICE = ("data.validation=sandbox:prompts?n=5&split=dev", "checkpoints.keep=3", "dpo.max_steps=5")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, list[Request]]:
    out = tmp_path_factory.mktemp("chosen")
    recipe, asked = build(settings(SELF, *CHOICE), out)
    return out, run(out, recipe), asked


def lasting(result: Result) -> dict[str, Any]:
    plain = small_recipe.lasting(result.summary)
    return {key: plain[key] for key in ("stages", "tables", "best", "battles_wanted", "verdicts_ok")}


def row(model: str, rating: float | None, lower: float, upper: float) -> Row:
    return Row(1, model, rating, lower, upper, 10, 0.5)


def test_the_best_stage_is_rated_highest_and_those_within_its_reach_are_told(tmp_path: Path) -> None:
    rows = [row("other", 1300, 1200, 1400), row("M3", 1100, 1050, 1150), row("M2", 1100, 1050, 1150)]
    rows += [row("M4", 1090, 1020, 1099), row("M1", 900, 850, 950), row("M5", None, 0, 0)]
    board = Leaderboard("bt", "sandwich", 0.95, "prompt", 10, 0, 0, (), tuple(rows))
    paths = {f"M{n}": tmp_path / f"checkpoints/M{n}" for n in range(2, 6)} | {"M1": Path("/elsewhere/start")}
    found = best_stage(board, paths, tmp_path)
    assert found is not None
    assert (found["stage"], found["path"], found["alike"]) == ("M2", "checkpoints/M2", ["M3"])
    alone = best_stage(board, {"M1": paths["M1"]}, tmp_path)
    assert alone is not None
    assert (alone["path"], alone["alike"]) == ("/elsewhere/start", [])
    assert best_stage(board, {"M5": tmp_path}, tmp_path) is None


def test_the_best_checkpoint_of_an_iteration_is_its_model(chosen: tuple[Path, Result, list[Request]]) -> None:
    out, result, _ = chosen
    rows = table(result, "Checkpoints by the validation prompts")
    assert [(row["model"], row["step"]) for row in rows] == [(m, s) for m in ("M2", "M3") for s in (2, 4, 5)]
    assert {row["by"] for row in rows[:3]} == {"judge sandbox-judge against M1"}
    for name, some in (("M2", rows[:3]), ("M3", rows[3:])):
        (taken,) = [row for row in some if row[""] == "taken"]
        assert taken["value"] == max(row["value"] for row in some)
        stage = next(one for one in result.summary["stages"] if one["name"] == name)
        told = stage["selection"]["checkpoint"]
        wanted = f"checkpoints/{name}" + ("" if taken["step"] == 5 else f"/policy-{taken['step']}")
        assert (told["step"], told["path"]) == (taken["step"], wanted)
        assert (out / told["path"] / "model.safetensors").is_file()
    best = result.summary["best"]
    assert (out / best["path"] / "model.safetensors").is_file()
    assert best["by"] == "the leaderboard"
    started = json.loads((out / "checkpoints" / "M3" / "training.json").read_text())["start"]
    assert started == str(out / result.summary["stages"][1]["selection"]["checkpoint"]["path"])


@pytest.mark.parametrize("at", [("M2", "checkpoints tried"), ("M2", "test answers"), ("M3", "checkpoints tried")])
def test_a_choice_that_is_killed_comes_to_the_same(
    chosen: tuple[Path, Result, list[Request]], tmp_path: Path, at: tuple[str, str]
) -> None:
    _, result, asked = chosen
    first, heard = build(settings(SELF, *CHOICE), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, first, Heard(stop_at=at))
    again, later = build(settings(SELF, *CHOICE), tmp_path)
    assert lasting(run(tmp_path, again)) == lasting(result)
    assert len(heard) + len(later) == len(asked)
    assert max(Counter(request.key for request in (*heard, *later)).values()) == 1


def test_checkpoints_by_the_models_own_scores_after_a_run_without_them(tmp_path: Path) -> None:
    plain, _ = build(settings(SELF, *ONE, "dpo.max_steps=4"), tmp_path)
    run(tmp_path, plain)
    heard = Heard()
    own = (*ONE, "dpo.max_steps=4", CHOICE[0], "checkpoints.keep=2", "checkpoints.by=self")
    recipe, asked = build(settings(SELF, *own), tmp_path)
    result = run(tmp_path, recipe, heard)
    rows = table(result, "Checkpoints by the validation prompts")
    assert [row["step"] for row in rows] == [2, 4]
    assert all(row["by"] == "mean score by M1" and 0 <= row["value"] <= 5 for row in rows)
    assert any("trained again" in note for note in heard.notes)
    validation = {one.last_user for one in recipe.material.validation}
    assert asked
    assert all(any(text in request.messages[0]["content"] for text in validation) for request in asked)


# ---------------------------------------------------------------------- before it runs


def test_the_plan_tells_of_gates_and_counts_what_a_choice_asks(tmp_path: Path) -> None:
    file = labelled(tmp_path / "labelled.jsonl")
    checked = settings(META, *CHOICE, f"gates.labelled={file}", "gates.meta=0.5", "meta.begin=2")
    recipe, _ = build(checked, tmp_path / "run")
    facts = outline(recipe).facts
    assert "gates order and meta on 28 labelled answers" in facts
    assert "the best of 3 checkpoints on 5 validation prompts by the judge" in facts
    found = {what: n for what, _, n in outline(recipe).calls}
    assert found["M2"] == (8 * 3 + 28) * 3
    assert found["M3"] == found["M2"] + (8 + 28) * 6
    assert found["checkpoints of M2"] == 3 * 5 * 2
    calls = {(part.stage, part.what): part.calls for part in estimate_costs(recipe, tmp_path, None).parts}
    assert calls["M2", "scores"] == found["M2"]
    assert calls["M2", "validation answers"] == 4 * 5
    assert calls["M2", "validation verdicts"] == 30
    own, _ = build(settings(SELF, *CHOICE, "checkpoints.by=self", "gates.order=null"), tmp_path / "own")
    assert "no gates" in outline(own).facts
    calls = {(part.stage, part.what): part.calls for part in estimate_costs(own, tmp_path, None).parts}
    assert (calls["M2", "validation answers"], calls["M2", "validation scores"]) == (3 * 5, 3 * 5 * 3)
    assert ("M2", "validation verdicts") not in calls


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (("meta.begin=2", "meta.iterations=2"), r"meta\.begin 2: judgements are learned from until iteration 3"),
        (("gates.labelled=nowhere.jsonl",), "nowhere.jsonl"),
        (("gates.meta=1.0",), r"gates\.meta: Input should be less than 1"),
        (("checkpoints.keep=0",), r"checkpoints\.keep: Input should be greater than or equal to 1"),
        (("data.validation=sandbox:prompts?n=4&split=test",), r"every prompt of data\.validation is a test prompt"),
    ],
)
def test_refusals(changes: tuple[str, ...], says: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, InputError), match=says):
        build(settings(META, *changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
