"""How an arena file is opened: connections, copies for reading where nothing may be written, and what is refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from arenaloop.errors import ArenaFileError, InputError
from arenaloop.regular_files import refuse_others
from arenaloop.store.faults import damaged
from arenaloop.store.schema import APPLICATION_ID, META, MIGRATIONS, SCHEMA, SCHEMA_VERSION, TABLES
from arenaloop.store.values import Connection

__all__ = [
    "NO_LOG",
    "RECOVERED",
    "WRITING",
    "check_tables",
    "connect",
    "connect_to_read",
    "connect_to_write",
    "has_log",
    "identity",
    "log_of",
    "lost_rows",
    "prepare_to_write",
    "private_copy",
    "refuse_log_alone",
    "refuse_lost_rows",
    "refuse_no_files",
    "rows_in",
    "version_of",
    "with_log",
]

WRITING = "writing"
"""Key of `meta` that stands while a process writes: a file that holds it, with no log beside it, was not closed."""
RECOVERED = "recovered"
"""Key of `meta` that says when a file was made of what a damaged one still held."""

_LONGEST_NUMBER = 16  # digits
_LOGS = ("-wal", "-journal")
_UNSHARED = ("SQLITE_IOERR_SHM",)
"""What SQLite says where a file system cannot share the memory of the log's index."""
_UNWRITABLE = ("SQLITE_CANTOPEN", "SQLITE_READONLY", *_UNSHARED)
NO_LOG = (
    "this file system cannot hold SQLite's log (WAL): commits go through a journal, more slowly; let one machine alone "
    "use it"
)
"""What is to be said of a file that is written without a log."""


def connect(
    path: Path, options: str = "", *, check_same_thread: bool = True, alone: bool = False
) -> sqlite3.Connection:
    """A connection; `options` are those of SQLite's URI, such as ``mode=ro``; `alone` keeps everybody else out."""
    uri = path.absolute().as_uri() + (f"?{options}" if options else "")
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=30,
        isolation_level=None,
        check_same_thread=check_same_thread,
        cached_statements=64,
        factory=Connection,
    )
    try:
        if alone:  # before SQLite looks at the file for the first time
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA cache_size = -4096")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_write(path: Path) -> sqlite3.Connection:
    """A connection for writing; a file in WAL mode leaves it where the log's memory cannot be shared."""
    try:
        return _probed(path)
    except sqlite3.OperationalError as error:
        if not _is(error, _UNSHARED):
            raise
    _leave_log(path)
    return _probed(path)


def _leave_log(path: Path) -> None:
    """Fold the log in and go on without one: whoever has the file for himself needs no shared memory for that."""
    connection = connect(path, alone=True)
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        connection.close()


def _read(connection: sqlite3.Connection) -> None:
    """Make SQLite look at the file; to connect alone does not."""
    connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()


def _is(error: sqlite3.Error, names: tuple[str, ...]) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith(names)


def connect_to_read(path: Path) -> tuple[sqlite3.Connection, tempfile.TemporaryDirectory[str] | None]:
    """A connection for reading, and the folder of the copy that it reads, if it is one.

    Beside a file in WAL mode SQLite keeps shared memory. Where it cannot be made (read-only media, another user's
    directory), a file without a log is read as one that nobody changes, and one with a log in a copy.
    """
    try:
        return _probed(path, "mode=ro"), None
    except sqlite3.OperationalError as error:
        if not _is(error, _UNWRITABLE):
            raise
    if not os.access(path, os.R_OK):
        raise ArenaFileError(f"{path}: cannot be read (no permission)")
    if not has_log(path):
        return _probed(path, "mode=ro&immutable=1"), None
    folder = private_copy(path)
    try:
        return _probed(Path(folder.name) / path.name), folder
    except BaseException:
        folder.cleanup()
        raise


