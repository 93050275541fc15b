"""A finished board is not replaced by the few battles of an interrupted run of other settings: it is set aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.cli import battle_run
from arenaloop.cli.earlier import drop_returned, earlier_boards, set_aside

Command = Callable[..., Any]


@pytest.fixture
def battle(served: Any) -> list[str]:
    """A battle of two models of the sandbox, on twelve prompts, by a judge on a server."""
    models = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--prompts", "sandbox:prompts?n=12"]
    return ["battle", *models, "--judge", f"{served.url}#judge", "--concurrency", "1", "--out", "out"]


@pytest.fixture
def out(arenaloop: Command, battle: list[str], tmp_path: Path) -> Path:
    assert arenaloop(*battle).code == 0
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".db"}


def decided(out: Path) -> int:
    return len((out / "battles.jsonl").read_text().splitlines())


@pytest.mark.parametrize("why", ["budget", "judge", "killed"])
def test_an_interrupted_run_of_another_judge_leaves_the_board_that_was_finished(
    arenaloop: Command, served: Any, battle: list[str], out: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, asked = contents(out), len(served.heard)
    changed = [*battle, "--template", "score_first"]
    answer = served.answer
    if why == "killed":
        with monkeypatch.context() as patch:
            patch.setattr(battle_run, "run_tournament", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                arenaloop(*changed)
        assert not (out / "battles.jsonl").exists()  # results of no settings but its own stand in a directory
    else:
        if why == "judge":
            served.answer = lambda body: 401
        stopped = arenaloop(*changed, *(["--budget-calls", str(asked + 24 + 12)] if why == "budget" else []))
        assert stopped.code == 4
        assert "the board of 12 battles that stood here is kept in out/earlier/" in " ".join(stopped.lines)
        assert decided(out) < 12
    (kept,) = earlier_boards(out)
    assert contents(kept) | {"arena.db.lock": before["arena.db.lock"]} == before
    served.answer = answer
    if why == "budget":
        assert json.loads(arenaloop("rank", kept, "--json").out)["battles"] == 12
        assert arenaloop("report", kept).code == 0
        assert "is a board of earlier settings; give the run directory" in arenaloop("rejudge", kept).lines[-1]
        assert f"{kept.relative_to(out.parent)}: 12 battles" in arenaloop("show", "out").out

    heard = len(served.heard)
    back = arenaloop("battle", kept.relative_to(out.parent) / "config.yaml")  # its directory is found by itself
    assert back.code == 0
    assert len(served.heard) == heard
    assert not (out / "earlier").exists()
    assert (out / "battles.jsonl").read_bytes() == before["battles.jsonl"]
    assert arenaloop(*changed, "--budget-calls", "none").code == 0
    assert decided(out) == 12
    assert [decided(one) for one in earlier_boards(out)] == [12]
    assert arenaloop(*changed).code == 0  # and nothing more where settings are as they were
    assert [decided(one) for one in earlier_boards(out)] == [12]


def test_what_takes_nothing_off_sets_nothing_aside(arenaloop: Command, battle: list[str], out: Path) -> None:
    for more in (
        ["--merge", "agree_or_tie"],
        ["--model", "c=sandbox:clerk"],
        ["--model", "c=sandbox:clerk", "--own-failure", "drop", "--concurrency", "2"],
    ):
        assert arenaloop(*battle, *more).code == 0
        assert not (out / "earlier").exists()
    assert arenaloop(*battle, "--limit", "5", "--replace").code == 0
    (kept,) = earlier_boards(out)
    assert decided(kept) == 36
    (kept / "mine.txt").write_text("kept")
    assert arenaloop(*battle, "--model", "c=sandbox:clerk").code == 0
    assert [path.name for path in kept.iterdir()] == ["mine.txt"]


def test_a_move_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    (tmp_path / "battles.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    (tmp_path / "report.battles").mkdir()
    (tmp_path / "report.battles" / "1.js").write_text("1")
    assert "of 2 battles that stood here" in (set_aside(tmp_path, "battle") or "")
    (kept,) = earlier_boards(tmp_path)
    (kept / "battles.jsonl").rename(tmp_path / "battles.jsonl")
    (tmp_path / "report.battles").mkdir()
    set_aside(tmp_path, "battle")
    assert earlier_boards(tmp_path) == [kept]
    assert sorted(path.name for path in kept.iterdir()) == ["battles.jsonl", "report.battles"]
    assert set_aside(tmp_path, "battle") is None
    (tmp_path / "battles.jsonl").write_text('{"n": 1}\n')
    drop_returned(tmp_path)
    assert earlier_boards(tmp_path) == [kept]
    (tmp_path / "battles.jsonl").write_text('{"n": 1}\n{"n": 3}\n{"n": 2}\n')
    drop_returned(tmp_path)
    assert not (tmp_path / "earlier").exists()
