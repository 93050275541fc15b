"""Boards of other settings: what a run is about to replace moves to ``DIR/earlier/KEY/`` before anything is asked.

A board is derived from the arena file, so nothing that was paid for is at stake; but the run that is to replace it may
be interrupted, and ten battles would then stand where three hundred stood.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from arenaloop.data.result_files import EARLIER
from arenaloop.jsonl import replacing
from arenaloop.regular_files import open_regular, read_regular
from arenaloop.terminal import counted

__all__ = ["drop_returned", "earlier_boards", "set_aside"]

_BATTLES, _CONFIG = "battles.jsonl", "config.yaml"
# the battles go last: as long as they stand in DIR, moving what is left is done again
_FILES = ("report.html", "report.battles", "summary.json", "leaderboard.json", "undecided.jsonl", _BATTLES)


def set_aside(out: Path, verb: str) -> str | None:
    """Move a directory's results, with a copy of its settings, to ``earlier/KEY/``.

    KEY is the hash of the battles: the same board has one place.

    Args:
        out: the run directory.
        verb: of the command that runs its settings.

    Returns:
        Where they are and what brings them back, in words; None where no battle stands in the directory.
    """
    battles = out / _BATTLES
    if not battles.is_file() or not battles.stat().st_size:
        return None
    key, lines = blake2b(digest_size=4), 0
    for line in _lines(battles):
        key.update(line)
        lines += 1
    folder = out / EARLIER / key.hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    if (out / _CONFIG).is_file():
        with replacing(folder / _CONFIG) as file:
            file.write(read_regular(out / _CONFIG))
    for name in _FILES:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        with suppress(FileNotFoundError):
            os.replace(out / name, folder / name)
    back = shlex.join(["arenaloop", verb, str(folder / _CONFIG), "--out", str(out)])
    return f"the board of {counted(lines, 'battle')} that stood here is kept in {folder}; {back} brings it back"


def earlier_boards(out: Path) -> list[Path]:
    """The directories of boards that were set aside."""
    return sorted(path.parent for path in (out / EARLIER).glob(f"*/{_BATTLES}"))


def drop_returned(out: Path) -> None:
    """Take away what was set aside of boards whose battles all stand in the directory again, line by line."""
    for folder in earlier_boards(out):
        if not _within(_lines(folder / _BATTLES), _lines(out / _BATTLES)):
            continue
        for name in (*_FILES, _CONFIG):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # what somebody else has put there stays
            folder.rmdir()
            folder.parent.rmdir()


def _within(some: Iterator[bytes], every: Iterator[bytes]) -> bool:
    """Whether lines stand among others in the same order: boards of one plan have theirs in its order."""
    return all(any(line == other for other in every) for line in some)


def _lines(path: Path) -> Iterator[bytes]:
    with open_regular(path) as file:
        yield from file
