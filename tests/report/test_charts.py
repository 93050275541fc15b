from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from arenaloop.report.charts import bars, forest, progress, scale

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


def test_progress_breaks_its_line_at_an_unrated_stage() -> None:
    stages = [
        {"name": str(i), "rating": r, "lower": None, "upper": None} for i, r in enumerate([900.0, 950.0, None, 940.0])
    ]
    chart = progress(stages)
    assert chart.lines == [(0, 1)]
    assert chart.labels == ["900", "950", "", "940"]
    assert chart.below == [True, False, False, False]
    assert chart.dots[0].at > chart.dots[1].at  # pixels count from the top  # type: ignore[operator]


@given(st.lists(st.floats(900, 1100), min_size=1, max_size=12))
def test_labels_of_opponents_never_cover_each_other(ratings: list[float]) -> None:
    stages = [{"name": "s", "rating": 1000.0, "lower": 950.0, "upper": 1050.0}]
    chart = progress(stages, [{"model": f"m{i}", "rating": r} for i, r in enumerate(ratings)])
    heights = [one.label_y for one in chart.references]
    assert len(heights) == len(ratings)
    assert all(b - a >= 14.99 for a, b in pairwise(heights))
    assert max(heights) <= chart.height


def test_the_last_label_stands_below_where_the_line_falls_to_it() -> None:
    for last, below in ((940.0, True), (960.0, False)):
        rows = [{"name": str(i), "rating": r, "lower": None, "upper": None} for i, r in enumerate([900.0, 950.0, last])]
        assert progress(rows).below == [True, not below, below]


def test_a_share_stands_between_zero_and_a_hundred_percent() -> None:
    chart = progress([{"name": "s", "accuracy": 0.25}, {"name": "t", "accuracy": None}], share="accuracy")
    assert chart.labels == ["25 %", ""]
    assert [tick.label for tick in chart.ticks] == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
    top, bottom = chart.ticks[-1].at, chart.ticks[0].at
    assert chart.dots[0].at == bottom - 0.25 * (bottom - top)
    assert chart.dots[1].at is None


def test_bars_are_as_high_as_their_counts() -> None:
    chart = bars(["1", "2", "3"], [[0, 50, 100], [100, 1, 0]], height=200)
    assert [bar.heights for bar in chart.bars] == [(0.0, 200.0), (100.0, 2.0), (200.0, 0.0)]
    assert [bar.counts for bar in chart.bars] == [(0, 100), (50, 1), (100, 0)]
    assert [bar.x for bar in chart.bars] == [0.0, 33.333, 66.667]
    assert bars([], [[]]).bars == []
