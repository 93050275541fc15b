"""A file that holds no battles is told what it looks like, and what would make battles of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arenaloop.data.formats import read_annotations, read_battles
from arenaloop.errors import InputError


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            {"dataset": "d", "instruction": "q", "output": "o", "generator": "m"},
            "one model's answers: .* battle --model",
        ),
        ({"question_id": 1, "model_id": "m", "choices": []}, "one model's answers"),
        (
            {"instruction": "q", "output_1": "a", "output_2": "b", "preference": 1.0},
            "annotations without generator_1, generator_2: add the models' names",
        ),
        ({"instruction": "q", "output_1": "a", "output_2": "b"}, "pairs of answers that nobody has judged"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "training pairs"),
        ({"instruction": "q"}, "these look like prompts"),
        ({"x": 1}, r"\(found: x\)$"),
    ],
)
def test_what_a_file_looks_like(tmp_path: Path, row: dict[str, object], told: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps([row]))
    for reader in (read_battles, lambda file: read_annotations(file, "base")):
        with pytest.raises(InputError, match=f"missing column .*{told}"):
            reader(path)


def test_of_json_on_one_line_the_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    rows = [{"model_a": "a", "model_b": "b", "winner": "model_a"} for _ in range(40)]
    path.write_text(json.dumps([*rows, {"model_a": "a", "model_b": "b", "winner": "nobdy"}]))
    assert any("first row 41" in note for note in read_battles(path).notes)
    path.write_text(json.dumps([*rows, {"model_a": "a", "model_b": "b", "winner": "nobdy"}], indent=0))
    assert any("first line 202" in note for note in read_battles(path).notes)
