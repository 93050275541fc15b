"""The arena file's tables: columns are declared once, here; statements and rows are made from their names."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from operator import attrgetter, itemgetter
from typing import Any

from arenaloop.types import Cost

__all__ = ["APPLICATION_ID", "META", "MIGRATIONS", "SCHEMA", "SCHEMA_VERSION", "TABLES", "Row", "Table", "insert"]

Row = tuple[Any, ...]
"""Values as SQLite holds them."""

SCHEMA_VERSION = 4
APPLICATION_ID = 0x41524C50  # "ARLP": tells an arena file from other SQLite databases


class Table:
    """One table: its columns, how rows are added to it, and the SQL for both.

    A table of calls has an `id` and counts attempts; its rows are made of records. Rows of others are tuples of all
    columns in their order.

    Args:
        columns: their definitions in SQL, in the order of the file. What a later version adds comes last.
        rules: what follows the columns within the parentheses, and after them.
        counted: the columns under whose values attempts are numbered, for a table of calls.
        within: columns whose value is an attribute of an attribute of the record: ``{"text": "completion.text"}``.
        indices: further indexed columns, by what their index is called.
        insert: how a row is added; without attempts, one of a key that is there is ignored or replaces it.

    Attributes:
        columns: their definitions, in the order of the file, the `id` of a table of calls included.
        indices: their names.
        key: of a row, the values under which its attempts are numbered; a single one stands by itself.
    """

    def __init__(
        self,
        name: str,
        columns: str,
        rules: str = ")",
        *,
        counted: tuple[str, ...] = (),
        within: Mapping[str, str] | None = None,
        indices: Mapping[str, str] | None = None,
        insert: str = "INSERT",
        otherwise: str = "",
    ) -> None:
        self.name, self.counted = name, counted
        names = [column.split()[0] for column in columns.split(",")]
        self.columns = tuple(" ".join(column.split()) for column in columns.split(","))
        self.definition = f"CREATE TABLE {name} ({columns}{rules};\n"
        if counted:
            self.definition = f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, {columns}{rules};\n"
            self.columns = ("id INTEGER PRIMARY KEY", *self.columns)
            self.definition += f"CREATE UNIQUE INDEX {name}_key ON {name} ({', '.join(counted)}, attempt);\n"
            told = [column for column in names if column not in (*counted, "attempt", "run", "at")]
            self.key: Callable[[Row], Any] = itemgetter(*range(len(counted)))
            self._pick: Callable[[Any], Row] = attrgetter(
                *((within or {}).get(column, column) for column in (*counted, *told))
            )
            names = [*counted, "attempt", *told, "run", "at"]
        self.indices = {f"{name}_{index}" for index in (indices or {})} | ({f"{name}_key"} if counted else set())
        for index, column in (indices or {}).items():
            self.definition += f"CREATE INDEX {name}_{index} ON {name} ({column});\n"
        self.insert = f"{insert} INTO {name} ({', '.join(names)}) VALUES "
        self.otherwise = otherwise
        self.marks = f"({', '.join('?' * len(names))})"

    def row(self, record: Any, run: int, now: float) -> Row:
        """The row of a call's record, all but `id` and `attempt`; it ends with the invocation and the time."""
        return (*self._pick(record), run, now)


