"""What a damaged arena file still holds, written into a new one; the old one is only read.

The trees of the tables are walked from their roots, and where a root or a branch is lost, pages that belong to none are
taken for rows of the table whose columns they fit. Each row is checked as far as it can be; what fails is counted.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.store.faults import UnreadableRowError
from arenaloop.store.lock import WriterLock, committed_rows, side_file
from arenaloop.store.opening import RECOVERED, log_of
from arenaloop.store.pages import MAGIC, Pages, Values
from arenaloop.store.rows import STATUSES, from_stored
from arenaloop.store.schema import APPLICATION_ID, META, NOTES, RESPONSES, SCHEMA_VERSION, TABLES, Row, Table
from arenaloop.store.store import Store
from arenaloop.types import content_hash

__all__ = ["Recovered", "recover", "replace"]

_ALL = {table.name: table for table in (META, *TABLES)}
_KINDS: dict[str, tuple[type, ...]] = {"TEXT": (str, bytes), "INTEGER": (int,), "REAL": (int, float)}
_AT_ONCE = 1000


@dataclass(slots=True)
class Recovered:
    """What came over.

    Attributes:
        path: the new arena file.
        rows: by table; `numbered`: of tables of calls, how many rows were ever stored as far as is known.
        broken: pages and rows of known tables that could not be read.
        unplaced: rows that fit more than one table, left out.
        known: whether its list of tables could be read.
        committed: rows of calls that the side file says were committed; None where it does not say.
    """

    path: Path
    rows: dict[str, int] = field(default_factory=dict)
    numbered: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    unplaced: int = 0
    known: bool = False
    committed: int | None = None

    @property
    def calls(self) -> int:
        """Rows of calls that came over."""
        return sum(self.rows.get(table.name, 0) for table in TABLES if table.counted)

    @property
    def missing(self) -> int:
        """Rows of calls that were stored once and did not come over, as far as is known."""
        return max(self.committed or 0, sum(self.numbered.values())) - self.calls


def recover(source: Path, target: Path) -> Recovered:
    """Write what can be read of an arena file and its log into a new arena file.

    Args:
        source: the damaged file; it may be missing where its log is there. It is not changed, nor written beside.
        target: the new file; one that stands there is replaced.

    Raises:
        ArenaFileError: it is of a later version, or nothing in it can be read as rows of an arena file.
        StorageError: the new file cannot be written.
    """
    real = Path(os.path.realpath(source))
    told = committed_rows(real)
    found = Recovered(target, committed=told[1] if told else None)
    try:
        pages = Pages(real, log_of(real))
    except OSError as error:
        raise ArenaFileError(f"{source}: cannot be read ({error.strerror})") from None
    try:
        _refuse_later(pages, source)
        _clear(target)
        with Store(target) as store:
            _write(store, _rows(pages, found), found)
        if not found.known and not any(found.rows.values()):
            raise ArenaFileError(f"{source}: nothing in it can be read as rows of an arena file")
    except BaseException:
        _clear(target)
        raise
    finally:
        pages.close()
    side_file(target).unlink(missing_ok=True)
    found.broken += pages.broken
    return found


def _clear(target: Path) -> None:
    for end in ("", "-wal", "-shm", ".lock"):
        with suppress(OSError):
            os.unlink(target.with_name(target.name + end))


def replace(source: Path, recovered: Path) -> Path:
    """Put a recovered file in the place of the damaged one, which is kept; gives the damaged one's new name.

    Raises:
        ArenaFileError: another process writes the file.
        StorageError: a file cannot be renamed.
    """
    real = Path(os.path.realpath(source))
    free = (real.with_name(f"{real.stem}.damaged{n or ''}{real.suffix}") for n in range(10_000))
    kept = next(name for name in free if not (name.exists() or log_of(name).exists()))
    lock = WriterLock(real, source)
    try:
        for end in ("-shm", "-wal", ""):  # a log must never stand beside another file than its own
            with suppress(FileNotFoundError):
                os.rename(real.with_name(real.name + end), kept.with_name(kept.name + end))
        os.rename(recovered, real)
    except OSError as error:
        raise StorageError(f"{source}: cannot be renamed to {kept.name} ({error.strerror})") from error
    finally:
        lock.release()
    return kept


def _refuse_later(pages: Pages, source: Path) -> None:
    head = pages.header
    if head.startswith(MAGIC) and int.from_bytes(head[68:72], "big") == APPLICATION_ID:
        version = int.from_bytes(head[60:64], "big")
        if version > SCHEMA_VERSION:
            raise ArenaFileError(
                f"{source}: an arena file of version {version}; this arenaloop reads version {SCHEMA_VERSION}"
            )


# ---------------------------------------------------------------------- reading


def _rows(pages: Pages, found: Recovered) -> Iterator[tuple[Table, Row]]:
    """All rows that can be read, those of known trees first."""
    roots: dict[str, int] = {}
    most = pages.count * pages.size  # rows are numbered one by one, and each takes more than a byte
    if pages.count:
        for _, values in pages.tree(1):
            if len(values) == 5 and values[0] == "table" and values[1] in _ALL and isinstance(values[3], int):
                roots[values[1]] = values[3]
    found.known = bool(roots)
    whole = set()
    for name, root in roots.items():
        before = pages.broken
        for rowid, values in pages.tree(root):
            if (row := _fitting(_ALL[name], rowid, values, most)) is not None:
                yield _ALL[name], row
            else:
                found.broken += 1
        if pages.broken == before:
            whole.add(name)
    lost = [table for name, table in _ALL.items() if name not in whole]  # a whole tree has no pages elsewhere
    for page in pages.rest() if lost else ():
        for rowid, values in page:
            fits = [(table, row) for table in lost if (row := _fitting(table, rowid, values, most)) is not None]
            if len(fits) == 1:
                yield fits[0]
            elif fits:
                found.unplaced += 1


@cache
def _declared(table: Table) -> list[tuple[str, str, list[str]]]:
    """(name, type, rules) of each column."""
    return [(name, kind, rules) for name, kind, *rules in map(str.split, table.columns)]


def _fitting(table: Table, rowid: int, values: Values, most: int) -> Row | None:
    """The values as a row of all columns, if they can be one, numbered at `most` so; else None."""
    columns = _declared(table)
    if len(values) > len(columns):
        return None
    row: list[Any] = []
    for number, (name, kind, rules) in enumerate(columns):
        if kind == "INTEGER" and rules == ["PRIMARY", "KEY"]:
            if rowid > most or (number < len(values) and values[number] is not None):
                return None
            row.append(rowid)
        elif number >= len(values):  # the row is older than the column
            if "DEFAULT" not in rules and "NOT" in rules:
                return None
            row.append(json.loads(rules[-1].replace("'", '"')) if "DEFAULT" in rules else None)
        else:
            value = values[number]
            if (value is None and rules) or not isinstance(value, (*_KINDS[kind], type(None))):
                return None
            if name == "status" and value not in STATUSES:
                return None
            row.append(value)
    return None if table is RESPONSES and not _true_text(row) else tuple(row)


def _true_text(row: list[Any]) -> bool:
    """Whether an answer's text is the one whose hash the row holds; only first turns can be checked by themselves."""
    answer = {name: value for (name, _, _), value in zip(_declared(RESPONSES), row, strict=True)}
    try:
        return answer["turn"] != 0 or content_hash([from_stored(answer["text"])]) == answer["text_hash"]
    except UnreadableRowError:
        return False


