"""Demonstrations: what is read, and every malformed row by file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.demonstrations import read_demonstrations
from arenaloop.errors import InputError

USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_all_forms_are_kept_as_they_are(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "system", "content": "s"}, USER, ANSWER, USER, ANSWER], "source": "x"},
        {"prompt": [USER], "completion": [ANSWER]},
        {"messages": [USER, ANSWER, {"role": "tool", "content": "4"}, ANSWER]},
        {"prompt": "hi", "completion": "hello"},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}], "id": "x"},
        {"instruction": "hi", "input": "", "output": "hello"},
    ]
    assert read_demonstrations(write(tmp_path / "d.jsonl", *rows)) == rows


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [USER]}, "does not end with an assistant"),
        ({"messages": [ANSWER]}, "no turn before the answer"),
        ({"messages": []}, "'messages' is not a list of messages (it is empty)"),
        ({"messages": "hi"}, "not a list"),
        ({"messages": [USER, {"role": "bot", "content": "x"}]}, "(message 2: role 'bot', content)"),
        ({"messages": [USER, {"role": "assistant"}]}, "(message 2: role 'assistant')"),
        ({"prompt": [USER]}, "no column 'completion'; found: prompt"),
        ({"prompt": [], "completion": [ANSWER]}, "no turn before the answer"),
        ({"prompt": "q", "completion": "a", "tools": [{"name": "f"}]}, "the column 'tools' changes what the row means"),
        ({"messages": [USER, ANSWER], "prompt": "other"}, "'prompt' and 'messages' say different things"),
        ({"text": "x"}, "found: text"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_demonstrations(write(tmp_path / "d.jsonl", {"messages": [USER, ANSWER]}, row))
    message = str(caught.value)
    assert "d.jsonl" in message
    assert "line 2" in message
    assert says in message
    assert "\n" not in message


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file is empty"):
        read_demonstrations(write(tmp_path / "d.jsonl"))
