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


# ---------------------------------------------------------------------- how long it takes


def test_the_plan_says_how_long_a_local_judge_takes(arenaloop: Any, command: Any, tmp_path: Path) -> None:
    """Before anything was measured that is said; the first chunk tells, and from then on every plan does."""
    run = command(verdict="logprob", label_mass=0.0, chunk_size=2)
    first = arenaloop(*run, "--dry-run")
    assert first.code == 0
    assert not any("about" in line and "here" in line for line in first.lines if line.startswith("estimate"))
    assert any("was not measured yet" in line and "(tiny)" in line for line in first.lines)
    assert json.loads(arenaloop(*run, "--dry-run", "--json").out)["estimate"]["seconds"] is None
    told = arenaloop(*run, "--dry-run", "--measure", "--json")
    assert json.loads(told.out)["estimate"]["seconds"] > 0
    assert any(line.startswith("estimate: 6 calls") and line.endswith(" here") for line in told.lines)
    assert not (tmp_path / "out").exists()

    stopped = arenaloop(*run, "--budget-calls", "4")
    assert stopped.code == 4
    assert any("judge tiny runs here, its speed not measured yet: 6 calls" in line for line in stopped.lines)
    (pace,) = [line for line in stopped.lines if line.startswith("judge tiny: 6 calls take about")]
    assert "s a call (reads" in pace
    again = arenaloop(*run, "--dry-run", "--json")
    (role,) = json.loads(again.out)["estimate"]["roles"]
    assert (role["calls"], role["local"]) == (2, True)
    assert role["seconds"] > 0
    assert arenaloop(*run).code == 0
    done = arenaloop(*run, "--dry-run", "--json")
    assert json.loads(done.out)["estimate"]["seconds"] is None  # nothing is left
    assert done.lines[-1].startswith("nothing left to ask")


def test_measuring_goes_with_a_dry_run(arenaloop: Any, command: Any) -> None:
    result = arenaloop(*command(verdict="logprob"), "--measure")
    assert (result.code, len(result.lines)) == (2, 1)


def test_rejudge_and_audit_say_it_too(arenaloop: Any, command: Any, tmp_path: Path) -> None:
    assert arenaloop(*command(verdict="logprob", label_mass=0.0)).code == 0
    again = arenaloop("rejudge", "out", "--template", "pairwise")
    assert any(line.startswith("estimate: 6 calls") and line.endswith(" here") for line in again.lines), again.lines
    labels = [{"instruction": f"question {n}", "output_1": "a", "output_2": "b", "preference": 1} for n in range(3)]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    audit = ["audit", "--judge", "judge.yaml", "--labels", "labels.json", "--out", "audited", "--seeds", "2"]
    dry = arenaloop(*audit, "--dry-run")
    assert any(line.startswith("estimate: 12 calls") for line in dry.lines)
    assert any("was not measured yet" in line for line in dry.lines)
    measured = arenaloop(*audit, "--dry-run", "--measure")
    assert any(line.startswith("estimate: 12 calls") and line.endswith(" here") for line in measured.lines)
    assert arenaloop(*audit).code == 0
    after = arenaloop(*audit, "--dry-run")
    assert after.lines[-1].startswith("nothing left to ask")


def test_difficulty_by_what_it_writes(arenaloop: Any, judge_model: Path, tmp_path: Path) -> None:
    """A random model writes no score: every rating is asked again, none is invented, and no prompt is hard."""
    rows = [{"prompt": f"question {n} about {'bread' if n % 2 else 'code'}"} for n in range(6)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = {"spec": f"hf:{judge_model}", "device": "cpu", "reask": 1, "sampling": {"max_tokens": 4}}
    (tmp_path / "judge.yaml").write_text(json.dumps(judge))
    sizes = ["--clusters", 2, "--diverse", 2, "--hard", 2, "--rated", 4]
    command = ["testset", "--prompts", "pool.jsonl", "--judge", "judge.yaml", *sizes, "--out", "test.jsonl", "--json"]
    result = arenaloop(*command)
    assert result.code == 3, result.lines
    card = json.loads(result.out)
    assert (card["calls"], sum(card["difficulty"]["failed"].values()), card["sets"]["hard"]["prompts"]) == (8, 4, 0)
    assert any("0 hard prompts where 2 are wanted" in line for line in result.lines)
