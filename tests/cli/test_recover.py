"""Damaged and lost arena files on the command line: one line from every verb, `recover`, and the way on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.store import Store

Command = Callable[..., Any]
BATTLE = [
    "battle", "--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--prompts", "sandbox:prompts?n=40",
    "--judge", "builtin:longest", "--out", "run",
]  # fmt: skip


@pytest.fixture
def run(arenaloop: Command, tmp_path: Path) -> Path:
    """A finished battle."""
    assert arenaloop(*BATTLE).code == 0
    return tmp_path / "run"


def cut(run: Path) -> None:
    arena = run / "arena.db"
    arena.write_bytes(arena.read_bytes()[: arena.stat().st_size // 2 // 4096 * 4096])


def zero_pages(run: Path) -> None:
    data = bytearray((run / "arena.db").read_bytes())
    for page in range(6, len(data) // 4096, 5):
        data[page * 4096 : (page + 1) * 4096] = bytes(4096)
    (run / "arena.db").write_bytes(data)


VERBS = [["report", "run"], ["rejudge", "run"], [*BATTLE, "--dry-run"], BATTLE, ["rank", "run", "--control", "length"]]


@pytest.mark.parametrize("damage", [cut, zero_pages])
def test_every_verb_says_one_line(arenaloop: Command, run: Path, damage: Callable[[Path], None]) -> None:
    damage(run)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.suffix in (".db", ".json", ".jsonl")}
    for verb in VERBS:
        result = arenaloop(*verb)
        assert result.code == 2, verb
        assert "damaged, or no arena file" in result.lines[-1]
        assert result.lines[-1].endswith("arenaloop recover run saves what can still be read of it")
        assert not any("Traceback" in line for line in result.lines)
    assert arenaloop("rank", "run").code == 0  # reads battles.jsonl alone
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.name in before}


def test_what_was_saved_goes_on(arenaloop: Command, run: Path) -> None:
    board = (run / "leaderboard.json").read_bytes()
    zero_pages(run)
    damaged = (run / "arena.db").read_bytes()
    result = arenaloop("recover", "run", "--json")
    assert result.code == 0
    told = json.loads(result.out)
    assert told["file"] == "run/arena.recovered.db"
    assert told["rows"]["verdicts"] > 0
    assert told["missing"] > 0
    assert (run / "arena.db").read_bytes() == damaged
    result = arenaloop("recover", "run", "--replace")
    assert result.code == 0
    assert "known to be missing" in result.out
    assert (run / "arena.damaged.db").read_bytes() == damaged
    assert arenaloop(*BATTLE).code == 0
    assert (run / "leaderboard.json").read_bytes() == board
    with Store(run / "arena.db", readonly=True) as store:
        assert store.lost == ""


def test_recover_refuses_what_it_cannot_do(arenaloop: Command, run: Path, tmp_path: Path) -> None:
    assert "no such run directory" in arenaloop("recover", "nowhere").lines[-1]
    assert "leave out --out" in arenaloop("recover", "run", "--replace", "--out", "x.db").lines[-1]
    assert "a file stands there" in arenaloop("recover", "run", "--out", "run/battles.jsonl").lines[-1]
    (run / "arena.db").write_text("hello")
    result = arenaloop("recover", "run")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "nothing in it can be read" in result.lines[0]
    assert not (run / "arena.recovered.db").exists()


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("verb", [BATTLE, [*BATTLE, "--dry-run"], ["rejudge", "run"]], ids=["battle", "dry", "rejudge"])
def test_results_without_their_arena_file_are_not_paid_again(
    arenaloop: Command, run: Path, verb: list[str], empty: bool
) -> None:
    (run / "arena.db").unlink()
    (run / "arena.db.lock").unlink()
    if empty:
        (run / "arena.db").write_bytes(b"")
    result = arenaloop(*verb)
    assert result.code == 2
    assert "leaderboard.json" in result.lines[-1]
    assert f"with {'an empty' if empty else 'no'} arena.db" in result.lines[-1]
    assert "another --out" in result.lines[-1]
    assert (run / "arena.db").exists() is empty
    assert arenaloop(*BATTLE[:-1], "fresh").code == 0


def test_lost_rows_are_told_to_who_reads(arenaloop: Command, run: Path) -> None:
    side = json.loads((run / "arena.db.lock").read_text())
    (run / "arena.db.lock").write_text(json.dumps(side | {"rows": side["rows"] + 7}))
    for verb in (["report", "run"], [*BATTLE, "--dry-run"]):
        result = arenaloop(*verb)
        assert result.code == 0
        assert any("7 rows fewer than were committed" in line for line in result.lines)
    result = arenaloop(*BATTLE)
    assert result.code == 2
    assert "7 rows fewer than were committed" in result.lines[-1]


def test_a_report_beside_a_directory_that_cannot_be_written(
    arenaloop: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "report.html").unlink()
    monkeypatch.setattr("arenaloop.report.page.os.access", lambda path, mode: mode != os.W_OK)
    result = arenaloop("report", "run")
    assert result.code == 2
    assert "--out FILE" in result.lines[-1]
    assert arenaloop("report", "run", "--out", "elsewhere.html").code == 0
    assert Path("elsewhere.html").stat().st_size > 10_000
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("verb", [["rank", "run"], ["rank", "run", "--control", "length"], ["report", "run"]])
def test_a_battles_file_that_was_cut_is_refused(arenaloop: Command, run: Path, verb: list[str]) -> None:
    battles = run / "battles.jsonl"
    lines = battles.read_text().splitlines(keepends=True)
    battles.write_text("".join(lines[:-3]))
    result = arenaloop(*verb)
    assert result.code == 2
    assert f"{len(lines) - 3} of the {len(lines)} battles" in result.lines[-1]
    shutil.copy(battles, "part.jsonl")
    assert arenaloop("rank", "part.jsonl").code == 0
    assert arenaloop(*BATTLE).code == 0  # written again
    assert arenaloop(*verb).code == 0


def test_deleted_derived_files_are_written_again(arenaloop: Command, run: Path) -> None:
    names = ["battles.jsonl", "leaderboard.json", "config.yaml"]
    before = {name: (run / name).read_bytes() for name in names}
    for name in (*names, "summary.json"):
        (run / name).unlink()
    assert arenaloop(*BATTLE).code == 0
    assert {name: (run / name).read_bytes() for name in names} == before
    assert (run / "summary.json").exists()


def test_a_linked_arena_file_is_one_file(arenaloop: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    os.symlink(run / "arena.db", tmp_path / "other" / "arena.db")
    with Store(run / "arena.db"):
        result = arenaloop(*BATTLE[:-1], "other")
    assert result.code == 2
    assert "another process is writing" in result.lines[-1]
    shutil.rmtree(tmp_path / "other")
