"""What SQLite's errors mean for whoever runs a command: one line that says what is wrong with the file or the disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from arenaloop.errors import ArenaFileError, StorageError

__all__ = ["UnreadableRowError", "arena_error", "damaged"]

_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_BUSY", "SQLITE_LOCKED")
_WHY = 100  # characters of a reason
_OURS = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.NotSupportedError, sqlite3.DataError)


class UnreadableRowError(sqlite3.DatabaseError):
    """A row that SQLite gives out and that is none of ours: the damage went past what SQLite can see."""


def damaged(path: Path, why: str) -> ArenaFileError:
    """The error of a file that can be read in parts at most; `why` may hold the text that SQLite could not read."""
    line = " ".join(why.split())
    short = line if len(line) <= _WHY else f"{line[:_WHY]} …"
    return ArenaFileError(
        f"{path}: damaged, or no arena file ({short}); arenaloop recover {path.parent} saves what can still be read of "
        "it"
    )


def arena_error(path: Path, error: sqlite3.Error) -> ArenaFileError | StorageError | None:
    """What an error of SQLite's says about the file or its disk; None where it says that our own SQL is wrong."""
    if isinstance(error, _OURS):
        return None
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_DISK):
        return StorageError(f"{path}: {error}")
    return damaged(path, str(error))
