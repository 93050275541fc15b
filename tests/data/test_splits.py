"""Splits that are parted have nothing in common, and nothing else is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.held_out import Turn, normalised
from arenaloop.data.splits import Overlap, Row, part
from arenaloop.types import Prompt

WORDS = st.lists(st.sampled_from(["red", "Red", " red ", "blue", "green", "pink!", "PINK"]), max_size=6)


def rows(texts: list[str]) -> list[Row[str]]:
    return [Row(text, turns := [Turn("user", text)], turns) for text in texts]


@given(WORDS, WORDS, WORDS, WORDS)
def test_parted_splits_share_nothing_and_lose_nothing_else(
    away: list[str], one: list[str], two: list[str], three: list[str]
) -> None:
    splits = {"one": one, "two": two, "three": three}
    kept, overlaps = part({"away": [Prompt.of(t) for t in away]}, {name: rows(texts) for name, texts in splits.items()})
    asked = {name: {normalised(text) for text in texts} for name, texts in kept.items()} | {
        "away": {normalised(text) for text in away}
    }
    names = list(asked)
    assert not any(asked[a] & asked[b] for at, a in enumerate(names) for b in names[:at])
    left = {name: sum(found.rows for found in overlaps if found.split == name) for name in splits}
    assert all(len(kept[name]) + left[name] == len(texts) for name, texts in splits.items())
    everything = {normalised(text) for texts in (away, *splits.values()) for text in texts}
    assert set().union(*asked.values()) == everything  # each question stands somewhere still


def test_the_first_split_keeps_what_two_ask_and_an_example_is_told() -> None:
    kept, overlaps = part({}, {"one": rows(["What is red?"]), "two": rows(["blue", "what is RED", "What is red?"])})
    assert kept == {"one": ["What is red?"], "two": ["blue"]}
    assert overlaps == [Overlap("two", "one", 2, "what is RED")]
    shared, none = part({}, {"one": rows(["red"]), "two": rows(["red"])}, share=True)
    assert shared == {"one": ["red"], "two": ["red"]}
    assert none == []


def test_a_held_out_prompt_in_an_answer_is_an_overlap_too() -> None:
    asked, whole = "Name the three primary colours of paint, please.", [Turn("user", "Hi")]
    row = Row("row", whole, [*whole, Turn("assistant", f"Somebody asked: {asked} I said red.")])
    kept, (found,) = part({"test": [Prompt.of(asked)]}, {"sft": [row]}, share=True)
    assert kept == {"sft": []}
    assert (found.split, found.other, found.example) == ("sft", "test", "Hi")
