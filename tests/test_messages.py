"""Reasoning is parted from answers on every form that servers give it in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.messages import message_text, split_reasoning


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("plain", None, "plain"),
        ("  spaced ", None, "  spaced "),
        ("<think>why</think>\n\nanswer ", "why", "answer "),
        (" \n<think>\nwhy\n</think>answer", "why", "answer"),
        ("<think></think>answer", "", "answer"),
        ("<think>cut off", "cut off", ""),
        ("why</think>answer", "why", "answer"),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("The tags <think>x</think> mark it", None, "The tags <think>x</think> mark it"),
        ("An answer about <think> alone", None, "An answer about <think> alone"),
    ],
)
def test_forms_of_a_think_block(text, reasoning, answer):
    assert split_reasoning(text) == (reasoning, answer)


@settings(deadline=None)
@given(reasoning=st.text("ab \n<", max_size=20), answer=st.text("ab \n<", max_size=20))
def test_a_block_is_taken_off_with_or_without_its_opening_tag(reasoning, answer):
    expected = (reasoning.strip(), answer.lstrip())
    assert split_reasoning(f"<think>{reasoning}</think>{answer}") == expected
    assert split_reasoning(f"{reasoning}</think>{answer}") == expected


def test_text_parts_are_put_together():
    assert message_text([{"type": "text", "text": "a"}, "b"]) == "ab"
    with pytest.raises(ValueError, match="not a text"):
        message_text([])
