"""Columns of exported battles that tell of their prompts."""

from __future__ import annotations

import pytest

from arenaloop.data.export.described import Described
from arenaloop.types import Prompt


def test_a_column_that_one_prompt_has_stands_in_every_row():
    one, two = Prompt.of("a", source_id=81, category="math"), Prompt.of("b", source_id=82, language="German")
    described = Described([one, two])
    assert described.columns == {"question_id": True, "category": False, "language": False}
    assert described.cells(one) == {"question_id": 81, "category": "math", "language": None}
    assert described.cells(two) == {"question_id": 82, "category": None, "language": "German"}
    assert Described([Prompt.of("a")]).columns == {}
    two_turns = Prompt(({"role": "user", "content": "a"},), ("b",))
    assert Described([two_turns]).cells(two_turns) == {"turn": 2}


@pytest.mark.parametrize("other", ["x", 1 << 63])
def test_ids_of_two_types_are_texts(other):
    some = [Prompt.of("a", source_id=81), Prompt.of("b", source_id=other), Prompt.of("c")]
    described = Described(some)
    assert described.columns == {"question_id": False}
    assert [described.cells(one)["question_id"] for one in some] == ["81", str(other), None]


def test_what_is_no_id_and_no_text():
    own = Prompt.of("a")
    for odd in (True, 1.5, ["x"], own.id):
        assert Prompt.of("a", source_id=odd).question_id is None
    assert Described([one := Prompt.of("a", category=["x", "ü"])]).cells(one) == {"category": '["x", "ü"]'}
