"""Opening the arena file: which files are refused, who may write, and older versions brought up to date."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from arena_rows import dump, refused, start_writer, turn, verdict

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.store import SCHEMA_VERSION, Store, opening
from arenaloop.store.opening import log_of
from arenaloop.store.schema import MIGRATIONS
from arenaloop.store.values import Connection
from arenaloop.types import Completion, Outcome, Status, Verdict, content_hash


@pytest.mark.parametrize("readonly", [False, True])
def test_another_version(path: Path, readonly: bool) -> None:
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    assert "version 99" in refused(path, readonly=readonly)
    assert f"version {SCHEMA_VERSION}" in refused(path, readonly=readonly)
    assert path.read_bytes() == before


@pytest.mark.parametrize("readonly", [False, True])
def test_another_sqlite_file(path: Path, readonly: bool) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    assert "no arena file" in refused(path, readonly=readonly)
    assert path.read_bytes() == before


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("content", [b"not a database, but text" * 50, bytes(range(256)) * 40, b"SQLite format 3\x00"])
def test_garbage(path: Path, readonly: bool, content: bytes) -> None:
    path.write_bytes(content)
    assert "no arena file" in refused(path, readonly=readonly)
    assert path.read_bytes() == content


def test_a_reader_needs_a_file(path: Path) -> None:
    refused(path, readonly=True)
    path.write_bytes(b"")
    assert "empty" in refused(path, readonly=True)
    Store(path).close()  # a writer may fill an empty file


def test_a_refused_file_frees_the_lock(path: Path) -> None:
    path.write_bytes(b"x" * 5000)
    refused(path)
    path.unlink()
    Store(path).close()


def test_a_folder_that_is_not_there_or_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "none" / "arena.db", tmp_path / "file" / "arena.db", tmp_path):
        with pytest.raises((ArenaFileError, StorageError)) as caught:
            Store(bad)
        assert "\n" not in str(caught.value)


def test_a_reader_cannot_write(path: Path) -> None:
    Store(path).close()
    with Store(path, readonly=True) as store, pytest.raises(StorageError):
        store.add_verdict(verdict("v"))


def test_one_writer_and_the_kernel_frees_its_lock(path: Path) -> None:
    process = start_writer(path, "sys.stdin.read()")
    try:
        message = refused(path)
        assert "another process is writing" in message
        Store(path, readonly=True).close()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    Store(path).close()


def test_a_second_writer_of_this_process_is_refused_too(path: Path) -> None:
    with Store(path):
        refused(path)
    Store(path).close()


def test_readers_see_commits_while_another_writes(path: Path) -> None:
    with Store(path) as store, Store(path, readonly=True) as reader:
        assert reader.verdict("v0") is None
        for n in range(50):
            store.add_verdict(verdict(f"v{n}"))
            store.flush()
            assert reader.verdict(f"v{n}") is not None
        assert reader.usage().calls == 50


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    """Whatever the moment, the file can be opened again and has its secret."""
    rng = random.Random(3)
    code = (
        "import sys\nfrom arenaloop.store import Store\nprint('go', flush=True)\nStore(sys.argv[1])\nsys.stdin.read()"
    )
    for n in range(6):
        path = tmp_path / f"{n}.db"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        wait = time.monotonic() + rng.uniform(0, 0.02)
        while time.monotonic() < wait:
            pass
        process.kill()
        process.communicate()
        with Store(path) as store:
            assert len(store.secret) == 32


# ---------------------------------------------------------------------- files of older versions

VERSION_1 = f"""
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE prompts (
    id TEXT PRIMARY KEY, messages TEXT NOT NULL, follow_ups TEXT NOT NULL, tags TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE responses (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, turn INTEGER NOT NULL, attempt INTEGER NOT NULL,
    prompt_id TEXT NOT NULL, model TEXT NOT NULL, status TEXT NOT NULL, text TEXT NOT NULL, text_hash TEXT NOT NULL,
    reasoning TEXT, finish_reason TEXT, tokens_in INTEGER, tokens_out INTEGER, usd REAL, seconds REAL, error TEXT,
    calls INTEGER NOT NULL, run INTEGER NOT NULL, at REAL NOT NULL
);
CREATE UNIQUE INDEX responses_key ON responses (key, turn, attempt);
CREATE INDEX responses_prompt ON responses (prompt_id);
CREATE INDEX responses_text ON responses (text_hash);
CREATE TABLE verdicts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, attempt INTEGER NOT NULL,
    prompt_id TEXT NOT NULL, first_hash TEXT NOT NULL, second_hash TEXT NOT NULL, judge TEXT NOT NULL,
    sample INTEGER NOT NULL, status TEXT NOT NULL, score_first REAL, score_second REAL, outcome TEXT, raw TEXT NOT NULL,
    tokens_in INTEGER, tokens_out INTEGER, usd REAL, seconds REAL, error TEXT,
    calls INTEGER NOT NULL, run INTEGER NOT NULL, at REAL NOT NULL
);
CREATE UNIQUE INDEX verdicts_key ON verdicts (key, attempt);
CREATE INDEX verdicts_prompt ON verdicts (prompt_id);
CREATE TABLE stages (name TEXT NOT NULL, key TEXT NOT NULL, result TEXT NOT NULL, PRIMARY KEY (name, key));
INSERT INTO meta VALUES ('secret', '{"ab" * 16}'), ('runs', '1');
INSERT INTO prompts VALUES ('p', '[{{"role":"user","content":"hi"}}]', '[]', '{{}}');
INSERT INTO responses VALUES
    (1, 'r', 0, 0, 'p', 'm', 'ok', 'hello', '{content_hash(["hello"])}', NULL, 'stop', 1, 2, 0.5, 1.0, NULL, 1, 0, 9.0);
