"""The arena file's schema, and its rows as records: what `store.Store` reads and writes, without the file.

The keys under which rows are stored are made here: content hashes of everything that determines an answer.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, overload

from arenaloop.types import Outcome, Prompt, Response, Ruling, Status, Verdict, canonical_json, content_hash

__all__ = ["SCHEMA_VERSION", "Row", "recorded_key", "response_key", "response_keys", "whole_response"]

Row = tuple[Any, ...]

SCHEMA_VERSION = 2
APPLICATION_ID = 0x41524C50  # "ARLP": tells an arena file from other SQLite databases

SCHEMA = """
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
    calls INTEGER NOT NULL, run INTEGER NOT NULL, at REAL NOT NULL,
    reasoning TEXT, finish_reason TEXT, judge_hash TEXT NOT NULL DEFAULT '', template_hash TEXT NOT NULL DEFAULT '',
    parser TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX verdicts_key ON verdicts (key, attempt);
CREATE INDEX verdicts_prompt ON verdicts (prompt_id);
CREATE TABLE stages (name TEXT NOT NULL, key TEXT NOT NULL, result TEXT NOT NULL, PRIMARY KEY (name, key));
"""

# What a file of an older version lacks; rows that were paid for stay readable in every later version.
MIGRATIONS = {
    1: """
