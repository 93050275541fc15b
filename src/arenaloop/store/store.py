"""The arena file: one SQLite database, append-only, that holds everything that was paid for.

Rows are keyed by the hash of all that determines them, so that to resume is to ask again: what is there is not asked
twice. Failures are rows too, with a status and a reason, and are asked again on the next run. One process writes
(`flock` on a side file, which the kernel frees when the process dies); any number may read meanwhile.

Appends go to a writer thread (`store_writer`) that commits within 10 ms of arrival, off the caller's event loop. After
``kill -9`` at most those of the last 10 ms are lost: commits are in the write-ahead log, which survives the process. (A
power cut may lose the last commits too, because `synchronous=NORMAL` does not wait for the disk; the file stays
consistent.)
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.store.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    PROMPT,
    RESPONSE,
    RULING_COLUMNS,
    SCHEMA,
    SCHEMA_VERSION,
    STAGE,
    STATUSES,
    VERDICT,
    VERDICT_COLUMNS,
    Row,
    from_text,
    prompt_of,
    recorded_key,
    response_key,
    rulings_by_key,
    to_json,
    to_text,
    verdict_of,
    whole_response,
)
from arenaloop.store.writer import Append, Writer
from arenaloop.types import Prompt, Response, Ruling, Status, Verdict, content_hash

__all__ = ["SCHEMA_VERSION", "Store", "Usage", "recorded_key", "response_key", "whole_response"]

_SWITCH = 0.0005  # seconds after which a busy event loop lets the writer in; Python's own 5 ms would double the commit
_IN_BATCH = 400  # keys per IN (…) look-up, below SQLite's limit of parameters


class Usage(NamedTuple):
    """What all invocations on one arena file have cost so far.

    Attributes:
        calls: requests sent, retries included. `tokens_in`, `tokens_out`: as the servers reported, unknown counted 0.
        usd: None if the price of any call is unknown.
        seconds: wall time from the first call to the last stored row, summed over invocations.
    """

    calls: int
    tokens_in: int
    tokens_out: int
    usd: float | None
    seconds: float


class Store:
    """An open arena file.

    Args:
        path: the SQLite file; created unless `readonly`.
        readonly: open for reading while another process may be writing.

    Raises:
        ArenaFileError: another process writes the file, it has another version, or it is no arena file.
        StorageError: the disk is full or the file cannot be written.
    """

    def __init__(self, path: str | Path, *, readonly: bool = False) -> None:
        self.path = Path(path)
        self.readonly = readonly
        self._lock_file: int | None = None
        self._pending_verdicts: dict[str, tuple[Row, Verdict]] = {}
        self._pending_responses: dict[tuple[str, int], Row] = {}
        self._usage: Usage | None = None  # known until the next append
        self._writer: Writer | None = None
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
        uri = f"file:{_quote(self.path)}" + ("?mode=ro" if self.readonly else "")
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
            if table == VERDICT:
                for row in rows:
                    if self._pending_verdicts[row[0]][0] is row:
                        del self._pending_verdicts[row[0]]
            elif table == RESPONSE:
                for row in rows:
                    if self._pending_responses[row[0], row[1]] is row:
                        del self._pending_responses[row[0], row[1]]

    def _append(self, table: str, rows: list[Row]) -> None:
        if self._writer is None:
            raise StorageError(f"{self.path}: opened for reading only")
        self._usage = None
        self._writer.append(table, rows)

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
        rows = [
            (p.id, to_json([dict(m) for m in p.messages]), to_json(list(p.follow_ups)), to_json(dict(p.tags)))
            for p in prompts
        ]
        self._append(PROMPT, rows)

    def add_turns(self, rows: Sequence[Any]) -> None:
        """Append answers to single turns, all in one transaction.

        Args:
            rows: (response key, turn index, prompt id, model name, completion, hash of all texts up to this turn).
        """
        now = time.time()
        out = []
        for key, turn, prompt_id, model, c, text_hash, *_ in rows:
            row = (
                key, turn, prompt_id, to_text(model), c.status.value, to_text(c.text), text_hash, to_text(c.reasoning),
                to_text(c.finish_reason), c.tokens_in, c.tokens_out, c.usd, c.seconds, to_text(c.error), c.calls,
                self.run, now,
            )  # fmt: skip
            self._pending_responses[key, turn] = row
            out.append(row)
        self._append(RESPONSE, out)

    def add_verdict(self, v: Verdict) -> None:
        """Append one judge call."""
        outcome = v.outcome.value if v.outcome is not None else None
        row = (
            v.key, v.prompt_id, v.first_hash, v.second_hash, to_text(v.judge), v.sample, v.status.value, v.score_first,
            v.score_second, outcome, to_text(v.raw), v.tokens_in, v.tokens_out, v.usd, v.seconds, to_text(v.error),
            v.calls, self.run, time.time(), to_text(v.reasoning), to_text(v.finish_reason), v.judge_hash,
            v.template_hash, v.parser,
        )  # fmt: skip
        self._pending_verdicts[v.key] = row, v
        self._append(VERDICT, [row])

    def add_records(self, records):  # type: ignore[no-untyped-def]
        for record in records:
            self.add_verdict(record)

    def note(self, room, key):  # type: ignore[no-untyped-def]
        return self.stage("." + room, key)

    def put_note(self, room, key, value):  # type: ignore[no-untyped-def]
        self.put_stage("." + room, key, value)

    def ends(self):  # type: ignore[no-untyped-def]
        return dict(
            zip(
                ("responses", "verdicts"),
                next(self.select("SELECT (SELECT MAX(id) FROM responses), (SELECT MAX(id) FROM verdicts)")),
            )
        )

    def put_stage(self, name: str, key: str, result: dict[str, Any]) -> None:
        """Record the result of a finished stage under the hash of what determines it."""
        self._append(STAGE, [(name, key, to_json(result))])
        self.flush()

    # ------------------------------------------------------------------ reading

    def stage(self, name: str, key: str) -> dict[str, Any] | None:
        """The recorded result of a stage, or None if it has not finished with these settings."""
        row = self._reader.execute("SELECT result FROM stages WHERE name = ? AND key = ?", (name, key)).fetchone()
        return json.loads(row[0]) if row else None

    def stages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, result) of every finished stage, oldest first; a name comes again where its settings were changed.

        Rows whose name begins with a dot are the runner's own notes, and are left out.
        """
        query = "SELECT name, result FROM stages WHERE name NOT LIKE '.%' ORDER BY rowid"
        for name, result in self._reader.execute(query):
            yield name, json.loads(result)

    def select(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT over the tables at the top of this file, for counts that reports want.

        Texts come as they are stored; `verdict`, `texts` and `prompt` give them back as they were.
        """
        return iter(self._reader.execute(query, parameters))

    def prompt(self, prompt_id: str) -> Prompt | None:
        """One prompt by its id."""
        row = self._reader.execute("SELECT * FROM prompts WHERE id = ?", (prompt_id,)).fetchone()
        return prompt_of(row) if row else None

    def prompts(self) -> Iterator[Prompt]:
        """All prompts, streamed in the order of their ids."""
        for row in self._reader.execute("SELECT * FROM prompts ORDER BY id"):
            yield prompt_of(row)

    def turn(self, key: str, turn: int) -> tuple[str, Status] | None:
        """Text and status of the latest attempt at one turn of a response, committed or still on its way."""
        pending = self._pending_responses.get((key, turn))
        if pending is not None:
            return from_text(pending[5]), Status(pending[4])
        row = self._reader.execute(
            "SELECT text, status FROM responses WHERE key = ? AND turn = ? ORDER BY attempt DESC LIMIT 1", (key, turn)
        ).fetchone()
        return (from_text(row[0]), Status(row[1])) if row else None

    def response(self, key: str, prompt: Prompt, model: str) -> Response | None:
        """A whole response, once every turn is answered or one has failed; None while turns are missing."""
        turns: list[tuple[str, Status]] = []
        for number in range(prompt.turns):
            stored = self.turn(key, number)
            if stored is None:
                return None
            turns.append(stored)
            if stored[1] in (Status.ERROR, Status.REFUSED):
                break
        return whole_response(prompt.id, model, turns)

    def texts(self, text_hash: str) -> tuple[str, ...] | None:
        """The texts (one per turn) behind a `Response.text_hash`."""
        row = self._reader.execute("SELECT key, turn, text FROM responses WHERE text_hash = ? LIMIT 1", (text_hash,))
        if (found := row.fetchone()) is None:
            return None
        key, last, text = found
        # Earlier turns may have been asked more than once: the texts that belong together are those of the hash.
        query = "SELECT DISTINCT text FROM responses WHERE key = ? AND turn = ? ORDER BY id DESC"
        before = [[from_text(t) for (t,) in self._reader.execute(query, (key, turn))] for turn in range(last)]
        for some in product(*before):
            if content_hash([*some, from_text(text)]) == text_hash:
                return (*some, from_text(text))
        return None

    def turns_of(self, prompt_id: str) -> dict[tuple[str, int], tuple[str, Status]]:
        """Text and status of all committed answers to a prompt, by (response key, turn): one look-up, not many."""
        query = "SELECT key, turn, text, status FROM responses WHERE prompt_id = ? ORDER BY id"
        return {
            (k, turn): (from_text(text), STATUSES[s]) for k, turn, text, s in self._reader.execute(query, (prompt_id,))
        }

    def responses_of(self, prompt: Prompt) -> dict[str, Response]:
        """All committed whole responses to a prompt, by response key: one look-up, not one for each turn of each.

        As `response` gives them, but under the name of the model that was asked first where several share a key.
        """
        query = "SELECT key, turn, text, status, model, text_hash FROM responses WHERE prompt_id = ? ORDER BY id"
        turns: dict[str, dict[int, tuple[str, Status]]] = {}
        last: dict[str, tuple[str, str]] = {}
        for key, turn, text, status, model, text_hash in self._reader.execute(query, (prompt.id,)):
            turns.setdefault(key, {})[turn] = from_text(text), STATUSES[status]
            last[key] = from_text(model), text_hash
        found = {}
        for key, (model, text_hash) in last.items():
            said = []
            for number in range(prompt.turns):
                if (stored := turns[key].get(number)) is None:
                    break
                said.append(stored)
                if stored[1] in (Status.ERROR, Status.REFUSED):
                    break
            if len(said) == prompt.turns or (said and said[-1][1] in (Status.ERROR, Status.REFUSED)):
                # of several turns the last row's hash may stand for an earlier attempt at the first of them
                known = text_hash if prompt.turns == 1 else ""
                found[key] = whole_response(prompt.id, model, said, known)
        return found

    def statuses_of(self, prompt_id: str) -> dict[str, Status]:
        """Statuses of all committed verdicts on a prompt, by key: one look-up instead of many."""
        query = "SELECT key, status FROM verdicts WHERE prompt_id = ? ORDER BY id"
        return {key: STATUSES[status] for key, status in self._reader.execute(query, (prompt_id,))}

    def rulings_of(self, prompt_id: str) -> dict[str, Ruling]:
        """What all committed verdicts on a prompt decided, the latest attempt at each, by key: one look-up."""
        query = f"SELECT {RULING_COLUMNS} FROM verdicts WHERE prompt_id = ? ORDER BY id"  # noqa: S608
        return rulings_by_key(self._reader.execute(query, (prompt_id,)))

    def verdict(self, key: str) -> Verdict | None:
        """The latest attempt at one judge call, committed or still on its way."""
        pending = self._pending_verdicts.get(key)
        if pending is not None:
            return pending[1]
        row = self._reader.execute(
            f"SELECT {VERDICT_COLUMNS} FROM verdicts WHERE key = ? ORDER BY attempt DESC LIMIT 1",  # noqa: S608
            (key,),
        ).fetchone()
        return verdict_of(row) if row else None

    def verdicts(self, keys: Sequence[str]) -> dict[str, Verdict]:
        """The latest attempts at many judge calls, by key; keys without a row are left out."""
        # Those on their way are noted first: they may be committed, and pending no more, while the table is read.
        pending = {key: found[1] for key in keys if (found := self._pending_verdicts.get(key)) is not None}
        stored: dict[str, Verdict] = {}
        for start in range(0, len(keys), _IN_BATCH):
            some = keys[start : start + _IN_BATCH]
            marks = ",".join("?" * len(some))
            query = f"SELECT {VERDICT_COLUMNS} FROM verdicts WHERE key IN ({marks}) ORDER BY id"  # noqa: S608
            for row in self._reader.execute(query, some):
                stored[row[0]] = verdict_of(row)  # later attempts replace earlier ones
        return stored | pending

    def usage(self) -> Usage:
        """Calls, tokens, money and wall time of all invocations so far (committed rows)."""
        if self._usage is not None:
            return self._usage
        calls = tokens_in = tokens_out = 0
        usd: float | None = 0.0
        spans: dict[int, tuple[float, float]] = {}
        for table in ("responses", "verdicts"):
            query = f"""SELECT run, SUM(calls), SUM(COALESCE(tokens_in, 0)), SUM(COALESCE(tokens_out, 0)),
                SUM(usd), SUM(usd IS NULL), MIN(at - COALESCE(seconds, 0)), MAX(at)
                FROM {table} WHERE calls > 0 GROUP BY run"""  # noqa: S608
            for run, n, t_in, t_out, cost, unknown, first, last in self._reader.execute(query):
                calls, tokens_in, tokens_out = calls + n, tokens_in + t_in, tokens_out + t_out
                usd = None if usd is None or unknown else usd + (cost or 0.0)
                old = spans.get(run, (first, last))
                spans[run] = (min(old[0], first), max(old[1], last))
        usage = Usage(calls, tokens_in, tokens_out, usd, sum(last - first for first, last in spans.values()))
        if not (self.readonly or self._pending_verdicts or self._pending_responses):  # nobody else writes here
            self._usage = usage
        return usage


def _quote(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))


def _as_arena_error(path: Path, error: sqlite3.DatabaseError) -> ArenaFileError | StorageError:
    # What is wrong with the disk is an operational error of SQLite's, what is wrong with the file is none.
    if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
        return StorageError(f"{path}: {error}")
    return ArenaFileError(f"{path}: no arena file ({error})")
