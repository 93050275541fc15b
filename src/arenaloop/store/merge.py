"""Several arena files in one: the union of their rows by key, every attempt kept, nothing counted twice.

Rows are keyed by all that determines them, so that what two runs asked alike is one unit of work. Where both hold it,
all attempts are kept, those with a result after those without, then by time: so the order of the files changes no
reading, and the same file merged again adds nothing. Invocations get numbers of their own; a note remembers which is
which.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from arenaloop.store.opening import identity
from arenaloop.store.rows import from_json
from arenaloop.store.schema import JUDGEMENTS, PROMPTS, RESPONSES, VERDICTS, Row, Table
from arenaloop.store.store import Store
from arenaloop.terminal import counted

__all__ = ["COUNTED", "ELSEWHERE", "Merged", "has_news", "merge"]

_ROOM = "merged"
"""of the notes: the invocation here, by ``FILE/INVOCATION`` there"""
COUNTED, ELSEWHERE = "reply notices", "reply notices elsewhere"
"""rooms of what a file's own invocations have counted, under a key; and other files', under ``FILE/key``: the same file
merged again, or by way of another, counts once"""
_OWN = frozenset(
    {
        _ROOM,
        COUNTED,
        ELSEWHERE,
        "complete",
        "pairs",
        "batch",
        "batch requests",
        "stage costs",
        "stage times",
        "shard",
        "adopted",
    }
    | {"recipe under way", "battles of recipe parts", "battle plans"}
)
"""rooms whose notes speak of one directory's own plans, batches, stages, shard and adopted models"""
_COSTS = {"calls": 0, "tokens_in": 0, "tokens_out": 0, "usd": 0.0, "usd_estimated": 0.0}
"""what a row that is taken for nothing costs"""
_AT_ONCE = 400  # keys, below SQLite's limit of parameters


@dataclass(slots=True)
class Merged:
    """What a merge has added: rows by table, and how many were there already."""

    added: dict[str, int] = field(default_factory=dict)
    there: dict[str, int] = field(default_factory=dict)

    def told(self) -> str:
        """In words: ``120 answers, 480 verdicts added; 36 rows were there``."""
        names = {"prompts": "prompt", "responses": "answer", "verdicts": "verdict", "judgements": "judgement"}
        added = [counted(n, names[table]) for table, n in self.added.items() if n]
        there = sum(self.there.values())
        return f"{', '.join(added) or 'nothing'} added" + (f"; {counted(there, 'row')} there already" if there else "")


def merge(target: Store, source: Store, *, prompts: frozenset[str] | None = None, paid: bool = True) -> Merged:
    """Add to an arena file all answers, verdicts, judgements and prompts of another that it lacks.

    Results of a recipe's stages, and batches that are on their way, stay with their own directory.

    Args:
        target: open for writing; nothing else is appended to it meanwhile. What adds nothing writes nothing.
        source: open for reading.
        prompts: ids of those whose rows are taken; None: all.
        paid: whether the rows cost here what they cost there. Without, they count as found: no call, no token, no
            dollar.

    Raises:
        ArenaFileError, StorageError: as of any reading and writing; nothing is added then.
    """
    target.flush()
    db, merged = target._reader, Merged()
    db.execute("BEGIN" if target.readonly else "BEGIN IMMEDIATE")
    try:
        runs = _Runs(db, source._reader)
        _plain(db, source._reader, PROMPTS, merged, prompts)
        for table in (RESPONSES, VERDICTS, JUDGEMENTS):
            _calls(db, source._reader, table, runs, merged, prompts, paid=paid)
        if paid:
            _sent(db, source._reader, runs)
        _noted(db, source._reader)
        _counted(db, source._reader)
        runs.keep()
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    if not target.readonly:
        target.added_elsewhere(sum(merged.added[table.name] for table in (RESPONSES, VERDICTS, JUDGEMENTS)))
    return merged


def has_news(target: Store, source: Store) -> bool:
    """Whether merging a file into another would add anything; both are only read.

    Raises:
        ArenaFileError, StorageError: as of any reading.
    """
    assert target.readonly
    try:
        merge(target, source)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_READONLY":
            raise
        return True
    return False


