"""Columns that a reader does not take: known, named, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.columns import CARRIED, Columns, Duty, duty_of


def said(*rows: dict[str, object], read: tuple[str, ...] = ("winner",), carried: tuple[str, ...] = ()) -> list[str]:
    columns = Columns(read, carried)
    for line, row in enumerate(rows, 1):
        columns.takes(row, line)
    return columns.notes()


@pytest.mark.parametrize(
    ("duty", "names"),
    [
        (Duty.TURNS, "swapped isSwapped is-swapped order_swapped is_switched_outputs FLIPPED position_flip reversed"),
        (
            Duty.TURNS,
            "inverted mirrored seats_transposed was_the_order_reversed? switch swapped2 winner_flipped g1_swapped",
        ),
        (Duty.MANY, "count counts n num_votes votes vote_count freq Frequency sample_weight weights w n_rows"),
        (Duty.OUT, "skip excluded spam is_spam deleted discard_row not_valid invalid exclude_reason ignore"),
        (Duty.IN, "valid is_valid keep included usable no_spam not_skipped"),
        (Duty.MAY, "turn confidence prob is_code has_tie split round order winner2 human_label flip_rate n_turns"),
        (Duty.NONE, "choices documents colour of_the ?"),
    ],
)
def test_names_tell_what_columns_do_to_their_rows(duty: Duty, names: str) -> None:
    for name in names.split():
        assert duty_of(name) is duty, name


def test_what_is_carried_along_is_not_named() -> None:
    row = dict.fromkeys(CARRIED, 1) | {"Question ID": 7, "judge_hash": "f", "Created-At": "today", "winner": "a"}
    assert said(row) == []
    assert said({"winner": "a", "Conversation A": "…"}, carried=("conversation_a",)) == []


def test_all_other_columns_are_named_once() -> None:
    assert said({"winner": "a", "choices": [1, 2]}, {"winner": "b", "choices": [3], "documents": "x"}) == [
        "columns not used: choices, documents"
    ]
    assert said({"winner": "a", "choices": None}, {"winner": "b", "choices": " "}) == []
    many = said({f"colour {letter}": 1 for letter in "ABCDEFGHIJKLOPQR"})
    assert many[0].endswith("and 4 others")


def test_what_may_change_a_row_is_named_as_such() -> None:
    assert said({"winner": "a", "confidence": 0.9, "is_code": False, "choices": "x"}) == [
        "columns not used, though they may change what a row means: confidence (0.9), is_code (False)",
        "columns not used: choices",
    ]


@pytest.mark.parametrize("value", [True, 1, 1.0, "yes", "True", "swapped"])
def test_a_row_that_is_turned_stops_the_reading(value: object) -> None:
    with pytest.raises(ValueError, match=r"^line 2: column order_swapped: in 1 of 3 rows .* turned back"):
        said({"order_swapped": False}, {"order_swapped": value}, {"winner": "a"})


def test_rows_of_which_none_is_turned_need_no_word() -> None:
    assert said({"swapped": False}, {"swapped": 0}, {"swapped": "no"}, {"swapped": None}, {}) == []


def test_any_column_may_say_that_a_row_is_turned() -> None:
    with pytest.raises(ValueError, match="line 2: column order: in 1 of 2 rows"):
        said({"order": "original"}, {"order": "reversed"})
    assert said({"product": "Switch"}, {"product": "Flip"}) == ["columns not used: product"]


@pytest.mark.parametrize("rows", [(1, 50), ("1", "2"), (50, None), (0.5, 1.0), (3, 5, 9)])
def test_rows_that_stand_for_unequally_many_stop_the_reading(rows: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"column count: .* stand for unequally many"):
        said(*({"count": value} for value in rows))


def test_equal_counts_and_running_numbers_do_not() -> None:
    assert said({"n": 1}, {"n": 1}, {}) == []
    assert said({"n": 3}, {"n": 3}) == ["columns not used, though they may change what a row means: n (3)"]
    assert said({"n": 0}, {"n": 1}, {"n": 2}) == ["columns not used, though they may change what a row means: n (0)"]
    assert said({"votes": "left"}, {"votes": "right"}) == [
        "columns not used, though they may change what a row means: votes ('left')"
    ]


def test_rows_that_their_own_mark_takes_out_are_counted() -> None:
    columns = Columns(["winner"])
    rows: list[dict[str, object]] = [
        {"skip": True},
        {"skip": "no"},
        {"is_valid": 0},
        {"is_valid": "true"},
        {"skip": None, "is_valid": ""},
    ]
    assert [columns.takes(row, line) for line, row in enumerate(rows, 1)] == [False, True, False, True, True]
    assert columns.left_out == 2
    assert columns.notes() == [
        "1 of 5 rows left out by their column skip",
        "1 of 5 rows left out by their column is_valid",
    ]


def test_a_mark_that_is_neither_yes_nor_no_stops_the_reading() -> None:
    with pytest.raises(ValueError, match="line 2: column exclude_reason: 'too long', where true or false"):
        said({"exclude_reason": None}, {"exclude_reason": "too long"})


CELLS = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.floats(allow_nan=True), st.text(max_size=9))


@given(st.lists(st.dictionaries(st.sampled_from(["colour", "Farbe", "x1", "confidence", "round"]), CELLS), max_size=8))
def test_no_column_with_a_value_passes_unnamed(rows: list[dict[str, object]]) -> None:
    blank = {"", "nan", "null", "none", "na", "n/a"}
    held = {name for row in rows for name, cell in row.items() if str(cell).strip().casefold() not in blank}
    notes = " ".join(said(*rows))
    assert {name for name in ("colour", "Farbe", "x1", "confidence", "round") if name in notes} == held