INSERT INTO verdicts VALUES
    (1, 'v', 0, 'p', 'f', 's', 'judge', 0, 'ok', 7.0, 5.0, 'A', 'Scores: 7 5', 3, 4, 0.25, 1.5, NULL, 2, 0, 10.0),
    (2, 'w', 0, 'p', 's', 'f', 'judge', 0, 'error', NULL, NULL, NULL, '', NULL, NULL, NULL, NULL, 'down', 3, 0, 11.0);
PRAGMA application_id = {0x41524C50};
PRAGMA user_version = 1;
COMMIT;
"""  # as the schema stood then
OLD_VERDICT = Verdict(
    "v", "p", "f", "s", "judge", Status.OK, "Scores: 7 5", 7.0, 5.0, Outcome.A, 0,
    tokens_in=3, tokens_out=4, usd=0.25, seconds=1.5, calls=2,
)  # fmt: skip


@pytest.fixture
def old(path: Path) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(VERSION_1)
    return path


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize("readonly", [False, True])
def test_an_old_file_is_brought_up_to_date(old: Path, readonly: bool) -> None:
    """What was paid for stays: rows are read as they were, and go on."""
    with Store(old, readonly=readonly) as store:
        assert store.verdict("v") == OLD_VERDICT
        assert store.rulings_of("p")["v"].outcome is Outcome.A
        assert store.turn("r", 0) == ("hello", Status.OK)
        assert store.prompt("p") is not None
        assert store.secret == "ab" * 16
        assert store.usage() == (6, 4, 6, None, 3.0, 0.0, 0)
    assert version(old) == SCHEMA_VERSION
    with Store(old) as store:
        store.add_verdict(verdict("w", reasoning="well", judge_hash="j", template_hash="t", parser="scores:1"))
        store.add_turns([turn("r", Completion("again"))])
    with Store(old, readonly=True) as store:
        found = store.verdict("w")
        assert found is not None
        assert (found.reasoning, found.judge_hash, found.template_hash, found.parser) == ("well", "j", "t", "scores:1")
        assert store.verdict("v") == OLD_VERDICT
    assert dump(old, "SELECT key, attempt FROM verdicts ORDER BY id") == [("v", 0), ("w", 0), ("w", 1)]
    assert dump(old, "PRAGMA integrity_check") == [("ok",)]


def test_an_updated_file_has_the_columns_of_a_new_one(old: Path, tmp_path: Path) -> None:
    Store(old).close()
    Store(tmp_path / "new.db").close()
    for table in ("prompts", "responses", "verdicts", "judgements", "stages", "notes", "sent", "meta"):
        query = f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{table}') ORDER BY cid"
        assert dump(old, query) == dump(tmp_path / "new.db", query)


@pytest.mark.parametrize("readonly", [False, True])
def test_an_old_file_that_another_process_writes_is_left_alone(old: Path, readonly: bool) -> None:
    lock = os.open(old.with_name(old.name + ".lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = refused(old, readonly=readonly)
    finally:
        os.close(lock)
    assert "another process is writing" in message
    assert not readonly or "version 1" in message
    assert version(old) == 1
    Store(old, readonly=readonly).close()
    assert version(old) == SCHEMA_VERSION


@pytest.mark.parametrize("step", [1, 2, 3])
def test_killed_while_it_is_brought_up_to_date(old: Path, step: int) -> None:
    """The steps are one transaction: a process that dies before its end leaves the old version whole."""
    code = """
    import os, sqlite3, sys
    import arenaloop.store.store as store
    connect = store.connect_to_write
    def dying(path):
        db = connect(path)
        db.create_function("die", 0, lambda: os.kill(os.getpid(), 9))
        return db
    store.connect_to_write = dying
    step = int(sys.argv[2])
    store.MIGRATIONS[step] = store.MIGRATIONS[step] + "UPDATE meta SET value = die();"
    store.Store(sys.argv[1])
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(old), str(step)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.returncode == -signal.SIGKILL
    assert version(old) == 1
    with Store(old) as store:
        assert store.verdict("v") == OLD_VERDICT
    assert version(old) == SCHEMA_VERSION


