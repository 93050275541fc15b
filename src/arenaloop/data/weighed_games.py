"""A run's battles as Arena-Hard counts them: each seating a game, and a game whose label is strong three of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from arenaloop.config import read_yaml
from arenaloop.data.formats.judgments import battles_from_rows
from arenaloop.data.run_battles import (
    Failures,
    OwnFailure,
    arena_of,
    judged_hashes,
    read_failures,
    rows_with_lengths,
    run_slices,
    with_undecided,
)
from arenaloop.data.seatings import Deciding, Seating, deciding, halves, seated
from arenaloop.errors import ArenaFileError, ConfigError, InputError, StorageError
from arenaloop.jsonl import JsonRow, read_rows
from arenaloop.judges.written_labels import written_label
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.cells import STRONG_WEIGHT
from arenaloop.ratings.style_features import is_style
from arenaloop.store import Store
from arenaloop.types import Outcome, Winner

__all__ = ["WeighedGames", "read_weighed_run", "strong_labels"]

_BATCH = 2000
_LOOKED_AT = 200  # battles among which a judge of five labels is told
_STRONG = ("A>>B", "B>>A")


class WeighedGames:
    """The games of a run directory, as rows of battles.

    Args:
        directory: with ``battles.jsonl`` and an arena file, which holds the verdicts.
        failures: what `read_failures` found there.
        styled: whether the rows have all features of style, and not the lengths alone.

    Attributes:
        games: how many rows were given so far. strong: how many of them weigh three.
    """

    def __init__(self, directory: Path, failures: Failures, *, styled: bool = False) -> None:
        self._directory, self._failures, self._styled = directory, failures, styled
        self.games = self.strong = 0

    def __iter__(self) -> Iterator[JsonRow]:
        """Rows with `model_a`, `model_b`, `winner`, `weight`, `prompt_id`, and what was counted in the answers.

        A battle that no verdict decided, a loss by own failure, weighs as the games that it would have had.

        Raises:
            InputError: no battles, or no arena file.
        """
        arena = arena_of(self._directory)
        if arena is None:
            raise InputError(f"{self._directory}: no battles.jsonl with an arena.db here, which holds the verdicts")
        judge, whole = deciding(self._directory), _games_of_a_row(self._directory)
        rows = iter(rows_with_lengths(self._directory, self._failures, styled=self._styled))
        with Store(arena, readonly=True) as store:
            while some := list(islice(rows, _BATCH)):
                for game in _games(some, store, judge, whole):
                    self.games += 1
                    self.strong += game["weight"] == STRONG_WEIGHT
                    yield game

    @property
    def note(self) -> str:
        """What was counted, once all rows were read."""
        return (
            f"each seating is a game, {self.games:,} in all; the {self.strong:,} with a strong label ([[A>>B]]) weigh "
            f"{STRONG_WEIGHT:g}, as Arena-Hard has it"
        )


def read_weighed_run(
    directory: Path,
    *,
    controls: Sequence[str] = (),
    own_failure: OwnFailure | None = None,
    by: str | Mapping[str, str] | None = None,
) -> Battles:
    """The battles of a run directory as `WeighedGames`; arguments and errors as of `run_battles.read_run`."""
    tags = by if isinstance(by, Mapping) else run_slices(directory, by)
    failures = read_failures(directory, own_failure)
    games = WeighedGames(directory, failures, styled=is_style(controls))
    battles = battles_from_rows(enumerate(games, start=1), str(directory), controls=controls, by=tags)
    return with_undecided(battles, failures, tags, directory, notes=(games.note,))


def strong_labels(directory: Path) -> list[str]:
    """One line where the judge of a run wrote strong labels, which a battle does not weigh; else none."""
    arena = arena_of(directory)
    if arena is None or deciding(directory).rule is not None:
        return []
    rows = islice((row for _, row in read_rows(directory / "battles.jsonl")), _LOOKED_AT)
    keys = [str(key) for row in rows for key in row.get("verdicts") or ()]
    try:
        with Store(arena, readonly=True) as store:
            firsts = {key: ruling.score_first for key, ruling in store.rulings(keys).items()}
            sure = {key: first for key, first in firsts.items() if first in (0.0, 1.0)}
            found = any(written_label(text, sure[key]) in _STRONG for key, text in store.words(list(sure)).items())
    except (ArenaFileError, StorageError):  # whoever compares the two says so
        return []
    return [_UNWEIGHED] if found else []


_UNWEIGHED = (
    "the judge wrote strong labels ([[A>>B]]), and a battle counts once here whatever its labels; --rule arena_hard "
    f"counts each seating, strong ones {STRONG_WEIGHT:g} times, as Arena-Hard's show_result.py does"
)


def _games_of_a_row(directory: Path) -> int:
    """How many seatings stand behind one row of ``battles.jsonl``."""
    try:
        settings = read_yaml(directory / "config.yaml")
    except (ConfigError, InputError):
        return 2
    return 1 if settings.get("merge") == "two_battles" or settings.get("seats") == "seeded" else 2


def _games(rows: Sequence[dict[str, Any]], store: Store, judge: Deciding, whole: int) -> Iterator[JsonRow]:
    keys = [str(key) for row in rows for key in row.get("verdicts") or ()]
    rulings, said = store.rulings(keys), store.words(keys)
    for row in rows:
        own = [str(key) for key in row.get("verdicts") or ()]
        seats: list[Seating | None] = [None, None]
        sides: tuple[list[str], list[str]] = [], []
        if row.get("own_failure") is None:
            told = [rulings[key] for key in own if key in rulings]
            sides = halves(row, told, judged_hashes(row, told, store))
            seats = [seated(side, rulings, said, judge) for side in sides]
        if seats == [None, None]:
            yield row | {"weight": float(whole)}
            continue
        for seat, side, a_is_first in zip(seats, sides, (True, False), strict=True):
            if seat is not None:
                yield row | {
                    "winner": _winner(seat.outcome, a_is_first),
                    "weight": STRONG_WEIGHT if seat.label in _STRONG else 1.0,
                    "verdicts": [*side, str(a_is_first)],  # equal texts have one call for both games, which are two
                }


def _winner(outcome: Outcome, a_is_first: bool) -> str:
    return Winner.of(outcome if a_is_first else outcome.swap()).value
