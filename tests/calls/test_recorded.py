"""Packed keys are a mapping like the dict that they stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.calls.recorded import PackedKeys, places
from arenaloop.types import content_hash


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 5)), max_size=20))
def test_it_holds_what_a_dict_would(added: list[tuple[str, int]]) -> None:
    packed = PackedKeys(places("gfedcbaabc"))
    plain: dict[str, str] = {}
    for prompt_id, n in added:
        packed.add(prompt_id, content_hash(n))
        plain.setdefault(prompt_id, content_hash(n))
    assert dict(packed) == plain
    assert packed == plain
    assert len(packed) == len(plain)
    assert [packed.get(name) for name in "abcxyz"] == [plain.get(name) for name in "abcxyz"]


def test_a_prompt_without_a_place_is_refused() -> None:
    with pytest.raises(KeyError):
        PackedKeys(places("ab")).add("c", content_hash(1))