def _probed(path: Path, options: str = "") -> sqlite3.Connection:
    connection = connect(path, options)
    try:
        _read(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def private_copy(path: Path) -> tempfile.TemporaryDirectory[str]:
    """A copy of the file and its log in a folder of its own, which goes with the object."""
    folder = tempfile.TemporaryDirectory(prefix="arenaloop-")
    try:
        for end in ("", *_LOGS):
            with suppress(FileNotFoundError):
                shutil.copyfile(path.with_name(path.name + end), Path(folder.name) / (path.name + end))
    except OSError as error:
        folder.cleanup()
        raise ArenaFileError(f"{path}: cannot be copied into {folder.name} to be read ({error.strerror})") from None
    return folder


def log_of(path: Path) -> Path:
    """The write-ahead log beside an arena file."""
    return path.with_name(path.name + "-wal")


def has_log(path: Path) -> bool:
    """Whether a log with something in it stands beside the file, or the journal of a file system without logs."""
    return any(_size(path.with_name(path.name + end)) for end in _LOGS)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def with_log(db: sqlite3.Connection, path: Path) -> tuple[sqlite3.Connection, bool]:
    """The connection, or another in its place, with commits through a log where the file system bears one; whether so.

    Some network file systems refuse the log when it is asked for, others when its memory is needed first.
    """
    try:
        log = str(db.execute("PRAGMA journal_mode = WAL").fetchone()[0]).lower() == "wal"
        _read(db)
    except sqlite3.OperationalError as error:
        if not _is(error, _UNSHARED):
            raise
        db.close()
        _leave_log(path)
        db, log = connect(path), False
    if not log:
        db.execute("PRAGMA journal_mode = DELETE")
    return db, log


def prepare_to_write(db: sqlite3.Connection, *, new: bool) -> None:
    """Set how a file is written; a new one gets its tables and its secret."""
    db.execute("PRAGMA synchronous = NORMAL")
    if new:
        # One transaction, so that a process killed in the middle leaves an empty file. The secret is what contestants
        # must not know: delimiters in judge prompts are derived from it.
        db.executescript(
            f"BEGIN; {SCHEMA} INSERT INTO meta VALUES ('secret', '{os.urandom(16).hex()}');"  # noqa: S608
            f" PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )


# ---------------------------------------------------------------------- what is refused


def refuse_no_files(path: Path, name: Path) -> None:
    """Raise ArenaFileError if a folder, pipe or device stands where the arena file or one beside it belongs."""
    for end in ("", ".lock", "-shm", *_LOGS):
        try:
            refuse_others([path.with_name(path.name + end)], name.with_name(name.name + end))
        except InputError as error:
            raise ArenaFileError(str(error)) from None


def refuse_log_alone(path: Path, name: Path) -> None:
    """Raise ArenaFileError if a log stands beside no file, or an empty one: SQLite would throw it away."""
    if not _size(path) and _size(log_of(path)):
        what = "empty" if path.exists() else "missing"
        raise ArenaFileError(
            f"{name}: {what}, while its log {log_of(name).name} holds rows that were paid for: put the file back "
            f"beside it, or save what the log holds with arenaloop recover {name.parent}"
        )


def version_of(db: sqlite3.Connection, name: Path) -> int:
    """The version of the file's tables; 0 if it has none yet.

    Raises:
        ArenaFileError: it is another SQLite file, or of a version that is not known.
    """
    application, version = (db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version"))
    if db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0:
        return 0
    if application != APPLICATION_ID:
        raise ArenaFileError(f"{name}: a SQLite file, but no arena file")
    if version != SCHEMA_VERSION and version not in MIGRATIONS:
        raise ArenaFileError(
            f"{name}: an arena file of version {version}; this arenaloop reads version {SCHEMA_VERSION}"
        )
    return int(version)


def check_tables(db: sqlite3.Connection, name: Path) -> None:
    """Raise ArenaFileError if a file of this version lacks a table, a column or an index, or what `meta` must hold."""
    there: dict[str, set[str]] = {"table": set(), "index": set()}
    for kind, found in db.execute("SELECT type, name FROM sqlite_master"):
        there.setdefault(kind, set()).add(found)
    if missing := [table.name for table in (META, *TABLES) if table.name not in there["table"]]:
        raise damaged(name, f"no table {', '.join(missing)}")
    for table in (META, *TABLES):
        columns = {column for _, column, *_ in db.execute(f"PRAGMA table_info({table.name})")}
        if lacking := [column.split()[0] for column in table.columns if column.split()[0] not in columns]:
            raise damaged(name, f"no column {', '.join(lacking)} in the table {table.name}")
        if lacking := sorted(table.indices - there["index"]):
            raise damaged(name, f"no index {', '.join(lacking)}")
    _check_meta(db, name)


def _check_meta(db: sqlite3.Connection, name: Path) -> None:
    """Every file has a secret, and the number of its invocations is beyond that of any row."""
    meta = dict(db.execute("SELECT key, value FROM meta"))
    if not meta.get("secret") or not isinstance(meta["secret"], str):
        raise damaged(name, "the table meta holds no secret")
    runs = meta.get("runs")
    if runs is not None and not (isinstance(runs, str) and runs.isdecimal() and len(runs) < _LONGEST_NUMBER):
        raise damaged(name, "the table meta holds no number of runs")
    last = [db.execute(f"SELECT run FROM {name} ORDER BY id DESC LIMIT 1").fetchone() for name in _of_calls(db)]  # noqa: S608
    last.append(db.execute("SELECT run FROM sent ORDER BY run DESC LIMIT 1").fetchone())
    if any(row is not None and row[0] >= int(runs or 0) for row in last):
        raise damaged(name, "the table meta counts fewer runs than there were")


def identity(db: sqlite3.Connection) -> str:
    """What tells one arena file from another: a hash of its secret, and of when it was recovered from a damaged one."""
    found = db.execute("SELECT value FROM meta WHERE key IN ('secret', ?) ORDER BY key", (RECOVERED,)).fetchall()
    return blake2b(" ".join(str(value) for (value,) in found).encode(), digest_size=6).hexdigest()


def rows_in(db: sqlite3.Connection) -> int:
    """How many calls were ever stored: the tables of calls are only appended to."""
    return sum(db.execute(f"SELECT MAX(id) FROM {name}").fetchone()[0] or 0 for name in _of_calls(db))  # noqa: S608


def _of_calls(db: sqlite3.Connection) -> list[str]:
    """The tables of calls that are there."""
    there = {table for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return [table.name for table in TABLES if table.counted and table.name in there]


def _deleted_rows(db: sqlite3.Connection) -> int:
    """How many rows of calls are gone from the midst of the others; a recovered file lacks some, as is known."""
    if db.execute("SELECT 1 FROM meta WHERE key = ?", (RECOVERED,)).fetchone() is not None:
        return 0
    return rows_in(db) - sum(db.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in _of_calls(db))  # noqa: S608


def lost_rows(db: sqlite3.Connection, told: tuple[str, int] | None, *, log: bool) -> str:
    """What is missing of the rows that were committed, in words; empty if nothing is known to be.

    Args:
        told: what the side file said before the file was opened.
        log: whether a log stood beside it then.
    """
    if db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0:
        return f"no row, where {told[1]:,} were committed" if told is not None and told[1] else ""
    own = told is not None and told[0] == identity(db)
    fewer = _deleted_rows(db) + (max(0, told[1] - rows_in(db)) if own and told is not None else 0)
    if own or fewer:
        return f"{fewer:,} rows fewer than were committed" if fewer > 0 else ""
    open_still = db.execute("SELECT 1 FROM meta WHERE key = ?", (WRITING,)).fetchone() is not None
    return "rows may be missing: it was copied from a run that had not closed it" if open_still and not log else ""


def refuse_lost_rows(path: Path, name: Path, told: tuple[str, int] | None, *, log: bool) -> None:
    """Raise ArenaFileError if rows are missing, while nothing is open for writing.

    SQLite, when it closes a file that was open for writing, folds in what it could read of the log and deletes it: rows
    that could be saved, or a log that could be put back, would be lost.
    """
    db, copy = connect_to_read(path)
    try:
        version_of(db, name)
        if lost := lost_rows(db, told, log=log):
            raise ArenaFileError(
                f"{name}: {lost}; put its log {name.name}-wal back if it was left behind, or save what is there and "
                f"go on without the rest by arenaloop recover {name.parent} --replace"
            )
    finally:
        db.close()
        if copy is not None:
            copy.cleanup()
