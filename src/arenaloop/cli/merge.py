"""`arenaloop merge`: the arena files of several directories in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arenaloop.errors import ConfigError, InputError

__all__ = ["arena_of", "holds_arena", "merge", "refuse_unmergeable"]

_SQLITE = b"SQLite format 3\0"


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The directory that gets all rows; made if need be.")],
    directories: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Run directories, or arena files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON document.")] = False,
) -> None:
    """Merge run directories: every answer, verdict and judgement, each once, with all attempts and what they cost.

    The others are only read. Merging a directory again adds what it has got meanwhile. Checkpoints and stages of
    recipes stay where they are. Where the directories hold battles that differ in their models alone, OUT gets the
    settings of the battle of them all, and its board as far as it is judged. Nothing is asked.

    Shards (--shard I/N) are merged with those of the same plan alone. OUT is then what the run without --shard would
    have left; what shards are missing is said, and the exit code is 3.

    Examples:

        arenaloop merge runs/all runs/monday runs/tuesday

        arenaloop battle runs/all/config.yaml

        arenaloop merge runs/whole runs/shard-*
    """
    from arenaloop.cli.merge_run import execute

    execute(out, directories, as_json=as_json)


def arena_of(directory: Path) -> Path:
    """The arena file of a run directory, of a file of rows that has ``FILE.db`` beside it, or the file itself."""
    beside = directory.with_name(directory.name + ".db")
    if not directory.is_dir() and directory.suffix != ".db" and beside.is_file():
        return beside
    return directory if directory.is_file() else directory / "arena.db"


def holds_arena(path: Path) -> bool:
    """Whether a path is a run directory, an arena file, or a file of rows with one beside it.

    Raises:
        InputError: it cannot be read.
    """
    arena = arena_of(path)
    return arena.is_file() and (arena != path or _head(arena) == _SQLITE)


def refuse_unmergeable(directory: Path, out: Path) -> None:
    """Refuse a directory whose rows cannot be taken into another.

    Raises:
        ConfigError: it is the other one, or has batches on their way, whose answers it alone can collect.
        InputError: it has no arena file.
    """
    from arenaloop.calls.batch.state import open_batches
    from arenaloop.store import Store

    arena = arena_of(directory)
    if not arena.exists():
        raise InputError(f"{directory}: no run directory (it has no arena.db)")
    if arena == directory and arena.is_file() and _head(arena) not in (b"", _SQLITE):
        raise InputError(
            f"{directory}: neither a run directory nor an arena file, nor is there a {directory.name}.db beside it"
        )
    if arena.resolve() == arena_of(out).resolve():
        raise ConfigError(f"{directory}: is the directory itself that is to get the others' rows")
    with Store(arena, readonly=True) as store:
        if batches := open_batches(store):
            raise ConfigError(
                f"{directory}: {len(batches)} of its batches are not collected yet; collect them there first"
            )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
