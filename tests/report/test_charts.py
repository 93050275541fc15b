from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.report.charts import Chart, bars, chart, forest, histogram, scale, stage_curves
from arenaloop.report.tables import table

number = st.floats(-1e6, 1e6)


@given(st.lists(number | st.none(), max_size=20), st.integers(2, 8))
def test_a_scale_holds_its_values_in_order_and_its_ticks_are_inside(values: list[float | None], about: int) -> None:
    axis = scale(values, 0.0, 100.0)
    known = sorted(v for v in values if v is not None)
    places = [axis.at(v) for v in known]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    ticks = axis.ticks(about)
    assert 1 <= len(ticks) <= 2 * about + 2
    assert all(-0.01 <= tick.at <= 100.01 for tick in ticks)
    assert len({tick.label for tick in ticks}) == len(ticks)


def test_ticks_are_round_values() -> None:
    axis = scale([932.0, 1046.0], 0.0, 100.0)
    assert [tick.label for tick in axis.ticks(5)] == ["940", "960", "980", "1000", "1020", "1040"]
    assert [tick.label for tick in scale([0.01, 0.05], 0, 1).ticks(4)] == ["0.01", "0.02", "0.03", "0.04", "0.05"]


def test_a_forest_draws_what_is_known() -> None:
    rows: list[dict[str, float | None]] = [
        {"rating": 1100.0, "lower": 1050.0, "upper": 1150.0},
        {"rating": 900.0, "lower": None, "upper": None},
        {"rating": None, "lower": None, "upper": None},
    ]
    drawn = forest(rows).dots
    assert drawn[0].lower < drawn[0].at < drawn[0].upper
    assert drawn[1].at < drawn[0].lower
    assert (drawn[1].lower, drawn[1].upper) == (None, None)
    assert drawn[2] == (None, None, None)


def rating_chart(stages: list[dict[str, Any]], others: list[dict[str, Any]] | None = None) -> Chart:
    return chart(stage_curves(stages, others or [])[0])


def test_a_curve_breaks_its_line_at_an_unrated_stage() -> None:
    stages = [
        {"name": str(i), "rating": r, "lower": None, "upper": None} for i, r in enumerate([900.0, 950.0, None, 940.0])
    ]
    (series,) = rating_chart(stages).series
    assert series.lines == [(0, 1)]
    assert [point.label for point in series.points] == ["900", "950", "", "940"]
    assert [point.below for point in series.points] == [True, False, False, False]
    assert series.points[0].dot.at > series.points[1].dot.at  # pixels count from the top  # type: ignore[operator]


@given(st.lists(st.floats(900, 1100), min_size=1, max_size=12))
def test_labels_of_opponents_never_cover_each_other(ratings: list[float]) -> None:
    stages = [{"name": "s", "rating": 1000.0, "lower": 950.0, "upper": 1050.0}]
    drawn = rating_chart(stages, [{"model": f"m{i}", "rating": r} for i, r in enumerate(ratings)])
    heights = [one.label_y for one in drawn.references]
    assert len(heights) == len(ratings)
    assert all(b - a >= 14.99 for a, b in pairwise(heights))
    assert max(heights) <= drawn.height


def test_the_last_label_stands_below_where_the_line_falls_to_it() -> None:
    for last, below in ((940.0, True), (960.0, False)):
        rows = [{"name": str(i), "rating": r, "lower": None, "upper": None} for i, r in enumerate([900.0, 950.0, last])]
        assert [point.below for point in rating_chart(rows).series[0].points] == [True, not below, below]


def test_a_share_stands_between_zero_and_a_hundred_percent() -> None:
    stages: list[dict[str, Any]] = [{"name": "s", "gold_accuracy": 0.25}, {"name": "t", "gold_accuracy": None}]
    (curve,) = stage_curves(stages)  # no rating is known
    drawn = chart(curve)
    one, two = drawn.series[0].points
    assert (one.label, two.label) == ("25 %", "")
    assert [tick.label for tick in drawn.ticks] == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
    top, bottom = drawn.ticks[-1].at, drawn.ticks[0].at
    assert one.dot.at == bottom - 0.25 * (bottom - top)
    assert two.dot.at is None


def test_several_series_share_both_axes() -> None:
    """Over a number the places are to scale; over labels each has its own, in the order in which they come."""
    by_step = chart(
        {
            "title": "drift",
            "series": [
                {"name": "a", "points": [{"x": 0, "value": 1.0}, {"x": 10, "value": 2.0}, {"x": 40, "value": 3.0}]},
                {"name": "b", "points": [{"x": 10, "value": 2.0, "lower": 1.5, "upper": 2.5}]},
            ],
        }
    )
    assert [series.name for series in by_step.series] == ["a", "b"]
    x = [point.x for point in by_step.series[0].points]
    assert (x[2] - x[1]) / (x[1] - x[0]) == pytest.approx(3, rel=0.01)
    (other,) = by_step.series[1].points
    assert (other.x, other.dot.at) == (x[1], by_step.series[0].points[1].dot.at)
    assert other.dot.lower > other.dot.at > other.dot.upper
    assert not by_step.slanted
    points = [[{"label": name, "value": 1.0} for name in names] for names in ("pq", "qr")]
    by_name = chart({"title": "t", "series": [{"name": "a", "points": some} for some in points]})
    assert [mark.label for mark in by_name.marks] == ["p", "q", "r"]
    assert by_name.series[0].points[1].x == by_name.series[1].points[0].x


KEYS = ("title", "x", "unit", "series", "name", "points", "label", "value", "lower", "upper", "references", "rows")
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), ANY, max_size=6))
def test_whatever_stands_in_a_file_is_drawn_or_left_out(curve: dict[str, Any]) -> None:
    for point in (point for series in chart(curve).series for point in series.points):
        assert 0 <= point.x <= 100
    assert all(count >= 0 for bar in histogram(curve).bars for count in bar.counts)
    assert table(curve | {"columns": curve.get("x")}).rows_left_out == 0


def test_bars_are_as_high_as_their_counts() -> None:
    chart = bars(["1", "2", "3"], [[0, 50, 100], [100, 1, 0]], height=200)
    assert [bar.heights for bar in chart.bars] == [(0.0, 200.0), (100.0, 2.0), (200.0, 0.0)]
    assert [bar.counts for bar in chart.bars] == [(0, 100), (50, 1), (100, 0)]
    assert [bar.x for bar in chart.bars] == [0.0, 33.333, 66.667]
    assert bars([], [[]]).bars == []


def test_an_axis_of_whole_numbers_shows_no_halves() -> None:
    def marks(*xs: float) -> list[str]:
        points = [{"x": x, "value": x} for x in xs]
        return [mark.label for mark in chart({"series": [{"name": "s", "points": points}]}).marks]

    assert marks(1, 2, 3, 4) == ["1", "2", "3", "4"]
    assert marks(1, 2) == ["1", "2"]
    assert marks(3) == ["3"]
    assert "1.2" in marks(1, 1.5, 2)
