"""Recorded answers find their prompts, in every format and whatever ids and system messages say."""

from __future__ import annotations

import gzip
import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.errors import InputError
from arenaloop.jsonl import write_jsonl
from arenaloop.models.base import Model
from arenaloop.models.recorded import RecordedModel
from arenaloop.models.recorded_rows import match_keys
from arenaloop.types import Prompt, Status


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
        ({"prompt": "a", "completion": "x"}, Prompt.of("a"), ("x",)),
        ({"prompt": [SYSTEM, user("a")], "completion": [assistant("x")]}, Prompt((SYSTEM, user("a"))), ("x",)),
        (
            {"prompt": [user("a")], "completion": [assistant("x"), user("b"), assistant("y")]},
            Prompt((user("a"),), ("b",)),
            ("x", "y"),
        ),
        (
            {"prompt": [user("a"), assistant("b"), user("c")], "completion": "x"},
            Prompt((user("a"), assistant("b"), user("c"))),
            ("x",),
        ),
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


@settings(deadline=None, max_examples=20)
@given(rows=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "x ", "y"])), max_size=10))
def test_equal_answers_count_once_and_different_ones_are_in_doubt(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("answers") / "a.json.gz"
    written = [{"instruction": text, "output": output} for text, output in rows]
    path.write_bytes(gzip.compress(json.dumps(written).encode()))
    model = RecordedModel("m", path)
    said = {text: {output.strip() for t, output in rows if t == text} for text, _ in rows}
    sure = {text for text, outputs in said.items() if len(outputs) == 1}
    first: dict[str, str] = {}
    for text, output in rows:
        first.setdefault(text, output)
    for _ in range(2):  # every pass counts anew
        assert [answer.texts for answer in model.rows()] == [(first[text],) for text in first if text in sure]
        assert model.read == len(rows)
        assert model.duplicates == len([text for text, _ in rows if text in sure]) - len(sure)
        assert sum(map(len, model.doubts.values())) == len([text for text, _ in rows if text not in sure])


@pytest.mark.parametrize(
    ("more", "doubt"),
    [
        ({"response": "y"}, "its answer and its column response differ"),
        ({"generatedText": "y"}, "its answer and its column generatedText differ"),
        ({"messages": [user("b")]}, "messages and instruction differ"),
        ({"response": " x\n", "completion": "<think>hm</think>x", "prediction": "", "reply": None}, None),
        ({"answer": "gold", "reference": "gold", "completion": 3, "messages": [user("a")]}, None),
    ],
)
def test_two_answers_in_a_row_are_in_doubt(recorded, more, doubt):
    model = recorded({"instruction": "a", "output": "x", **more})
    assert [answer.texts for answer in model.rows()] == ([] if doubt else [("x",)])
    assert model.doubts == ({doubt: [1]} if doubt else {})


@pytest.mark.parametrize(
    ("more", "statuses"),
    [
        ({"finish_reason": "stop", "stop_reason": 151645}, ()),  # vLLM: the token that it stopped at
        ({"finish_reason": "stop", "stop_reason": "\n\nHuman:"}, ()),
        ({"finish_reason": None, "truncated": False, "completion_status": "success"}, ()),
        ({"finishReason": "STOP"}, ()),
        ({"stop_reason": "max_tokens"}, (Status.TRUNCATED,)),
        ({"done_reason": "length"}, (Status.TRUNCATED,)),
        ({"finish_reason": ["length"]}, (Status.TRUNCATED,)),
        ({"truncated": True}, (Status.TRUNCATED,)),
        ({"metadata": {"finish_reason": "length"}}, (Status.TRUNCATED,)),
        ({"response_metadata": {"details": {"stopReason": "MAX_TOKENS"}}}, (Status.TRUNCATED,)),
        ({"eos_reached": False}, (Status.TRUNCATED,)),
        ({"finished": "false"}, (Status.TRUNCATED,)),
        ({"hit_max_tokens": True}, (Status.TRUNCATED,)),
        ({"finished": True, "max_tokens": 1, "max_length": True, "done": 1, "metadata": {"complete": True}}, ()),
        ({"is_truncated": "true", "finish_reason": "stop"}, (Status.TRUNCATED,)),
        ({"finish_reason": "content_filter"}, (Status.REFUSED,)),
    ],
)
def test_how_an_answer_ended_is_read(recorded, more, statuses):
    (answer,) = recorded({"instruction": "a", "output": "x", **more}).rows()
    assert answer.statuses == statuses


def test_ends_of_several_turns(recorded):
    rows = recorded(
        {"question_id": 1, "choices": [{"turns": ["x", "y"], "finish_reason": ["length", "stop"]}]},
        {"question_id": 2, "choices": [{"turns": [{"content": "x", "finish_reason": "length"}, {"content": "y"}]}]},
        {"question_id": 3, "finish_reason": "length", "choices": [{"turns": ["x", "y"]}]},
    ).rows()
    cut, whole = Status.TRUNCATED, Status.OK
    assert [answer.statuses for answer in rows] == [(cut, whole), (cut, whole), (whole, cut)]


def test_an_unknown_end_is_a_failed_call_that_is_named(recorded):
    model = recorded({"instruction": "a", "output": "x", "finish_reason": "weird"})
    assert list(model.rows()) == []
    assert model.failures == {"finish reason 'weird'": 1}


def test_what_repeats_and_tells_of_a_request_is_a_failed_call(recorded):
    """One such text may be an answer; the same to many prompts, but for its numbers, is none."""
    said = "Too many requests, please retry in {} seconds"
    few = recorded(*({"instruction": str(n), "output": said.format(n)} for n in range(2)))
    assert len(list(few.rows())) == 2
    many = recorded(*({"instruction": str(n), "output": said.format(n)} for n in range(3)))
    assert (len(list(many.rows())), many.failed) == (0, 3)
    real = recorded(*({"instruction": str(n), "output": "SyntaxError: invalid syntax"} for n in range(3)))
    assert len(list(real.rows())) == 3


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"instruction": "a"}, "columns found: instruction"),
        ({"instruction": "a", "output": 3}, "output is not a text"),
        ({"output": "x"}, "without messages, instruction, prompt, question or question_id"),
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


