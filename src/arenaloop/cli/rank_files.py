"""Several files to be ranked as one: run directories, which are merged, or the parts of one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.cli.merge import holds_arena
from arenaloop.data.formats.part_files import Part, check_one_kind, parts_of, remote_url
from arenaloop.errors import ConfigError, InputError
from arenaloop.table_files import is_pattern

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["merged_or_first", "parts_named"]


def parts_named(files: Sequence[Path], *, stream: bool) -> list[Part] | None:
    """The parts of the table that several files make; None where they are run directories.

    Args:
        files: two or more, each of whatever `parts_of` takes.
        stream: whether streaming was asked for.

    Raises:
        InputError: one is not there, or the parts are of several kinds.
        ConfigError: run directories beside parts, or to be streamed; a part that is named twice.
    """
    for file in files:
        if not (file.exists() or is_pattern(file) or remote_url(file)):
            raise InputError(f"{file}: no such file")
    runs = [file for file in files if holds_arena(file) or (file / "battles.jsonl").exists()]
    if not runs:
        parts = [part for file in files for part in parts_of(file)]
        names = [part.name if part.path is None else str(part.path.resolve()) for part in parts]
        if twice := next((name for name, times in Counter(names).items() if times > 1), None):
            raise ConfigError(f"{twice}: named twice, and its battles would count twice")
        check_one_kind(f"{files[0]} … {files[-1]}", [part.name for part in parts], each=True)
        return parts
    if odd := next((file for file in files if file not in runs), None):
        raise ConfigError(f"{odd}: is no run directory, and {runs[0]} is: rank runs together, or parts of one table")
    if stream:
        raise ConfigError("--stream: run directories are read whole")
    return None


@contextmanager
def merged_or_first(files: Sequence[Path], table: Sequence[Part] | None, messages: Console) -> Iterator[Path]:
    """What several run directories hold together, in a passing one; the first of the files of one table.

    Raises:
        ConfigError, InputError: as of `merge_run.in_one`.
    """
    if table is not None or len(files) == 1:
        yield files[0]
        return
    from arenaloop.cli.merge_run import in_one

    with in_one(files, messages) as there:
        yield there
