"""Connections whose rows hold what their columns are declared for; anything else is damage, whatever query it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from arenaloop.store.faults import UnreadableRowError
from arenaloop.store.schema import META, TABLES, Row

__all__ = ["Connection"]

_KINDS: dict[str, frozenset[type]] = {
    "TEXT": frozenset({str, bytes}),  # with lone surrogates, which SQLite's texts cannot hold
    "INTEGER": frozenset({int}),
    "REAL": frozenset({float, int}),
}
_WORDS = frozenset({"key", "prompt_id", "status", "outcome", "parser", "kind"})  # and hashes: such have no surrogates
_NONE = frozenset({type(None)})
_SHOWN = 40  # characters of a wrong value


def _declared() -> dict[str, frozenset[type]]:
    """The types of each column's values, by its name; of several tables those of any of them."""
    found: dict[str, frozenset[type]] = {}
    for table in (META, *TABLES):
        for column in table.columns:
            name, kind, *rules = column.split()
            types = _KINDS[kind] if rules else _KINDS[kind] | _NONE
            if name in _WORDS or name.endswith("_hash"):
                types -= {bytes}
            found[name] = found.get(name, frozenset()) | types
    return found


_COLUMNS = _declared()


class Connection(sqlite3.Connection):
    """A connection that checks the values of plain columns, as it reads them.

    SQLite itself lets any column hold any value. A row costs a tenth of a microsecond more for each of some columns.
    """

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """As of `sqlite3`; its rows raise UnreadableRowError where a value has a type that its column cannot have."""
        cursor = super().execute(sql, parameters)
        if cursor.description is not None:
            cursor.row_factory = _checked(tuple(column[0] for column in cursor.description))
        return cursor


@lru_cache(maxsize=256)
def _checked(names: tuple[str, ...]) -> Callable[[sqlite3.Cursor, Row], Row] | None:
    """What checks rows of these columns; None where none of them is a column of ours."""
    declared = [(place, name, _COLUMNS[name]) for place, name in enumerate(names) if name in _COLUMNS]
    if not declared:
        return None
    good: set[tuple[type, ...]] = set()

    def checked(_: sqlite3.Cursor, row: Row) -> Row:
        types = tuple(map(type, row))
        if types not in good:
            for place, name, allowed in declared:
                if types[place] not in allowed:
                    raise UnreadableRowError(f"a row's {name} holds {str(row[place])[:_SHOWN]!r}")
            good.add(types)
        return row

    return checked