ALTER TABLE verdicts ADD COLUMN reasoning TEXT;
ALTER TABLE verdicts ADD COLUMN finish_reason TEXT;
ALTER TABLE verdicts ADD COLUMN judge_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE verdicts ADD COLUMN template_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE verdicts ADD COLUMN parser TEXT NOT NULL DEFAULT '';
"""
}

# Appends name their table; rows are as in the schema, less `id` and `attempt`.
PROMPT, RESPONSE, VERDICT, STAGE = "prompts", "responses", "verdicts", "stages"
INSERT = {
    PROMPT: ("INSERT OR IGNORE INTO prompts VALUES", "(?, ?, ?, ?)"),
    RESPONSE: ("INSERT INTO responses VALUES", f"(NULL{', ?' * 18})"),
    VERDICT: ("INSERT INTO verdicts VALUES", f"(NULL{', ?' * 25})"),
    STAGE: ("INSERT OR REPLACE INTO stages VALUES", "(?, ?, ?)"),
}
KEY_COLUMNS = {RESPONSE: 2, VERDICT: 1}  # the columns before `attempt` by which attempts are counted

VERDICT_COLUMNS = (
    "key, prompt_id, first_hash, second_hash, judge, status, raw, score_first, score_second, outcome, sample, "
    "tokens_in, tokens_out, usd, seconds, error, calls, reasoning, finish_reason, judge_hash, template_hash, parser"
)

RULING_COLUMNS = (
    "key, prompt_id, first_hash, second_hash, judge, sample, status, score_first, score_second, outcome"  # as in Ruling
)

STATUSES = {status.value: status for status in Status}  # look-ups in a mapping cost a third of Status(value)
_OUTCOMES = {None: None} | {outcome.value: outcome for outcome in Outcome}


def insert(connection: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    """Add rows to a table in one statement, as its next attempts under their keys: none is overwritten.

    Nearly all keys are new, and the index on (key, attempt) has to look anyway whether they are: attempts before are
    counted only where it says no.
    """
    statement = _statement(table, len(rows))
    try:
        connection.execute(statement, [value for row in _numbered(table, rows, {}) for value in row])
    except sqlite3.IntegrityError:
        if table not in KEY_COLUMNS:
            raise
        full = _numbered(table, rows, _attempts(connection, table, rows))
        connection.execute(statement, [value for row in full for value in row])


@lru_cache(maxsize=64)
def _statement(table: str, rows: int) -> str:
    head, values = INSERT[table]
    return f"{head} {','.join([values] * rows)}"


def _attempts(connection: sqlite3.Connection, table: str, rows: list[Row]) -> dict[Row, int]:
    """How many attempts are stored under each key of some rows."""
    width = KEY_COLUMNS[table]
    columns = "key, turn" if width == 2 else "key"
    query = f"SELECT {columns}, COUNT(*) FROM {table} WHERE key IN ({','.join('?' * len(rows))}) GROUP BY {columns}"  # noqa: S608
    return {tuple(found[:width]): found[width] for found in connection.execute(query, [row[0] for row in rows])}


def _numbered(table: str, rows: list[Row], before: dict[Row, int]) -> list[Row]:
    """Rows with their attempt, which is the number of rows under the same key before them; `before` is counted on."""
    width = KEY_COLUMNS.get(table)
    if width is None:
        return rows
    full = []
    for row in rows:
        key = row[:width]
        attempt = before.get(key, 0)
        before[key] = attempt + 1
        full.append((*key, attempt, *row[width:]))
    return full


def to_json(value: object) -> str | bytes:
    return to_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


@overload
def to_text(text: str) -> str | bytes: ...
@overload
def to_text(text: None) -> None: ...
def to_text(text: str | None) -> str | bytes | None:
    # SQLite's texts are UTF-8. One with lone surrogates (a model's broken bytes) is kept as the bytes of a BLOB.
    if text is None or text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


@overload
def from_text(stored: str | bytes) -> str: ...
@overload
def from_text(stored: None) -> None: ...
def from_text(stored: str | bytes | None) -> str | None:
    return stored.decode("utf-8", "surrogatepass") if isinstance(stored, bytes) else stored


def prompt_of(row: Sequence[Any]) -> Prompt:
    return Prompt(
        messages=tuple(json.loads(row[1])), follow_ups=tuple(json.loads(row[2])), id=row[0], tags=json.loads(row[3])
    )


def verdict_of(row: Sequence[Any]) -> Verdict:
    return Verdict(
        key=row[0], prompt_id=row[1], first_hash=row[2], second_hash=row[3], judge=from_text(row[4]),
        status=Status(row[5]), raw=from_text(row[6]), score_first=row[7], score_second=row[8],
        outcome=Outcome(row[9]) if row[9] is not None else None, sample=row[10], tokens_in=row[11],
        tokens_out=row[12], usd=row[13], seconds=row[14], error=from_text(row[15]),
        calls=row[16], reasoning=from_text(row[17]), finish_reason=from_text(row[18]), judge_hash=row[19],
        template_hash=row[20], parser=row[21],
    )  # fmt: skip


def rulings_by_key(rows: Iterable[Row]) -> dict[str, Ruling]:
    """Rows of `RULING_COLUMNS` by key; later ones replace earlier ones."""
    statuses, outcomes = STATUSES, _OUTCOMES
    found = {}
    for key, prompt_id, first, second, judge, sample, status, score_first, score_second, outcome in rows:
        name = judge if type(judge) is str else from_text(judge)
        found[key] = Ruling(
            key, prompt_id, first, second, name, sample, statuses[status], score_first, score_second, outcomes[outcome]
        )
    return found


def whole_response(prompt_id: str, model: str, turns: Sequence[tuple[str, Status]], text_hash: str = "") -> Response:
    """A response from the text and status of its turns.

    Its status is that of the turn that failed (the last one then), else of the first that was cut off or empty: a good
    later turn does not make up for it.

    Args:
        prompt_id, model: whose answer to what.
        turns: text and status of each turn that was asked.
        text_hash: the hash of the texts, where it is known; computed otherwise.
    """
    last = turns[-1][1]
    flaws = (status for _, status in turns if status is not Status.OK)
    status = last if last in (Status.ERROR, Status.REFUSED) else next(flaws, Status.OK)
    texts = tuple(text for text, _ in turns)
    return Response(prompt_id=prompt_id, model=model, texts=texts, status=status, text_hash=text_hash)


def response_key(prompt_id: str, fingerprint: str, sampling_key: list[object], sample: int) -> str:
    """Content hash under which a model's answer to a prompt is stored."""
    return content_hash("response", prompt_id, fingerprint, sampling_key, sample)


def response_keys(fingerprint: str, sampling_key: list[object], sample: int) -> Callable[[str], str]:
    """`response_key` of one model's answers, by prompt id: what they share is encoded once."""
    rest = canonical_json([fingerprint, sampling_key, sample])[1:]

    def key(prompt_id: str) -> str:
        if not (prompt_id.isascii() and prompt_id.isalnum()):  # its JSON form is longer than itself
            return response_key(prompt_id, fingerprint, sampling_key, sample)
        return blake2b(f'["response","{prompt_id}",{rest}'.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    return key


def recorded_key(prompt_id: str, texts: Sequence[str]) -> str:
    """Content hash of a recorded answer: its own text, so that a changed file is seen as changed."""
    return content_hash("recorded", prompt_id, list(texts))
