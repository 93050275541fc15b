"""The run directory of a command: made, and its arena file opened, before a word is printed; its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from arenaloop.errors import InputError
from arenaloop.jsonl import replacing
from arenaloop.regular_files import refuse_others
from arenaloop.store import Store
from arenaloop.terminal import say

if TYPE_CHECKING:
    from arenaloop.config import Settings

__all__ = [
    "ARENA",
    "PROGRESS",
    "beside",
    "open_directory",
    "open_to_write",
    "refuse_foreign",
    "refuse_overwriting",
    "refuse_results_alone",
    "say_lost",
    "write_settings",
]

ARENA = "arena.db"
"""Name of the arena file in a run directory."""

PROGRESS = "progress.json"
"""Name of the file in a run directory that tells, while a process works there, how far it is; an orderly end takes it
away."""

_RESULTS = ("battles.jsonl", "leaderboard.json", "summary.json", "audit.json")
_WRITTEN = (*_RESULTS, "config.yaml", "undecided.jsonl")


def open_directory(out: Path) -> Store:
    """Make `out` where it is not there yet, and open its arena file for writing; errors as those of `Store`.

    Raises:
        InputError: `out` cannot be a directory, holds results without the arena file that they came from, or something
            else than a file where one is to be written.
    """
    refuse_results_alone(out)
    refuse_others(out / name for name in _WRITTEN)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be a run directory ({error.strerror})") from None
    return open_to_write(out / ARENA)


def open_to_write(arena: Path) -> Store:
    """Open an arena file for writing, and say what its user should know of how that is done."""
    store = Store(arena)
    if store.warning:
        say(Console(stderr=True), f"warning: {arena}: {store.warning}", fold=True)
    return store


def refuse_results_alone(out: Path) -> None:
    """Raise InputError if results stand beside a missing or empty arena file: all would be paid for again."""
    arena = out / ARENA
    if arena.is_file() and arena.stat().st_size > 0:
        return
    if arena.exists() and not arena.is_file():
        return  # the store says what it is
    results = [name for name in _RESULTS if (out / name).is_file()]
    if results:
        what = "an empty" if arena.is_file() else "no"
        raise InputError(
            f"{out}: {', '.join(results)} with {what} {ARENA}, which holds what was paid for: put it back, with "
            f"{ARENA}-wal where there was one, or begin anew with another --out"
        )


def say_lost(store: Store, console: Console) -> None:
    """Say what a reader should know of rows that are missing."""
    if store.lost:
        say(console, f"warning: {store.path}: {store.lost}", fold=True)


def refuse_foreign(out: Path, arena: Path, inputs: Sequence[str | Path] = ()) -> None:
    """Refuse to write over what stands there without the arena file that it came from, or over what is read.

    Raises:
        InputError: such a file, or a directory.
    """
    if any(Path(file).resolve() == out.resolve() for file in inputs):
        raise InputError(f"--out {out}: that is what is read; take another file")
    if out.is_dir():
        raise InputError(f"--out {out}: a directory, where a file is to be written")
    if out.exists() and not (arena.is_file() and arena.stat().st_size):
        raise InputError(
            f"{out} is there without {arena.name}, which holds what was paid for: put that back, or take another --out"
        )


def beside(out: Path, what: str) -> Path:
    """Where something is written beside a file of rows: ``test.jsonl`` has ``test.hard.jsonl`` and ``test.card.html``.

    Raises:
        InputError: a directory is named, where a file is to be written.
    """
    if out.is_dir():
        raise InputError(f"--out {out}: a directory, where a file is to be written")
    return out.with_name(f"{out.name.removesuffix('.gz').removesuffix('.jsonl')}.{what}")


def refuse_overwriting(out: Path) -> None:
    """Refuse to write over a file that is no YAML of ours, by its name; make the folder that it is to stand in.

    Raises:
        InputError: a directory, another ending, or a folder that cannot be made.
    """
    if out.is_dir():
        raise InputError(f"--out {out}: a directory, where a file is to be written")
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out {out}: a pool is written as FILE.yaml")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None


def write_settings(out: Path, settings: Settings) -> None:
    """Write the resolved settings into ``config.yaml``."""
    from arenaloop.config import dump_yaml  # all settings: a third of what a verb takes that only reads a file

    with replacing(out / "config.yaml") as file:
        file.write(dump_yaml(settings).encode())
