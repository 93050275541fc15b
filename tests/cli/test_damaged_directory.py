"""A run directory of which something is damaged: every verb works or refuses in one line, and nothing is paid again."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from arenaloop.store.schema import META, TABLES

VERBS: dict[str, tuple[str, ...]] = {
    "battle": (
        *("battle", "--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--judge", "sandbox:judge"),
        *("--prompts", "sandbox:prompts?n=6", "--out", "run"),
    ),
    "report": ("report", "run"),
    "rank": ("rank", "run", "--control", "length"),
    "winrate": ("winrate", "run", "--baseline", "a", "--control", "length"),
    "rejudge": ("rejudge", "run", "--judge", "builtin:longest"),
    "recover": ("recover", "run"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def run(arenaloop: Callable[..., tuple[int, str, list[str]]], whole: Path, tmp_path: Path) -> Path:
    """A finished run of its own."""
    if not whole.exists():
        result = arenaloop(*VERBS["battle"])
        assert result[0] == 0, result
        shutil.copytree(tmp_path / "run", whole)
        shutil.rmtree(tmp_path / "run")
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def calls(run: Path) -> int:
    with closing(sqlite3.connect(run / "arena.db")) as db:
        return sum(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("responses", "verdicts"))


def one_line(result: tuple[int, str, list[str]]) -> bool:
    """Whether a command ended well or with a refusal of one line; a bug has exit code 1 and a traceback."""
    code, _, lines = result
    assert code in (0, 2, 3), lines
    assert not any("Traceback" in line for line in lines)
    if code == 2:
        assert [line.startswith("arenaloop: ") for line in lines][-1]
    return code == 2


UNUSED = ("judgements", "stages")
"""Tables in which a battle has no rows: none that could be damaged."""


def damages() -> dict[str, tuple[str, ...]]:
    """Statements that damage each table in turn."""
    found: dict[str, tuple[str, ...]] = {}
    for table in (META, *TABLES):
        name = table.name
        found[f"{name} dropped"] = (f"DROP TABLE {name}",)
        found[f"{name} foreign"] = (
            f"DROP TABLE {name}",
            f"CREATE TABLE {name} (a, b)",
            f"INSERT INTO {name} VALUES (1, 2)",
        )
        if name in UNUSED:
            continue
        found[f"{name} emptied"] = (f"DELETE FROM {name}",)
        for column in table.columns:
            field, kind, *rules = column.split()
            if (field == "id" and kind == "INTEGER") or (name, field) == ("sent", "run"):
                continue
            wrong = "'many'" if kind != "TEXT" else "x'ff00ff'"
            found[f"{name}.{field} of a wrong type"] = (f"UPDATE OR IGNORE {name} SET {field} = {wrong}",)
            if not rules:
                found[f"{name}.{field} null"] = (f"UPDATE {name} SET {field} = NULL",)
    return found


DAMAGES = damages()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_a_table_is_one_line_whatever_the_verb(
    arenaloop: Callable[..., tuple[int, str, list[str]]], run: Path, damage: str
) -> None:
    with closing(sqlite3.connect(run / "arena.db")) as db:
        for statement in DAMAGES[damage]:
            db.execute(statement)
        db.commit()
        assert db.total_changes or damage.endswith(" dropped"), "nothing was damaged"
    shutil.copytree(run, run.with_name("damaged"))
    refused = {}
    for verb, arguments in VERBS.items():
        shutil.rmtree(run)
        shutil.copytree(run.with_name("damaged"), run)
        refused[verb] = one_line(arenaloop(*arguments))
        if verb == "battle" and not refused[verb] and "responses" not in damage and "verdicts" not in damage:
            assert calls(run) == calls(run.with_name("damaged"))  # nothing was asked again
    table = damage.split()[0].split(".")[0]
    if "dropped" in damage or "foreign" in damage or damage == "meta emptied":
        assert all(refused[verb] for verb in ("battle", "report", "rejudge")), refused
    if table in ("responses", "verdicts") and "emptied" in damage:
        assert refused["battle"], "what was paid for would be paid for again"


@pytest.mark.parametrize("text", ["another answer", ""])
def test_a_text_that_was_changed_is_no_answer(
    arenaloop: Callable[..., tuple[int, str, list[str]]], run: Path, text: str
) -> None:
    with closing(sqlite3.connect(run / "arena.db")) as db:
        db.execute("UPDATE responses SET text = ? WHERE id = 3", (text,))
        db.commit()
    for verb in ("battle", "report", "rejudge"):
        code, _, lines = arenaloop(*VERBS[verb])
        assert code == 2, verb
        assert "is not the one that was stored" in lines[-1]
        assert "arenaloop recover run" in lines[-1]


NAMES = (
    *("arena.db", "arena.db.lock", "arena.db-wal", "battles.jsonl", "config.yaml", "summary.json", "leaderboard.json"),
    *("undecided.jsonl", "report.html", "arena.recovered.db"),
)


def put_folder(path: Path) -> None:
    path.mkdir()


def put_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as one:
        one.bind(path.name)  # the working directory is the run, since a socket's path is short


def put_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((os.mkfifo, name) for name in NAMES)]
    + [(kind, name) for kind in (put_folder, put_socket, put_device) for name in ("battles.jsonl", "arena.db.lock")],
)
def test_what_is_no_file_keeps_no_verb_waiting(
    arenaloop: Callable[..., tuple[int, str, list[str]]],
    run: Path,
    name: str,
    kind: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = calls(run)
    (run / name).unlink(missing_ok=True)
    monkeypatch.chdir(run)
    kind(run / name)
    monkeypatch.chdir(run.parent)
    refused = one_line(arenaloop(*VERBS["battle"]))
    assert refused or name in ("report.html", "arena.recovered.db")
    if name not in ("arena.db", "arena.db-wal"):
        assert calls(run) == before
    for verb in VERBS:
        one_line(arenaloop(*VERBS[verb]))


@pytest.mark.parametrize("kind", [os.mkfifo, put_folder, put_device])
@pytest.mark.parametrize(
    "arguments",
    [
        ("rank", "it"),
        ("winrate", "it", "--baseline", "a"),
        ("agree", "it", "it"),
        ("run", "it"),
        ("audit", "--judge", "builtin:longest", "--labels", "it"),
        ("audit", "--judge", "it.yaml", "--labels", "it"),
        (*VERBS["battle"], "--prompts", "it"),
        (*VERBS["battle"], "--model", "c=file:it"),
        (*VERBS["battle"], "--template", "it.jinja"),
        (*VERBS["battle"], "--prices", "it.yaml"),
    ],
)
def test_what_a_user_names_and_is_no_file_is_refused_at_once(
    arenaloop: Callable[..., tuple[int, str, list[str]]],
    tmp_path: Path,
    arguments: tuple[str, ...],
    kind: Callable[[Path], None],
) -> None:
    for name in ("it", "it.yaml", "it.jinja"):
        kind(tmp_path / name)
    assert one_line(arenaloop(*arguments))
