from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.style import Style, style_of

PIECES = [
    *(
        "#",
        "# a",
        "## b\n",
        "\n",
        "\n\n",
        " ",
        "\t",
        "1. x",
        "12.\t",
        "- y",
        "* z",
        "+",
        "-",
        "**bold**",
        "**",
        "__u__",
    ),
    *("_", "*", "```", "```py\n# no\n```", "`", "text", "\r\n", "\u2003- q", "\x0b1. v", "#######  seven", "a # b"),
]


def published(text: str) -> tuple[int, int, int]:
    """The published counters, each with its own expression, on the text without its fenced blocks."""
    plain = re.sub("```([^`]*)```", "``````", text)

    def count(pattern: str) -> int:
        return len(re.findall(pattern, plain, re.MULTILINE))

    headers = sum(count(rf"^#{{{level}}}\s") for level in range(1, 7))
    lists = count(r"^\s*\d+\.\s") + count(r"^\s*[-*+]\s")
    return headers, lists, count(r"\*\*[^*\n]+\*\*") + count(r"__[^_\n]+__")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Style(0, 0, 0, 0)),
        ("# Title\n\nA **bold** word and __another__.\n\n1. one\n2. two\n   - nested\n", Style(69, 1, 3, 2)),
        ("###### six\n####### seven\n#none\n#\ttab", Style(36, 2, 0, 0)),
        ("```\n# comment\n- item\n**b**\n```\n- real", Style(37, 0, 1, 0)),
        ("```sh\n# never closed\n- item", Style(27, 1, 1, 0)),  # as published: a block has two ends
        ("a - b * c + d 1. e", Style(18, 0, 0, 0)),
        ("** not\nbold **", Style(14, 0, 0, 0)),
        ("****", Style(4, 0, 0, 0)),
        ("**a** **b**c**", Style(14, 0, 0, 2)),
        ("* item with **bold**", Style(20, 0, 1, 1)),
        ("```x``` # no header", Style(19, 0, 0, 0)),
    ],
)
def test_counts_by_hand(text: str, expected: Style) -> None:
    assert style_of(text) == expected


def test_turns_add_up_and_a_repeated_block_is_taken_out_where_it_stands() -> None:
    assert style_of(["# a", "- b **c**"]) == Style(12, 1, 1, 1)
    assert style_of("```\n- x\n```\n- x\n") == Style(16, 0, 1, 0)
    assert style_of([]) == Style(0, 0, 0, 0)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_as_the_published_counters_on_odd_texts(text: str) -> None:
    assert style_of(text)[1:] == published(text)


@pytest.mark.parametrize("unit", ["\n", " ", "#", "*", "`", "```", "1", "- ", "_", "**", "\n ", "[", "1."])
def test_no_text_takes_more_than_its_length(unit: str) -> None:
    # quadratic expressions would not come back from these
    assert style_of(unit * 200_000).length == 200_000 * len(unit)
