"""Boards, and win rates, of parts of the battles: for each value of a column, or of a tag of the prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.leaderboard import leaderboard
from arenaloop.errors import ConfigError
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.style import baseline_of
from arenaloop.ratings.win_rate import Annotations, WinRate

__all__ = ["THIN", "RateSlice", "Slice", "board_of_all", "rate_slices", "slice_boards"]

THIN = 30
"""Battles of the median model below which a part has no board: at 30, an interval is 220 Elo points wide and more."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of the battles.

    Attributes:
        value: of the column, or tag; None for the battles without one.
        battles: how many battles it holds.
        board: of these; None where they are too few.
        reason: why there is none; empty where there is one.
        median: battles of the median model; None for the battles without a value.
    """

    value: str | None
    battles: int
    board: Leaderboard | None
    reason: str = ""
    median: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The slice as a mapping, with the whole document of its board."""
        told = {"value": self.value, "battles": self.battles, "median_battles": self.median}
        return told | ({"reason": self.reason} if self.board is None else self.board.to_dict())


def slice_boards(
    battles: Battles, anchor: tuple[str, float] | None = None, least: int = THIN, **settings: Any
) -> list[Slice]:
    """A board for each value that the battles are sliced by, those with the most battles first.

    Args:
        battles: with tags (`Battles.tag`).
        anchor: as of `leaderboard`; a part without the anchor's model has no board.
        least: battles of the median model below which a part has no board.
        settings: the others of `leaderboard`.
    """
    assert battles.tag is not None
    found = []
    counts = np.bincount(battles.tag + 1, minlength=len(battles.tags) + 1)
    for code in np.argsort(-counts[1:], kind="stable").tolist():
        if not counts[code + 1]:
            continue
        part = battles.tagged(code)
        count = len(part)
        each = part.per_model()[0]
        fought = float(np.median(each[each > 0]))
        reason = f"{fought:g} battles of the median model, fewer than {least}" if fought < least else ""
        if not reason and anchor is not None and anchor[0] not in part.models:
            reason = f"no battle of the anchor {anchor[0]}"
        board = None
        if not reason:
            try:
                board = leaderboard(part, anchor=anchor, **settings)
            except ConfigError as error:  # what this part alone does not allow
                reason = str(error)
        found.append(Slice(battles.tags[code], count, board, reason, fought))
    if counts[0]:
        found.append(Slice(None, int(counts[0]), None, "battles without a value"))
    return found


def board_of_all(battles: Battles, controls: Sequence[str] = (), **settings: Any) -> Leaderboard:
    """The board of all parts together; arguments as of `leaderboard`.

    Where each part has a baseline of its own, control ``arena_hard`` is one of the parts: all together are rated as
    they were judged, and a note says so.
    """
    if "arena_hard" not in controls or baseline_of(battles) is not None:
        return leaderboard(battles, controls=controls, **settings)
    others = [name for name in controls if name != "arena_hard"]
    board = leaderboard(battles, controls=others, **settings)
    return replace(board, notes=(*board.notes, _NO_BASELINE))


_NO_BASELINE = (
    "no model is in every battle, so this board of all is rated as judged, at whatever style: arena_hard compares with "
    "one baseline, which the boards of the parts have"
)


@dataclass(frozen=True, slots=True)
class RateSlice:
    """One part of the annotations.

    Attributes:
        value: of the column, or tag; None for those without one.
        annotations: of it; None where they have no value.
        count: how many there are.
        rates: of these; empty where they are too few.
        reason: why there are none; empty where there are some.
        median: how many the median model has; None for those without a value.
    """

    value: str | None
    annotations: Annotations | None
    count: int
    rates: Sequence[WinRate]
    reason: str = ""
    median: float | None = None


def rate_slices(
    annotations: Annotations, rated: Callable[[Annotations], Sequence[WinRate]], least: int = THIN
) -> list[RateSlice]:
    """Win rates for each value that annotations are sliced by, those with the most first.

    Args:
        annotations: with tags.
        rated: the win rates of some.
        least: annotations of the median model below which a part has no rates.
    """
    assert annotations.tag is not None
    found = []
    counts = np.bincount(annotations.tag + 1, minlength=len(annotations.tags) + 1)
    for code in np.argsort(-counts[1:], kind="stable").tolist():
        if not counts[code + 1]:
            continue
        part = annotations.tagged(code)
        each = np.bincount(part.model)
        typical = float(np.median(each[each > 0]))
        reason = f"{typical:g} of the median model, fewer than {least}" if typical < least else ""
        rates = () if reason else rated(part)
        found.append(RateSlice(annotations.tags[code], part, int(counts[code + 1]), rates, reason, typical))
    if counts[0]:
        found.append(RateSlice(None, None, int(counts[0]), (), "without a value"))
    return found