PROMPTS = Table(
    "prompts",
    "id TEXT PRIMARY KEY, messages TEXT NOT NULL, follow_ups TEXT NOT NULL, tags TEXT NOT NULL",
    ") WITHOUT ROWID",
    # tags are not part of the id, and a judge is shown the reference answer that they may hold
    otherwise=""" ON CONFLICT (id) DO UPDATE SET tags = excluded.tags
    WHERE excluded.tags LIKE '%"reference":%' AND excluded.tags <> tags""",
)
_ESTIMATED = "usd_estimated REAL NOT NULL DEFAULT 0"
RESPONSES = Table(
    "responses",
    f"""key TEXT NOT NULL, turn INTEGER NOT NULL, attempt INTEGER NOT NULL,
    prompt_id TEXT NOT NULL, model TEXT NOT NULL, status TEXT NOT NULL, text TEXT NOT NULL, text_hash TEXT NOT NULL,
    reasoning TEXT, finish_reason TEXT, tokens_in INTEGER, tokens_out INTEGER, usd REAL, seconds REAL, error TEXT,
    calls INTEGER NOT NULL, run INTEGER NOT NULL, at REAL NOT NULL, sample INTEGER NOT NULL DEFAULT 0,
    {_ESTIMATED}""",
    counted=("key", "turn"),
    within={name: f"completion.{name}" for name in ("status", "text", *Cost.__slots__)},
    indices={"prompt": "prompt_id", "text": "text_hash"},
)
VERDICTS = Table(
    "verdicts",
    f"""key TEXT NOT NULL, attempt INTEGER NOT NULL,
    prompt_id TEXT NOT NULL, first_hash TEXT NOT NULL, second_hash TEXT NOT NULL, judge TEXT NOT NULL,
    sample INTEGER NOT NULL, status TEXT NOT NULL, score_first REAL, score_second REAL, outcome TEXT, raw TEXT NOT NULL,
    tokens_in INTEGER, tokens_out INTEGER, usd REAL, seconds REAL, error TEXT,
    calls INTEGER NOT NULL, run INTEGER NOT NULL, at REAL NOT NULL,
    reasoning TEXT, finish_reason TEXT, judge_hash TEXT NOT NULL DEFAULT '', template_hash TEXT NOT NULL DEFAULT '',
    parser TEXT NOT NULL DEFAULT '', kind TEXT NOT NULL DEFAULT 'pairwise', {_ESTIMATED}""",
    counted=("key",),
    indices={"prompt": "prompt_id"},
)
_JUDGEMENTS_3 = """key TEXT NOT NULL, attempt INTEGER NOT NULL,
    prompt_id TEXT NOT NULL, response_hash TEXT NOT NULL, judge TEXT NOT NULL, sample INTEGER NOT NULL,
    status TEXT NOT NULL, score REAL, raw TEXT NOT NULL, text_hash TEXT NOT NULL,
    tokens_in INTEGER, tokens_out INTEGER, usd REAL, seconds REAL, error TEXT, calls INTEGER NOT NULL,
    reasoning TEXT, finish_reason TEXT, judge_hash TEXT NOT NULL, template_hash TEXT NOT NULL, parser TEXT NOT NULL,
    run INTEGER NOT NULL, at REAL NOT NULL"""
_JUDGEMENT_RULES: dict[str, Any] = {"counted": ("key",), "indices": {"prompt": "prompt_id", "text": "text_hash"}}
JUDGEMENTS = Table("judgements", f"{_JUDGEMENTS_3}, {_ESTIMATED}", **_JUDGEMENT_RULES)
STAGES = Table(
    "stages",
    "name TEXT NOT NULL, key TEXT NOT NULL, result TEXT NOT NULL",
    ", PRIMARY KEY (name, key))",
    insert="INSERT OR REPLACE",
)
NOTES = Table(
    "notes",
    "room TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL",
    ", PRIMARY KEY (room, key))",
    insert="INSERT OR REPLACE",
)
# What each invocation has sent: all its calls, those of them whose answer had not come when the row was written, and
# what these cost by an estimate (NULL: a price is not known). The rows of answers and verdicts tell which have come.
SENT = Table(
    "sent",
    "run INTEGER PRIMARY KEY, calls INTEGER NOT NULL, open INTEGER NOT NULL, usd REAL",
    insert="INSERT OR REPLACE",
)
META = Table("meta", "key TEXT PRIMARY KEY, value TEXT NOT NULL")
TABLES = (PROMPTS, RESPONSES, VERDICTS, JUDGEMENTS, STAGES, NOTES, SENT)

