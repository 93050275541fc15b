"""Geometry of the charts: numbers in, places in percent or pixels out. The template draws them as inline SVG.

Horizontal places are percentages and vertical ones pixels, so that a chart fills any width without scaling its text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

from arenaloop.report.documents import number
from arenaloop.report.texts import one_line

__all__ = [
    "Bars",
    "Chart",
    "Dot",
    "Scale",
    "Tick",
    "apart",
    "bars",
    "chart",
    "dicts",
    "forest",
    "histogram",
    "scale",
    "stage_curves",
]


class Tick(NamedTuple):
    """A round value on an axis: where it stands and what it says."""

    at: float
    label: str


class Dot(NamedTuple):
    """A value with its interval, as places; None where there is nothing to draw."""

    at: float | None
    lower: float | None
    upper: float | None


class Scale(NamedTuple):
    """A linear scale from the data's `low` and `high` to the places `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value stands, rounded for the page."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def dot(self, values: Iterable[float | None]) -> Dot:
        """Where a value and the ends of its interval stand."""
        return Dot(*(None if value is None else self.at(value) for value in values))

    def ticks(self, about: int = 5, suffix: str = "", *, least: float = 0.0) -> list[Tick]:
        """Round values within the scale, 1, 2 or 5 times a power of ten and no less than `least` apart."""
        raw = (self.high - self.low) / about
        unit = 10.0 ** math.floor(math.log10(raw))
        step = max(least, min((m * unit for m in (1, 2, 5, 10)), key=lambda s: abs(s - raw)))
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


class Forest(NamedTuple):
    """Intervals of several rows on one horizontal scale, in percent of the width."""

    ticks: Sequence[Tick]
    dots: Sequence[Dot]


def forest(rows: Sequence[Mapping[str, Any]]) -> Forest:
    """Ratings with intervals, one line per row."""
    ratings = [[number(row.get(key)) for key in ("rating", "lower", "upper")] for row in rows]
    x = scale(chain.from_iterable(ratings), 3.0, 97.0)
    return Forest(x.ticks(4), [x.dot(values) for values in ratings])


class Reference(NamedTuple):
    """A horizontal line for what does not change, and the height of its label."""

    name: str
    y: float
    label_y: float


class Place(NamedTuple):
    """One point of a series.

    Attributes:
        x: percent of the width. `dot`: its figure and interval as heights. `name`: what it stands for.
        label: the figure in words. `below`: whether the label stands below the dot, clear of the line: labels stand to
            the right of a dot, that of the last one to the left.
    """

    x: float
    dot: Dot
    name: str
    label: str
    below: bool


class Series(NamedTuple):
    """One line of a chart; `lines` are the indices of neighbouring points that both have a figure."""

    name: str
    points: Sequence[Place]
    lines: Sequence[tuple[int, int]]


class Chart(NamedTuple):
    """Figures with intervals over stages or over a number: x in percent, y in pixels.

    Attributes:
        height: of the plot. `ticks`: of the vertical axis. `marks`: of the horizontal one; `slanted`: names, and many.
        references: what stays as it is.
        over: what the horizontal axis counts; nothing where it has names.
    """

    title: str
    over: str
    height: int
    ticks: Sequence[Tick]
    marks: Sequence[Tick]
    slanted: bool
    series: Sequence[Series]
    references: Sequence[Reference]


_LABEL_APART = 15.0
"""pixels between labels of references, so that they do not cover each other"""
_SERIES, _POINTS, _REFERENCES = 8, 400, 12
"""of a chart, how many are drawn"""


