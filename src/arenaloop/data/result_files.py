"""Whether the result files of a run directory belong together, or one of them was cut."""

from __future__ import annotations

import json
import os
from pathlib import Path

from arenaloop.errors import InputError
from arenaloop.regular_files import open_regular, read_regular
from arenaloop.terminal import counted

__all__ = ["BESIDE", "EARLIER", "board_of", "check_whole", "home_of", "not_through", "refuse_unrated"]

EARLIER = "earlier"
"""Folder of a run directory that holds boards of settings that it had before."""

BESIDE = ("rejudged", EARLIER)
"""Folders of a run directory that hold results from its arena file beside its own, each in a folder by its name."""

_BLOCK = 1 << 20
_RUNS = ("config.yaml", "battles.jsonl")
_BEGUN = ("arena.db", *_RUNS)  # files of a run before its leaderboard


def board_of(source: Path) -> Path:
    """The ``leaderboard.json`` of a run directory; a file is one itself.

    Raises:
        InputError: the directory has none: the run has not finished, or it is no run directory.
    """
    path = source / "leaderboard.json" if source.is_dir() else source
    if source.is_dir() and not os.path.exists(path):  # which raises nothing
        if any(os.path.exists(source / name) for name in _BEGUN):
            why = "no leaderboard.json; the run has not finished: the command that began it resumes it"
            raise InputError(f"{source}: {why}")
        raise InputError(f"{source}: no run directory (no leaderboard.json)")
    return path


def home_of(directory: Path) -> Path:
    """The run directory whose arena file is behind results: of ``DIR/rejudged/NAME`` and ``DIR/earlier/KEY``, DIR."""
    if (directory / "arena.db").exists():
        return directory
    whole = directory if directory.parent.name in BESIDE else directory.resolve()
    return whole.parent.parent if whole.parent.name in BESIDE else directory


def check_whole(directory: Path) -> None:
    """Raise InputError if ``battles.jsonl`` holds fewer lines than the leaderboard beside it rates battles: it was cut.

    To be asked after the lines were read, so that one that is broken is named as such.
    """
    path = directory / "battles.jsonl"
    try:
        rated = json.loads(read_regular(directory / "leaderboard.json"))["battles"]
        with open_regular(path) as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
    except (OSError, ValueError, LookupError, TypeError):
        return  # what another reader will complain about
    if isinstance(rated, int) and lines < rated:
        raise InputError(
            f"{path}: {lines:,} of the {rated:,} battles that leaderboard.json rates; the command that made both "
            "writes them again (a part of them is ranked in another directory)"
        )


def not_through(directory: Path) -> list[str]:
    """One line where ``summary.json`` says that the run was stopped before its end; none where it says nothing."""
    try:
        summary = json.loads(read_regular(directory / "summary.json"))
        decided, wanted, why = (summary[key] for key in ("battles_decided", "battles_wanted", "stopped"))
        told = summary.get("progress") or f"{int(decided):,} of {counted(int(wanted), 'battle')} decided"
        return [f"not finished: {told} ({why})"]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def refuse_unrated(directory: Path, name: Path) -> None:
    """Raise InputError where a run is not through and none of its battles is decided: what will be there, and when.

    Likewise where rows were merged that make no battle together.

    Args:
        directory: that holds the result files.
        name: what the user calls it.
    """
    if (directory / "arena.db").is_file() and not any((directory / one).exists() for one in _BEGUN if one[-2:] != "db"):
        raise InputError(
            f"{name}: holds answers and verdicts, but no battle: arenaloop battle FILE.yaml --out {name}, with a "
            "config.yaml of those whose rows these are, makes its board, and asks nothing again that is stored"
        )
    if not (directory / "battles.jsonl").is_file() or (directory / "battles.jsonl").stat().st_size:
        return
    if told := not_through(directory):
        summary = json.loads(read_regular(directory / "summary.json"))
        why = summary.get("awaits") or "no battle is decided yet"
        look = "; `watch` and `report` show what stands" if summary.get("stages") else ""
        raise InputError(f"{name}: {why} ({told[0]}){look}")
