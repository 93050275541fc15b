"""One writer at a time, whatever the path that leads to the arena file, and what happens when the file is moved."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from arena_rows import dump, refused, start_writer, verdict

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.store import Store
from arenaloop.store import lock as locks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An arena file in a directory of its own."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "arena.db"


@pytest.fixture
def writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the file open for writing; a line on its stdin makes it commit a row."""
    code = """
    n = 0
    for _ in sys.stdin:
        store.add_verdict(Verdict(f"other-{n}", "p", "f", "s", "j", Status.OK, outcome=Outcome.A))
        store.flush()
        n += 1
        print("stored", flush=True)
    store.close()
    """
    process = start_writer(path, code)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()


def commit(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "stored\n"


def _by_symbolic_link(path: Path) -> Path:
    other = path.parent.parent / "other" / "arena.db"
    other.parent.mkdir()
    other.symlink_to(path)
    return other


def _by_relative_link(path: Path) -> Path:
    (path.parent / "here.db").symlink_to("arena.db")
    return path.parent / "here.db"


def _by_linked_directory(path: Path) -> Path:
    (path.parent.parent / "link").symlink_to(path.parent)
    return path.parent.parent / "link" / "arena.db"


def _by_hard_link(path: Path) -> Path:
    other = path.parent.parent / "hard.db"
    os.link(path, other)
    return other


def _without_lock_file(path: Path) -> Path:
    path.with_name("arena.db.lock").unlink()
    return path


def _by_link_without_lock_file(path: Path) -> Path:
    path.with_name("arena.db.lock").unlink()
    return _by_symbolic_link(path)


def _with_another_lock_file(path: Path) -> Path:
    path.with_name("arena.db.lock").unlink()
    path.with_name("arena.db.lock").write_text("")
    return path


def _in_a_renamed_directory(path: Path) -> Path:
    path.parent.rename(path.parent.parent / "renamed")
    return path.parent.parent / "renamed" / "arena.db"


WAYS = [
    _by_symbolic_link,
    _by_relative_link,
    _by_linked_directory,
    _by_hard_link,
    _without_lock_file,
    _by_link_without_lock_file,
    _with_another_lock_file,
    _in_a_renamed_directory,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
def test_no_second_writer_whatever_the_path(path: Path, writing: subprocess.Popen[str], way) -> None:
    other = way(path)
    message = refused(other)
    assert "another process is writing" in message or "names" in message


def test_sqlite_s_own_locks_survive_a_refused_writer(path: Path, writing: subprocess.Popen[str]) -> None:
    """Closing a handle of a file takes a process's locks on it away: not while a reader of ours has it open."""
    commit(writing)
    with Store(path, readonly=True) as reader:
        path.with_name("arena.db.lock").unlink()
        refused(path)  # has opened the file itself, and may not close it yet
        commit(writing)
        assert reader.verdict("other-1") is not None
        assert len(locks._parked) == 1
    assert not locks._parked
    assert not locks._users
    assert dump(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_reader_is_let_in_by_every_path(path: Path, writing: subprocess.Popen[str]) -> None:
    commit(writing)
    for other in (_by_symbolic_link(path), _by_linked_directory(path)):
        with Store(other, readonly=True) as reader:
            assert reader.verdict("other-0") is not None


def test_a_writer_by_a_link_writes_the_file_itself(path: Path) -> None:
    Store(path).close()
    link = _by_symbolic_link(path)
    with Store(link) as store:
        store.add_verdict(verdict("v"))
    assert sorted(one.name for one in link.parent.iterdir()) == ["arena.db"]
    with Store(path, readonly=True) as store:
        assert store.verdict("v") is not None


def test_a_file_of_two_names_says_how_to_make_it_one(path: Path) -> None:
    Store(path).close()
    other = _by_hard_link(path)
    message = refused(path)
    command = message.partition(": cp ")[2]
    subprocess.run(f"cp {command}", shell=True, check=True)
    with Store(path) as store:
        store.add_verdict(verdict("v"))
    assert path.stat().st_ino != other.stat().st_ino


@pytest.mark.parametrize("gone", ["renamed", "deleted", "replaced"])
def test_a_run_whose_file_is_moved_stops(path: Path, gone: str) -> None:
    store = Store(path)
    store.add_verdict(verdict("v0"))
    store.flush()
    if gone == "renamed":
        path.parent.rename(path.parent.with_name("elsewhere"))
    elif gone == "deleted":
        shutil.rmtree(path.parent)
    else:
        path.unlink()
        path.write_bytes(b"")
    with pytest.raises(StorageError, match="moved, replaced or deleted"):
        store.flush()
    store.add_verdict(verdict("v1"))
    with pytest.raises(StorageError, match="moved, replaced or deleted"):
        store.close()
    if gone == "renamed":  # what was stored went with it
        with Store(path.parent.with_name("elsewhere") / "arena.db") as store:
            assert store.verdict("v0") is not None


def test_a_file_system_without_flock_is_no_other_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOLCK and EOPNOTSUPP say that there are no locks of this kind; the lock on the file itself is enough.

    Without that one flock is enough, as long as SQLite's own locks can be had.
    """

    def fails(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patched:
        patched.setattr(locks, "_lock_inode", fails)
        Store(path).close()
        patched.setattr(fcntl, "lockf", fails)
        assert "no locks of byte ranges, which SQLite needs" in refused(path)

    monkeypatch.setattr(locks, "_flock", fails)
    with Store(path) as store:
        store.add_verdict(verdict("v"))
        assert "another process" in refused(path)
    monkeypatch.setattr(locks, "_lock_inode", fails)
    message = refused(path)
    assert "no locks" in message
    assert "another process" not in message


def test_a_folder_or_pipe_in_its_place(path: Path) -> None:
    path.mkdir()
    assert "a folder" in refused(path)
    assert "a folder" in refused(path, readonly=True)
    path.rmdir()
    os.mkfifo(path)
    assert "pipe" in refused(path)
    path.unlink()
    path.with_name("arena.db.lock").mkdir()
    assert "arena.db.lock: a folder" in refused(path)


def test_sqlite_reads_and_writes_beside_the_lock(path: Path) -> None:
    """The lock is one byte where neither SQLite's own locks nor data are."""
    with Store(path) as store, closing(sqlite3.connect(path, timeout=5)) as other:
        store.add_verdict(verdict("v"))
        store.flush()
        assert other.execute("SELECT key FROM verdicts").fetchall() == [("v",)]
        other.execute("INSERT INTO notes VALUES ('r', 'k', '1')")
        other.commit()
        assert store.note("r", "k") == 1


def test_an_unwritable_file_is_refused_before_anything(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).close()
    opened = os.open

    def readonly(name, flags: int, *more: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(name, flags, *more)

    monkeypatch.setattr(os, "open", readonly)
    with pytest.raises(ArenaFileError, match=r"cannot be written.*another --out"):
        Store(path)