def stage_curves(stages: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """The curves of stages of one model: ratings beside those of others, and gold accuracy where it is known."""

    def curve(title: str, key: str, **more: Any) -> dict[str, Any]:
        ends = ("lower", "upper") if key == "rating" else ()
        points = [{"label": row["name"], "value": row.get(key)} | {end: row.get(end) for end in ends} for row in stages]
        return {"title": title, "x": "stage", "series": [{"name": key.replace("_", " "), "points": points}], **more}

    dashed = "; dashed: the opponents" if others else ""
    references = [{"name": row["model"], "value": row["rating"]} for row in others]
    curves = []
    if any(number(row.get("rating")) is not None for row in stages):  # none is, before the first battle is decided
        curves.append(curve(f"Rating by stage, with its interval{dashed}", "rating", references=references))
    if any(number(row.get("gold_accuracy")) is not None for row in stages):
        title = "Gold accuracy: share of held-out prompts answered right, by the truth"
        curves.append(curve(title, "gold_accuracy", unit="%"))
    return curves


def chart(curve: Mapping[str, Any], *, height: int = 250) -> Chart:
    """A curve of ``summary.json`` as it is drawn; what is no number is left out.

    Args:
        curve: ``title``, ``series`` of ``name`` and ``points`` (``value``, ``lower``, ``upper`` over a number ``x`` or
            a ``label``), ``references`` of ``name`` and ``value``; ``x`` names the horizontal axis and ``unit`` that of
            the values, which with ``"%"`` are shares.
        height: of the plot, in pixels.
    """
    top, bottom = 12.0, height - 10.0
    share = curve.get("unit") == "%"
    factor = 100.0 if share else 1.0
    series = [(str(one.get("name", "")), _points(one.get("points"), factor)) for one in dicts(curve.get("series"))]
    series = series[:_SERIES]
    others = [(str(one.get("name", "")), number(one.get("value"))) for one in dicts(curve.get("references"))]
    known = [(factor * value, name) for name, value in others[:_REFERENCES] if value is not None]
    points = [point for _, some in series for point in some]
    if share:
        y = Scale(0.0, 100.0, bottom, top)
    else:
        y = scale([*(v for point in points for v in point.values), *(v for v, _ in known)], bottom, top)
    suffix = f" {one_line(unit, 8)}" if (unit := curve.get("unit")) else ""
    form = ".0f" if y.high - y.low >= 10 else ".3g"
    marks, places = _across(points)
    drawn = []
    for name, some in series:
        dots = [y.dot(point.values) for point in some]
        heights = {i: dot.at for i, dot in enumerate(dots) if dot.at is not None}
        lines = [(a, b) for a, b in pairwise(heights) if b == a + 1]
        low = {a for a, b in lines if heights[a] > heights[b]}
        low |= {b for a, b in lines if b == len(some) - 1 and heights[a] < heights[b]}
        words = ["" if point.values[0] is None else f"{point.values[0]:{form}}{suffix}" for point in some]
        at = [places[point.x if point.x is not None else point.label] for point in some]
        drawn.append(
            Series(name, [Place(at[i], dots[i], some[i].label, words[i], i in low) for i in range(len(some))], lines)
        )
    ticks = y.ticks(5, suffix)
    references = apart(sorted((y.at(value), name) for value, name in known), bottom)
    named = any(point.x is None for point in points)
    slanted, over = named and len(marks) > 4, "" if named else str(curve.get("x", ""))
    return Chart(str(curve.get("title", "")), over, height, ticks, marks, slanted, drawn, references)


class _Point(NamedTuple):
    x: float | None
    label: str
    values: list[float | None]


def dicts(value: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list; of anything else, none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _points(value: Any, factor: float) -> list[_Point]:
    points = []
    for one in dicts(value)[:_POINTS]:
        known = [number(one.get(key)) for key in ("value", "lower", "upper")]
        x = number(one.get("x"))
        label = str(one.get("label", "") if x is None else f"{x:g}")
        points.append(_Point(x, label, [None if v is None else factor * v for v in known]))
    return points


def _across(points: Sequence[_Point]) -> tuple[Sequence[Tick], Mapping[float | str, float]]:
    """The horizontal axis: a scale where every point has a number, else a place for each label; and where each is."""
    numbers = [point.x for point in points if point.x is not None]
    if points and len(numbers) == len(points):
        axis = scale(numbers, 3.0, 97.0)
        counts = all(x.is_integer() for x in numbers)  # of iterations, say, there is no half
        return axis.ticks(6, least=1.0 if counts else 0.0), {x: axis.at(x) for x in numbers}
    labels = dict.fromkeys(point.label if point.x is None else point.x for point in points)
    places = {label: round(100 * (i + 0.5) / len(labels), 2) for i, label in enumerate(labels)}
    return [Tick(at, str(label)) for label, at in places.items()], places


def apart(known: Sequence[tuple[float, str]], bottom: float) -> list[Reference]:
    """Names at ascending heights, with labels that do not cover each other."""
    out: list[Reference] = []
    for place, name in known:
        label = place if not out else max(place, out[-1].label_y + _LABEL_APART)
        out.append(Reference(name, place, label))
    ceiling = bottom  # labels that ran out of the plot push those above them upwards
    for i in range(len(out) - 1, -1, -1):
        out[i] = out[i]._replace(label_y=min(out[i].label_y, ceiling))
        ceiling = out[i].label_y - _LABEL_APART
    return out


class Bar(NamedTuple):
    """One bar, or two side by side: x and width in percent, heights in pixels, counts in words."""

    x: float
    width: float
    heights: tuple[float, ...]
    counts: tuple[int, ...]
    label: str
    tick: bool


class Bars(NamedTuple):
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


def histogram(curve: Mapping[str, Any], *, height: int = 90) -> Bars:
    """A curve of counts as bars: every series over the labels of the first."""
    series = [_points(one.get("points"), 1.0) for one in dicts(curve.get("series"))][:2]
    labels = [point.label for point in series[0]] if series else []
    counts = [{point.label: round(point.values[0] or 0.0) for point in some} for some in series]
    return bars(labels, [[max(0, one.get(label, 0)) for label in labels] for one in counts], height=height)
