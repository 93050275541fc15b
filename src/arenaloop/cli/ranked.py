"""A leaderboard from whatever `agree` compares: a list of ratings as it stands, or battles as `rank` rates them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.data.formats.column_names import KnownNames
from arenaloop.data.formats.part_files import fetched, parts_of, remote_url
from arenaloop.errors import InputError
from arenaloop.table_files import is_pattern, table_files
from arenaloop.tables import content_kind, table_rows

if TYPE_CHECKING:
    from rich.console import Console

    from arenaloop.data.formats.leaderboards import Board, RateKind

__all__ = ["board_named"]

_OF_A_RUN = ("leaderboard.json", "config.yaml", "arena.db", "battles.jsonl")
_OF_BATTLES = frozenset(("model_a", "model_b", "model_1", "model_2", "generator_1", "generator_2", "games"))
"""Columns that tables of battles and of judgments have, and lists of ratings have not."""


def board_named(
    source: Path, messages: Console, *, stream: bool = False, rate: RateKind | None = None, rating: str | None = None
) -> Board:
    """Ratings and intervals by model.

    Args:
        source: a leaderboard (`data.formats.leaderboards`) or a run directory; or battles in whatever form `rank`
            takes, which are rated by its defaults, and streamed where it would stream them.
        messages: where lines say how far a run is, and what streaming takes.
        stream: whether battles are to be streamed in any case.
        rate, rating: as of `read_leaderboard`.

    Raises:
        InputError: it is neither, or cannot be read.
        ConfigError: as of `streamed_wanted`.
    """
    from arenaloop.cli.standing import readable
    from arenaloop.data.formats import read_leaderboard
    from arenaloop.data.result_files import refuse_unrated

    if _holds_battles(source):
        return _rated(source, messages, stream=stream)
    with fetched(source) as here, readable(here, messages) as there:
        refuse_unrated(there, source)
        return read_leaderboard(there, rate, rating)


def _rated(source: Path, messages: Console, *, stream: bool) -> Board:
    from arenaloop.arena.leaderboard import leaderboard
    from arenaloop.data.formats import read_battles
    from arenaloop.data.formats.leaderboards import board_of_rows
    from arenaloop.data.formats.streamed_battles import read_streamed, streamed_wanted
    from arenaloop.terminal import say

    parts = streamed_wanted(source, stream, None)
    if parts is None:
        found = leaderboard(read_battles(source)).to_dict()
    else:
        streamed = read_streamed(source, parts)
        say(messages, streamed.told, style="dim", fold=True)
        found = leaderboard(streamed.battles).to_dict()
    notes = [f"{source}: {note}" for note in (f"{found['battles']:,} battles, rated as rank does", *found["notes"])]
    rows = ((f"row {number}", row) for number, row in enumerate(found["leaderboard"], start=1))
    return board_of_rows(source, rows, notes)


def _holds_battles(source: Path) -> bool:
    """Whether it is battles that would have to be rated first."""
    if remote_url(source) is not None:
        parts = parts_of(source)
        if len(parts) > 1 or parts[0].name.endswith(".parquet"):
            return True
        with parts[0].here() as there:
            return _has_two_models(there)
    if is_pattern(source):
        return True
    if source.is_dir():
        return not any((source / name).exists() for name in _OF_A_RUN) and _has_tables(source)
    return source.is_file() and _has_two_models(source)


def _has_tables(folder: Path) -> bool:
    try:
        return bool(table_files(folder))
    except InputError:
        return False


def _has_two_models(file: Path) -> bool:
    """Whether a file is Parquet, which no leaderboard is, or its first row tells of two models."""
    try:
        if content_kind(file) == "parquet":
            return True
        _, row = next(iter(table_rows(file)), (0, {}))
    except InputError:
        return False  # whoever reads it says what is wrong
    names = {str(name) for name in row}
    return bool(_OF_BATTLES & names.union(KnownNames(_OF_BATTLES).spelled(names).values()))
