"""ROUGE-L by its definition, and the search among many by trying all."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.self_instruct.likeness import Likeness, rouge_l, words

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=9)


@given(TEXTS, TEXTS)
def test_rouge_l_by_its_definition(one: list[str], other: list[str]) -> None:
    @cache
    def common(i: int, j: int) -> int:
        if i == len(one) or j == len(other):
            return 0
        if one[i] == other[j]:
            return 1 + common(i + 1, j + 1)
        return max(common(i + 1, j), common(i, j + 1))

    length = common(0, 0)
    expected = 0.0
    if length:
        precision, recall = length / len(one), length / len(other)
        expected = 2 * precision * recall / (precision + recall)
    assert rouge_l(one, other) == pytest.approx(expected)
    assert rouge_l(other, one) == pytest.approx(expected)


def test_rouge_l_of_a_known_pair() -> None:
    """Lin (2004), section 3.1: of "police killed the gunman" two words are common to each, in order."""
    reference = words("police killed the gunman")
    assert rouge_l(words("police kill the gunman"), reference) == pytest.approx(0.75)
    assert rouge_l(words("the gunman kill police"), reference) == pytest.approx(0.5)


@given(st.lists(TEXTS, max_size=12), TEXTS, st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_one_is_found_exactly_where_trying_all_finds_one(texts: list[list[str]], text: list[str], least: float) -> None:
    index = Likeness(least)
    assert [index.add(one) for one in texts] == list(range(len(texts)))
    every = [rouge_l(text, one) for one in texts]
    found = index.find(text)
    if found is None:
        assert all(value < least - 1e-9 for value in every)
    else:
        assert found[1] == every[found[0]] >= least - 1e-9


def test_words_are_those_that_are_said() -> None:
    assert words("Write **a** poem, please: RAIN!") == ["write", "a", "poem", "please", "rain"]
    assert words("写一首诗") == ["写", "一", "首", "诗"]
    assert words("–– ?!") == []
