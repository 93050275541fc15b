"""Training rows by their number: refusals name it, and what nobody reads of a file is named."""

from __future__ import annotations

import pytest

from arenaloop.data.formats.training_rows import CONVERSATION_COLUMNS, PREFERENCE_COLUMNS, ContradictionError
from arenaloop.errors import InputError
from arenaloop.train.rows import conversation, preference, refuse_unread, unread_columns

USER, ANSWER, OTHER = (
    {"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"))
)


def test_what_is_malformed_has_the_number_of_its_row() -> None:
    with pytest.raises(InputError, match=r"^training row 3: there is no column .*; found: text$"):
        conversation({"text": "x"}, 3)
    with pytest.raises(InputError, match=r"^preference row 3: there is no column 'rejected'; found: prompt, chosen$"):
        preference({"prompt": "q", "chosen": "a"}, 3)
    with pytest.raises(InputError, match=r"^training row 3: the column 'tools' changes what the row means"):
        refuse_unread({"messages": [USER, ANSWER], "tools": [{"name": "f"}]}, {"messages"}, 3)
    with pytest.raises(ContradictionError):
        conversation({"messages": [USER, ANSWER], "prompt": "other"}, 3)


def test_columns_and_fields_that_nobody_reads_are_named_and_no_others() -> None:
    rows = [
        {"messages": [USER, {**ANSWER, "name": "ada"}], "prompt": "q", "source": "x", "empty": None},
        {"messages": [USER, ANSWER], "source": "y", "prompt_id": "1", "system": ""},
    ]
    assert unread_columns(rows, CONVERSATION_COLUMNS) == ["messages[].name", "source", "prompt_id"]
    ultrafeedback = {"prompt": "q", "chosen": [USER, ANSWER], "rejected": [USER, OTHER], "messages": [USER, ANSWER]}
    assert unread_columns([{**ultrafeedback, "score_chosen": 8.0, "score_rejected": 3.5}], PREFERENCE_COLUMNS) == []
