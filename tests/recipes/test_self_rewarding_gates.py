"""Gates before training, and the choice of checkpoints, in whole small runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import small_recipe
import torch
from small_self import META, SELF, build, run, settings

from arenaloop.jsonl import JsonRow, write_jsonl
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.self_rewarding_checkpoints import Tried, first_of_best, spacing
from arenaloop.recipes.self_rewarding_run import NoPairsError
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


def labelled(path: Path) -> str:
    """A right and a wrong answer to each of some tasks, with people's scores."""
    rows = []
    for task in draw(14, 5, "dev"):
        asked = {"role": "user", "content": task.prompt.last_user}
        for text, score in ((task.answer, 5), ("zzz", 0)):
            rows.append({"messages": [asked, {"role": "assistant", "content": text}], "score": score})
    write_jsonl(path, rows)
    return str(path)


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
    right, _ = build(settings(META, *changes), tmp_path / "right", judge(True))
    passed = run(tmp_path / "right", right)
    assert table(passed, "Gates before training")[1]["passed"] == "yes"
    assert any("judgements" in row for row in rows_of(tmp_path / "right", "M2"))


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