SCHEMA = META.definition + "".join(t.definition for t in TABLES)

# What a file of an older version lacks; rows that were paid for stay readable in every later version. Until version 3
# runners kept their own state among the stages of recipes: which plans are complete, chosen pairs, batches.
MIGRATIONS = {
    1: """
ALTER TABLE verdicts ADD COLUMN reasoning TEXT;
ALTER TABLE verdicts ADD COLUMN finish_reason TEXT;
ALTER TABLE verdicts ADD COLUMN judge_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE verdicts ADD COLUMN template_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE verdicts ADD COLUMN parser TEXT NOT NULL DEFAULT '';
""",
    2: f"""
ALTER TABLE responses ADD COLUMN sample INTEGER NOT NULL DEFAULT 0;
ALTER TABLE verdicts ADD COLUMN kind TEXT NOT NULL DEFAULT 'pairwise';
{Table("judgements", _JUDGEMENTS_3, **_JUDGEMENT_RULES).definition}{NOTES.definition}
INSERT INTO notes SELECT 'complete', key, result FROM stages WHERE name = '.complete' ORDER BY rowid;
INSERT INTO notes SELECT 'pairs', key || '/' || SUBSTR(name, 7), result FROM stages
    WHERE name GLOB 'pairs-[0-9]*' ORDER BY rowid;
INSERT INTO notes SELECT name, key, result FROM stages WHERE name IN ('batch', 'batch requests') ORDER BY rowid;
DELETE FROM stages WHERE name GLOB 'pairs-[0-9]*' OR name IN ('.complete', 'batch', 'batch requests');
""",  # noqa: S608 - our own definitions
    3: "".join(f"ALTER TABLE {name} ADD COLUMN {_ESTIMATED};\n" for name in ("responses", "verdicts", "judgements"))
    + SENT.definition,
}


def insert(connection: sqlite3.Connection, table: Table, rows: list[Row]) -> None:
    """Add rows to a table in one statement, as its next attempts under their keys: none is overwritten.

    Nearly all texts can be written as they are, and nearly all keys are new, which the index on (key, attempt) checks
    anyway: texts are looked through, and attempts before are counted, only where SQLite says no.
    """
    try:
        _insert(connection, table, _numbered(table, rows, {}))
    except UnicodeEncodeError:
        insert(connection, table, [tuple(map(_to_stored, row)) for row in rows])
    except sqlite3.IntegrityError:
        if not table.counted:
            raise
        _insert(connection, table, _numbered(table, rows, _attempts(connection, table, rows)))


def _insert(connection: sqlite3.Connection, table: Table, rows: list[Row]) -> None:
    statement = table.insert + ",".join([table.marks] * len(rows)) + table.otherwise
    connection.execute(statement, [value for row in rows for value in row])


def _attempts(connection: sqlite3.Connection, table: Table, rows: list[Row]) -> dict[Row, int]:
    """How many attempts are stored under each key of some rows."""
    columns, marks = ", ".join(table.counted), ",".join("?" * len(rows))
    query = f"SELECT COUNT(*), {columns} FROM {table.name} WHERE key IN ({marks}) GROUP BY {columns}"  # noqa: S608
    return {tuple(key): attempts for attempts, *key in connection.execute(query, [row[0] for row in rows])}


def _numbered(table: Table, rows: list[Row], before: dict[Row, int]) -> list[Row]:
    """Rows with their attempt, which is the number of rows under the same key before them; `before` is counted on."""
    width = len(table.counted)
    if not width:
        return rows
    full = []
    for row in rows:
        key = row[:width]
        attempt = before.get(key, 0)
        before[key] = attempt + 1
        full.append((*key, attempt, *row[width:]))
    return full


def _to_stored(value: Any) -> Any:
    # SQLite's texts are UTF-8. One with lone surrogates (a model's broken bytes) is kept as the bytes of a BLOB.
    lone = isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)
    return value.encode("utf-8", "surrogatepass") if lone else value
