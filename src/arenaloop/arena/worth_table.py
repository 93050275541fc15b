"""What a leaderboard's order is worth, as it is read in a terminal: neighbours, the seat, circles, flags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from arenaloop.arena.worth import Worth
from arenaloop.ratings.order import Neighbours
from arenaloop.terminal import counted, say, span, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["about", "differences_table", "show_worth"]

_SHOWN = 12
"""Neighbours in the table; of more, those that are not separated, the nearest to it first."""
_LARGEST = 10_000_000
"""Prompts that nobody will write."""


def show_worth(console: Console, worth: Worth, names: Sequence[str]) -> None:
    """Print it; `names` are the models as they stand on the board."""
    neighbours = worth.order.neighbours
    if neighbours:
        separated = sum(n.separated for n in neighbours)
        console.print()
        console.print(differences_table(worth, names, console.width))
        left_out = len(neighbours) - len(_chosen(neighbours))
        more = f" ({left_out:,} pairs more in --json)" if left_out else ""
        level = f"{worth.order.level * 100:g} %"
        tiers = counted(worth.tiers, "tier") + (" over groups that never met" if len(worth.firsts) > 1 else "")
        told = f"{separated:,} of {len(neighbours):,} neighbours separated: {tiers}{more}"
        held = (
            f"ranks, and intervals of all at once, hold together at {level}; that of one pair is for pairs named before"
        )
        say(console, f"{told} · {held}", style="dim", fold=True)
    seat = worth.seat
    if seat.value is not None:
        known = f"no interval: {seat.reason}" if seat.lower is None else f"{seat.lower:+.3f} … {seat.upper:+.3f}"
        say(console, f"first seat: {seat.value:+.3f} nats, {known}", fold=True)
    if (circles := worth.circles) is not None and circles.triads > 1:
        drawn = "" if circles.lower is None else f" ({circles.lower:,.0f} … {circles.upper:,.0f})"
        told = f"{circles.cyclic:,} of {circles.triads:,} triads run in a circle, by the fit {circles.expected:,.1f}"
        say(console, f"{told}{drawn}", fold=True)
    for flag in worth.flags:
        say(console, f"flag {flag.name}: {flag.text}", fold=True)


def differences_table(worth: Worth, names: Sequence[str], width: int) -> Table:
    """Differences between neighbours, in Elo points, by their places among `names`.

    A terminal of `width` columns that has no room for all of it does without the interval of each pair by itself.
    """
    place = {name: number for number, name in enumerate(names, start=1)}
    titles = ["places", "apart", f"{worth.order.level * 100:g} % interval", "all at once", "to separate, about"]
    rows = []
    for of in _chosen(worth.order.neighbours):
        above, below = place[worth.models[of.above]], place[worth.models[of.below]]
        wanted = "–" if of.more is None else f"{about(of.more)} {worth.unit}{'' if of.more == 1 else 's'} more"
        rows.append(
            [
                f"{above} – {below}",
                f"{of.difference:.0f}",
                span(_end(of.lower), _end(of.upper), ".0f"),
                span(_end(of.joint_lower), _end(of.joint_upper), ".0f"),
                "separated" if of.separated else wanted.removeprefix("about "),
            ]
        )
    if sum(max(map(len, column)) + 2 for column in zip(titles, *rows, strict=True)) - 2 > width:
        titles.pop(2)
        rows = [[*row[:2], *row[3:]] for row in rows]
    return table(titles, rows)


def _chosen(neighbours: Sequence[Neighbours]) -> list[Neighbours]:
    if len(neighbours) <= _SHOWN:
        return list(neighbours)
    still = [n for n in neighbours if not n.separated]
    nearest = sorted(still, key=lambda n: math.inf if n.more is None else n.more)[:_SHOWN]
    return [n for n in neighbours if n in nearest]


def about(number: int) -> str:
    """A number of things to two digits: ``about 3,300``."""
    if number > _LARGEST:
        return f"over {_LARGEST:,}"
    rough = round(number, 1 - int(math.log10(number))) if number >= 100 else number
    return f"about {rough:,}"


def _end(value: float) -> float | None:
    return value if math.isfinite(value) else None
