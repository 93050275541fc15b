"""Every row that docs/files.md shows is read by the reader of its kind."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.formats.judgments import battles_from_rows
from arenaloop.data.formats.labels import read_labels
from arenaloop.data.formats.training_rows import read_conversation, read_preference
from arenaloop.data.prompts import read_prompt
from arenaloop.models.recorded_rows import read_answer

PAGE = (Path(__file__).parents[3] / "docs" / "files.md").read_text("utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[dict[str, Any]]:
    blocks = re.findall(r"^```json\n(.*?)^```", section(title), re.M | re.S)
    found = [json.loads(line) for block in blocks for line in block.splitlines()]
    for block in re.findall(r"^```csv\n(.*?)^```", section(title), re.M | re.S):
        found += csv.DictReader(io.StringIO(block))
    assert found
    return found


def test_prompts() -> None:
    shown = rows("Prompts")
    apart = [row for row in shown if "choices" in row]  # FastChat's references, which stand in files of their own
    assert [read_answer(row, str)[1] for row in apart] == [["…", "…"]]
    read = [read_prompt(row) for row in shown if row not in apart]
    assert [len(prompt.references) for prompt in read] == [0] * 5 + [2, 0, 1]


def test_recorded_answers() -> None:
    assert {text for row in rows("Recorded answers") for text in read_answer(row, str)[1]} == {
        "Mars", "Hello", "first", "second",
    }  # fmt: skip


def test_labels(tmp_path: Path) -> None:
    path, read = tmp_path / "shown.json", []
    for row in rows("Labels"):
        path.write_text(json.dumps([row]))
        read += [label.preference for label in read_labels(path)]
    assert read == [1.0, 1.0, 1.5, 1.0]


def test_battles_and_judgments() -> None:
    shown = re.findall(r"^\| [^|]+ \| `(\{.*\})` \|", section("Battles and judgments"), re.M)
    assert len(shown) == 8
    for text in shown:
        row = json.loads(text)
        both = [row, {**row, "model": "n", "score": 9}] if "single-v1" in text else [row]
        battles = battles_from_rows(enumerate(both, 1), "shown")
        assert len(battles) == (2 if "games" in row else 1)


@pytest.mark.parametrize("row", rows("Training rows"), ids=lambda row: "-".join(row))
def test_training_rows(row: dict[str, Any]) -> None:
    if "rejected" in row:
        assert read_preference(row).rejected[-1]["content"] == "No"
    else:
        assert read_conversation(row).completion[-1]["role"] == "assistant"
