"""Training rows as people keep them: every form is read as the plain one, or refused with what was found."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.formats.training_columns import changes_meaning, own_scores, refuse_unread, unread
from arenaloop.data.formats.training_rows import (
    CONVERSATION_COLUMNS,
    PREFERENCE_COLUMNS,
    PROMPT_COLUMNS,
    ContradictionError,
    contradiction,
    form_of,
    read_conversation,
    read_preference,
    read_prompt,
)

USER, ANSWER, OTHER = (
    {"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"))
)
SYSTEM = {"role": "system", "content": "s"}
HUMAN, GPT, WORSE = ({"from": who, "value": text} for who, text in (("human", "q"), ("gpt", "a"), ("gpt", "b")))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, ANSWER]},
        {"messages": [USER, {**ANSWER, "tool_calls": None, "reasoning_content": "", "weight": 1, "train": True}]},
        {"messages": [HUMAN, GPT]},
        {"messages": [{"role": "human", "content": "q"}, {"role": "gpt", "content": "a"}]},
        {"messages": None, "prompt": "q", "completion": "a"},
        {"messages": [USER, ANSWER], "prompt": "q", "prompt_id": "x"},  # UltraChat
        {"conversations": [HUMAN, GPT]},
        {"conversation": [USER, ANSWER], "language": "English"},
        {"conversations": [HUMAN, GPT], "system_prompt": None, "custom_instruction": False},  # OpenHermes
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": "q", "completion": "a"},
        {"prompt": "q", "completion": ANSWER},
        {"prompt": [USER], "completion": [USER, ANSWER]},
        {"prompt": "\n\nHuman: q\n\nAssistant:", "completion": "a"},
        {"instruction": "q", "input": "", "output": "a", "text": "Below is an instruction … q … a"},
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "output": "a", "messages": None, "conversations": None},
    ],
)
def test_one_conversation_however_it_is_written(row: dict[str, Any]) -> None:
    read = read_conversation(row)
    assert (read.prompt, read.completion) == ([USER], [ANSWER])
    assert read.form == tuple(form_of(row, CONVERSATION_COLUMNS))
    refuse_unread(row, read.form)


def test_what_stands_before_the_question() -> None:
    earlier = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    alpaca = {"instruction": "q", "input": "i", "output": "a", "system": "s", "history": [["x", "y"]]}
    read = read_conversation(alpaca)
    assert read.prompt == [SYSTEM, *earlier, {"role": "user", "content": "q\n\ni"}]
    assert read.form == ("instruction", "output", "input", "system", "history")
    chat = {"prompt": "q", "completion": "a", "history": [["x", "y"]], "system_message": "s"}
    assert read_conversation(chat).prompt == [SYSTEM, *earlier, USER]
    for name in ("system", "system_prompt", "system_message"):
        for row in ({"messages": [USER, ANSWER]}, {"conversations": [HUMAN, GPT]}, {"prompt": "q", "completion": "a"}):
            assert read_conversation({**row, name: "s"}).prompt == [SYSTEM, USER]
    assert read_conversation({"messages": [SYSTEM, USER, ANSWER], "system": "s"}).prompt == [SYSTEM, USER], "said once"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": "q", "chosen": [USER, ANSWER], "rejected": [OTHER]},
        {"prompt": "q", "chosen": ANSWER, "rejected": OTHER},
        {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": None, "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},  # HH
        {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "a", "rejected": "b"},  # static HH
        {"conversations": [HUMAN], "chosen": GPT, "rejected": WORSE},  # ShareGPT, as LLaMA-Factory has its pairs
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
        {"question": "q", "system": "", "chosen": "a", "rejected": "b"},  # Orca
        {  # UltraFeedback, binarized
            "prompt": "q",
            "prompt_id": "1",
            "messages": [USER, ANSWER],
            "chosen": [USER, ANSWER],
            "rejected": [USER, OTHER],
            "score_chosen": 8.0,
            "score_rejected": 8.0,
        },
    ],
)
def test_one_preference_however_it_is_written(row: dict[str, Any]) -> None:
    read = read_preference(row)
    assert (read.prompt, read.chosen, read.rejected) == ([USER], [ANSWER], [OTHER])
    refuse_unread(row, read.form)


def test_a_repeated_prompt_may_lack_its_first_turns_and_the_common_one_ends_before_an_answer() -> None:
    whole = {"prompt": [SYSTEM, USER], "chosen": [USER, ANSWER], "rejected": [SYSTEM, USER, OTHER]}
    read = read_preference(whole)
    assert (read.prompt, read.chosen, read.rejected) == ([SYSTEM, USER], [ANSWER], [OTHER])
    other_question = {"role": "user", "content": "r"}
    apart = {"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, ANSWER, other_question, OTHER]}
    assert read_preference(apart).prompt == [USER]
    equal = read_preference({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]})
    assert (equal.prompt, equal.chosen, equal.rejected) == ([USER], [ANSWER], [ANSWER])


def test_a_transcript_keeps_the_blank_lines_in_its_turns() -> None:
    text = "\n\nHuman: one\n\ntwo\n\nAssistant: yes\n\nHuman: three Assistant: x\n\nAssistant: {}"
    read = read_preference({"chosen": text.format("good\n\nbye"), "rejected": text.format("bad")})
    assert [turn["content"] for turn in read.prompt] == ["one\n\ntwo", "yes", "three Assistant: x"]
    assert read.chosen == [{"role": "assistant", "content": "good\n\nbye"}]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "x", "id": 1}, "there is no column 'messages', .* nor 'input' and 'output'; found: text, id"),
        ({}, "found: none"),
        ({"prompt": "q", "answer": "a"}, "there is no column 'completion'; found: prompt, answer"),
        ({"prompt": "q", "completion": None}, r"no column 'completion' \(it is null\)"),
        ({"prompt": [USER], "completion": [{"role": "user", "content": "q "}, ANSWER]}, "that is not the prompt's"),
        ({"prompt": "q", "completion": []}, "'completion' is not a list of messages"),
        ({"prompt": {"text": "q"}, "completion": "a"}, "'prompt' holds a turn without a known role"),
        ({"messages": [USER, {**ANSWER, "weight": 0}]}, "holds 'weight', which is not trained on"),
        ({"messages": [USER, {**ANSWER, "mask": 0}]}, "holds 'mask'"),
        ({"messages": [USER, {**ANSWER, "lossMask": False}]}, "holds 'lossMask'"),
        ({"messages": [USER, {**ANSWER, "reasoning_content": "hm"}]}, "holds 'reasoning_content'"),
        (
            {"messages": [USER, {"role": ["assistant"], "content": "a"}]},
            r"\(message 2: role \['assistant'\], content\)",
        ),
        ({"messages": [USER, {"role": "assistant", "from": "human", "content": "a"}]}, "without a known role"),
        (
            {"messages": [USER, {"role": "assistant", "content": "a", "value": "b"}]},
            "a content and a value that differ",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, ANSWER]}, "message 1"),
        ({"messages": [USER, ANSWER, USER]}, "does not end with an assistant turn"),
        ({"messages": [SYSTEM, ANSWER]}, "no turn before the answer"),
        ({"messages": [[[]]]}, "without a known role"),
        ({"prompt": "q", "completion": "a", "history": "x"}, "'history' is not a list of pairs"),
        (
            {"prompt": [USER, ANSWER, USER], "completion": "a", "history": [["x", "y"]]},
            "both a 'history' and a 'prompt'",
        ),
        ({"messages": [USER, ANSWER], "system": ["s"]}, "'system' is not a text"),
    ],
)
def test_what_is_refused_says_what_was_found(row: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        read_conversation(row)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "q", "chosen": "a"}, "no column 'rejected'; found: prompt, chosen"),
        ({"completions": [], "models": []}, "no column 'prompt' and 'chosen' and 'rejected', .*; found: completions"),
        ({"chosen": "the sky is blue", "rejected": "the sky is red"}, "a text that names no speakers"),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "x"}, "'rejected' is a text that names no speakers"),
        ({"prompt": [], "chosen": [ANSWER], "rejected": [OTHER]}, "the prompt is empty"),
        ({"chosen": [USER, ANSWER], "rejected": [SYSTEM, OTHER]}, "no turn in common"),
    ],
)
def test_what_is_refused_of_pairs(row: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_preference(row)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [USER, ANSWER], "prompt": "x", "completion": "a"}, "'prompt' and 'messages' say different"),
        ({"messages": [USER, ANSWER], "completion": "b"}, "'completion' and 'messages'"),
        ({"messages": [USER, ANSWER], "conversations": [HUMAN, WORSE]}, "'conversations' and 'messages'"),
        ({"messages": [USER, ANSWER], "conversations": ["x"]}, "'conversations' beside 'messages' cannot be compared"),
        ({"prompt": "q", "completion": "a", "instruction": "x"}, "'instruction' and 'prompt'"),
        ({"messages": [SYSTEM, USER, ANSWER], "system": "t"}, "system and the system turn differ"),
        ({"messages": [USER, ANSWER], "system": "s", "system_prompt": "t"}, "system and system_prompt differ"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 9}, "chosen 2 is below"),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b", "chosen-rating": 1.5, "rejected-rating": 2},
            "chosen-rating 1.5",
        ),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": -0.5}, "margin -0.5 is below 0"),
    ],
)
def test_columns_that_contradict_each_other_put_a_row_in_doubt(row: dict[str, Any], says: str) -> None:
    pair = "rejected" in row
    with pytest.raises(ContradictionError, match=says):
        read_preference(row) if pair else read_conversation(row)
    assert contradiction(row, PREFERENCE_COLUMNS if pair else CONVERSATION_COLUMNS)


def test_an_instruction_may_stand_inside_a_prompt() -> None:
    row = {"prompt": "Below is an instruction.\n\nadd\n\n### Response:", "completion": "a", "instruction": "add"}
    assert read_conversation(row).completion == [ANSWER]
    assert contradiction({"text": "x"}, CONVERSATION_COLUMNS) == "", "malformed is another thing"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("label", False), ("labels", 0), ("kto_tag", False), ("desirable", False), ("label", "bad")],
        *[("weight", 0.5), ("weights", [1, 0]), ("sampleWeight", 2), ("loss-weight", 0.0), ("train", False)],
        *[
            ("mask", [0, 1]),
            ("Loss_Mask", "0"),
            ("ignore", True),
            ("prefix", True),
            ("tools", [{"name": "f"}]),
            ("TOOLS", "[]x"),
        ],
        *[("images", ["x.png"]), ("image_path", "x.png"), ("system_text", "s"), ("input", "i"), ("rag_context", "c")],
    ],
)
def test_columns_that_change_what_is_learned_are_known_by_their_words(name: str, value: object) -> None:
    assert changes_meaning(name, value)
    with pytest.raises(ValueError, match=f"the column '{name}' changes what the row means and is not trained on; "):
        refuse_unread({"messages": [], name: value}, {"messages"})
    refuse_unread({"messages": [], name: value}, {"messages", name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("label", True), ("weight", 1.0), ("weights", [1, 1]), ("train", 1), ("mask", "1"), ("ignore", False)],
        *[("tools", []), ("images", None), ("system", ""), ("num_input_tokens", 15), ("context_length", 4096)],
        *[("source", "x"), ("tool_names", "f"), ("split", "train"), ("train_file", "x.json"), ("has_image", True)],
        *[("chosen_model", "m"), ("document_id", "d1"), ("toxic", False), ("redacted", False), ("language", "en")],
    ],
)
def test_columns_that_everybody_has_are_not_refused(name: str, value: object) -> None:
    refuse_unread({"messages": [], name: value}, {"messages"})


def test_scores_are_those_of_both_answers() -> None:
    row = {"score_chosen": 8, "score_rejected": 3, "chosen_tokens": 9, "rejected_tokens": 5, "rewardChosen": 1}
    assert own_scores(row) == [("score_chosen", 8.0, "score_rejected", 3.0)], "lengths are no scores; one score is none"
    assert own_scores({"rewardChosen": 1, "rewardRejected": 2}) == [("rewardChosen", 1.0, "rewardRejected", 2.0)]


def test_fields_of_turns_are_named_by_their_column() -> None:
    rows = [{"messages": [{**USER, "name": "ada", "weight": None}], "k": 0}]
    assert unread(rows, {"messages"}, {"role", "content"}) == ["messages[].name", "k"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "text", "type"]), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(sorted({name for form in (*CONVERSATION_COLUMNS, *PREFERENCE_COLUMNS) for name in form}))


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_whatever_a_row_holds_it_is_read_or_refused_in_one_line(row: dict[str, Any]) -> None:
    for read in (read_conversation, read_preference):
        try:
            read(row)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - any other kind fails the test


def test_openrlhfs_keys_are_read_where_nothing_else_asks() -> None:
    read = read_conversation({"input": "say a", "output": "a"})
    asked = {"role": "user", "content": "say a"}
    assert (read.prompt, read.completion) == ([asked], [{"role": "assistant", "content": "a"}])
    exported = {"input": [asked], "label": "15365550310a3ec9", "datasource": "arenaloop", "prompt_id": "1"}
    assert read_prompt(exported) == [asked]
    assert form_of(exported, PROMPT_COLUMNS) == ("input", "label")
    (alpacas,) = read_prompt({"instruction": "say", "input": "a"})
    assert alpacas["content"].startswith("say"), "Alpaca's input stays a part"
    with pytest.raises(ValueError, match="no column 'output'"):
        read_conversation({"input": "say a"})
