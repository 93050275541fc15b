"""`newcomers/play`: commands on files of the published forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from printed_tables import packed, tables

Run = Callable[..., list[str]]


def test_newcomers_first_commands(run: Run, tmp_path: Path) -> None:
    """Commands on files of the published forms end as promised, and what they printed is kept."""
    data = tmp_path / "data"
    for folder in ("arena_hard", "mt_bench"):
        (data / folder).mkdir(parents=True)
    asked = [
        {"uid": f"u{i}", "category": "arena-hard-v0.1", "cluster": f"c{i % 2}", "prompt": f"q{i}"} for i in range(500)
    ]
    packed(data / "arena_hard" / "question.jsonl.gz", asked)
    for k, model in enumerate(("gpt-3.5-turbo-0125", "gpt-4-0613")):
        said = ["# Head\n- point\n" * (1 + (i + k) % 3) + "**bold**" * (i % 2) for i in range(500)]
        answers = [
            row | {"model": model, "messages": [{"role": "user", "content": row["prompt"]},
                                                {"role": "assistant", "content": {"answer": said[i]}}]}
            for i, row in enumerate(asked)
        ]  # fmt: skip
        packed(data / "arena_hard" / f"model_answer_{model}.jsonl.gz", answers)
    packed(data / "mt_bench" / "question.jsonl.gz", [{"question_id": i, "turns": ["a", "b"]} for i in range(4)])
    out, kept = tmp_path / "out", tmp_path / "kept.json"
    lines = run("newcomers/play", data, "--users", "arena", "--first", 2, "--out", out, "--json", kept)
    assert lines[-1] == "2 commands, 0 of them not as promised"
    (rows,) = tables(lines)
    assert [row[2:4] + row[5:] for row in rows[1:]] == [["0", "0", "ok"]] * 2
    assert [one["last"][-1] for one in json.loads(kept.read_text())["arena"]]
    assert "500 battles" in (out / "arena" / "printed" / "01.txt").read_text()


def test_newcomers_are_told_what_is_not_as_promised(tmp_path: Path) -> None:
    """An exit code, a text that is missing and one that must not be there each differ; keys do not reach commands."""
    from newcomers.steps import Step, folder_for, ok, play, table

    folder_for(tmp_path / "here", tmp_path)
    steps = [
        Step("echo 'a  b' {server}; exit 3", ("a b http",), code=3),
        Step("exit 3"),
        Step("echo one", ("two",)),
        Step("echo Traceback"),
        Step('test -z "$OPENAI_API_KEY" && ls data'),
    ]
    outcomes = list(play(steps, tmp_path / "here", "http://x"))
    assert [ok(one) for one in outcomes] == [True, False, False, False, True]
    assert outcomes[2].missing == ("two",)
    assert [line.rsplit("|", 2)[1].strip() for line in table(outcomes)[2:]] == ["ok", *["**differs**"] * 3, "ok"]
    with pytest.raises(FileExistsError):
        folder_for(tmp_path / "here", tmp_path)
