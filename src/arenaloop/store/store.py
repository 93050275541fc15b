"""The arena file: one SQLite database, append-only, that holds everything that was paid for.

Rows are keyed by the hash of all that determines them, so that to resume is to ask again: what is there is not asked
twice. Failures are rows too, with a status and a reason, and are asked again on the next run. One process writes
(`lock`: the kernel frees its locks when it dies); any number may read meanwhile.

Appends go to a writer thread (`writer`) that commits within 10 ms of arrival, off the caller's event loop. After
``kill -9`` at most those of the last 10 ms are lost: commits are in the write-ahead log, which survives the process. (A
power cut may lose the last commits too, because `synchronous=NORMAL` does not wait for the disk; the file stays
consistent.)
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import clear_frames
from types import TracebackType
from typing import Any

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.store.faults import arena_error
from arenaloop.store.lock import WriterLock, committed_rows, entered, left
from arenaloop.store.opening import (
    NO_LOG,
    WRITING,
    check_tables,
    connect,
    connect_to_read,
    connect_to_write,
    has_log,
    identity,
    lost_rows,
    prepare_to_write,
    private_copy,
    refuse_log_alone,
    refuse_lost_rows,
    refuse_no_files,
    rows_in,
    version_of,
    with_log,
)
from arenaloop.store.reads import REFERENCES, Readings, Usage
from arenaloop.store.rows import (
    COLUMNS,
    STATUSES,
    Record,
    TurnRow,
    check_text,
    from_stored,
    prompt_row,
    record_of,
    to_json,
    whole_response,
)
from arenaloop.store.schema import (
    JUDGEMENTS,
    MIGRATIONS,
    NOTES,
    PROMPTS,
    RESPONSES,
    SCHEMA_VERSION,
    SENT,
    STAGES,
    VERDICTS,
    Row,
    Table,
)
from arenaloop.store.sent import Sent
from arenaloop.store.writer import Append, Told, Writer
from arenaloop.types import Completion, Judgement, Prompt, Response, Status, Verdict

__all__ = ["Store"]

_SWITCH = 0.0005  # seconds after which a busy event loop lets the writer in; Python's own 5 ms would double the commit


class Store(Readings):
    """An open arena file. What can be read of it that needs no writer is in `reads`.

    Args:
        path: the SQLite file; created unless `readonly`.
        readonly: open for reading, while another process may be writing, or where nothing can be written.

    Attributes:
        lost: what is missing of the rows that were committed, in words; a writer refuses such a file.
        warning: what a writer should know of how the file is written; empty where all is as it should be.
        sent: what this invocation has sent so far; `put_sent` books it.

    Raises:
        ArenaFileError: another process writes the file, it may not be written, it has another version or is damaged,
            rows that were committed are missing, or it is no arena file.
        StorageError: the disk is full or failing. Out of a ``with`` block both come for what is found in it.
    """

    def __init__(self, path: str | Path, *, readonly: bool = False) -> None:
        self.path = Path(path)
        self.readonly = readonly
        self.lost = self.warning = ""
        self._real = Path(os.path.realpath(path))  # the lock follows the file, as SQLite's log does
        self._lock: WriterLock | None = None
        self._copy: TemporaryDirectory[str] | None = None
        # rows that are on their way, with what they were made of, by what their attempts are counted under
        self._pending: dict[Table, dict[Any, tuple[Row, Any]]] = {RESPONSES: {}, VERDICTS: {}, JUDGEMENTS: {}}
        self._usage: Usage | None = None  # known until the next append
        self._writer: Writer | None = None
        self.sent = Sent()
        refuse_no_files(self._real, self.path)
        refuse_log_alone(self._real, self.path)
        if readonly and not self._real.exists():
            raise ArenaFileError(f"{self.path}: no arena file here")
        told, log = committed_rows(self._real), has_log(self._real)
        if not readonly:
            self._lock = WriterLock(self._real, self.path)
        try:
            if not readonly:
                refuse_lost_rows(self._real, self.path, told, log=log)
            self._reader = self._open()
            self._inode = entered(self._real)
            try:
                self._open_schema(told, log=log)
                self.run = self._next_run()
            except BaseException:
                self._close_reader()  # which also takes back an unfinished migration
                raise
        except sqlite3.Error as error:
            self._release_lock()
            if (known := arena_error(self.path, error)) is None:
                raise
            raise known from error
        except BaseException:
            self._release_lock()
            raise
        if not readonly:
            self._switch = sys.getswitchinterval()
            sys.setswitchinterval(min(self._switch, _SWITCH))
            self._writer = Writer(self.path, lambda: self._connect(check_same_thread=False), self._committed)

    # ------------------------------------------------------------------ opening and closing

    def _connect(self, *, check_same_thread: bool = True) -> sqlite3.Connection:
        return connect(self._real, check_same_thread=check_same_thread)

    def _open(self) -> sqlite3.Connection:
        if not self.readonly:
            return connect_to_write(self._real)
        connection, self._copy = connect_to_read(self._real)
        return connection

    def _close_reader(self) -> None:
        self._reader.close()
        left(self._inode)
        if self._copy is not None:
            self._copy.cleanup()

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _open_schema(self, told: tuple[str, int] | None, *, log: bool) -> None:
        db = self._reader
        version = version_of(db, self.path)
        self.lost = lost_rows(db, told, log=log)
        if version and version != SCHEMA_VERSION:
            self._migrate(version)
            db = self._reader
        if version:
            check_tables(db, self.path)
        if self.readonly:
            if not version:
                raise ArenaFileError(f"{self.path}: an empty file, no arena file")
            return
        self._reader, log = with_log(db, self._real)
        self.warning = "" if log else NO_LOG
        prepare_to_write(self._reader, new=not version)

    def _migrate(self, version: int) -> None:
        """Bring an older file up to this version, in one transaction; a reader does it before it begins to read."""
        if not self.readonly:
            steps = "".join(MIGRATIONS[v] for v in range(version, SCHEMA_VERSION))
            self._reader.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            return
        if self._copy is None and not _writable(self._real):
            self._copy = private_copy(self._real)
        file = self.path if self._copy is None else Path(self._copy.name) / self._real.name
        try:
            Store(file).close()
        except ArenaFileError as error:
            raise ArenaFileError(
                f"{self.path}: an arena file of version {version}, to be brought up to version {SCHEMA_VERSION} "
                f"before it is read: {error}"
            ) from error
        if self._copy is not None:
            self._reader.close()
            self._reader = connect(file)

    def _next_run(self) -> int:
        db = self._reader
        row = db.execute("SELECT value FROM meta WHERE key = 'runs'").fetchone()
        run = int(row[0]) if row else 0
        if self._lock is not None:
            values = "('runs', ?)"
            if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                values += f", ('{WRITING}', '{int(time.time())}')"
            db.execute(f"INSERT OR REPLACE INTO meta VALUES {values}", (str(run + 1),))  # noqa: S608
            # into the file itself, so that a copy of it without its log is known for what it is
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._known_by, self._rows = identity(db), rows_in(db)
            self._lock.note(self._known_by, self._rows)
        return run

    @property
    def secret(self) -> str:
        """The run's secret, made when the file was; part of delimiters, never of keys or output."""
        return str(self._reader.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0])

    def close(self) -> None:
        """Flush, fold the log into the file, and free the lock. Raises StorageError if the last commits failed."""
        failure = None
        if self._writer is not None:
            self._writer.close()
            failure = self._writer.failure
            self._writer = None
            sys.setswitchinterval(self._switch)
            if failure is None:
                try:
                    self._reader.execute("DELETE FROM meta WHERE key = ?", (WRITING,))
                    self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                except sqlite3.Error as error:
                    failure = arena_error(self.path, error)
                    if "lock" in str(error) or "busy" in str(
                        error
                    ):  # a reader holds the log: it stays, nothing is lost
                        failure = None
        self._close_reader()
        self._release_lock()
        if failure is not None:
            raise failure

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        clear_frames(traceback)  # they keep what they were reading, and folding the log in would wait for it
        try:
            self.close()
        except (StorageError, ArenaFileError):
            if error is None:  # do not hide what went wrong first
                raise
        if isinstance(error, sqlite3.Error) and (known := arena_error(self.path, error)) is not None:
            raise known from error

    # ------------------------------------------------------------------ writing

    def _committed(self, batch: list[Append]) -> None:
        # A later attempt under the same key may be on its way already: only what was committed stops being pending.
        for table, rows in batch:
            if table.counted:
                pending = self._pending[table]
                for key, row in zip(map(table.key, rows), rows, strict=True):
                    if pending[key][0] is row:
                        del pending[key]
                self._rows += len(rows)
        if self._lock is not None:
            self._lock.note(self._known_by, self._rows)
            self._lock.check()

    def _append(self, table: Table, rows: list[Row]) -> None:
        if self._writer is None:
            raise StorageError(f"{self.path}: opened for reading only")
        self._usage = None
        self._writer.append(table, rows)

    def put_sent(self, told: Told | None = None) -> None:
        """Append the sums of `sent`; who is given is told once they are committed, or that has failed (`failure`)."""
        sent = self.sent
        self._append(SENT, [(self.run, sent.calls, sent.open, None if sent.unknown else sent.usd)])
        if told is not None and self._writer is not None:
            self._writer.tell(told)

    @property
    def failure(self) -> StorageError | ArenaFileError | None:
        """Why nothing more can be written; None while all is well."""
        return None if self._writer is None else self._writer.failure

    def flush(self) -> None:
        """Wait until everything appended so far is committed. Raises StorageError if that failed."""
        if self._writer is not None and self._lock is not None:
            self._writer.flush()
            self._lock.check()

    @property
    def backlog(self) -> int:
        """Appends that wait for the writer; callers pause when it grows."""
        return 0 if self._writer is None else self._writer.backlog

    def added_elsewhere(self, rows: int) -> None:
        """Note rows of calls that were committed past the writer, so that none of them is missed later."""
        self._usage, self._rows = None, self._rows + rows
        if self._lock is not None:
            self._lock.note(self._known_by, self._rows)

    def add_prompts(self, prompts: Iterable[Prompt]) -> None:
        """Ingest prompts; those already there are left as they are, but for a reference answer that they lack.

        Of such a change a note is kept (see `ends`): what was complete is judged anew.
        """
        rows = [prompt_row(prompt) for prompt in prompts]
        if changed := self.other_references(rows):
            self.put_note(REFERENCES, "changed", (self.note(REFERENCES, "changed") or 0) + changed)
        self._append(PROMPTS, rows)

    def add_turns(self, rows: Iterable[TurnRow | tuple[str, int, str, str, Completion, str]]) -> None:
        """Append answers to single turns, all in one transaction."""
        now = time.time()
        out = []
        for turn in (TurnRow(*row) for row in rows):
            row = RESPONSES.row(turn, self.run, now)
            self._pending[RESPONSES][turn.key, turn.turn] = row, turn.completion
            out.append(row)
        self._append(RESPONSES, out)

    def add_verdict(self, verdict: Verdict) -> None:
        """Append one judge call over two texts."""
        self.add_records((verdict,))

    def add_records(self, records: Sequence[Verdict | Judgement]) -> None:
        """Append judge calls, all of one kind and all in one transaction."""
        table, now, rows = JUDGEMENTS if isinstance(records[0], Judgement) else VERDICTS, time.time(), []
        for record in records:
            row = table.row(record, self.run, now)
            self._pending[table][record.key] = row, record
            rows.append(row)
        self._append(table, rows)

    def put_stage(self, name: str, key: str, result: dict[str, Any]) -> None:
        """Record the result of a recipe's finished stage under the hash of what determines it."""
        self._append(STAGES, [(name, key, to_json(result))])
        self.flush()

    def put_note(self, room: str, key: str, value: Any, *, wait: bool = True) -> None:
        """Keep a runner's own state, which JSON can hold; what stood there before is replaced.

        `room` is the name under which one runner finds its notes. Committed on return, or without `wait` before
        whatever is appended next.
        """
        self._append(NOTES, [(room, key, to_json(value))])
        if wait:
            self.flush()

    # ------------------------------------------------------------------ reading, what is on its way included

    def turn(self, key: str, turn: int) -> tuple[str, Status] | None:
        """Text and status of the latest attempt at one turn of a response, committed or still on its way."""
        pending = self._pending[RESPONSES].get((key, turn))
        if pending is not None:
            completion: Completion = pending[1]
            return completion.text, completion.status
        row = self._reader.execute(
            "SELECT text, status, text_hash FROM responses WHERE key = ? AND turn = ? ORDER BY attempt DESC LIMIT 1",
            (key, turn),
        ).fetchone()
        if row is None:
            return None
        text = from_stored(row[0])
        if turn == 0:  # the hash of a later one is that of all up to it
            check_text(key, text, row[2])
        return text, STATUSES[row[1]]

    def response(self, key: str, prompt: Prompt, model: str) -> Response | None:
        """A whole response, once every turn is answered or one has failed; None while turns are missing."""
        return whole_response(prompt, model, lambda turn: self.turn(key, turn))

    def verdict(self, key: str) -> Verdict | None:
        """The latest attempt at one judge call over two texts, committed or still on its way."""
        return self.verdicts([key]).get(key)

    def verdicts(self, keys: Sequence[str]) -> dict[str, Verdict]:
        """The latest attempts at many judge calls, by key; keys without a row are left out."""
        return self._latest(VERDICTS, Verdict, keys)

    def judgement(self, key: str) -> Judgement | None:
        """The latest attempt at one judge call about one answer, committed or still on its way."""
        return self.judgements([key]).get(key)

    def judgements(self, keys: Sequence[str]) -> dict[str, Judgement]:
        """The latest attempts at many such calls, by key; keys without a row are left out."""
        return self._latest(JUDGEMENTS, Judgement, keys)

    def _latest(self, table: Table, kind: type[Record], keys: Sequence[str]) -> dict[str, Record]:
        # Those on their way are noted first: they may be committed, and pending no more, while the table is read.
        waiting = self._pending[table]
        pending = {key: found[1] for key in keys if (found := waiting.get(key)) is not None}
        query = f"SELECT {COLUMNS[kind]} FROM {table.name} WHERE key IN ({{}}) ORDER BY id"  # noqa: S608
        stored = (record_of(kind, row) for row in self._of_keys(query, [key for key in keys if key not in pending]))
        return {record.key: record for record in stored} | pending  # later attempts replace earlier ones

    def usage(self) -> Usage:
        """Calls, tokens, money and wall time of all invocations so far (committed rows)."""
        if self._usage is not None:
            return self._usage
        usage = super().usage()
        if not (self.readonly or any(self._pending.values())):  # nobody else writes here
            self._usage = usage
        return usage


def _writable(path: Path) -> bool:
    """Whether this process may write the file and beside it."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