def _sent(db: sqlite3.Connection, source: sqlite3.Connection, runs: _Runs) -> None:
    """What the invocations there have sent."""
    query = "SELECT run, calls, open, usd FROM sent"
    there = set(db.execute(query))
    rows = [(runs.here(run), *told) for run, *told in source.execute(query)]
    _add(db, "INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?)", [row for row in rows if row not in there])


def _noted(db: sqlite3.Connection, source: sqlite3.Connection) -> None:
    """Notes that speak of models and answers, wherever they were made; those that are there stand."""
    there = set(db.execute("SELECT room, key FROM notes"))
    notes = source.execute("SELECT room, key, value FROM notes").fetchall()
    fresh = [note for note in notes if note[0] not in _OWN and note[:2] not in there]
    _add(db, "INSERT INTO notes VALUES (?, ?, ?)", fresh)


def _counted(db: sqlite3.Connection, source: sqlite3.Connection) -> None:
    """Counts of replies, of the file there and of those merged into it; of one file the larger count stands."""
    own, there = identity(db), identity(source)
    query = "SELECT key, value FROM notes WHERE room = ?"
    counts = [(f"{there}/{key}", value) for key, value in source.execute(query, (COUNTED,))]
    counts += source.execute(query, (ELSEWHERE,))
    known = dict(db.execute(query, (ELSEWHERE,)))
    fresh = [
        (ELSEWHERE, key, value)
        for key, value in counts
        if not key.startswith(f"{own}/") and _replies(value) > _replies(known.get(key))
    ]
    _add(db, "INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", fresh)


def _replies(value: Any) -> int:
    return -1 if value is None else int(from_json(value)["replies"])


