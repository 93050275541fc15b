"""Rows of a pool: what is read of files, and what is kept on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.cleaning.rows import BenchmarkItem, Drop, Row, Spool, benchmark_items, pool_rows, prompt_rows
from arenaloop.errors import InputError
from arenaloop.types import Prompt

USER: dict[str, Any] = {"role": "user", "content": "What is  2?"}
ASSISTANT: dict[str, Any] = {"role": "assistant", "content": "A number."}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"instruction": "Sum up:", "input": "a b", "output": "c"}, "sum up a b"),
        ({"prompt": "What is  2?"}, "what is 2"),
        ({"turns": ["One?", "Two?"], "question_id": 81}, "one \n two"),
        ({"messages": [{"role": "system", "content": "Be kind."}, USER]}, "what is 2"),
        ({"messages": [USER, ASSISTANT, {"role": "user", "content": "Why?"}]}, "what is 2 \n why"),
        ({"messages": [USER, ASSISTANT]}, "what is 2"),
        ({"conversation": [USER, ASSISTANT], "model": "m", "language": "English", "redacted": False}, "what is 2"),
        ({"conversations": [{"from": "human", "value": "Hi!"}, {"from": "gpt", "value": "Hello."}]}, "hi"),
    ],
)
def test_prompts_and_conversations(tmp_path: Path, row: dict[str, Any], form: str) -> None:
    (read,) = pool_rows(written(tmp_path / "pool.jsonl", row | {"mine": [1, {"x": None}]}))
    assert read.form == form
    assert read.cells == row | {"mine": [1, {"x": None}]}, "every column stays"
    assert read.line == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "What?", "choices": ["a"]}, "column choices"),
        ({"asked": "What?"}, "no column messages, turns, prompt, instruction or question"),
        ({"messages": []}, "a prompt ends with a user turn"),
        ({"messages": [{"role": "system", "content": "Be kind."}]}, "ends with the system's turn"),
        ({"conversation": "hi"}, "conversation"),
    ],
)
def test_a_row_without_a_user_turn_is_named(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    path = written(tmp_path / "pool.jsonl", {"prompt": "fine"}, row)
    with pytest.raises(InputError, match=rf"pool.jsonl, line 2: .*{says}"):
        list(pool_rows(path))


def test_benchmarks(tmp_path: Path) -> None:
    path = written(tmp_path / "test.jsonl", {"turns": ["One?", "Two?"]}, {"turns": ["Three?"]})
    assert [(item.name, item.prompt.last_user) for item in benchmark_items(path)] == [
        ({"file": str(path), "line": 1}, "One?"),
        ({"file": str(path), "line": 2}, "Three?"),
    ]
    answered = written(tmp_path / "answers.jsonl", {"messages": [USER, ASSISTANT]})
    with pytest.raises(InputError, match=r"answers.jsonl, line 1: a prompt ends with a user turn"):
        benchmark_items(answered)
    (tmp_path / "blank.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"blank\.jsonl"):
        benchmark_items(tmp_path / "blank.jsonl")


def test_a_spool_gives_rows_back_in_any_order() -> None:
    rows = list(
        prompt_rows([Prompt.of("a\ud800"), Prompt.of("b", x=1), Prompt(({"role": "user", "content": "c"},), ("d",))])
    )
    with Spool() as spool:
        for row in rows:
            spool.add(row)
        assert spool[2] == rows[2]
        assert list(spool) == rows
        assert spool[0] == rows[0]
        assert len(spool) == 3


def test_a_dropped_row_stays_readable(tmp_path: Path) -> None:
    row = Row.of(7, [], {"prompt": "hi"})
    told = Drop(row, "prefix", "the same when normalised", 3, 1.0).to_json(lambda line: {"line": line})
    assert told["dropped"] == {
        "step": "prefix", "why": "the same when normalised", "line": 7, "partner": {"line": 3}, "similarity": 1.0,
    }  # fmt: skip
    item = BenchmarkItem({"file": "t.jsonl", "line": 2}, Prompt.of("hi"))
    told = Drop(row, "held_out", "asks a test prompt", item, 1.0).to_json(lambda line: {"line": line})
    assert told["dropped"]["partner"] == {"file": "t.jsonl", "line": 2}
    assert Drop(row, "lang", "written in de").to_json(lambda line: {"line": line})["dropped"]["partner"] is None
    (read,) = pool_rows(written(tmp_path / "pool.dropped.jsonl", told))
    assert read.form == "hi"