# ---------------------------------------------------------------------- writing


def _write(store: Store, rows: Iterator[tuple[Table, Row]], found: Recovered) -> None:
    db = store._reader
    counts: Counter[str] = Counter()
    runs = 0
    db.execute("BEGIN")
    while batch := list(islice(rows, _AT_ONCE)):
        for table, row in batch:
            if table is NOTES and row[0] == "complete":
                continue  # it says that nothing is left to ask, which is true no longer
            if table is META:
                if row[0] == "secret":
                    db.execute("UPDATE meta SET value = ? WHERE key = 'secret'", (row[1],))
                elif row[0] == "runs" and str(row[1]).isdecimal():
                    runs = int(row[1])
                continue
            marks = ", ".join("?" * len(row))
            added = db.execute(f"INSERT OR IGNORE INTO {table.name} VALUES ({marks})", row).rowcount  # noqa: S608
            counts[table.name] += max(0, added)
    for table in TABLES:
        if table.counted:
            most, last = db.execute(f"SELECT MAX(id), MAX(run) FROM {table.name}").fetchone()  # noqa: S608
            found.numbered[table.name] = most or 0
            runs = max(runs, (last or 0) + 1)
    values = [("runs", str(runs)), (RECOVERED, str(time.time_ns()))]
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)
    db.execute("COMMIT")
    found.rows = {table.name: counts[table.name] for table in TABLES}
