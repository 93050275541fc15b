"""Run directories that are looked at before the run is through: going on, cut off, and what cannot be told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.store import Store
from arenaloop.store.lock import being_written

Command = Callable[..., Any]

BATTLE = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--prompts", "prompts.jsonl", "--out", "out"]
RESULTS = ("battles.jsonl", "leaderboard.json", "summary.json", "report.html")


@pytest.fixture
def cut(arenaloop: Command, tmp_path: Path) -> Path:
    """A run of 20 battles of which 5 are decided, and whose process was killed: there are no results."""
    assert arenaloop("sandbox", "prompts", "--n", "20", "--split", "test").code == 0
    lines = arenaloop("sandbox", "prompts", "--n", "20", "--split", "test").out
    (tmp_path / "prompts.jsonl").write_text(lines)
    # two answers and two verdicts for each battle
    command = ["battle", *BATTLE, "--judge", "sandbox:judge", "--concurrency", "1", "--budget-calls", "20"]
    assert arenaloop(*command).code == 4
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["battles_decided"] == 5
    for name in RESULTS:
        (tmp_path / "out" / name).unlink()
    return tmp_path / "out"


@pytest.mark.parametrize(("why", "going"), [("its process was cut off", False), ("it is going on", True)])
def test_a_run_can_be_read_before_it_is_through(arenaloop: Command, cut: Path, why: str, going: bool) -> None:
    before = {path.name for path in cut.iterdir()}
    writer = Store(cut / "arena.db") if going else None
    try:
        assert being_written(cut / "arena.db") is going
        ranked = arenaloop("rank", "out", "--json")
        assert ranked.code == 0
        board = json.loads(ranked.out)
        assert board["battles"] == 5
        assert f"not finished: 5 of 20 battles decided ({why})" in board["notes"]
        assert " ".join(ranked.lines) == "note: out is not through: 5 of 20 battles decided"
        won = json.loads(arenaloop("winrate", "out", "--baseline", "b", "--json").out)
        assert won["leaderboard"][0]["n_total"] == 5
        (cut.parent / "other.csv").write_text("model,rating,lower,upper\na,1100,1090,1110\nb,900,890,910\n")
        assert json.loads(arenaloop("agree", "out", "other.csv", "--json").out)["models"] == 2
        planned = arenaloop("battle", *BATTLE, "--judge", "sandbox:judge", "--dry-run").lines[0]
        assert planned.startswith("out: 2 models · 20 prompts · 20 battles, 5 of them decided · 5")
        assert planned.endswith(" calls left to ask · judge sandbox-judge")
        watched = arenaloop("watch", "out", "--once")
        assert "5 of 20 battles decided" in watched.out
        assert ("out: going on" in watched.out) is going
        assert {path.name for path in cut.iterdir()} - {"arena.db-wal", "arena.db-shm"} <= before
        assert arenaloop("report", "out").out.strip() == "out/report.html"
        assert f"5 of 20 battles are decided ({why})" in (cut / "report.html").read_text()
        again = arenaloop("rejudge", "out")
        if going:
            assert again.code == 2
            assert "the run is going on, and one process writes at a time" in again.lines[-1]
    finally:
        if writer is not None:
            writer.close()
    if not going:
        assert again.code == 3  # 15 battles were never asked for
        assert "5 battles compared" in again.out
    assert arenaloop("battle", *BATTLE, "--judge", "sandbox:judge").code == 0
    planned = arenaloop("battle", *BATTLE, "--judge", "sandbox:judge", "--dry-run").lines[0]
    assert planned == "out: 2 models · 20 prompts · all 20 battles decided · nothing to ask · judge sandbox-judge"
    watched = arenaloop("watch", "out")  # ends by itself
    assert watched.out.startswith("out: finished\n20 of 20 battles decided\n73 calls · $0.00\n")


def test_a_count_that_is_older_than_the_board_is_left_out(arenaloop: Command, cut: Path) -> None:
    writer = Store(cut / "arena.db")
    try:
        for done, told in ((0, "battles"), (8, "battles: 8 of 40 verdicts · 8 calls")):
            doing = {"doing": "battles", "done": done, "total": 40, "note": f"verdicts · {done} calls"}
            (cut / "progress.json").write_text(json.dumps(doing))
            lines = [line.strip() for line in arenaloop("watch", "out", "--once").out.splitlines()]
            assert "5 of 20 battles decided" in lines
            assert told in lines
    finally:
        writer.close()


def test_what_cannot_be_told_from_here_is_said(arenaloop: Command, cut: Path) -> None:
    (cut.parent / "prompts.jsonl").unlink()
    result = arenaloop("rank", "out")
    assert result.code == 2
    assert "what was to battle cannot be told from here (prompts.jsonl" in result.lines[-1]
    assert arenaloop("watch", "nothing").lines[-1] == "arenaloop: nothing: no run directory (no arena.db)"


def test_results_of_an_earlier_stop_are_not_those_of_a_killed_run(arenaloop: Command, cut: Path) -> None:
    judged = [*BATTLE, "--judge", "sandbox:judge", "--concurrency", "1"]
    assert arenaloop("battle", *judged, "--budget-calls", "24").code == 4
    earlier = {name: (cut / name).read_bytes() for name in RESULTS[:3]}
    assert arenaloop("battle", *judged, "--budget-calls", "40").code == 4
    for name, held in earlier.items():
        (cut / name).write_bytes(held)
    assert json.loads(arenaloop("rank", "out", "--json").out)["battles"] == 6
    (cut / "progress.json").write_text("{}")  # which a killed run leaves
    assert json.loads(arenaloop("rank", "out", "--json").out)["battles"] == 10
    assert arenaloop("watch", "out").out.startswith("out: its process was cut off: the command that began it goes on\n")
    refused = arenaloop("rank", "out", "--by", "nothing")  # names the directory that was named
    assert refused.lines[-1].startswith("arenaloop: out: no prompt carries the tag nothing")
    assert arenaloop("rejudge", "out").code == 3
    assert not (cut / "progress.json").exists()
    assert json.loads((cut / "summary.json").read_text())["battles_decided"] == 10


def test_a_pipe_in_place_of_a_leaderboard_is_not_waited_for(arenaloop: Command, cut: Path) -> None:
    os.mkfifo(cut / "leaderboard.json")
    assert json.loads(arenaloop("rank", "out", "--json").out)["battles"] == 5
