"""What a leaderboard's order is worth, as the page tells it: neighbours, the first seat, circles, flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arenaloop.arena.worth_table import about
from arenaloop.report.documents import number
from arenaloop.report.texts import one_line
from arenaloop.terminal import counted, span

__all__ = ["Beside", "Worth", "worth_of"]

_PAIRS = 200
_FLAGS = 12


@dataclass(frozen=True)
class Beside:
    """Two neighbours on the board, as words. `ranks` are those that the battles leave the upper one, and the lower."""

    above: str
    below: str
    ranks: tuple[str, str]
    apart: str
    one: str
    all: str
    wanted: str


@dataclass(frozen=True)
class Worth:
    """Attributes: told: a sentence each. flags: what may be wrong. pairs: neighbours, best first; `left_out` more."""

    told: Sequence[str]
    flags: Sequence[str]
    pairs: Sequence[Beside]
    left_out: int


def worth_of(board: Mapping[str, Any]) -> Worth | None:
    """What ``leaderboard.json`` says of its order; None where it says nothing, as one of an older version."""
    found = board.get("differences")
    pairs = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    flags = [one for one in board.get("flags") or () if isinstance(one, dict)]
    if not pairs and not flags:
        return None
    rows = [row for row in board["leaderboard"] if isinstance(row, dict)]
    ranks = {str(row["model"]): _ranks(row) for row in rows}
    shown = [_beside(one, ranks) for one in pairs[:_PAIRS]]
    separated = sum(one.get("separated") is True for one in pairs)
    told = []
    if pairs:
        tiers = number(board.get("tiers")) or 1
        neighbours = f"{counted(len(pairs), 'pair')} of neighbours"
        told.append(f"Of {neighbours} the battles separate {separated:,}: {counted(int(tiers), 'tier')}.")
    return Worth(
        [*told, *_seat(board.get("seat")), *_circles(board.get("cycles"))],
        [one_line(f"{one.get('flag')}: {one.get('text')}", 600) for one in flags[:_FLAGS]],
        shown,
        len(pairs) - len(shown),
    )


def _ranks(row: Mapping[str, Any]) -> str:
    lower, upper = number(row.get("rank_lower")), number(row.get("rank_upper"))
    if lower is None or upper is None:
        return "–"
    return f"{lower:.0f}" if lower == upper else f"{lower:.0f}–{upper:.0f}"


def _beside(one: Mapping[str, Any], ranks: Mapping[str, str]) -> Beside:
    above, below = str(one.get("above")), str(one.get("below"))
    difference = number(one.get("difference"))
    more = [(key[5:], count) for key, value in one.items() if key.startswith("more_") and (count := number(value))]
    wanted = "separated" if one.get("separated") is True else "–"
    if more and wanted == "–":
        wanted = f"{about(int(more[0][1]))} {one_line(more[0][0], 20)} more"
    return Beside(
        one_line(above, 60),
        one_line(below, 60),
        (ranks.get(above, "–"), ranks.get(below, "–")),
        "–" if difference is None else f"{difference:.0f}",
        span(number(one.get("lower")), number(one.get("upper")), ".0f"),
        span(number(one.get("simultaneous_lower")), number(one.get("simultaneous_upper")), ".0f"),
        wanted,
    )


def _seat(seat: object) -> list[str]:
    if not isinstance(seat, dict) or (value := number(seat.get("value"))) is None:
        return []
    lower, upper = number(seat.get("lower")), number(seat.get("upper"))
    known = "without an interval" if lower is None or upper is None else f"{lower:+.3f} to {upper:+.3f}"
    return [f"The first seat is worth {value:+.3f} nats ({known})."]


def _circles(told: object) -> list[str]:
    if not isinstance(told, dict):
        return []
    triads, cyclic, expected = (number(told.get(key)) for key in ("triads", "cyclic", "expected"))
    if not triads or triads < 2 or cyclic is None or expected is None:
        return []
    return [f"{cyclic:,.0f} of {triads:,.0f} triads of models run in a circle; the fit predicts {expected:,.1f}."]
