"""Training rows as people have them: read as they are meant, or refused with what was found."""

from __future__ import annotations

from typing import Any

import pytest

from arenaloop.errors import InputError
from arenaloop.train.rows import conversation, preference, refuse_unread

USER, ANSWER, OTHER = (
    {"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"))
)
SYSTEM = {"role": "system", "content": "s"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": "q", "completion": "a"},
        {"prompt": [USER], "completion": [USER, ANSWER]},
        {"prompt": "q", "completion": [USER, ANSWER]},
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, ANSWER],
        },
        {"messages": [USER, {**ANSWER, "tool_calls": None, "reasoning_content": ""}]},
    ],
)
def test_one_conversation_however_it_is_written(row: dict[str, Any]) -> None:
    assert conversation(row, 0) == ([USER], [ANSWER])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": "q", "chosen": [USER, ANSWER], "rejected": [OTHER]},
        {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": None, "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
    ],
)
def test_one_preference_however_it_is_written(row: dict[str, Any]) -> None:
    assert preference(row, 0) == ([USER], [ANSWER], [OTHER])


def test_a_repeated_prompt_may_lack_its_first_turns_and_the_common_one_ends_before_an_answer() -> None:
    whole = {"prompt": [SYSTEM, USER], "chosen": [USER, ANSWER], "rejected": [SYSTEM, USER, OTHER]}
    assert preference(whole, 0) == ([SYSTEM, USER], [ANSWER], [OTHER])
    other_question = {"role": "user", "content": "r"}
    apart = {"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, ANSWER, other_question, OTHER]}
    assert preference(apart, 0)[0] == [USER]
    equal = {"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}
    assert preference(equal, 0) == ([USER], [ANSWER], [ANSWER])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"conversations": []}, "there is neither 'messages' nor 'prompt' and 'completion'; found: conversations"),
        ({"prompt": "q", "answer": "a"}, "there is no column 'completion'; found: prompt, answer"),
        ({"prompt": [USER], "completion": [{"role": "user", "content": "q "}, ANSWER]}, "that is not the prompt's"),
        ({"messages": [USER, {**ANSWER, "weight": 0}]}, "holds 'weight', which is not trained on"),
        ({"messages": [USER, {**ANSWER, "reasoning_content": "hm"}]}, "holds 'reasoning_content'"),
        (
            {"messages": [{"from": "human", "value": "q"}, ANSWER]},
            r"without a known role and a text content \(from, value\)",
        ),
    ],
)
def test_what_is_refused_says_what_was_found(row: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"training row 3: .*{says}"):
        conversation(row, 3)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            {"prompt": "q", "chosen": "a"},
            "there is no 'chosen' and 'rejected'; found: prompt, chosen|no column 'rejected'",
        ),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "x"}, "there is no column 'prompt', and .* in common"),
        ({"prompt": [], "chosen": [ANSWER], "rejected": [OTHER]}, "the prompt is empty"),
        ({"chosen": [USER, ANSWER], "rejected": [SYSTEM, OTHER]}, "no turn in common"),
    ],
)
def test_what_is_refused_of_pairs(row: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"preference row 3: .*(?:{says})"):
        preference(row, 3)


def test_a_column_that_changes_the_meaning_is_refused_where_nobody_reads_it() -> None:
    for column, value in {"tools": [{"name": "f"}], "weight": 0.5, "images": ["x.png"], "system": "Be brief."}.items():
        with pytest.raises(InputError, match=f"training row 2: the column '{column}' changes what the row means"):
            refuse_unread({"messages": [], column: value}, {"messages"}, 2)
        refuse_unread({"messages": [], column: value}, {"messages", column}, 2)
    refuse_unread({"messages": [], "tools": None, "images": [], "source": "x"}, {"messages"}, 2)
