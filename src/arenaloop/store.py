"""The arena file: one SQLite database, append-only, that holds everything that was paid for.

Rows are keyed by the hash of all that determines them, so that to resume is to ask again: what is there is not asked
twice. Failures are rows too, with a status and a reason, and are asked again on the next run. One process writes
(`flock` on a side file, which the kernel frees when the process dies); any number may read meanwhile.

Appends go to a writer thread that commits within 10 ms of arrival, off the caller's event loop. After ``kill -9`` at
most those of the last 10 ms are lost: commits are in the write-ahead log, which survives the process. (A power cut may
lose the last commits too, because `synchronous=NORMAL` does not wait for the disk; the file stays consistent.)
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.types import Completion, Outcome, Prompt, Response, Status, Verdict, content_hash

__all__ = ["SCHEMA_VERSION", "Store", "Usage", "recorded_key", "response_key"]

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x41524C50  # "ARLP": tells an arena file from other SQLite databases
_LINGER = 0.004  # seconds a commit waits for company; with the commit itself well below 10 ms
_IN_BATCH = 400  # keys per IN (…) look-up, below SQLite's limit of parameters

_SCHEMA = """
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
"""

_INSERT_PROMPT = "INSERT OR IGNORE INTO prompts VALUES (?, ?, ?, ?)"
# The attempt is one more than those stored: rows are never overwritten.
_INSERT_RESPONSE = """INSERT INTO responses
    SELECT NULL, ?1, ?2, (SELECT COUNT(*) FROM responses WHERE key = ?1 AND turn = ?2),
    ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17"""
_INSERT_VERDICT = """INSERT INTO verdicts
    SELECT NULL, ?1, (SELECT COUNT(*) FROM verdicts WHERE key = ?1),
    ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19"""
_INSERT_STAGE = "INSERT OR REPLACE INTO stages VALUES (?, ?, ?)"

_VERDICT_COLUMNS = (
    "key, prompt_id, first_hash, second_hash, judge, status, raw, score_first, score_second, outcome, sample, "
    "tokens_in, tokens_out, usd, seconds, error, calls"
)


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


class _Flush(NamedTuple):
    done: threading.Event


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
        self._failure: StorageError | None = None
        self._pending_verdicts: dict[str, Verdict] = {}
        self._pending_responses: dict[tuple[str, int], tuple[Any, ...]] = {}
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        if readonly and not self.path.exists():
            raise ArenaFileError(f"{self.path}: no arena file here")
        if not readonly:
            self._take_lock()
        try:
            self._reader = self._connect()
            self._open_schema()
        except sqlite3.DatabaseError as error:
            self._release_lock()
            raise _as_arena_error(self.path, error) from error
        except BaseException:
            self._release_lock()
            raise
        self.run = self._next_run()
        if not readonly:
            self._writer = threading.Thread(target=self._write_loop, name="arena-writer", daemon=True)
            self._writer.start()

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
            uri, uri=True, timeout=30, isolation_level=None, check_same_thread=check_same_thread, cached_statements=256
        )
        # A text may hold lone surrogates (a model's broken bytes); they are stored escaped, see `_text`.
        connection.execute("PRAGMA cache_size = -65536")
        return connection

    def _open_schema(self) -> None:
        db = self._reader
        application, version = (db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version"))
        empty = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and application != _APPLICATION_ID:
            raise ArenaFileError(f"{self.path}: a SQLite file, but no arena file")
        if not empty and version != SCHEMA_VERSION:
            raise ArenaFileError(
                f"{self.path}: an arena file of version {version}; this arenaloop reads version {SCHEMA_VERSION}"
            )
        if self.readonly:
            if empty:
                raise ArenaFileError(f"{self.path}: an empty file, no arena file")
            return
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode.lower() != "wal":  # some network file systems cannot share the log's memory
            db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = NORMAL")
        if empty:
            # executescript commits by itself; the version is set last, inside the same transaction
            db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
                f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
            # What contestants must not know: delimiters in judge prompts are derived from it.
            db.execute("INSERT INTO meta VALUES ('secret', ?)", (os.urandom(16).hex(),))

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
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
            self._writer = None
            if self._failure is None:
                try:
                    self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                except sqlite3.OperationalError as error:  # a reader holds the log: it stays, nothing is lost
                    if "lock" not in str(error) and "busy" not in str(error):
                        self._failure = StorageError(f"{self.path}: {error}")
        self._reader.close()
        self._release_lock()
        if self._failure is not None:
            raise self._failure

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

    def _write_loop(self) -> None:
        connection = self._connect(check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")
        closing = False
        while not closing:
            batch = [self._queue.get()]
            # Sleeping, instead of waiting on the queue, spares a change of threads for every append.
            if type(batch[0]) is tuple:
                time.sleep(_LINGER)
            while batch[-1] is not None and len(batch) < 4096:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            closing = batch[-1] is None
            self._commit(connection, [item for item in batch if type(item) is tuple])
            for item in batch:
                if isinstance(item, _Flush):
                    item.done.set()
        connection.close()

    def _commit(self, connection: sqlite3.Connection, batch: list[tuple[str, list[tuple[Any, ...]]]]) -> None:
        if not batch or self._failure is not None:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement, rows in batch:
                connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._failure = StorageError(f"{self.path}: {error}; what was stored before stays")
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                return  # SQLite has already rolled back
            return
        for statement, rows in batch:
            if statement is _INSERT_VERDICT:
                for row in rows:
                    self._pending_verdicts.pop(row[0], None)
            elif statement is _INSERT_RESPONSE:
                for row in rows:
                    self._pending_responses.pop((row[0], row[1]), None)

    def _append(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if self._failure is not None:
            raise self._failure
        if self._writer is None:
            raise StorageError(f"{self.path}: opened for reading only")
        self._queue.put((statement, rows))

    def flush(self) -> None:
        """Wait until everything appended so far is committed. Raises StorageError if that failed."""
        if self._writer is None:
            return
        done = threading.Event()
        self._queue.put(_Flush(done))
        done.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def backlog(self) -> int:
        """Appends that wait for the writer; callers pause when it grows."""
        return self._queue.qsize()

    def add_prompts(self, prompts: Iterable[Prompt]) -> None:
        """Ingest prompts; those already there are left as they are."""
        rows = [
            (p.id, _json([dict(m) for m in p.messages]), _json(list(p.follow_ups)), _json(dict(p.tags)))
            for p in prompts
        ]
        self._append(_INSERT_PROMPT, rows)

    def add_turns(self, rows: Sequence[tuple[str, int, str, str, Completion, str]]) -> None:
        """Append answers to single turns, all in one transaction.

        Args:
            rows: (response key, turn index, prompt id, model name, completion, hash of all texts up to this turn).
        """
        now = time.time()
        out = []
        for key, turn, prompt_id, model, c, text_hash in rows:
            row = (
                key, turn, prompt_id, model, c.status.value, _text(c.text), text_hash, _maybe_text(c.reasoning),
                c.finish_reason, c.tokens_in, c.tokens_out, c.usd, c.seconds, _maybe_text(c.error), c.calls,
                self.run, now,
            )  # fmt: skip
            self._pending_responses[key, turn] = row
            out.append(row)
        self._append(_INSERT_RESPONSE, out)

    def add_verdict(self, v: Verdict) -> None:
        """Append one judge call."""
        self._pending_verdicts[v.key] = v
        outcome = v.outcome.value if v.outcome is not None else None
        row = (
            v.key, v.prompt_id, v.first_hash, v.second_hash, v.judge, v.sample, v.status.value, v.score_first,
            v.score_second, outcome, _text(v.raw), v.tokens_in, v.tokens_out, v.usd, v.seconds, _maybe_text(v.error),
            v.calls, self.run, time.time(),
        )  # fmt: skip
        self._append(_INSERT_VERDICT, [row])

    def put_stage(self, name: str, key: str, result: dict[str, Any]) -> None:
        """Record the result of a finished stage under the hash of what determines it."""
        self._append(_INSERT_STAGE, [(name, key, _json(result))])
        self.flush()

    # ------------------------------------------------------------------ reading

    def stage(self, name: str, key: str) -> dict[str, Any] | None:
        """The recorded result of a stage, or None if it has not finished with these settings."""
        row = self._reader.execute("SELECT result FROM stages WHERE name = ? AND key = ?", (name, key)).fetchone()
        return json.loads(row[0]) if row else None

    def stages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, result) of every finished stage, oldest first; a name comes again where its settings were changed."""
        for name, result in self._reader.execute("SELECT name, result FROM stages ORDER BY rowid"):
            yield name, json.loads(result)

    def select(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT over the tables at the top of this file, for counts that reports want.

        Texts come as they are stored; `verdict`, `texts` and `prompt` give them back as they were.
        """
        return iter(self._reader.execute(query, parameters))

    def prompt(self, prompt_id: str) -> Prompt | None:
        """One prompt by its id."""
        row = self._reader.execute("SELECT * FROM prompts WHERE id = ?", (prompt_id,)).fetchone()
        return _prompt(row) if row else None

    def prompts(self) -> Iterator[Prompt]:
        """All prompts, streamed in the order of their ids."""
        for row in self._reader.execute("SELECT * FROM prompts ORDER BY id"):
            yield _prompt(row)

    def turn(self, key: str, turn: int) -> tuple[str, Status] | None:
        """Text and status of the latest attempt at one turn of a response, committed or still on its way."""
        pending = self._pending_responses.get((key, turn))
        if pending is not None:
            return _untext(pending[5]), Status(pending[4])
        row = self._reader.execute(
            "SELECT text, status FROM responses WHERE key = ? AND turn = ? ORDER BY attempt DESC LIMIT 1", (key, turn)
        ).fetchone()
        return (_untext(row[0]), Status(row[1])) if row else None

    def response(self, key: str, prompt: Prompt, model: str) -> Response | None:
        """A whole response, once every turn is answered or one has failed; None while turns are missing."""
        texts: list[str] = []
        status = Status.OK
        for turn in range(prompt.turns):
            stored = self.turn(key, turn)
            if stored is None:
                return None
            text, status = stored
            texts.append(text)
            if status in (Status.ERROR, Status.REFUSED):
                break
        return Response(prompt_id=prompt.id, model=model, texts=tuple(texts), status=status)

    def texts(self, text_hash: str) -> tuple[str, ...] | None:
        """The texts (one per turn) behind a `Response.text_hash`."""
        row = self._reader.execute("SELECT key, turn FROM responses WHERE text_hash = ? LIMIT 1", (text_hash,))
        found = row.fetchone()
        if found is None:
            return None
        stored = [self.turn(found[0], turn) for turn in range(found[1] + 1)]
        return tuple(s[0] for s in stored if s is not None)

    def turns_of(self, prompt_id: str) -> dict[tuple[str, int], tuple[str, Status]]:
        """Text and status of all committed answers to a prompt, by (response key, turn): one look-up instead of many."""
        query = "SELECT key, turn, text, status FROM responses WHERE prompt_id = ? ORDER BY id"
        return {(k, turn): (_untext(text), Status(s)) for k, turn, text, s in self._reader.execute(query, (prompt_id,))}

    def statuses_of(self, prompt_id: str) -> dict[str, Status]:
        """Statuses of all committed verdicts on a prompt, by key: one look-up instead of many."""
        query = "SELECT key, status FROM verdicts WHERE prompt_id = ? ORDER BY id"
        return {key: Status(status) for key, status in self._reader.execute(query, (prompt_id,))}

    def verdict(self, key: str) -> Verdict | None:
        """The latest attempt at one judge call, committed or still on its way."""
        pending = self._pending_verdicts.get(key)
        if pending is not None:
            return pending
        row = self._reader.execute(
            f"SELECT {_VERDICT_COLUMNS} FROM verdicts WHERE key = ? ORDER BY attempt DESC LIMIT 1",  # noqa: S608
            (key,),
        ).fetchone()
        return _verdict(row) if row else None

    def verdicts(self, keys: Sequence[str]) -> dict[str, Verdict]:
        """The latest attempts at many judge calls, by key; keys without a row are left out."""
        found: dict[str, Verdict] = {}
        for start in range(0, len(keys), _IN_BATCH):
            some = keys[start : start + _IN_BATCH]
            marks = ",".join("?" * len(some))
            query = f"SELECT {_VERDICT_COLUMNS} FROM verdicts WHERE key IN ({marks}) ORDER BY attempt"  # noqa: S608
            for row in self._reader.execute(query, some):
                found[row[0]] = _verdict(row)  # later attempts replace earlier ones
        for key in keys:
            if (pending := self._pending_verdicts.get(key)) is not None:
                found[key] = pending
        return found

    def usage(self) -> Usage:
        """Calls, tokens, money and wall time of all invocations so far (committed rows)."""
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
        return Usage(calls, tokens_in, tokens_out, usd, sum(last - first for first, last in spans.values()))


# ---------------------------------------------------------------------- rows


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _text(text: str) -> str:
    # SQLite takes UTF-8 only. A lone surrogate (or a NUL-led mark of ours) is kept by storing the text as escaped JSON.
    if text.startswith("\x00json:"):
        return "\x00json:" + json.dumps(text)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "\x00json:" + json.dumps(text)
    return text


def _maybe_text(text: str | None) -> str | None:
    return None if text is None else _text(text)


def _untext(text: str) -> str:
    return str(json.loads(text[6:])) if text.startswith("\x00json:") else text


def _prompt(row: Sequence[Any]) -> Prompt:
    return Prompt(
        messages=tuple(json.loads(row[1])), follow_ups=tuple(json.loads(row[2])), id=row[0], tags=json.loads(row[3])
    )


def _verdict(row: Sequence[Any]) -> Verdict:
    return Verdict(
        key=row[0], prompt_id=row[1], first_hash=row[2], second_hash=row[3], judge=row[4], status=Status(row[5]),
        raw=_untext(row[6]), score_first=row[7], score_second=row[8],
        outcome=Outcome(row[9]) if row[9] is not None else None, sample=row[10], tokens_in=row[11],
        tokens_out=row[12], usd=row[13], seconds=row[14], error=None if row[15] is None else _untext(row[15]),
        calls=row[16],
    )  # fmt: skip


def _quote(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))


def _as_arena_error(path: Path, error: sqlite3.DatabaseError) -> ArenaFileError | StorageError:
    if "full" in str(error) or "unable to open" in str(error) or "readonly" in str(error):
        return StorageError(f"{path}: {error}")
    return ArenaFileError(f"{path}: no arena file ({error})")


def response_key(prompt_id: str, fingerprint: str, sampling_key: list[object], sample: int) -> str:
    """Content hash under which a model's answer to a prompt is stored."""
    return content_hash("response", prompt_id, fingerprint, sampling_key, sample)


def recorded_key(prompt_id: str, texts: Sequence[str]) -> str:
    """Content hash of a recorded answer: its own text, so that a changed file is seen as changed."""
    return content_hash("recorded", prompt_id, list(texts))
