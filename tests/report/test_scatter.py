"""Two measures of the same: where dots, intervals, diagonal and labels stand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from arenaloop.report.charts import Chart
from arenaloop.report.scatter import Scatter, drawn, scatter

share = st.floats(0, 100)
POINT = st.fixed_dictionaries({"label": st.text(max_size=8), "x": share, "value": share})


def curve(points: list[Any], **more: Any) -> dict[str, Any]:
    return {"title": "t", "x": "one", "y": "other", "scatter": True, "series": [{"points": points}], **more}


@given(st.lists(POINT, max_size=24))
def test_on_the_diagonal_both_agree_and_labels_do_not_cover_each_other(points: list[dict[str, Any]]) -> None:
    found = scatter(curve(points, origin=50.0))
    x1, y1, x2, y2 = found.diagonal
    assert (x1, x2) == (0.0, 100.0)
    for point, spot in zip(points, found.spots, strict=True):
        assert spot.x.at is not None
        assert spot.y.at is not None
        on_it = y1 + (y2 - y1) * (spot.x.at - x1) / (x2 - x1)
        if point["value"] > point["x"] + 0.1:  # more up than across is above it, where pixels count from the top
            assert spot.y.at < on_it + 0.1
        elif point["value"] < point["x"] - 0.1:
            assert spot.y.at > on_it - 0.1
    heights = sorted(spot.label_y for spot in found.spots)
    assert all(b - a > 11 for a, b in pairwise(heights))
    assert not heights or heights[-1] <= found.height


def test_what_is_no_figure_is_left_out_and_intervals_may_be_open() -> None:
    points: list[Any] = [
        {"label": "whole", "x": 40.0, "x_lower": 35.0, "x_upper": 45.0, "value": 60.0, "lower": 55.0, "upper": 65.0},
        {"label": "open", "x": 50.0, "x_lower": None, "value": 50.0},
        {"label": "half", "x": 40.0, "value": None},
        {"label": "words", "x": "<b>", "value": 1.0},
        "no point",
    ]
    whole, open_ = scatter(curve(points)).spots
    assert whole.x.lower < whole.x.at < whole.x.upper
    assert whole.y.lower > whole.y.at > whole.y.upper
    assert (open_.x.lower, open_.y.upper) == (None, None)
    assert scatter({"scatter": True, "series": 3}).spots == []
    assert scatter({"scatter": True}).origin is None


def test_a_curve_is_drawn_as_it_asks() -> None:
    assert isinstance(drawn(curve([])), Scatter)
    assert isinstance(drawn({"title": "t", "series": []}), Chart)
