"""What a progress display says, as pure functions of what is known: nothing that matters is cut at any width."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from arenaloop.calls.budget import dollars
from arenaloop.calls.progress import Tally
from arenaloop.terminal import counted, plain

__all__ = ["Pace", "fitted", "headed", "tally_parts", "time_left"]

_WINDOW = 30.0
"""seconds that a rate looks back, where that many steps fit in"""
_AT_LEAST = 4
"""changes that a rate looks back on, however long they took, so that steps that take minutes have a time left, too"""
_BAR = (8, 24)
"""cells: a bar that would be shorter is left out, one that could be longer is not"""
_LABEL = 24
"""cells that a label keeps beside the figures"""


class Pace:
    """Units a second over the last half minute, or over the last few changes where these took longer.

    The first report of a phase is where counting begins: what was found stored, or trained before, took no time now.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, now: float, done: int) -> None:
        """`done` units at `now` seconds of any clock."""
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # another count has begun
        if self._seen and done == self._seen[-1][1]:
            return
        self._seen.append((now, done))
        while len(self._seen) > _AT_LEAST + 1 and now - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()

    def rate(self, now: float) -> float | None:
        """Units a second; None before there are two reports."""
        if len(self._seen) < 2:
            return None
        (begun, before), (last, done) = self._seen[0], self._seen[-1]
        steps = len(self._seen) - 1
        # a unit that takes longer than all before it slows the rate down while it is waited for
        seconds = max(last - begun, (now - begun) * steps / (steps + 1))
        return (done - before) / seconds if seconds > 0 else None

    def words(self, now: float, left: int) -> list[str]:
        """The rate and the time that `left` units take at it, if there is one: ``2.5/s``, ``0:03:00 left``."""
        rate = self.rate(now)
        if not rate:
            return []
        told = f"{rate:,.0f}/s" if rate >= 100 else f"{rate:,.1f}/s" if rate >= 1 else f"{rate * 60:,.1f}/min"
        return [told, *([f"{time_left(left / rate)} left"] if left > 0 else [])]


def time_left(seconds: float) -> str:
    """``0:03:20``, ``27:00:00``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def tally_parts(counts: Tally) -> tuple[int, int, str, list[str]]:
    """Done, total, their unit, and what else is to be said of a play: answers, calls, failures, money."""
    done, total, unit = counts.verdicts, counts.verdicts_total, "verdicts"
    if not total:
        done, total, unit = counts.answers, counts.answers_total, counts.unit
    waiting = counts.answers < counts.answers_total and unit == "verdicts"
    flying = f" ({counts.in_flight:,} in flight)" if counts.in_flight else ""
    cost = [f"${counts.usd:,.2f}"] if counts.usd else []
    if cost and counts.usd_estimated:
        cost = [f"{cost[0]} (${dollars(counts.usd_estimated)} estimated)"]
    parts = [
        counts.so_far,
        f"{counts.answers:,}/{counts.answers_total:,} answers" if waiting else "",
        f"{counted(counts.calls, 'call')}{flying}",
        counts.workers,
        f"{counts.cached:,} stored",
        f"{counts.failed:,} failed" if counts.failed else "",
        *(_limits(counts) or cost),
    ]
    return done, total, unit, [part for part in parts if part]


def _limits(counts: Tally) -> list[str]:
    """What the run directory has cost of what it may, where that is limited."""
    budget = counts.budget
    calls = [] if budget.calls is None else [f"{budget.spent_calls:,} of {budget.calls:,} calls"]
    first, *more = [*calls, *([] if budget.usd is None else [budget.money()])] or [""]
    return [f"spent {first}", *more] if first else []


def headed(label: str, done: int, total: int | None, parts: Sequence[str], width: int) -> tuple[str, int, list[str]]:
    """The first line of a display of `width` cells: the label, the cells of its bar (0: none), and its figures.

    The bar gives way to the label, and the label to the figures, but for 24 cells; figures that do not fit beside it
    are for lines of their own, and the label has all of the first one.
    """
    label = plain(label)
    if total is None:
        return _cropped(label, width), 0, []
    figures = [f"{done:,}/{total:,} {parts[0]}".strip(), *parts[1:]]
    taken = len(" · ".join(figures)) + 1
    if min(len(label), _LABEL) + taken > width:
        return _cropped(label, width), 0, figures
    label = _cropped(label, width - taken)
    bar = min(_BAR[1], width - len(label) - taken - 1)
    return label, bar if bar >= _BAR[0] else 0, figures


def _cropped(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def fitted(parts: Sequence[str], width: int, indent: str = "  ") -> list[str]:
    """Parts joined by dots into as many lines as they need; a part is broken only where it alone is too wide."""
    lines: list[str] = []
    for part in map(plain, parts):
        if lines and len(lines[-1]) + 3 + len(part) <= width:
            lines[-1] += f" · {part}"
            continue
        rest, room = part, max(width - len(indent), 1)
        while len(rest) > room:
            lines.append(indent + rest[:room])
            rest = rest[room:]
        lines.append(indent + rest)
    return lines
