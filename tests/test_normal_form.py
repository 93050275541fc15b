"""The compatibility form is Unicode's own, and what it costs is linear in the text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.audit.suspicion import marks
from arenaloop.data.held_out import normalised
from arenaloop.normal_form import PIECE, is_blank, nfkc

# what joins with what stands before it: marks, Hangul jamo, Indic vowels of two parts, half-width kana marks
JOINING = "aeﬁＡ \u0301\u0316\u0345\u1100\u1161\u11a8가ｶ\uff9e\u09c7\u09be\u0bc6\u0bbe\u1025\u102e漢①"


@given(st.text(st.sampled_from(JOINING), max_size=40), st.integers(PIECE - 30, PIECE + 5))
def test_pieces_join_to_the_form_of_the_whole(end: str, before: int) -> None:
    text = "가" * before + end + "é" * PIECE + end
    assert nfkc(text) == unicodedata.normalize("NFKC", text)


@given(st.text())
def test_a_short_text_has_unicode_s_own_form(text: str) -> None:
    assert nfkc(text) == unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize("look", [nfkc, marks, normalised])
@pytest.mark.parametrize(
    "text", ["\u0300\u0316", "\u0489\u0316", "Z" + "\u0335" * 30, "\u1100\u1161\u11a8", "\u05b0\u0301"]
)
def test_no_run_of_marks_is_normalised_as_a_whole(
    look: Callable[[str], object], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes that are sorted are bounded, and each character is looked at once, or twice for the check."""
    sizes: list[int] = []
    normalize, check = unicodedata.normalize, unicodedata.is_normalized

    def counting(form: Any, piece: str) -> str:
        sizes.append(len(piece))
        return normalize(form, piece)

    def checking(form: Any, piece: str) -> bool:
        sizes.append(len(piece))
        return check(form, piece)

    monkeypatch.setattr(unicodedata, "normalize", counting)
    monkeypatch.setattr(unicodedata, "is_normalized", checking)
    whole = text * (50_000 // len(text))
    look(whole)
    assert max(sizes) <= PIECE
    assert sum(sizes) <= 2 * len(whole)


@given(
    st.lists(
        st.sampled_from(
            " \t\n\x00\x07\u00a0\u00ad\u034f\u115f\u200b\u200d\u202e\u2060\u2800\u3000\u3164\ufe0f\ufeff\U000e0041"
        )
    )
)
def test_what_nobody_sees_is_blank(characters: list[str]) -> None:
    text = "".join(characters)
    assert is_blank(text)
    for ink in "a.\u0301\U0001f600\ud83d\ufffd\U0010ffff\ue000\u4e00":  # half a character, too, is something
        assert not is_blank(text + ink + text)
