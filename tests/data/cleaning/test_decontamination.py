"""Test prompts stay out of a pool: by what is asked, by overlap, by rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from arenaloop.data.cleaning import decontamination
from arenaloop.data.cleaning.decontamination import held_out, nearest, overlapping
from arenaloop.data.cleaning.rows import BenchmarkItem, Drop, Row, prompt_rows
from arenaloop.types import Prompt


def items(*texts: str) -> list[BenchmarkItem]:
    return [BenchmarkItem({"file": "test.jsonl", "line": n}, Prompt.of(text)) for n, text in enumerate(texts, 1)]


def rows(*texts: str) -> Iterator[Row]:
    return prompt_rows(map(Prompt.of, texts))


def place(one: Drop) -> int:
    """The line of the test prompt that a row went for."""
    assert isinstance(one.partner, BenchmarkItem)
    return one.partner.name["line"]


PLACES = {"a": (1.0, 0.0), "b": (0.8, 0.6), "c": (0.6, 0.8), "d": (0.0, 1.0), "e": (-1.0, 0.0), "zero": (0.0, 0.0)}


def placed(texts: Sequence[str]) -> NDArray[Any]:
    """A vector by a text's first word."""
    return np.array([PLACES[text.split()[0]] for text in texts])


def went(texts: Sequence[str], tests: Sequence[str], k: int) -> dict[int, tuple[Any, float | None]]:
    dropped: list[Drop] = []
    stay = [row.line for row in nearest(rows(*texts), dropped.append, items(*tests), k, placed, 0)]
    gone = {one.row.line: (place(one), one.similarity) for one in dropped}
    assert sorted([*stay, *gone]) == list(range(len(texts)))
    assert stay == sorted(stay)
    return gone


def test_the_nearest_go_for_each_test_prompt() -> None:
    assert went("abcde", "a", 2) == {0: (1, 1.0), 1: (1, pytest.approx(0.8))}
    # two test prompts that name one row: it goes once, for the one it is more like, and none in its place
    assert went("bce", "ad", 1) == {0: (1, pytest.approx(0.8)), 1: (2, pytest.approx(0.8))}
    assert went("be", ["a", "c"], 1) == {0: (2, pytest.approx(0.96))}


def test_a_rule_of_ranks_has_no_threshold() -> None:
    assert went("ee", "a", 5) == {0: (1, -1.0), 1: (1, -1.0)}


def test_of_equals_the_earlier_go() -> None:
    assert sorted(went(["e", "b x", "b y", "b z"], "a", 2)) == [1, 2]


def test_what_nothing_is_known_of_is_like_none() -> None:
    assert went(["zero", "b"], ["zero", "a"], 2) == {1: (2, pytest.approx(0.8))}
    assert went([], "a", 2) == {}


@pytest.mark.parametrize("block", [1, 3, 100])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(0).normal(size=(60, 4)).round(1)  # rounded: some are equally near
    texts = [str(n) for n in range(60)]
    monkeypatch.setattr(decontamination, "_BLOCK", block)
    monkeypatch.setattr(decontamination, "_TESTS", max(1, block // 3))
    dropped: list[Drop] = []
    tests = items(*texts[50:])
    list(nearest(rows(*texts[:50]), dropped.append, tests, 3, lambda said: drawn[[int(one) for one in said]], 0))
    unit = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    cosines = unit[50:] @ unit[:50].T
    expected = {int(n) for row in cosines for n in np.lexsort((np.arange(50), -row))[:3]}
    assert {one.row.line for one in dropped} == expected


def test_the_built_in_embeddings_find_a_paraphrase() -> None:
    pool = ["how does a refrigerator keep food cold", "write a poem about the sea", "what is the capital of France"]
    dropped: list[Drop] = []
    asked = items("why is food in a refrigerator kept cold")
    assert [row.line for row in nearest(rows(*pool), dropped.append, asked, 1, "tfidf", 0)] == [1, 2]
    assert dropped[0].step == "nearest"


def test_what_asks_or_contains_a_test_prompt_goes_by_name() -> None:
    long = "name three rivers that flow through the city of Munich"
    dropped: list[Drop] = []
    pool = ("Is 7 prime?", f"Here is a riddle. {long}, please.", "is 7 even")
    stay = held_out(rows(*pool), dropped.append, items("something else", "is 7 prime", long))
    assert [row.line for row in stay] == [2]
    assert [(one.why, place(one)) for one in dropped] == [
        ("asks a test prompt", 2),
        ("contains a test prompt", 3),
    ]


WORDS = [f"w{n}" for n in range(16)]


@pytest.mark.parametrize(
    ("said", "share"),
    [
        (WORDS[:8], 0.5),
        (["x", *WORDS[4:16], "y"], 0.75),
        ([*WORDS[:8], "x", *WORDS[8:]], 1.0),  # two runs
        ([*WORDS[8:], "x", *WORDS[:8]], 1.0),  # in any order
        (WORDS[:7], None),  # no run of 8
        ([*WORDS[:7], "x", *WORDS[8:15]], None),
    ],
)
def test_overlap_by_hand(said: list[str], share: float | None) -> None:
    dropped: list[Drop] = []
    list(overlapping(rows(" ".join(said)), dropped.append, items("unlike", " ".join(WORDS)), 8, 0.5))
    assert [one.similarity for one in dropped] == ([] if share is None else [share])
    assert all(place(one) == 2 for one in dropped)


def test_less_overlap_than_the_share_stays() -> None:
    stay = overlapping(rows(" ".join(WORDS[:8])), lambda _: None, items(" ".join(WORDS)), 8, 0.51)
    assert len(list(stay)) == 1


def test_a_short_test_prompt_overlaps_with_nothing() -> None:
    assert len(list(overlapping(rows("hi you", ""), lambda _: None, items("hi you"), 8, 0.1))) == 2
