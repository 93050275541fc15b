"""The arena file: one SQLite database, append-only, that holds everything that was paid for.

Rows are keyed by the hash of all that determines them, so that to resume is to ask again: what is there is not asked
twice. Failures are rows too, with a status and a reason, and are asked again on the next run. One process writes
(`flock` on a side file, which the kernel frees when the process dies); any number may read meanwhile.

Appends go to a writer thread (`writer`) that commits within 10 ms of arrival, off the caller's event loop. After
``kill -9`` at most those of the last 10 ms are lost: commits are in the write-ahead log, which survives the process. (A
power cut may lose the last commits too, because `synchronous=NORMAL` does not wait for the disk; the file stays
consistent.)
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.store.reads import Readings, Usage
from arenaloop.store.rows import (
    COLUMNS,
    Record,
    TurnRow,
    from_stored,
    prompt_row,
    record_of,
    to_json,
    whole_response,
)
from arenaloop.store.schema import (
    APPLICATION_ID,
    JUDGEMENTS,
    MIGRATIONS,
    NOTES,
    PROMPTS,
    RESPONSES,
    SCHEMA,
    SCHEMA_VERSION,
    SENT,
    STAGES,
    VERDICTS,
    Row,
    Table,
)
from arenaloop.store.writer import Append, Told, Writer
from arenaloop.types import Completion, Judgement, Prompt, Response, Status, Verdict

__all__ = ["Sent", "Store"]

_SWITCH = 0.0005  # seconds after which a busy event loop lets the writer in; Python's own 5 ms would double the commit


@dataclass(slots=True)
class Sent:
    """What an invocation has sent.

    Attributes:
        calls: requests, retries included.
        open: those of them whose answer is not stored: on their way, or cut off.
        usd: what the open ones cost, by an estimate.
        unknown: open ones whose price is not known.
    """

    calls: int = 0
    open: int = 0
    usd: float = 0.0
    unknown: int = 0

    def begin(self, calls: int, usd: float | None) -> None:
        """Calls begin that will cost `usd` all together (None: not known)."""
        self.calls += calls
        self._move(calls, usd, 1)

    def end(self, calls: int, usd: float | None) -> None:
        """Calls that had begun so are open no more."""
        self._move(calls, usd, -1)

    def _move(self, calls: int, usd: float | None, sign: int) -> None:
        self.open += sign * calls
        if usd is None:
            self.unknown += sign * calls
        else:
            self.usd = self.usd + sign * usd if self.open else 0.0  # sums of many drift


class Store(Readings):
    """An open arena file. What can be read of it that needs no writer is in `reads`.

    Args:
        path: the SQLite file; created unless `readonly`.
        readonly: open for reading while another process may be writing.

    Attributes:
        sent: what this invocation has sent so far; `put_sent` books it.

    Raises:
        ArenaFileError: another process writes the file, it has another version, or it is no arena file.
        StorageError: the disk is full or the file cannot be written.
    """

    def __init__(self, path: str | Path, *, readonly: bool = False) -> None:
        self.path = Path(path)
        self.readonly = readonly
        self._lock_file: int | None = None
        # rows that are on their way, with what they were made of, by what their attempts are counted under
        self._pending: dict[Table, dict[Any, tuple[Row, Any]]] = {RESPONSES: {}, VERDICTS: {}, JUDGEMENTS: {}}
        self._usage: Usage | None = None  # known until the next append
        self._writer: Writer | None = None
        self.sent = Sent()
        if readonly and not self.path.exists():
            raise ArenaFileError(f"{self.path}: no arena file here")
        if not readonly:
            self._take_lock()
        try:
            self._reader = self._connect()
            try:
                self._open_schema()
                self.run = self._next_run()
            except BaseException:
                self._reader.close()  # which also takes back an unfinished migration
                raise
        except sqlite3.DatabaseError as error:
            self._release_lock()
            raise _as_arena_error(self.path, error) from error
        except BaseException:
            self._release_lock()
            raise
        if not readonly:
            self._switch = sys.getswitchinterval()
            sys.setswitchinterval(min(self._switch, _SWITCH))
            self._writer = Writer(self.path, lambda: self._connect(check_same_thread=False), self._committed)

    # ------------------------------------------------------------------ opening and closing

    def _take_lock(self) -> None:
        lock_path = self.path.with_name(self.path.name + ".lock")
        try:
            self._lock_file = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(f"{lock_path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_file)
            self._lock_file = None
            raise ArenaFileError(f"{self.path}: another process is writing this arena file") from error

    def _release_lock(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _connect(self, *, check_same_thread: bool = True) -> sqlite3.Connection:
        uri = self.path.absolute().as_uri() + ("?mode=ro" if self.readonly else "")
        connection = sqlite3.connect(
            uri, uri=True, timeout=30, isolation_level=None, check_same_thread=check_same_thread, cached_statements=64
        )
        connection.execute("PRAGMA cache_size = -4096")
        return connection

    def _open_schema(self) -> None:
        db = self._reader
        application, version = (db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version"))
        empty = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and application != APPLICATION_ID:
            raise ArenaFileError(f"{self.path}: a SQLite file, but no arena file")
        if not empty and version != SCHEMA_VERSION:
            if version not in MIGRATIONS:
                raise ArenaFileError(
                    f"{self.path}: an arena file of version {version}; this arenaloop reads version {SCHEMA_VERSION}"
                )
            self._migrate(version)
        if self.readonly:
            if empty:
                raise ArenaFileError(f"{self.path}: an empty file, no arena file")
            return
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode.lower() != "wal":  # some network file systems cannot share the log's memory
            db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = NORMAL")
        if empty:
            # One transaction, so that a process killed in the middle leaves an empty file. The secret is what
            # contestants must not know: delimiters in judge prompts are derived from it.
            db.executescript(
                f"BEGIN; {SCHEMA} INSERT INTO meta VALUES ('secret', '{os.urandom(16).hex()}');"  # noqa: S608
                f" PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )

    def _migrate(self, version: int) -> None:
        """Bring an older file up to this version, in one transaction; a reader does it before it begins to read."""
        if not self.readonly:
            steps = "".join(MIGRATIONS[v] for v in range(version, SCHEMA_VERSION))
            self._reader.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            return
        try:
            Store(self.path).close()
        except ArenaFileError as error:
            raise ArenaFileError(
                f"{self.path}: an arena file of version {version}, to be brought up to version {SCHEMA_VERSION} "
                "before it is read; another process is writing it now"
            ) from error

    def _next_run(self) -> int:
        row = self._reader.execute("SELECT value FROM meta WHERE key = 'runs'").fetchone()
        run = int(row[0]) if row else 0
        if not self.readonly:
            self._reader.execute("INSERT OR REPLACE INTO meta VALUES ('runs', ?)", (str(run + 1),))
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
                    self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                except sqlite3.OperationalError as error:  # a reader holds the log: it stays, nothing is lost
                    if "lock" not in str(error) and "busy" not in str(error):
                        failure = StorageError(f"{self.path}: {error}")
        self._reader.close()
        self._release_lock()
        if failure is not None:
            raise failure

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StorageError:
            if error is None:  # do not hide what went wrong first
                raise

    # ------------------------------------------------------------------ writing

    def _committed(self, batch: list[Append]) -> None:
        # A later attempt under the same key may be on its way already: only what was committed stops being pending.
        for table, rows in batch:
            if table.counted:
                pending = self._pending[table]
                for key, row in zip(map(table.key, rows), rows, strict=True):
                    if pending[key][0] is row:
                        del pending[key]

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
    def failure(self) -> StorageError | None:
        """Why nothing more can be written; None while all is well."""
        return None if self._writer is None else self._writer.failure

    def flush(self) -> None:
        """Wait until everything appended so far is committed. Raises StorageError if that failed."""
        if self._writer is not None:
            self._writer.flush()

    @property
    def backlog(self) -> int:
        """Appends that wait for the writer; callers pause when it grows."""
        return 0 if self._writer is None else self._writer.backlog

    def add_prompts(self, prompts: Iterable[Prompt]) -> None:
        """Ingest prompts; those already there are left as they are."""
        self._append(PROMPTS, [prompt_row(prompt) for prompt in prompts])

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

    def put_note(self, room: str, key: str, value: Any) -> None:
        """Keep a runner's own state, which JSON can hold; what stood there before is replaced. Committed on return.

        `room` is the name under which one runner finds its notes.
        """
        self._append(NOTES, [(room, key, to_json(value))])
        self.flush()

    # ------------------------------------------------------------------ reading, what is on its way included

    def turn(self, key: str, turn: int) -> tuple[str, Status] | None:
        """Text and status of the latest attempt at one turn of a response, committed or still on its way."""
        pending = self._pending[RESPONSES].get((key, turn))
        if pending is not None:
            completion: Completion = pending[1]
            return completion.text, completion.status
        row = self._reader.execute(
            "SELECT text, status FROM responses WHERE key = ? AND turn = ? ORDER BY attempt DESC LIMIT 1", (key, turn)
        ).fetchone()
        return (from_stored(row[0]), Status(row[1])) if row else None

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


def _as_arena_error(path: Path, error: sqlite3.DatabaseError) -> ArenaFileError | StorageError:
    # What is wrong with the disk is an operational error of SQLite's, what is wrong with the file is none.
    if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
        return StorageError(f"{path}: {error}")
    return ArenaFileError(f"{path}: no arena file ({error})")
