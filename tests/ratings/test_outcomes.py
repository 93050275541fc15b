"""Winners, scores, preferences and weights of files: known ones are read, others counted and shown, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.cells import (
    UNKNOWN_SHARE,
    LeftOut,
    read_games,
    read_preferences,
    read_scores,
    read_weights,
)
from arenaloop.ratings.outcomes import one_hot_winners, read_outcomes

A, B = ["ada"] * 3, ["bo"] * 3


@pytest.mark.parametrize(
    "words",
    [
        ("model_a", "model_b", "tie"),
        ("A", "B", "tie"),
        ("A", "B", "C"),  # MT-Bench's judges: [[C]] is a tie
        ("[[A]]", "[[B]]", "[[C]]"),
        ("left", "right", "Tie"),
        (" Model_A", "model_b ", "TIE"),
        ("model a", "Model-B", "both bad"),
        ("a is better", "b wins", "draw"),
        ("model_a", "model_b", "tie (inconsistent)"),
        ("response_1", "response_2", "both_good"),
        ("model_1", "model_2", "tie (both bad)"),
        ("assistant_a", "assistant_b", "bothbad"),
        ("first", "second", "equal"),
        ("ada", "bo", "tie"),
        ("Ada ", " BO", "neither"),
        (1, 0, 0.5),
        ("1", "0", "0.5"),
        (1.0, 2.0, 1.5),
        ("1", "2", "tie"),
        ("model_a\u200b", "\u2060model_b", "tie"),
        ('"model_a"', "'model_b'", "tie."),
    ],
)
def test_the_column_tells_its_own_convention(words: tuple[Any, ...]) -> None:
    assert read_outcomes(words, A, B).score.tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    "words",
    [
        (0, 1, 2),  # a class label: which side is 0?
        (0, 1, 1),
        ("0", "1", "tie"),
        (1, 1, 1),  # the winner's number, or its score?
        (-1, 0, 1),
        (True, False, True),
        ("chosen", "rejected", "chosen"),
        ("+", "-", "="),
        ("-", "***", "---"),  # a mark is no blank
        ("cy", "cy", "tie"),  # a model of another row
        ("C", "C", "C"),  # no A and B beside it
        ("A>>B", "B", "A"),
        (["A"], "B", "A"),
    ],
)
def test_what_is_in_doubt_is_refused_with_examples(words: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"row [12]: column winner: .* of 3 rows lack a known winner") as caught:
        read_outcomes(words, A, B)
    assert "\n" not in str(caught.value)


def test_a_word_that_names_both_a_side_and_a_model_is_read_where_both_agree() -> None:
    words = ["A", "B", "A"]
    assert read_outcomes(words, ["A", "A", "A"], ["B", "B", "B"]).score.tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="row 1: column winner: 'A': 3 of 3 rows"):
        read_outcomes(words, ["B", "B", "B"], ["A", "A", "A"])
    # the documented words are words, whatever the models are called
    assert read_outcomes(["model_a"], ["model_b"], ["model_a"]).score.tolist() == [1.0]


@pytest.mark.parametrize("none", [None, "", "  ", float("nan"), "NaN", "error", "$ERROR$", "unparsed"])
def test_no_outcome_is_not_an_unknown_one(none: object) -> None:
    outcomes = read_outcomes(["tie", none], A[:2], B[:2])
    assert outcomes.score[0] == 0.5
    assert np.isnan(outcomes.score[1])
    assert any("1 of 2 rows" in note for note in outcomes.notes)


@given(st.integers(0, 60), st.integers(1, 60))
def test_few_unknown_rows_are_left_out_and_many_refused(unknown: int, known: int) -> None:
    words = ["model_b"] * known + ["hm"] * unknown
    names = ["x"] * len(words), ["y"] * len(words)
    if unknown > UNKNOWN_SHARE * len(words):
        with pytest.raises(ValueError, match=rf"row {known + 1}: column winner: 'hm': {unknown} of {len(words)} rows"):
            read_outcomes(words, *names)
        return
    outcomes = read_outcomes(words, *names)
    assert int(np.isnan(outcomes.score).sum()) == unknown
    told = f"{unknown} of {len(words)} rows without a known winner left out: column winner: 'hm' ({unknown}, first row "
    assert [told in note for note in outcomes.notes] == [True] * (unknown > 0)


def test_left_out_shows_the_commonest_first() -> None:
    left = LeftOut("sense", "c")
    for i, value in enumerate("abbccc" + "defgh"):
        left.add(value, f"line {i}")
    assert left.notes(1000) == [
        "11 of 1,000 rows without sense left out: column c: c (3, first line 3), b (2, first line 1), a (1, first line "
        "0), d (1, first line 6), e (1, first line 7) and 3 others"
    ]
    with pytest.raises(ValueError, match=r"line 3: column c: c: 11 of 20 rows lack sense, and more than 5 % are not"):
        left.notes(20)


def test_arena_hards_ten_labels() -> None:
    """Its own table: A<B = B>A, A<<B = B>>A, B<A = A>B, B<<A = A>>B, B=A = A=B (show_result.py)."""
    labels = ["A>>B", "A>B", "A=B", "B>A", "B>>A", "B<<A", "B<A", "B=A", "A<B", "A<<B"]
    outcomes, weight = read_games([*labels, *(f"[[{x.lower()}]]" for x in labels)])
    assert outcomes.score.tolist() == [1.0, 1.0, 0.5, 0.0, 0.0] * 4
    assert weight.tolist() == [3.0, 1.0, 1.0, 1.0, 3.0] * 4
    outcomes, weight = read_games(["A>B", None, "error"])
    assert np.isnan(outcomes.score).tolist() == [False, True, True]
    assert outcomes.notes == ("column score: 2 of 3 games without a label",)
    with pytest.raises(ValueError, match="row 2: column score: 'A>A'"):
        read_games(["A>B", "A>A"])


def test_preferences_and_their_codes() -> None:
    outcomes = read_preferences([1, "2", 0, "1,5", 1.25, None, "nan"])
    assert outcomes.score[:5].tolist() == [1.0, 2.0, 1.5, 1.5, 1.25]
    assert outcomes.notes == ("column preference: 2 of 7 rows empty or failed",)
    (note,) = read_preferences([0, 1, 1, 0]).notes
    assert "no preference above 1.5" in note
    assert "where 0 and 1 are the two sides, write 1 and 2" in note
    (note,) = read_preferences([1, 1.2]).notes
    assert note == "column preference: no preference above 1.5, so the second output never wins"
    for value in (3, -1, 0.5, "yes", True, float("inf"), 10**400, ["2"]):
        with pytest.raises(ValueError, match=r"row 2: column preference: .*1 of 2 rows lack a preference"):
            read_preferences([2, value])


def test_scores_as_texts_and_scores_that_are_none() -> None:
    assert read_scores(["1", " 0.25 ", "0,5"]).score.tolist() == [1.0, 0.25, 0.5]
    assert np.isnan(read_scores([None, 1.0]).score).tolist() == [True, False]
    for value in ("x", 8.5, True):
        with pytest.raises(ValueError, match="row 1: column score_a: "):
            read_scores([value, 1])
    many = read_scores(np.array([0.5] * 39 + [7.0]))
    assert np.isnan(many.score[-1])
    assert many.notes == (
        "1 of 40 rows without a score between 0 and 1 left out: column score_a: 7.0 (1, first row 40)",
    )


def test_weights() -> None:
    assert read_weights(["2", 0, 1.5]).tolist() == [2.0, 0.0, 1.5]
    with pytest.raises(ValueError, match="column weight: all weights are 0"):
        read_weights([0, 0])
    for bad in (None, -1, "x", float("inf")):
        with pytest.raises(ValueError, match="row 2: column weight: "):
            read_weights([1, bad])


def test_one_hot_winners() -> None:
    columns = ([1, "0", "0.0", True, None, 1], [0, "1", "0", False, None, 1], [0, "0", "1.0", False, None, 0])
    assert one_hot_winners(*columns) == ["model_a", "model_b", "tie", "model_a", None, "1, 1, 0"]
    names: dict[str, list[Any]] = {"model_a": ["x", "x"], "model_b": ["y", "y"]}
    flags = {"winner_model_a": [1, 0], "winner_model_b": [0, 0], "winner_tie": [0, 1]}
    assert Battles.from_columns(names | flags).score_a.tolist() == [1.0, 0.5]
