"""Recorded answers find their prompts, in every format and whatever ids and system messages say."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.errors import InputError
from arenaloop.jsonl import write_jsonl
from arenaloop.models.base import Model
from arenaloop.models.recorded import RecordedModel, match_keys
from arenaloop.types import Prompt


@pytest.fixture
def recorded(tmp_path):
    def recorded(*rows):
        path = tmp_path / "answers.jsonl"
        write_jsonl(path, rows)
        return RecordedModel("m", path)

    return recorded


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


SYSTEM, OTHER = {"role": "system", "content": "s"}, {"role": "system", "content": "t"}


def answers_to(prompt, model):
    keys = set(match_keys(prompt))
    return [answer.texts for answer in model.rows() if keys & set(answer.keys)]


@pytest.mark.parametrize(
    ("row", "prompt", "texts"),
    [
        ({"instruction": "a", "output": "x", "generator": "g", "dataset": "d"}, Prompt.of("a"), ("x",)),
        ({"instruction": "a", "input": "b", "output": "x"}, Prompt.of("a\n\nb"), ("x",)),
        ({"instruction": "a", "input": "", "output": ""}, Prompt.of("a"), ("",)),
        ({"instruction": "a", "output": "x"}, Prompt((SYSTEM, user("a"))), ("x",)),
        ({"messages": [user("a")], "output": "x"}, Prompt((SYSTEM, user("a"))), ("x",)),
        ({"messages": [SYSTEM, user("a")], "output": "x"}, Prompt((SYSTEM, user("a"))), ("x",)),
        (
            {"messages": [user("a"), assistant("b"), user("c")], "output": "x"},
            Prompt((user("a"), assistant("b"), user("c"))),
            ("x",),
        ),
        (
            {"question_id": 81, "answer_id": "i", "model_id": "g", "choices": [{"index": 0, "turns": ["x", "y"]}]},
            Prompt((user("a"),), ("b",), tags={"source_id": "81"}),
            ("x", "y"),
        ),
        (
            {"question_id": "q", "choices": [{"index": 0, "turns": [{"content": "x", "token_len": 1}]}]},
            Prompt.of("a", source_id="q"),
            ("x",),
        ),
        ({"uid": "u", "messages": [user("?"), assistant({"answer": "x"})]}, Prompt.of("a", source_id="u"), ("x",)),
        ({"uid": "u", "messages": [user("a"), assistant({"answer": "x"})]}, Prompt.of("a"), ("x",)),
        (
            {"uid": "u", "messages": [user("a"), assistant({"answer": "x"}), user("b"), assistant("y")]},
            Prompt((user("a"),), ("b",)),
            ("x", "y"),
        ),
        ({"instruction": "a", "output": "<think>hm</think>\n\nx"}, Prompt.of("a"), ("x",)),
        ({"instruction": "a", "output": "[THINK]hm[/THINK]x"}, Prompt.of("a"), ("x",)),
        (
            {"instruction": "a", "output": "end it with\n</think>\nalone"},
            Prompt.of("a"),
            ("end it with\n</think>\nalone",),
        ),
    ],
)
def test_each_format_matches_its_prompt(recorded, row, prompt, texts):
    model = recorded(row)
    assert answers_to(prompt, model) == [texts]
    assert answers_to(Prompt.of("another", source_id="another"), model) == []


def test_what_does_not_match(recorded):
    model = recorded({"messages": [SYSTEM, user("a")], "output": "x"}, {"instruction": "b ", "output": "y"})
    assert answers_to(Prompt((OTHER, user("a"))), model) == []
    assert answers_to(Prompt((user("a"),)), model) == []
    assert answers_to(Prompt.of("b"), model) == []
    assert answers_to(Prompt((user("b "),), ("follow-up",)), model) == []


def test_answers_under_different_system_messages_stay_apart(recorded):
    model = recorded(
        {"messages": [SYSTEM, user("a")], "output": "for s"}, {"messages": [OTHER, user("a")], "output": "for t"}
    )
    assert answers_to(Prompt((SYSTEM, user("a"))), model) == [("for s",)]
    assert answers_to(Prompt((OTHER, user("a"))), model) == [("for t",)]
    assert model.duplicates == 0


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(st.sampled_from("abc"), max_size=10))
def test_the_first_answer_counts_and_the_rest_are_counted(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("answers") / "a.json.gz"
    rows = [{"instruction": text, "output": str(number)} for number, text in enumerate(texts)]
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    model = RecordedModel("m", path)
    for _ in range(2):  # every pass counts anew
        assert [answer.texts for answer in model.rows()] == [(str(texts.index(t)),) for t in dict.fromkeys(texts)]
        assert model.duplicates == len(texts) - len(set(texts))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"instruction": "a"}, "columns found: instruction"),
        ({"instruction": "a", "output": 3}, "output is not a text"),
        ({"output": "x"}, "without messages or instruction"),
        ({"messages": [user("a"), assistant("b")], "output": "x"}, "do not end with the user turn"),
        ({"instruction": 3, "output": "x"}, "instruction is not a text"),
        ({"question_id": 1, "choices": []}, "choices[0].turns"),
        ({"question_id": 1, "choices": [{"turns": [3]}]}, "content is not a text"),
        ({"choices": [{"turns": ["x"]}]}, "without question_id or uid"),
        ({"uid": "u", "messages": [user("a")]}, "do not end with the assistant's answer"),
        ({"uid": "u", "messages": [user("a"), user("b")]}, "where the assistant's turn is due"),
        ({"uid": "u", "messages": [user("a"), assistant({"thought": "x"})]}, "content is not a text"),
        ({"uid": "u", "messages": []}, "do not end with the assistant's answer"),
    ],
)
def test_a_row_that_is_no_answer_is_named_by_line(recorded, row, what):
    model = recorded({"instruction": "fine", "output": "x"}, row)
    with pytest.raises(InputError) as caught:
        list(model.rows())
    assert str(caught.value).startswith(f"{model.path}, line 2: ")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_failed_calls_are_no_answers_and_counted(recorded):
    model = recorded(
        {"question_id": 1, "choices": [{"turns": ["fine", "$ERROR$"]}]},
        {"question_id": 1, "choices": [{"turns": ["fine", "too"]}]},
        {"question_id": 2, "choices": [{"turns": [None]}]},
        {"instruction": "a", "output": None},
        {"instruction": "b", "output": " $ERROR$\n"},
        {"instruction": "c", "output": "the mark is $ERROR$"},
        {"instruction": "d", "output": "Connection error. Please retry later.", "error": "timeout"},
        {"instruction": "e", "output": "fine", "error": None},
    )
    for _ in range(2):
        assert [answer.line for answer in model.rows()] == [2, 6, 8]
        assert model.failed == 5


def test_a_system_column_belongs_to_the_prompt(recorded):
    (answer,) = recorded({"instruction": "a", "system": "Be brief.", "output": "x"}).rows()
    system = {"role": "system", "content": "Be brief."}
    assert set(answer.keys) & set(match_keys(Prompt((system, user("a")))))
    assert not set(answer.keys) & set(match_keys(Prompt.of("a")))


@pytest.mark.parametrize(
    "text",
    [
        "<think> opens the block.",
        "<think> opens the block and </think> closes it.",
        "<think>, then the thought, then `</think>`: that is the form.",
        "[THINK] is Mistral's, </think> Qwen's.",
        "<think>: what opens a block",
        " <reasoning> and <answer> were asked for.",
        "<|channel|> starts a channel's name.",
    ],
)
def test_an_answer_about_tags_stays_whole(recorded, text):
    (answer,) = recorded({"instruction": "a", "output": text}).rows()
    assert answer.texts == (text,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think>\nOkay, the user", ""),
        ("<think>Okay, the user", ""),
        ("<think> Okay.\n</think>\n\nYes.", "Yes."),
        ("<think> Okay.</think> Yes.", "Yes."),
        ("<think>\n\n</think>\n\nYes.", "Yes."),
        ("<think>...\n</think>\nYes.", "Yes."),
        ("<think>one</think><think> two </think>Yes.", "Yes."),
        ("<|channel|>analysis<|message|> Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.", "Yes."),
    ],
)
def test_blocks_as_templates_have_them_are_taken_off(recorded, text, said):
    (answer,) = recorded({"instruction": "a", "output": text}).rows()
    assert answer.texts == (said,)


def test_it_is_told_from_models_that_can_be_asked(tmp_path):
    model = RecordedModel("m", tmp_path / "missing")
    assert not isinstance(model, Model)
    assert model.fingerprint == RecordedModel("m", "elsewhere").fingerprint != RecordedModel("n", "x").fingerprint
    with pytest.raises(InputError, match="no such file"):
        next(model.rows())


def test_a_file_of_answers_that_began_inside_a_block_is_read_by_its_setting(recorded):
    path = recorded({"instruction": "a", "output": "hm\n</think>\n\nx"}).path
    (answer,) = RecordedModel("m", path, [["", "</think>"]]).rows()
    assert answer.texts == ("x",)