@pytest.mark.parametrize("asked", ["prompt", "instruction", "question"])
@pytest.mark.parametrize("said", ["output", "response", "completion", "answer", "text"])
def test_columns_of_questions_and_answers_have_many_names(recorded, asked, said):
    model = recorded({asked: "q", said: "a"}, {asked: "q2", said: ""})
    found = list(model.rows())
    assert [one.texts for one in found] == [("a",), ("",)]
    assert set(found[0].keys) & set(match_keys(Prompt.of("q")))


def test_an_answer_may_name_its_prompt_by_id_alone(recorded):
    (found,) = recorded({"question_id": 81, "response": "a", "answer": "gold"}).rows()
    assert found.texts == ("a",)
    assert set(found.keys) & set(match_keys(Prompt.of("whatever", source_id="81")))


def test_answers_come_from_tables_directories_and_patterns(tmp_path):
    rows = [{"question": "q1", "answer": "a1"}, {"question": "q2", "answer": "a2"}]
    (tmp_path / "one.csv").write_text("question,answer\nq1,a1\nq2,a2\n")
    (tmp_path / "one.tsv").write_text("question\tanswer\nq1\ta1\nq2\ta2\n")
    pl.DataFrame(rows).write_parquet(tmp_path / "one.parquet")
    (tmp_path / "parts").mkdir()
    for at, row in enumerate(rows):
        (tmp_path / "parts" / f"{at}.jsonl").write_text(json.dumps(row))
    for path in ("one.csv", "one.tsv", "one.parquet", "parts", "parts/*.jsonl"):
        found = list(RecordedModel("m", tmp_path / path).rows())
        assert [(one.texts, one.keys[:1]) for one in found] == [
            ((row["answer"],), match_keys(Prompt.of(row["question"]))[:1]) for row in rows
        ]


def test_rows_of_one_line_are_told_by_their_number(tmp_path):
    path = tmp_path / "a.json"
    rows = [{"instruction": text, "output": answer} for text, answer in (("p", "1"), ("q", "2"), ("p", "3"))]
    path.write_text(json.dumps(rows))
    model = RecordedModel("m", path)
    assert len(list(model.rows())) == 1
    assert (model.place, model.doubts) == ("row", {"a prompt has two different answers": [1, 3]})


def test_a_mapping_of_prompts_is_told_from_a_row(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({f"question {n} " + "long " * 20: "answer" for n in range(30)}))
    with pytest.raises(InputError, match=r"columns found: 30 that look like prompts; wanted are rows .*PROMPT"):
        list(RecordedModel("m", path).rows())