def test_a_step_that_fails_leaves_the_old_version(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(MIGRATIONS, 1, MIGRATIONS[1] + "INSERT INTO nowhere VALUES (1);")
        refused(old)
    assert version(old) == 1
    assert len(dump(old, "SELECT name FROM pragma_table_info('verdicts')")) == 21
    Store(old).close()


VERSION_2 = f"""
{MIGRATIONS[1]}
INSERT INTO stages VALUES
    ('SFT-I0', 'k', '{{"rows":3}}'), ('.complete', 'plan', '{{"responses":1,"verdicts":2}}'),
    ('pairs-0', 'chosen', '{{"turn":0}}'), ('batch requests', 'tag', '{{"requests":[]}}'),
    ('batch', 'tag', '{{"state":"written","number":0}}'), ('pairs-1', 'chosen', '{{"turn":1}}'),
    ('batch', 'gat', '{{"state":"closed","number":1}}'), ('DPO-I1', 'l', '{{"rows":4}}');
PRAGMA user_version = 2;
"""


@pytest.mark.parametrize("readonly", [False, True])
def test_runners_notes_leave_the_stages_of_recipes(old: Path, readonly: bool) -> None:
    """A file of version 2 kept both in one table; a run goes on with what it had noted there."""
    with closing(sqlite3.connect(old)) as db:
        db.executescript(VERSION_2)
    with Store(old, readonly=readonly) as store:
        assert list(store.stages()) == [("SFT-I0", {"rows": 3}), ("DPO-I1", {"rows": 4})]
        assert list(store.notes("complete")) == [("plan", {"responses": 1, "verdicts": 2})]
        assert list(store.notes("pairs")) == [("chosen/0", {"turn": 0}), ("chosen/1", {"turn": 1})]
        assert list(store.notes("batch requests")) == [("tag", {"requests": []})]
        assert [key for key, _ in store.notes("batch")] == ["tag", "gat"]
        assert store.note("batch", "gat") == {"state": "closed", "number": 1}
        assert store.ends() == {"responses": 1, "verdicts": 2}
        assert store.verdict("v") == OLD_VERDICT
        assert store.usage() == (6, 4, 6, None, 3.0, 0.0, 0)
    assert dump(old, "SELECT sample FROM responses") == [(0,)]
    assert dump(old, "SELECT DISTINCT kind FROM verdicts") == [("pairwise",)]
    assert version(old) == SCHEMA_VERSION


VERSION_3 = f"""
{VERSION_2}
{MIGRATIONS[2]}
INSERT INTO judgements (key, attempt, prompt_id, response_hash, judge, sample, status, score, raw, text_hash, usd,
    calls, judge_hash, template_hash, parser, run, at)
    VALUES ('k', 0, 'p', 'h', 'judge', 0, 'ok', 7.0, 'Rating: 7', '{content_hash(["Rating: 7"])}', 0.5,
    1, 'j', 't', 'grade:1', 0, 12.0);
PRAGMA user_version = 3;
"""


@pytest.mark.parametrize("readonly", [False, True])
def test_what_was_paid_before_it_was_booked_stays_as_it_was(old: Path, readonly: bool) -> None:
    """A file of version 3 tells of no estimates, and of no calls that were cut off."""
    with closing(sqlite3.connect(old)) as db:
        db.executescript(VERSION_3)
    with Store(old, readonly=readonly) as store:
        found = store.judgement("k")
        assert found is not None
        assert (found.score, found.usd, found.usd_estimated) == (7.0, 0.5, 0.0)
        assert store.verdict("v") == OLD_VERDICT
        assert (store.usage().calls, store.usage().usd_estimated, store.usage().calls_cut_off) == (7, 0.0, 0)
    assert version(old) == SCHEMA_VERSION
    assert dump(old, "PRAGMA integrity_check") == [("ok",)]


class NoMemory(Connection):
    """As on a file system that cannot share memory: WAL is entered, and the first look at the file fails."""

    alone = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if "locking_mode = EXCLUSIVE" in sql:
            self.alone = True
        mode = super().execute("PRAGMA journal_mode").fetchone()[0] if "sqlite_master" in sql else ""
        if mode == "wal" and not self.alone:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_SHMMAP"
            raise error
        return super().execute(sql, parameters)


class NoLog(Connection):
    """As on a file system of which SQLite knows that it has no shared memory: WAL is not entered."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return super().execute(sql.replace("journal_mode = WAL", "journal_mode = DELETE"), parameters)


@pytest.mark.parametrize("kind", [NoMemory, NoLog])
@pytest.mark.parametrize("before", [False, True], ids=["new", "written elsewhere"])
def test_without_a_log_it_is_written_through_a_journal_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Connection], before: bool
) -> None:
    if before:
        with Store(path) as store:
            store.add_verdict(verdict("before"))
            assert store.warning == ""
    monkeypatch.setattr(opening, "Connection", kind)
    with Store(path) as store:
        assert "cannot hold SQLite's log" in store.warning
        store.add_verdict(verdict("v"))
        store.flush()
        assert not log_of(path).exists()
        with Store(path, readonly=True) as reader:
            assert reader.verdict("v") is not None
    assert dump(path, "PRAGMA journal_mode") == [("delete",)]
    with Store(path, readonly=True) as reader:
        assert (reader.verdict("before") is not None) == before
    monkeypatch.undo()
    with Store(path) as store:  # back where there are logs
        assert (store.warning, store.verdict("v") is not None) == ("", True)
