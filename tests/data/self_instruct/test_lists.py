"""What a call shows, and how the list that comes back is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.self_instruct.lists import examples, listed_prompts, written_prompts


def test_eight_examples() -> None:
    people, written = [f"person {i}" for i in range(20)], [f"model {i}" for i in range(5)]
    shown = examples(people, written, 0, 7)
    assert len({*shown}) == 8
    assert sum(text.startswith("model") for text in shown) == 2
    assert examples(people, written, 0, 7) == shown != examples(people, written, 0, 8)
    assert len(examples(people, [], 0, 7)) == 8
    text = listed_prompts(["Write a poem\nabout rain."]).last_user
    assert "1. Write a poem about rain." in text
    assert "from 2 to 9" in text


def test_the_list_that_comes_back() -> None:
    said = "8. The last one shown.\n9. First\n   of them.\n**10.** Second: with 3 eggs.\n11) Third\n12.\n13.5 ends it"
    assert written_prompts(said, 8) == ["First of them.", "Second: with 3 eggs.", "Third", "13.5 ends it"]
    assert written_prompts(f"{'9' * 5000}. far off\n9. near", 8) == ["near"]
    assert written_prompts("I would rather not.", 8) == []


@pytest.mark.parametrize(
    ("said", "cut", "found"),
    [
        ("9. One\n10. Two\n\nI hope this helps!", False, ["One", "Two"]),
        ("9. One\n10. Two is lo", True, ["One"]),
        ("9. One is lo", True, []),
        ("Sure! Here they are:\n\n1. One\n2. Two", False, ["One", "Two"]),  # it counts anew
        ("1. Shown\n2. Shown\n9. One", False, ["One"]),
        ("```\n9. One\n\n10. Two\n```", False, ["One", "Two"]),
        ("9. One\r\n10. Two\r\n\r\nDone", False, ["One", "Two"]),
        ("", False, []),
    ],
)
def test_odd_lists(said: str, cut: bool, found: list[str]) -> None:
    assert written_prompts(said, 8, cut=cut) == found


@given(st.text("0129.) \n*x", max_size=60), st.booleans())
def test_whatever_comes_back_is_read_as_lines(said: str, cut: bool) -> None:
    found = written_prompts(said, 8, cut=cut)
    assert all(text and text == " ".join(text.split()) for text in found)
    assert len(written_prompts(said, 8, cut=True)) <= len(written_prompts(said, 8))
