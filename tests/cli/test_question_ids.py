"""A prompt's own id: in a run's files, in what is exported, and as a name for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from arenaloop.cli import app
from arenaloop.errors import InputError

QUESTIONS: list[dict[str, Any]] = [
    {"question_id": 81, "category": "math", "language": "German", "turns": ["one", "more"]},
    {"question_id": "mt:3", "category": "writing", "turns": ["two"]},
    {"question_id": 7, "turns": ["three"]},
    {"question_id": "7", "turns": ["four"]},
    {"turns": ["five"]},
]


def command(*words: object) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def refused(*words: object) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(found.exception, InputError)
    return str(found.exception)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = tmp_path_factory.mktemp("ids")
    asked = write(there / "q.jsonl", QUESTIONS)
    models: list[str] = []
    for name, text in (("a", "xx"), ("b", "xxxx")):
        rows = [
            {"question": q["turns"][0], "output": text} if len(q["turns"]) == 1 else
            {"question_id": q["question_id"], "model_id": name, "choices": [{"index": 0, "turns": [text, text]}]}
            for q in QUESTIONS
        ]  # fmt: skip
        models += ["--model", f"{name}=file:{write(there / f'{name}.jsonl', rows)}"]
    command("battle", *models, "--prompts", asked, "--judge", "builtin:longest", "--out", there / "run")
    return there / "run"


def test_battles_carry_the_id_as_it_was_given(run: Path) -> None:
    rows = lines(run / "battles.jsonl")
    assert [row.get("question_id", "none") for row in rows] == [81, "mt:3", 7, "7", "none"]
    assert list(rows[0])[:2] == ["prompt_id", "question_id"]
    ranked = json.loads(command("rank", run / "battles.jsonl", "--json"))
    assert ranked["battles"] == 5
    assert ranked["notes"] == json.loads(command("rank", run, "--json"))["notes"]


def test_battles_are_told_apart_by_our_id_where_theirs_repeats(run: Path, tmp_path: Path) -> None:
    rows = lines(run / "battles.jsonl")
    one, other = (
        json.loads(command("rank", write(tmp_path / "b.jsonl", [row | told for row in rows]), "--json"))
        for told in ({}, {"question_id": 1})
    )
    assert one == other


def test_exports_carry_ids_and_what_describes_the_prompts(run: Path, tmp_path: Path) -> None:
    command("export", run, "--to", "parquet", "--out", tmp_path / "parts")
    table = pl.read_parquet(tmp_path / "parts/*.parquet")
    assert table["question_id"].to_list() == ["81", "mt:3", "7", "7", None]
    assert table["category"].to_list() == ["math", "writing", None, None, None]
    assert table["language"].to_list() == ["German", None, None, None, None]
    assert table["turn"].to_list() == [2, 1, 1, 1, 1]
    sliced = json.loads(command("rank", tmp_path / "parts", "--by", "category", "--json"))
    assert {one["value"] for one in sliced["by"]["boards"]} == {"math", "writing", None}
    command("export", run, "--to", "chatbot-arena", "--out", tmp_path / "v.jsonl")
    votes = lines(tmp_path / "v.jsonl")
    assert [vote["question_id"] for vote in votes[:4]] == [81, "mt:3", 7, "7"]
    assert votes[4]["question_id"] == lines(run / "battles.jsonl")[4]["prompt_id"]
    assert (votes[0]["category"], votes[0]["language"], "category" in votes[2]) == ("math", "German", False)


def test_a_prompt_is_shown_by_its_own_id(run: Path) -> None:
    ids = [row["prompt_id"] for row in lines(run / "battles.jsonl")]
    assert json.loads(command("show", run, 81, "b", "a", "--json"))["prompt"]["id"] == ids[0]
    assert f"prompt {ids[0]} · 81 in its own file" in command("show", run, "81")
    assert json.loads(command("trace", run, "mt:3", "--json"))["key"] == ids[1]
    several = refused("show", run, "7")
    assert several == f"7 is the own id of several prompts, name one by ours: {', '.join(sorted(ids[2:4]))}"
    assert "'8': no stage and no prompt's own id" in refused("show", run, "8")
    assert "no rows of a stage 'mt'" in refused("show", run, "mt:4")


def test_alpaca_evals_annotations_and_outputs_have_it_too(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "annotated"
    command("export", run, "--to", "alpaca-eval", "--baseline", "a", "--out", out)
    for name in ("annotations.json", "model_outputs/a.json", "model_outputs/b.json"):
        told = {row["instruction"]: row.get("question_id") for row in json.loads((out / name).read_text())}
        assert told == {"two": "mt:3", "three": 7, "four": "7", "five": None}  # of one user turn each
    assert "b " in command("winrate", out / "annotations.json", "--baseline", "a")
    again = [f"{name}=file:{out}/model_outputs/{name}.json" for name in ("a", "b")]
    asked = ("--prompts", out / "model_outputs/a.json", "--judge", "builtin:longest", "--out", tmp_path / "again")
    command("battle", "--model", again[0], "--model", again[1], *asked)
