from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.report.texts import clip, one_line, visible

# any code point, lone surrogates and tags included
wild = st.lists(st.integers(0, 0x10FFFF).map(chr), max_size=200).map("".join)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\x00b", "a⟨U+0000⟩b"),
        ("\u202eevil", "⟨U+202E⟩evil"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("half \ud83d of it", "half ⟨U+D83D⟩ of it"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("\x1b[31mred", "⟨U+001B⟩[31mred"),
        ("line\r\nend\rof\tline", "line\nend\nof\tline"),
        ("می‌خواهم 👩‍👩‍👧 e\u0301 שלום\u200f", "می‌خواهم 👩‍👩‍👧 e\u0301 שלום\u200f"),
    ],
)
def test_what_hides_is_spelled_out_and_scripts_stay_whole(raw: str, shown: str) -> None:
    assert visible(raw) == shown


@given(wild)
def test_visible_text_is_utf8_and_seeing_twice_changes_nothing(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert not re.search("[\x00\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert visible(shown) == shown


@given(wild, st.integers(1, 50), st.integers(1, 50))
def test_a_clip_keeps_both_ends_and_counts_what_is_missing(text: str, limit: int, smaller: int) -> None:
    cut = clip(text, limit)
    assert cut.length == len(text)
    assert len(cut.head) + len(cut.tail) == min(len(text), limit)
    assert text.startswith(cut.head)
    assert text.endswith(cut.tail)
    assert (cut.left_out == 0) == (len(text) <= limit)
    if not cut.left_out:
        assert cut.head == text
    again = cut.to(smaller)
    assert again.length == len(text)
    assert len(again.head) + len(again.tail) == min(len(text), limit, smaller)
    assert text.startswith(again.head)
    assert text.endswith(again.tail)


def test_a_judges_last_line_survives_the_cut() -> None:
    cut = clip("because " * 1000 + "\nScores: 7 5", 300)
    assert cut.tail.endswith("Scores: 7 5")
    assert len(cut.head) == 200
    assert cut.left_out == 8000 + 12 - 300


@given(wild, st.integers(2, 60))
def test_names_stay_on_one_line_and_within_their_length(text: str, limit: int) -> None:
    name = one_line(text, limit)
    assert len(name) <= limit
    assert "\n" not in name
    assert one_line("short name", 40) == "short name"


def test_a_long_name_ends_in_an_ellipsis() -> None:
    assert one_line("x" * 1_000_000, 20) == "x" * 19 + "…"
    assert one_line(" spaced \n out ", 20) == "spaced out"
    assert one_line(3, 20) == "3"
