"""New prompts by a model: what it is shown, how its list is read, and what is kept."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.self_instruct import NewPrompts, examples, listed_prompts, rouge_l, words, written_prompts

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


def test_eight_examples() -> None:
    people, generated = [f"person {i}" for i in range(20)], [f"model {i}" for i in range(5)]
    shown = examples(people, generated, 0, 7)
    assert len({*shown}) == 8
    assert sum(text.startswith("model") for text in shown) == 2
    assert examples(people, generated, 0, 7) == shown != examples(people, generated, 0, 8)
    assert len(examples(people, [], 0, 7)) == 8
    text = listed_prompts(["Write a poem\nabout rain."]).last_user
    assert "1. Write a poem about rain." in text
    assert "from 2 to 9" in text


def test_the_list_that_comes_back() -> None:
    said = "8. The last one shown.\n9. First\n   of them.\n**10.** Second: with 3 eggs.\n11) Third\n12.\n13.5 ends it"
    assert written_prompts(said, 8) == ["First of them.", "Second: with 3 eggs.", "Third", "13.5 ends it"]
    assert written_prompts(f"{'9' * 5000}. far off\n9. near", 8) == ["near"]
    assert written_prompts("I would rather not.", 8) == []


def test_only_new_prompts_are_kept() -> None:
    new = NewPrompts()
    new.know(["Write a short poem about the rain in spring"])
    assert new.add("Explain how a bicycle stays upright")
    assert not new.add("Write a short poem about the snow in spring")  # 8 of 9 words
    assert not new.add("Explain, how a bicycle stays upright!")
    assert not new.add("Hi there")
    assert not new.add("word " * 151)
    assert not new.add("Draw a picture of a horse")
    assert new.add("Describe an imagefile parser in words")  # no keyword by itself
    assert new.kept == ["Explain how a bicycle stays upright", "Describe an imagefile parser in words"]
    assert new.dropped == {
        "like one that is there": 2, "too short": 1, "too long": 1, "asks for more than text": 1,
    }  # fmt: skip


@given(st.lists(TEXTS.filter(lambda some: len(some) >= 3), max_size=8), st.sampled_from([0.5, 0.7, 1.0]))
def test_skipping_the_unlike_changes_nothing(texts: list[list[str]], most: float) -> None:
    new, kept = NewPrompts(rouge_max=most), list[list[str]]()
    for text in texts:
        fresh = all(rouge_l(text, other) < most - 1e-9 for other in kept)
        assert new.add(" ".join(text)) == fresh
        kept += [text] if fresh else []
