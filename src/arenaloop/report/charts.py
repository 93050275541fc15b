"""Geometry of the charts: numbers in, places in percent or pixels out. The template draws them as inline SVG.

Horizontal places are percentages and vertical ones pixels, so that a chart fills any width without scaling its text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from arenaloop.report.documents import number

__all__ = ["Bars", "Dot", "Forest", "Progress", "Scale", "bars", "forest", "progress", "scale"]


class Tick(NamedTuple):
    """A round value on an axis: where it stands and what it says."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear scale from the data's `low` and `high` to the places `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value stands, rounded for the page."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, about: int = 5, suffix: str = "") -> list[Tick]:
        """Round values within the scale, 1, 2 or 5 times a power of ten apart."""
        raw = (self.high - self.low) / about
        unit = 10.0 ** math.floor(math.log10(raw))
        step = min((m * unit for m in (1, 2, 5, 10)), key=lambda s: abs(s - raw))
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [Tick(self.at(i * step), f"{i * step:.{digits}f}{suffix}") for i in range(first, last + 1)]


def scale(values: Iterable[float | None], start: float, end: float, *, margin: float = 0.04) -> Scale:
    """A scale that holds all values with some margin; a unit wide where there is but one value."""
    known = [v for v in values if v is not None] or [0.0]
    low, high = min(known), max(known)
    pad = (high - low) * margin
    if pad <= abs(high) * 1e-9:
        pad = max(0.5, abs(high) * 0.02)
    return Scale(low - pad, high + pad, start, end)


class Dot(NamedTuple):
    """A value with its interval, as places; None where there is nothing to draw."""

    at: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class Forest:
    """Intervals of several rows on one horizontal scale, in percent of the width."""

    ticks: Sequence[Tick]
    dots: Sequence[Dot]


def forest(rows: Sequence[Mapping[str, Any]]) -> Forest:
    """Ratings with intervals, one line per row."""
    x = scale((number(row.get(key)) for row in rows for key in ("rating", "lower", "upper")), 3.0, 97.0)
    return Forest(x.ticks(4), [_dot(row, x) for row in rows])


def _dot(row: Mapping[str, Any], axis: Scale) -> Dot:
    places = []
    for key in ("rating", "lower", "upper"):
        value = number(row.get(key))
        places.append(axis.at(value) if value is not None else None)
    return Dot(*places)


class Reference(NamedTuple):
    """A horizontal line for a contestant that does not change, and the height of its label."""

    name: str
    y: float
    label_y: float


@dataclass(frozen=True, slots=True)
class Progress:
    """One figure over the stages: x in percent, y in pixels.

    Attributes:
        height: of the plot. `ticks`: of the vertical axis.
        x: where each stage stands. `names`: of the stages.
        dots: the figure of each stage with its interval, as heights.
        labels: the figure of each stage in words. `below`: whether the label stands below the dot, clear of the line:
            labels stand to the right of a dot, that of the last one to the left.
        lines: indices of neighbouring stages that both have a figure.
        references: contestants that stay as they are.
    """

    height: int
    ticks: Sequence[Tick]
    x: Sequence[float]
    names: Sequence[str]
    dots: Sequence[Dot]
    labels: Sequence[str]
    below: Sequence[bool]
    lines: Sequence[tuple[int, int]]
    references: Sequence[Reference]


_LABEL_APART = 15.0
"""pixels between labels of references, so that they do not cover each other"""


def progress(
    stages: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]] = (),
    *,
    height: int = 250,
    share: str | None = None,
) -> Progress:
    """Ratings over stages with the other contestants as references; or a `share` (a key of stages), from 0 to 100 %."""
    top, bottom = 12.0, height - 10.0
    if share is None:
        keys = ("rating", "lower", "upper")
        values = [number(row.get(key)) for row in stages for key in keys]
        y = scale([*values, *(number(row.get("rating")) for row in others)], bottom, top)
        ticks = y.ticks(5)
        dots = [_dot(row, y) for row in stages]
        labels = [_words(number(row.get("rating")), "{:.0f}") for row in stages]
    else:
        y = Scale(0.0, 100.0, bottom, top)
        ticks = y.ticks(5, " %")
        figures = [number(row.get(share)) for row in stages]
        dots = [Dot(None if f is None else y.at(100 * f), None, None) for f in figures]
        labels = [_words(None if f is None else 100 * f, "{:.0f} %") for f in figures]
    n = len(stages)
    x = [round(100 * (i + 0.5) / n, 2) for i in range(n)]
    heights = {i: dot.at for i, dot in enumerate(dots) if dot.at is not None}
    lines = [(a, b) for a, b in pairwise(heights) if b == a + 1]
    low = {a for a, b in lines if heights[a] > heights[b]}
    low |= {b for a, b in lines if b == n - 1 and heights[a] < heights[b]}
    return Progress(
        height=height,
        ticks=ticks,
        x=x,
        names=[str(row["name"]) for row in stages],
        dots=dots,
        labels=labels,
        below=[i in low for i in range(n)],
        lines=lines,
        references=_references(others, y, bottom) if share is None else (),
    )


def _references(others: Sequence[Mapping[str, Any]], y: Scale, bottom: float) -> list[Reference]:
    known = sorted(
        (y.at(rating), str(row["model"])) for row in others if (rating := number(row.get("rating"))) is not None
    )
    out: list[Reference] = []
    for place, name in known:
        label = place if not out else max(place, out[-1].label_y + _LABEL_APART)
        out.append(Reference(name, place, label))
    ceiling = bottom  # labels that ran out of the plot push those above them upwards
    for i in range(len(out) - 1, -1, -1):
        out[i] = out[i]._replace(label_y=min(out[i].label_y, ceiling))
        ceiling = out[i].label_y - _LABEL_APART
    return out


def _words(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


class Bar(NamedTuple):
    """One bar, or two side by side: x and width in percent, heights in pixels, counts in words."""

    x: float
    width: float
    heights: tuple[float, ...]
    counts: tuple[int, ...]
    label: str
    tick: bool


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram; `height` in pixels is that of the tallest bar."""

    height: int
    bars: Sequence[Bar]
    top: int


def bars(labels: Sequence[str], series: Sequence[Sequence[int]], *, height: int = 120, ticks: int = 12) -> Bars:
    """A histogram of one or more series of counts over the same bins; at most `ticks` bins are labelled."""
    n = max(1, len(labels))
    top = max((count for counts in series for count in counts), default=0)
    every = max(1, math.ceil(n / ticks))
    out = []
    for i, label in enumerate(labels):
        counts = tuple(counts[i] for counts in series)
        heights = tuple(round(max(1.5, height * c / top), 1) if c and top else 0.0 for c in counts)
        out.append(Bar(round(100 * i / n, 3), round(100 / n, 3), heights, counts, label, i % every == 0))
    return Bars(height, out, top)
