"""What can go wrong, and which exit code it has.

    ArenaloopError
    ├── UserError (exit 2)        refused before the first call; one line says what and where
    │   ├── ConfigError           a setting or SPEC that does not exist or cannot be
    │   ├── InputError            a file or row that is missing or malformed
    │   ├── ArenaFileError        an arena file of another version, damaged, or one that another process writes
    │   └── MissingExtraError     an optional dependency is not installed
    └── StoppedError (exit 4)     stopped early and resumable: what was stored stays
        ├── BudgetSpentError      the calls or the money that the run may cost are spent
        ├── EndpointDownError     a server is not there, or answers nothing but errors
        ├── UnreadJudgeError      none of a judge's first answers could be read
        └── StorageError          the disk is full or the arena file cannot be written

Failures of single calls are not exceptions: they are rows with a status (see `types.Status`).
"""

from __future__ import annotations

__all__ = [
    "ArenaFileError",
    "ArenaloopError",
    "BudgetSpentError",
    "ConfigError",
    "EndpointDownError",
    "InputError",
    "MissingExtraError",
    "StoppedError",
    "StorageError",
    "UnreadJudgeError",
    "UserError",
    "first_line",
    "nearest",
]


class ArenaloopError(Exception):
    """Root of every error that arenaloop raises on purpose."""

    exit_code = 1


class UserError(ArenaloopError):
    """Something the user can mend; printed as one line, without a traceback."""

    exit_code = 2


class ConfigError(UserError, ValueError):
    """A setting, recipe key or SPEC that does not exist or holds an impossible value."""


class InputError(UserError, ValueError):
    """A file that is missing or malformed; the message names the file and, where there is one, the line."""


class ArenaFileError(UserError):
    """An arena file that is damaged, that this version cannot open, or that another process is writing."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is missing.

    Args:
        what: the thing the user asked for, e.g. ``"local models"``.
        extra: the extra that brings the dependency, e.g. ``"train"``.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'arenaloop[{extra}]'")


class StoppedError(ArenaloopError):
    """The run stopped early; the same command resumes it."""

    exit_code = 4


class BudgetSpentError(StoppedError):
    """The run's budget is spent; the same command with a higher one resumes."""


class EndpointDownError(StoppedError, ConnectionError):
    """A server could not be reached after its retries, or has answered nothing but errors."""


class UnreadJudgeError(StoppedError):
    """None of a judge's first answers could be read: asking on would only cost money."""


class StorageError(StoppedError, OSError):
    """The arena file could not be written (a full disk, a lost mount)."""


def first_line(error: BaseException) -> str:
    """What an error of someone else's says, in one line: its first, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def nearest(word: str, known: list[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known word closest to `word`, or an empty string."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