def _add(db: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> None:
    if rows:  # or SQLite would begin to write
        db.executemany(statement, rows)


class _Runs:
    """Numbers here of the invocations there; those that a file has of others keep being the others'."""

    def __init__(self, db: sqlite3.Connection, source: sqlite3.Connection) -> None:
        self._db, self._file = db, identity(source)
        self._known: dict[str, int] = dict(_notes(db))
        self._kept = len(self._known)
        self._origin = {run: key for key, run in _notes(source)}
        self._next = int(db.execute("SELECT value FROM meta WHERE key = 'runs'").fetchone()[0])
        self._own = identity(db)

    def here(self, run: int) -> int:
        """The invocation's number in the target."""
        key = self._origin.get(run, f"{self._file}/{run}")
        file, _, number = key.rpartition("/")
        if file == self._own:  # the target's own rows, come back by way of another file
            return int(number)
        if key not in self._known:
            self._known[key] = self._next
            self._next += 1
        return self._known[key]

    def keep(self) -> None:
        """Note new ones, and that the next invocation comes after them."""
        if len(self._known) == self._kept:
            return
        self._db.executemany(
            "INSERT OR REPLACE INTO notes VALUES (?, ?, ?)",
            [(_ROOM, key, str(run)) for key, run in self._known.items()],
        )
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('runs', ?)", (str(self._next),))


def _notes(db: sqlite3.Connection) -> list[tuple[str, int]]:
    query = "SELECT key, value FROM notes WHERE room = ?"
    return [(key, int(value)) for key, value in db.execute(query, (_ROOM,))]


def _plain(
    db: sqlite3.Connection, source: sqlite3.Connection, table: Table, merged: Merged, prompts: frozenset[str] | None
) -> None:
    """Rows whose key says all about them."""
    names = _names(table)
    rows = source.execute(f"SELECT {', '.join(names)} FROM {table.name}")  # noqa: S608 - our own names
    added = there = 0
    for part in _parts((row for row in rows if prompts is None or row[0] in prompts), _AT_ONCE):
        ids = [row[0] for row in part]
        query = f"SELECT {names[0]} FROM {table.name} WHERE {names[0]} IN ({_marks(ids)})"  # noqa: S608
        known = {row[0] for row in db.execute(query, ids)}
        fresh = [row for row in part if row[0] not in known]
        _add(db, f"INSERT INTO {table.name} VALUES ({_marks(names)})", fresh)  # noqa: S608
        added, there = added + len(fresh), there + len(part) - len(fresh)
    merged.added[table.name], merged.there[table.name] = added, there


def _calls(
    db: sqlite3.Connection,
    source: sqlite3.Connection,
    table: Table,
    runs: _Runs,
    merged: Merged,
    prompts: frozenset[str] | None,
    *,
    paid: bool,
) -> None:
    """Rows of a table of calls, in the order of the other file."""
    names = [name for name in _names(table) if name != "id"]
    place = {name: names.index(name) for name in names}
    added = there = 0
    query = f"SELECT {', '.join(names)} FROM {table.name} ORDER BY id"  # noqa: S608
    rows: Iterator[Row] = source.execute(query)
    if prompts is not None:
        rows = (row for row in rows if row[place["prompt_id"]] in prompts)
    for part in _parts(rows, _AT_ONCE):
        known = _stored(db, table, names, {row[0] for row in part})
        fresh: dict[Row, list[Row]] = {}
        for row in part:
            told = list(row)
            told[place["run"]] = runs.here(row[place["run"]])
            if not paid:
                for name, nothing in _COSTS.items():
                    told[place[name]] = nothing
            key = tuple(row[place[name]] for name in table.counted)
            same = _same(tuple(told), place)
            stored = known.get(key, [])
            at = next((n for n, one in enumerate(stored) if _same(one[1:], place) == same), None)
            if at is not None:
                there += 1
                if paid and told[place["calls"]] and not stored[at][1 + place["calls"]]:
                    stored[at] = _charged(db, table, place, stored[at], told)
            else:
                fresh.setdefault(key, []).append(tuple(told))
                added += 1
        for key, new in fresh.items():
            _append(db, table, names, place, known.get(key, []), new)
    merged.added[table.name], merged.there[table.name] = added, there


def _charged(db: sqlite3.Connection, table: Table, place: dict[str, int], row: Row, paid: Sequence[Any]) -> Row:
    """A row that was taken for nothing from where it was paid, with what it cost there; ids come first in `row`."""
    names = [name for name in _COSTS if name in place]
    changed = list(row)
    for name in names:
        changed[1 + place[name]] = paid[place[name]]
    update = f"UPDATE {table.name} SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"  # noqa: S608
    db.execute(update, (*(paid[place[name]] for name in names), row[0]))
    return tuple(changed)


def _append(
    db: sqlite3.Connection,
    table: Table,
    names: Sequence[str],
    place: dict[str, int],
    known: list[Row],
    new: Iterable[Row],
) -> None:
    """Attempts of one key, after those that are there; contents change places where their order asks for it.

    Rows keep their ids and numbers of attempts, which rise together: readers go by either.
    """
    ids = [row[0] for row in known]
    contents = [row[1:] for row in known]
    attempt = place["attempt"]
    for row in new:
        numbered = (*row[:attempt], len(contents), *row[attempt + 1 :])
        statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({_marks(names)})"  # noqa: S608
        ids.append(db.execute(statement, numbered).lastrowid)
        contents.append(numbered)
    if len(contents) == 1:
        return
    status, at = place["status"], place["at"]
    ordered = sorted(contents, key=lambda row: (row[status] == "ok", row[at]))
    columns = [name for name in names if name != "attempt"]
    update = f"UPDATE {table.name} SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?"  # noqa: S608
    for id_, row, before in zip(ids, ordered, contents, strict=True):
        if row is not before:
            db.execute(update, (*row[:attempt], *row[attempt + 1 :], id_))


def _stored(db: sqlite3.Connection, table: Table, names: Sequence[str], keys: set[Any]) -> dict[Row, list[Row]]:
    """What is there under some keys, ids first, by what attempts are counted under."""
    columns, width = ", ".join(["id", *names]), len(table.counted)
    query = f"SELECT {columns} FROM {table.name} WHERE key IN ({_marks(keys)}) ORDER BY id"  # noqa: S608
    found: dict[Row, list[Row]] = {}
    for row in db.execute(query, tuple(keys)):
        found.setdefault(tuple(row[1 : 1 + width]), []).append(row)
    return found


def _same(row: Row, place: dict[str, int]) -> Row:
    """What tells one attempt from another: what came back, and when."""
    return row[place["status"]], row[place["at"]], row[place.get("raw", place.get("text", 0))]


def _parts(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    rows = iter(rows)
    while part := list(islice(rows, size)):
        yield part


def _names(table: Table) -> list[str]:
    return [column.split()[0] for column in table.columns]


def _marks(values: Iterable[object]) -> str:
    return ",".join("?" for _ in values)
