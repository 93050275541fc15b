"""The run directory of a command: made, and its arena file opened, before a word is printed; its settings."""

from __future__ import annotations

from pathlib import Path

from arenaloop.config import Settings, dump_yaml
from arenaloop.errors import InputError
from arenaloop.jsonl import replacing
from arenaloop.store import Store

__all__ = ["open_directory", "write_settings"]


def open_directory(out: Path) -> Store:
    """Make `out` where it is not there yet, and open its arena file for writing; errors as those of `Store`.

    Raises:
        InputError: `out` cannot be a directory.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be a run directory ({error.strerror})") from None
    return Store(out / "arena.db")


def write_settings(out: Path, settings: Settings) -> None:
    """Write the resolved settings into ``config.yaml``."""
    with replacing(out / "config.yaml") as file:
        file.write(dump_yaml(settings).encode())
