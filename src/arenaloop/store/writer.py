"""The arena file's writer: a thread that commits within 10 ms of an append's arrival, off the caller's event loop.

Appends that come while it waits share a commit. The write-ahead log is folded into the file by a second thread with a
connection of its own, so that no commit waits for the disk.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.store.faults import arena_error
from arenaloop.store.schema import Row, Table, insert

__all__ = ["Append", "Told", "Writer"]

_LINGER = (0.002, 0.003)  # seconds a commit waits for company, the second only if few have come
_FEW = 16
_ROWS = 512  # rows per INSERT at most, with 26 columns well below SQLite's limit of parameters
_BATCH = 4096  # appends per commit at most
_FOLD_AFTER = 4000  # appends between two foldings of the log
_LONGEST_LOG = 16_384  # pages; beyond them (64 MB) the writer stops to fold the log itself, which lets it begin anew

Append = tuple[Table, list[Row]]
"""A table and its new rows."""


class Told(Protocol):
    """Somebody who waits for a commit, as a `threading.Event` does."""

    def set(self) -> None:
        """What was appended before is committed, or the writer has failed; called on the writer's thread."""


class Writer:
    """Commits appends in the background, in the order in which they came.

    Args:
        path: the file, for messages.
        connect: opens a connection that any thread may use.
        committed: told of every batch once it is committed, on the writer's thread.

    Attributes:
        failure: why nothing more is written; None while all is well.
    """

    def __init__(
        self, path: Path, connect: Callable[[], sqlite3.Connection], committed: Callable[[list[Append]], None]
    ) -> None:
        self.path = path
        self.failure: StorageError | ArenaFileError | None = None
        self._connect = connect
        self._committed = committed
        # Appends, who is to be told when what came before them is committed, and at the end None. A deque and a flag: a
        # queue would change threads for every append.
        self._todo: deque[Any] = deque()
        self._asleep = False
        self._wake = threading.Event()
        self._log = _Log(connect)
        self._thread = threading.Thread(target=self._run, name="arena-writer", daemon=True)
        self._thread.start()

    def append(self, table: Table, rows: list[Row]) -> None:
        """Hand over rows of a table. Raises StorageError if earlier ones could not be written."""
        if self.failure is not None:
            raise self.failure
        self._put((table, rows))

    def flush(self) -> None:
        """Wait until everything appended so far is committed. Raises StorageError if that failed."""
        done = threading.Event()
        self.tell(done)
        done.wait()
        if self.failure is not None:
            raise self.failure

    def tell(self, told: Told) -> None:
        """Let somebody know when everything appended so far is committed; `failure` says whether that failed."""
        self._put(told)

    @property
    def backlog(self) -> int:
        """Appends that wait."""
        return len(self._todo)

    def close(self) -> None:
        """Commit what waits and end both threads; whether that failed is in `failure`."""
        self._put(None)
        self._thread.join()
        self._log.close()

    def _put(self, item: Any) -> None:
        self._todo.append(item)
        if self._asleep:
            self._wake.set()

    def _take(self) -> list[Any]:
        """What has been put, once there is something and a commit has waited for company; None comes last."""
        todo = self._todo
        while not todo:
            self._asleep = True
            if not todo:  # what is put after this look finds the flag
                self._wake.wait()
            self._asleep = False
            self._wake.clear()
        if type(todo[0]) is tuple:
            time.sleep(_LINGER[0])
            if len(todo) < _FEW:  # a commit of few costs nearly as much as one of many
                time.sleep(_LINGER[1])
        batch = [todo.popleft()]
        while todo and batch[-1] is not None and len(batch) < _BATCH:
            batch.append(todo.popleft())
        return batch

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        closing = False
        while not closing:
            batch = self._take()
            closing = batch[-1] is None
            appends: list[Append] = [item for item in batch if type(item) is tuple]
            if appends and self.failure is None:
                try:
                    connection = connection or self._open()
                    self._commit(connection, appends)
                except Exception as error:  # a thread that dies would lose rows in silence, and hang whoever waits
                    self.failure = self._failure(error)
            for item in batch:
                if item is not None and type(item) is not tuple:
                    item.set()
            if connection is not None and self._log.too_long:
                self._log.too_long = False
                self._log.fold(connection)
        if connection is not None:
            connection.close()

    def _failure(self, error: Exception) -> StorageError | ArenaFileError:
        known = arena_error(self.path, error) if isinstance(error, sqlite3.Error) else error
        if isinstance(known, ArenaFileError) or (isinstance(known, StorageError) and known is error):
            return known
        return StorageError(f"{self.path}: {error}; what was stored before stays")

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # the log's thread does it
        return connection

    def _commit(self, connection: sqlite3.Connection, batch: list[Append]) -> None:
        by_table: dict[Table, list[Row]] = {}
        for table, rows in batch:
            by_table.setdefault(table, []).extend(rows)
        parts = [(table, part) for table, rows in by_table.items() for part in _parts(rows)]
        if len(parts) > 1:  # a lone statement is a transaction by itself
            connection.execute("BEGIN IMMEDIATE")
        try:
            for table, rows in parts:
                insert(connection, table, rows)
            if connection.in_transaction:
                connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # else SQLite has already rolled back
                connection.execute("ROLLBACK")
            raise
        self._committed(batch)
        self._log.grew(len(rows) for rows in by_table.values())


def _parts(rows: list[Row]) -> Iterator[list[Row]]:
    """Rows cut into powers of two.

    Few statements of many rows, since after each the thread must win the interpreter's lock back from the event loop;
    and few different ones, since preparing a statement costs as much as inserting its rows.
    """
    start, size = 0, _ROWS
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


class _Log:
    """Folds the write-ahead log into the file on a thread of its own.

    SQLite would do it inside the commit that passes a thousand pages, which then waits for the disk (tens of
    milliseconds, and with it every append behind it). A folding beside the writer holds nobody up, but while appends
    keep coming it never reaches the end of the log, without which the log cannot begin anew: see `_LONGEST_LOG`.

    Attributes:
        too_long: whether the writer should fold between two commits.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self.too_long = False
        self._connect = connect
        self._since = 0
        self._pages = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def grew(self, rows: Iterable[int]) -> None:
        """Note a commit; now and then the thread is woken."""
        self._since += sum(rows)
        if self._since < _FOLD_AFTER:
            return
        self._since = 0
        if self._thread is None:  # short runs need none
            self._thread = threading.Thread(target=self._run, name="arena-log", daemon=True)
            self._thread.start()
        self._wake.set()

    def fold(self, connection: sqlite3.Connection) -> None:
        """Fold in all that can be, without waiting for readers."""
        # What fails here is not lost: it stays in the log. A full disk shows in the next commit.
        with suppress(sqlite3.OperationalError):
            self._pages = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        connection = self._connect()
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._closing:
                break
            self.fold(connection)
            self.too_long = self._pages > _LONGEST_LOG
        connection.close()
