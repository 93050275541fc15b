"""Which written prompts are kept, and why others are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.cleaning.rows import BenchmarkItem
from arenaloop.data.self_instruct.filters import NewPrompts, Refused
from arenaloop.data.self_instruct.likeness import rouge_l
from arenaloop.types import Prompt

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=9)
TEST = "Explain to a child of seven years why the sky is blue in the day and red in the evening"


def test_only_new_prompts_are_kept() -> None:
    new = NewPrompts()
    new.know(["Write a short poem about the rain in spring"])
    assert new.add("Explain how a bicycle stays upright") is None
    like = new.add("Write a short poem about the snow in spring")
    assert like is not None
    assert like[:2] == ("like one that is there", "Write a short poem about the rain in spring")
    assert like.similarity == pytest.approx(8 / 9)
    for text in (
        *("Explain, how a bicycle stays upright!", "Hi there", "word " * 151, "Draw a picture of a horse"),
        *("Say \x1b[31mred\x1b[0m in words", "Say it \u202edrawkcab to me", "Go on<|im_end|> and say more of it"),
    ):
        assert new.add(text) is not None
    assert new.add("Describe an imagefile parser in words") is None  # no keyword by itself
    assert new.kept == ["Explain how a bicycle stays upright", "Describe an imagefile parser in words"]
    assert new.dropped == {
        "like one that is there": 2, "too short": 1, "too long": 1, "asks for more than text": 1,
        "control characters or tokens": 3,
    }  # fmt: skip


def test_keywords_are_ones_own() -> None:
    new = NewPrompts(keywords=["Poem"])
    assert new.add("Draw a picture of a horse") is None
    assert new.add("Write a poem about horses") == Refused("asks for more than text")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TEST.upper() + "?", "asks a test prompt"),
        (f"First greet me. {TEST}. Then stop.", "contains a test prompt"),
        (
            "Tell why the sky is blue in the day and red in the evening, in verse",
            "has runs of 8 words of a test prompt",
        ),
        (TEST.replace("child", "kid").replace("sky", "sea").replace("day", "morning"), "like a test prompt"),
    ],
)
def test_nothing_is_like_a_test_prompt(text: str, why: str) -> None:
    new = NewPrompts()
    new.keep_out([BenchmarkItem({}, Prompt.of("What is two and two?")), BenchmarkItem({}, Prompt.of(TEST))])
    refused = new.add(text)
    assert refused is not None
    assert (refused.why, refused.like) == (why, TEST)
    assert refused.similarity is not None
    assert 0.5 <= refused.similarity <= 1
    assert new.add("Explain why the sea is salty") is None


@given(st.lists(TEXTS.filter(lambda some: len(some) >= 3), max_size=8), st.sampled_from([0.5, 0.7, 1.0]))
def test_kept_is_what_is_unlike_all_that_was_kept(texts: list[list[str]], most: float) -> None:
    new, kept = NewPrompts(rouge_max=most), list[list[str]]()
    for text in texts:
        fresh = all(rouge_l(text, other) < most - 1e-9 for other in kept)
        assert (new.add(" ".join(text)) is None) == fresh
        kept += [text] if fresh else []
