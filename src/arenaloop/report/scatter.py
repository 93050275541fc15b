"""Figures by two measures: one across, one up, on the same scale, so that a diagonal says where both agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arenaloop.report.charts import Chart, Dot, Scale, Tick, apart, chart, dicts, scale
from arenaloop.report.documents import number

__all__ = ["Scatter", "Spot", "drawn", "scatter"]

_SPOTS = 24
"""that are drawn, as many as labels have room for"""


class Spot(NamedTuple):
    """One dot: in percent of the width and in pixels, each with its interval; and the height of its label."""

    name: str
    x: Dot
    y: Dot
    words: str
    label_y: float


class Scatter(NamedTuple):
    """Dots over two measures.

    Attributes:
        across, up: what the axes measure.
        height: of the plot. `across_ticks`, `up_ticks`: of the axes.
        diagonal: x in percent and y in pixels of its two ends.
        origin: where those stand whom all are compared with, as places; None where they are not in the plot.
        over, series: nothing, as captions know them of a `Chart`.
    """

    title: str
    across: str
    up: str
    height: int
    across_ticks: Sequence[Tick]
    up_ticks: Sequence[Tick]
    diagonal: tuple[float, float, float, float]
    origin: tuple[float, float] | None
    spots: Sequence[Spot]
    over: str = ""
    series: tuple[()] = ()


def scatter(curve: Mapping[str, Any], *, height: int = 340) -> Scatter:
    """A curve of ``summary.json`` with ``scatter`` as it is drawn; a point without both figures is left out.

    Args:
        curve: ``title``, ``x`` and ``y`` that name the axes, ``series`` of which the first one's ``points`` are drawn
            (``label``; ``x``, ``x_lower``, ``x_upper``; ``value``, ``lower``, ``upper``), and perhaps an ``origin``.
        height: of the plot, in pixels.
    """
    series = dicts(curve.get("series"))
    found = []
    for one in dicts(series[0].get("points"))[:_SPOTS] if series else []:
        x, y = ([number(one.get(key)) for key in keys] for keys in (("x", "x_lower", "x_upper"), _UP))
        if x[0] is not None and y[0] is not None:
            found.append((str(one.get("label", "")), x, y))
    origin = number(curve.get("origin"))
    both = scale([origin, *(value for _, x, y in found for value in (*x, *y))], 0.0, 1.0)
    up = Scale(both.low, both.high, height - 10.0, 12.0)
    across = Scale(both.low, both.high, 0.0, 100.0)
    order = sorted(range(len(found)), key=lambda at: up.at(found[at][2][0] or 0.0))
    labels = apart([(up.at(found[at][2][0] or 0.0), found[at][0]) for at in order], height - 10.0)
    heights = {at: label.label_y for at, label in zip(order, labels, strict=True)}
    spots = [
        Spot(name, across.dot(x), up.dot(y), f"{x[0]:.1f} across, {y[0]:.1f} up", heights[at])
        for at, (name, x, y) in enumerate(found)
    ]
    ends = (across.at(both.low), up.at(both.low), across.at(both.high), up.at(both.high))
    return Scatter(
        str(curve.get("title", "")),
        str(curve.get("x", "")),
        str(curve.get("y", "")),
        height,
        across.ticks(5),
        up.ticks(5),
        ends,
        None if origin is None else (across.at(origin), up.at(origin)),
        spots,
    )


_UP = ("value", "lower", "upper")


def drawn(curve: Mapping[str, Any]) -> Chart | Scatter:
    """A curve of ``summary.json`` as it asks to be drawn."""
    return scatter(curve) if curve.get("scatter") is True else chart(curve)
