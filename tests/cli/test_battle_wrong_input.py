"""What `arenaloop battle` refuses: exit code 2, one line, and nothing is written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded_battle import JUDGE, RECORDED, read, write_files

from arenaloop.store import Store
from arenaloop.types import Prompt

Command = Callable[..., Any]
OUT = ["--out", "out"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return write_files(tmp_path)


def refuse(arenaloop: Command, tmp_path: Path, arguments: list[str], *says: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    result = arenaloop("battle", *arguments)
    assert result.code == 2, result
    assert len(result.lines) == 1, result.lines
    assert not result.out
    for text in says:
        assert text in result.lines[0]
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "a=sandbox:scholr", "--model", "b=file:b.json"], "did you mean 'scholar'"),
        (["--model", "a=gpt-4o", "--model", "b=file:b.json"], "expected one of"),
        (["--model", "a=file:c.json", "--model", "b=file:b.json"], "c.json: no such file"),
        (["--model", "a=a.yaml", "--model", "b=file:b.json"], "a.yaml"),
        (["--model", "a=file:a.json", "--model", "a=file:b.json"], "given 2 times"),
        (["--model", "a=file:a.json"], "at least two"),
        (["--model", "a", "--model", "b=file:b.json"], "NAME=SPEC"),
        (["--model", "openai:gpt=4", "--model", "b=file:b.json"], "NAME=SPEC"),
        (["--model", "a=openai:gpt-4o", "--model", "b=file:b.json"], "OPENAI_API_KEY is not set"),
    ],
)
def test_wrong_models(arenaloop: Command, files: Path, arguments: list[str], says: str) -> None:
    refuse(arenaloop, files, [*arguments, "--prompts", "prompts.jsonl", *JUDGE, *OUT], says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, ["p.jsonl: no such file"]),
        ("", ["p.jsonl", "the file is empty"]),
        ("\n\n", ["p.jsonl", "the file is empty"]),
        ('{"prompt": "x"}\n{"prompt": \n', ["p.jsonl", "line 2"]),
        ('{"prompt": "x"}\n["y"]\n', ["p.jsonl", "line 2"]),
        ('{"query": "x"}\n', ["line 1", "prompt, instruction or question"]),
        (
            '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}',
            ["line 1", "user turn"],
        ),
        ('{"messages": []}', ["line 1", "user turn"]),
        ('{"messages": [{"role": "wizard", "content": "x"}]}', ["line 1", "wizard"]),
    ],
)
def test_wrong_prompts(arenaloop: Command, files: Path, content: str | None, says: list[str]) -> None:
    if content is not None:
        (files / "p.jsonl").write_text(content)
    refuse(arenaloop, files, [*RECORDED[:4], "--prompts", "p.jsonl", *JUDGE, *OUT], *says)


def test_an_empty_sandbox_set(arenaloop: Command, files: Path) -> None:
    refuse(arenaloop, files, [*RECORDED[:4], "--prompts", "sandbox:prompts?n=0", *JUDGE, *OUT], "no prompts")


def test_missing_answers_say_how_many(arenaloop: Command, files: Path) -> None:
    (files / "a.json").write_text(json.dumps(read(files / "a.json")[:4]))
    refuse(arenaloop, files, [*RECORDED, *JUDGE, *OUT], "a.json", "2 of 6", "--allow-missing")


def test_answers_that_failed_are_warned_of_and_counted(arenaloop: Command, files: Path) -> None:
    answers = read(files / "a.json")
    (files / "a.json").write_text(json.dumps([answers[0] | {"output": "$ERROR$"}, *answers[1:]]))
    refuse(
        arenaloop,
        files,
        [*RECORDED, *JUDGE, *OUT],
        "1 of 6",
        "1 row holds no answer but a failed call's mark: '$ERROR$' (1)",
    )
    ended = arenaloop("battle", *RECORDED, *JUDGE, *OUT, "--allow-missing", "--json")
    assert "warning: a: failed calls in the place of answers in its file: 1: '$ERROR$' (1)" in ended.lines
    assert json.loads(ended.out)["failed_answers"] == {"a": 1}


def test_a_malformed_answer_file(arenaloop: Command, files: Path) -> None:
    lines = [json.dumps(row) for row in read(files / "a.json")]
    (files / "a.json").write_text("\n".join([*lines[:2], '{"instruction": 3, "output": "x"}']))
    refuse(arenaloop, files, [*RECORDED, *JUDGE, *OUT], "a.json", "line 3")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--judge", "sandbox:jugde"], "sandbox:judge"),
        (["--judge", "nothing"], "expected one of"),
        (["--judge", "file:a.json"], "cannot judge"),
        ([*JUDGE, "--template", "pairwse"], "did you mean 'pairwise'"),
        ([*JUDGE, "--merge", "best"], "mean"),
        ([*JUDGE, "--pairs", "target:c"], "no model named 'c'"),
        ([*JUDGE, "--pairs", "some"], "sample:N"),
        ([*JUDGE, "--anchor", "c=1000"], "no such model"),
        ([*JUDGE, "--anchor", "a"], "NAME=VALUE"),
        ([*JUDGE, "--anchor", "a=high"], "NAME=VALUE"),
        ([*JUDGE, "--anchor", "a=inf"], "finite"),
    ],
)
def test_wrong_options(arenaloop: Command, files: Path, arguments: list[str], says: str) -> None:
    refuse(arenaloop, files, [*RECORDED, *arguments, *OUT], says)


def test_an_unknown_key_in_a_judge_file(arenaloop: Command, files: Path) -> None:
    (files / "judge.yaml").write_text("spec: sandbox:judge\nreaks: 1\n")
    refuse(arenaloop, files, [*RECORDED, "--judge", "judge.yaml", *OUT], "judge.yaml", "did you mean 'reask'")


def test_a_model_without_a_chat_template(arenaloop: Command, files: Path) -> None:
    folder = files / "base"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "tokenizer_config.json").write_text("{}")
    arguments = ["--model", "a=hf:base", "--model", "b=file:b.json", "--prompts", "prompts.jsonl", *JUDGE, *OUT]
    refuse(arenaloop, files, arguments, "base", "no chat template")


def test_an_arena_file_of_another_version(arenaloop: Command, files: Path) -> None:
    assert arenaloop("battle", *RECORDED, *JUDGE, *OUT).code == 0
    with sqlite3.connect(files / "out" / "arena.db") as db:
        db.execute("PRAGMA user_version = 99")
    refuse(arenaloop, files, [*RECORDED, *JUDGE, *OUT], "arena.db", "version 99")


def test_a_file_that_is_no_arena_file(arenaloop: Command, files: Path) -> None:
    (files / "out").mkdir()
    (files / "out" / "arena.db").write_bytes(b"something else" * 100)
    (files / "out" / "arena.db.lock").touch()
    refuse(arenaloop, files, [*RECORDED, *JUDGE, *OUT], "arena.db", "no arena file")


def test_a_second_writer(arenaloop: Command, files: Path) -> None:
    (files / "out").mkdir()
    with Store(files / "out" / "arena.db") as store:
        store.add_prompts([Prompt.of("x")])
        store.flush()
        refuse(arenaloop, files, [*RECORDED, *JUDGE, *OUT], "arena.db", "another process")


def test_an_out_directory_that_cannot_be(arenaloop: Command, files: Path) -> None:
    refuse(arenaloop, files, [*RECORDED, *JUDGE, "--out", "a.json"], "a.json")
    refuse(arenaloop, files, [*RECORDED, *JUDGE, "--out", "a.json/deeper"], "a.json")
