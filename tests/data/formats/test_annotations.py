from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from arenaloop.data.formats import read_annotations, read_difficulty
from arenaloop.errors import InputError


def row(instruction: str, model: str, preference: object, output: str = "xyz", **more: object) -> dict:
    return {
        "instruction": instruction, "output_1": "base text", "output_2": output, "generator_1": "base",
        "generator_2": model, "dataset": "d", "annotator": "a", "preference": preference, **more,
    }  # fmt: skip


def write(path: Path, rows: list) -> Path:
    path.write_text(json.dumps(rows))
    return path


def test_annotations_of_many_models_in_one_file(tmp_path: Path) -> None:
    rows = [row("i1", "m", 1.8, "four"), row("i2", "m", None), row("i1", "n", 0), row("i2", "n", 2, "")]
    annotations = read_annotations(write(tmp_path / "a.json", rows), "base")
    assert annotations.models == ("m", "n")
    assert annotations.prompts == ("i1", "i2")
    assert annotations.model.tolist() == [0, 0, 1, 1]
    assert annotations.prompt.tolist() == [0, 1, 0, 1]
    assert annotations.preference[[0, 2, 3]].tolist() == [1.8, 1.5, 2.0]
    assert math.isnan(annotations.preference[1])
    assert annotations.length_model.tolist() == [4, 3, 3, 0]
    assert annotations.length_baseline.tolist() == [9] * 4


def test_the_baseline_may_stand_on_either_side(tmp_path: Path) -> None:
    swapped = {
        "instruction": "i1", "output_1": "mine", "output_2": "its longer text", "generator_1": "m",
        "generator_2": "base", "preference": 1.2,
    }  # fmt: skip
    other = {**swapped, "generator_2": "third"}
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in (swapped, other)))
    annotations = read_annotations(path, "base")
    assert annotations.preference.tolist() == [pytest.approx(1.8)]
    assert (annotations.length_model[0], annotations.length_baseline[0]) == (4, 15)
    assert annotations.skipped == 1


def test_inputs_are_part_of_the_prompt(tmp_path: Path) -> None:
    rows = [row("i", "m", 1, input="one"), row("i", "m", 2, input="two"), row("i", "m", 2, input="")]
    assert len(read_annotations(write(tmp_path / "a.json", rows), "base").prompts) == 3


def test_repeated_outputs_are_noticed(tmp_path: Path) -> None:
    rows = [row(f"i{k}", "gamer", 2, "always this") for k in range(6)] + [
        row(f"i{k}", "m", 2, f"t{k}") for k in range(6)
    ]
    assert read_annotations(write(tmp_path / "a.json", rows), "base").repeated == {"gamer"}


def test_battles_serve_as_annotations(tmp_path: Path) -> None:
    rows = [
        {"model_a": "m", "model_b": "base", "winner": "model_a", "prompt_id": 1, "length_a": 10, "length_b": 20},
        {"model_a": "base", "model_b": "m", "winner": "tie", "prompt_id": 2, "length_a": 30, "length_b": 40},
        {"model_a": "base", "model_b": "m", "winner": "error", "prompt_id": 3},
    ]
    annotations = read_annotations(write(tmp_path / "a.json", rows), "base")
    assert annotations.preference[:2].tolist() == [2.0, 1.5]
    assert math.isnan(annotations.preference[2])
    assert annotations.length_model[:2].tolist() == [10, 40]
    assert annotations.length_baseline[:2].tolist() == [20, 30]


@pytest.mark.parametrize(
    ("rows", "baseline", "message"),
    [
        ([row("i", "m", 1)], "bose", "did you mean 'base'"),
        ([row("i", "m", 3)], "base", "line 1: column preference: 3: 1 of 1 rows lack a preference"),
        ([row("i", "m", "two")], "base", "line 1: column preference: 'two'"),
        ([{"instruction": "i", "preference": 1}], "base", "missing column generator_1, generator_2 "),
        ([], "base", "no rows in it"),
    ],
)
def test_bad_annotations_are_user_errors(tmp_path: Path, rows: list, baseline: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_annotations(write(tmp_path / "a.json", rows), baseline)


def test_difficulty_by_instruction(tmp_path: Path) -> None:
    rows = [{"instruction": "i", "difficulty": 0.5}, {"instruction": "j", "input": "k", "instruction_difficulty": -1}]
    assert read_difficulty(write(tmp_path / "g.json", rows)) == {"i": 0.5, "j\n\nk": -1.0}
    with pytest.raises(InputError, match="line 1: wants 'instruction' and a number"):
        read_difficulty(write(tmp_path / "g.json", [{"instruction": "i", "difficulty": None}]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"generator_1": "B", "generator_2": "q", "preference": 1, "instruction": ["i"]}, "must be text"),
        ({"model_a": "B", "model_b": "q", "winner": "tie", "prompt_id": [1]}, "must be text or a number"),
    ],
)
def test_keys_that_cannot_join_are_named(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(InputError, match=rf"line 1: .*{message}"):
        read_annotations(path, "B")


def test_a_winner_that_is_no_text_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"model_a": "B", "model_b": "q", "winner": ["tie"], "prompt_id": 1}]))
    with pytest.raises(InputError, match=r"line 1: column winner: \"a list: \['tie'\]\""):
        read_annotations(path, "B")


def test_a_difficulty_without_a_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gamma.json"
    path.write_text(json.dumps([{"instruction": ["i"], "difficulty": 1}]))
    with pytest.raises(InputError, match="line 1: 'instruction' must be text"):
        read_difficulty(path)
