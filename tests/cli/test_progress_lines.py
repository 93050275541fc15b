"""How a progress display is laid out: worked by hand, and at every width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.cli.progress_lines import Pace, fitted, headed, time_left

words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30)


def paced(*seen: tuple[float, int]) -> Pace:
    pace = Pace()
    for now, done in seen:
        pace.update(now, done)
    return pace


def test_what_was_found_stored_is_no_speed() -> None:
    pace = paced((0.0, 5000), (10.0, 5020))
    assert pace.rate(10.0) == 2.0
    assert pace.words(10.0, 100) == ["2.0/s", "0:00:50 left"]


def test_steps_that_take_minutes_have_a_time_left() -> None:
    pace = paced(*((300.0 * n, n) for n in range(1, 12)))
    assert pace.rate(3300.0) == pytest.approx(1 / 300)
    assert pace.words(3300.0, 12) == ["0.2/min", "1:00:00 left"]


def test_a_rate_looks_back_half_a_minute() -> None:
    slow = [(float(n), n) for n in range(60)]
    fast = [(60.0 + n, 60 + 10 * n) for n in range(60)]
    assert paced(*slow, *fast).rate(119.0) == pytest.approx(10.0)


def test_a_call_that_hangs_slows_the_rate_down() -> None:
    pace = paced((0.0, 0), (1.0, 1), (2.0, 2))
    assert pace.rate(2.0) == 1.0
    assert pace.rate(30.0) == pytest.approx(2 / 20)


def test_another_count_begins_anew() -> None:
    assert paced((0.0, 0), (1.0, 50), (2.0, 1)).rate(2.0) is None
    assert Pace().words(1.0, 5) == []


def test_time_left() -> None:
    assert [time_left(seconds) for seconds in (0, 59.6, 3661, 99 * 3600)] == [
        "0:00:00",
        "0:01:00",
        "1:01:01",
        "99:00:00",
    ]


def test_bar_and_label_give_way_to_the_figures() -> None:
    figures = ["verdicts", "2.5/s", "0:03:00 left"]  # 38 cells with 10/100
    assert headed("battles", 10, 100, figures, 120) == ("battles", 24, ["10/100 verdicts", "2.5/s", "0:03:00 left"])
    assert headed("battles", 10, 100, figures, 58)[1] == 11
    assert headed("battles", 10, 100, figures, 50)[1] == 0
    assert headed("battles", 10, 100, figures, 30) == ("battles", 0, ["10/100 verdicts", "2.5/s", "0:03:00 left"])
    label, bar, _ = headed("a stage with a very long name", 10, 100, figures, 64)
    assert (label, bar) == ("a stage with a very long…", 0)


@given(st.lists(words, min_size=1, max_size=8), st.integers(12, 120))
def test_every_part_is_there_whole_and_no_line_is_too_long(parts: list[str], width: int) -> None:
    lines = fitted(parts, width)
    assert all(len(line) <= width for line in lines)
    assert "".join(line.strip() for line in lines).replace(" · ", "") == "".join(parts)


@given(words, st.integers(0, 10**6), st.integers(1, 10**6), st.integers(20, 200))
def test_the_first_line_fits(label: str, done: int, total: int, width: int) -> None:
    shown, bar, figures = headed(label, done, total, ["verdicts", "2.5/s"], width)
    assert len(shown) <= width
    beside = len(shown) + 1 + (bar + 1 if bar else 0) + len(" · ".join(figures))
    assert beside <= width or bar == 0
