"""A model in this process as a judge, from the command to the battles: by log-probabilities, and by what it writes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from label_model import build_label_model


@pytest.fixture(scope="module")
def judge_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random chat model over characters that likes labels, with room for a judge's prompt."""
    return build_label_model(tmp_path_factory.mktemp("judge") / "tiny")


@pytest.fixture
def command(tmp_path: Path, judge_model: Path) -> Any:
    """Two recorded contestants on three prompts, and the judge with further settings."""
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(3)))
    for name in "ab":
        rows = [{"instruction": f"question {n}", "output": f"{name} says {n}"} for n in range(3)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))

    def build(**settings: Any) -> list[str]:
        told = {"spec": f"hf:{judge_model}", "device": "cpu", "template": "short", **settings}
        (tmp_path / "judge.yaml").write_text(json.dumps(told))
        arguments = ["battle", "--model", "a=file:a.json", "--model", "b=file:b.json", "--prompts", "prompts.jsonl"]
        return [*arguments, "--judge", "judge.yaml", "--out", "out"]

    return build


def test_a_window_that_holds_no_seating_is_refused_first(
    arenaloop: Any, command: Any, judge_model: Path, tmp_path: Path
) -> None:
    narrow = tmp_path / "narrow"
    shutil.copytree(judge_model, narrow)
    config = json.loads((narrow / "config.json").read_text())
    (narrow / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 48}))
    run = command(spec=f"hf:{narrow}", verdict="logprob")
    for more in (["--dry-run"], []):
        result = arenaloop(*run, *more)
        assert result.code == 2
        assert result.lines[-1].startswith("arenaloop: judge narrow: its context window of 48 tokens has no room")
        assert not (tmp_path / "out" / "battles.jsonl").exists()
    assert arenaloop(*command(verdict="logprob"), "--dry-run").code == 0


def test_by_log_probabilities(arenaloop: Any, command: Any, tmp_path: Path) -> None:
    run = command(verdict="logprob", label_mass=0.0)
    result = arenaloop(*run)
    assert result.code == 0, result.lines
    rows = [json.loads(line) for line in (tmp_path / "out" / "battles.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    assert all(0.0 < row["score_a"] < 1.0 and len(row["verdicts"]) == 2 for row in rows)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["verdicts_ok"], summary["calls_cut_off"]) == (6, 0)
    again = arenaloop(*run, "--json")
    assert json.loads(again.out)["cached"] == 6
    assert json.loads(again.out)["calls"] == summary["calls"]


def test_labels_that_hold_next_to_nothing_decide_nothing(arenaloop: Any, command: Any, tmp_path: Path) -> None:
    assert arenaloop(*command(verdict="logprob", label_mass=0.99999), "--reask", "0").code == 3
    with sqlite3.connect(tmp_path / "out" / "arena.db") as arena:
        statuses = dict(arena.execute("SELECT status, COUNT(*) FROM verdicts GROUP BY status"))
        (error,) = arena.execute("SELECT DISTINCT error FROM verdicts").fetchone()
    assert sum(n for status, n in statuses.items() if status in ("unparsed", "truncated")) == 6
    assert "label" in error


def test_what_a_random_model_writes_is_undecided_and_counted(arenaloop: Any, command: Any, tmp_path: Path) -> None:
    result = arenaloop(*command(sampling={"max_tokens": 8}), "--reask", "0")
    assert result.code == 3, result.lines
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["battles_decided"], summary["battles_wanted"]) == (0, 3)
    assert sum(summary["verdicts_failed"].values()) == 6
