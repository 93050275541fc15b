"""Held-out prompts are recognised by what their user turns read like, however they are written."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.held_out import HeldOut, normalised, row_turns, user_turns
from arenaloop.types import Message, Prompt


def said(*turns: str, system: str | None = None) -> tuple[Message, ...]:
    """User turns with answers between them."""
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    for turn in turns:
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": "well"}]
    return tuple(messages[:-1])


@pytest.mark.parametrize(
    "other",
    [
        "How much is 3 - 1, café?",
        "How much is 3 - 1, café? ",
        "\ufeffHow much is 3 - 1, café?",
        "How  much\nis\t3\u00a0- 1, café?\r\n",
        "HOW MUCH IS 3 - 1, CAFÉ?!",
        "how much is 3 – 1, cafe\u0301",
        "\u200bHow mu\u00adch is 3 - 1, café?\u200d",
        "Ｈｏｗ ｍｕｃｈ is 3 - 1, café？",
        "“How much is 3 - 1, café?”",
        "**How much is 3 - 1, café?**",
    ],
)
def test_one_question_in_other_writing(other: str) -> None:
    held_out = HeldOut([Prompt.of("How much is 3 - 1, café?")])
    assert held_out.holds(user_turns(Prompt.of(other)))
    assert held_out.holds(user_turns(Prompt(said(other, system="Be brief."))))
    assert held_out.holds(row_turns({"messages": [*said(other), {"role": "assistant", "content": "2"}]}))
    assert held_out.holds(row_turns({"prompt": [*said(other)], "completion": [{"role": "assistant", "content": "2"}]}))
    assert held_out.holds(row_turns({"prompt": other, "completion": "2"}))


@pytest.mark.parametrize(
    "other", ["How much is 3 + 1, café?", "How much is 31, café?", "How much is 3 - 1, cafe?", "?"]
)
def test_another_question(other: str) -> None:
    held_out = HeldOut([Prompt.of("How much is 3 - 1, café?")])
    assert not held_out.holds(user_turns(Prompt.of(other)))


def test_signs_alone_are_kept() -> None:
    assert normalised(" ?! ") == "?!"
    assert not HeldOut([Prompt.of("?!")]).holds(user_turns(Prompt.of("...")))


def test_conversations() -> None:
    held_out = HeldOut([Prompt(said("a", "b")), Prompt(said("c"), follow_ups=("d", "e"))])
    assert held_out.holds(user_turns(Prompt(said("x", "A", "b!", "y"))))  # somewhere in a longer one
    for unlike in (("a",), ("b",), ("b", "a"), ("a", "x", "b"), ("d",), ("d", "e")):
        assert not held_out.holds(user_turns(Prompt(said(*unlike)))), unlike
    for like in (("c",), ("c", "d"), ("c", "d", "e"), ("c", "x"), ("x", "c")):  # each turn of it is answered
        assert held_out.holds(user_turns(Prompt(said(*like)))), like
    assert not HeldOut([]).holds(("a",))


@given(st.text(max_size=40))
def test_normalising_is_idempotent_and_blind_to_form(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert normalised(f" \n{text}\t") == once
    assert normalised(unicodedata.normalize("NFD", text)) == normalised(unicodedata.normalize("NFC", text))


def test_long_runs_of_accents_are_cut_before_they_are_sorted() -> None:
    assert normalised("a" + "\u0301" * 100_000) == normalised("a" + "\u0301" * 30)
