"""Prompt files in all their shapes, and what is refused."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.data.prompts import iter_prompts, prompt_row, read_prompt, read_prompts, user_text
from arenaloop.errors import InputError
from arenaloop.jsonl import write_jsonl
from arenaloop.types import Prompt


@pytest.fixture
def write(tmp_path):
    def write(*rows):
        path = tmp_path / "prompts.jsonl"
        write_jsonl(path, rows)
        return path

    return write


def user(text):
    return {"role": "user", "content": text}


HISTORY = [{"role": "system", "content": "s"}, user("a"), {"role": "assistant", "content": "b"}, user("c ")]


@pytest.mark.parametrize(
    ("row", "messages", "follow_ups"),
    [
        ({"messages": HISTORY}, HISTORY, ()),
        ({"messages": [{**user("a"), "name": "x"}]}, [user("a")], ()),
        ({"messages": [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]}, [user("ab")], ()),
        ({"prompt": " a\n"}, [user(" a\n")], ()),
        ({"prompt": HISTORY, "chosen": [], "rejected": []}, HISTORY, ()),
        ({"messages": None, "prompt": "a"}, [user("a")], ()),
        ({"instruction": "a"}, [user("a")], ()),
        ({"instruction": "a", "input": "", "output": "x"}, [user("a")], ()),
        ({"instruction": "a", "input": None}, [user("a")], ()),
        ({"instruction": "a", "input": "b"}, [user("a\n\nb")], ()),
        ({"question_id": 81, "turns": ["a", "b", "c"]}, [user("a")], ("b", "c")),
        ({"question_id": "x", "turns": [{"content": "a"}]}, [user("a")], ()),
        ({"uid": "x", "prompt": "a"}, [user("a")], ()),
    ],
)
def test_each_shape(write, row, messages, follow_ups):
    (prompt,) = read_prompts(write(row))
    assert prompt == Prompt(tuple(messages), follow_ups, tags=prompt.tags)
    assert prompt.turns == 1 + len(follow_ups)


def test_tags_hold_source_ids_and_descriptions_and_nothing_else(write):
    path = write(
        {"question_id": 81, "category": "writing", "turns": ["a", "b"], "reference": ["x"]},
        {"uid": "f00", "category": "hard", "subcategory": "code", "cluster": "ABC", "prompt": "b"},
        {"instruction": "c", "dataset": "koala", "output": "a long text", "generator": "m", "id": True},
        {"messages": [user("d")], "answer": "gold", "tags": {"mine": 1}, "id": "7", "category": None},
    )
    assert [dict(prompt.tags) for prompt in read_prompts(path)] == [
        {"source_id": 81, "category": "writing", "reference": ["x"]},
        {"source_id": "f00", "category": "hard", "subcategory": "code", "cluster": "ABC"},
        {"dataset": "koala"},
        {"mine": 1, "source_id": "7", "answer": "gold"},
    ]


def test_arrays_and_gzip_read_alike(tmp_path, write):
    rows = [{"prompt": "é"}, {"turns": ["a", "b"]}]
    lines = read_prompts(write(*rows))
    array = tmp_path / "prompts"
    array.write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert read_prompts(array) == lines
    assert lines[1].follow_ups == ("b",)


@settings(deadline=None, max_examples=20)
@given(texts=st.lists(st.sampled_from(["a", "a ", "A", "b", ""]), min_size=1, max_size=12))
def test_duplicates_collapse_into_the_first_and_are_counted(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("prompts") / "p.jsonl"
    write_jsonl(path, ({"prompt": text, "id": number} for number, text in enumerate(texts)))
    found = read_prompts(path)
    assert [p.last_user for p in found] == list(dict.fromkeys(texts))
    assert len(found) + found.duplicates == len(texts)
    assert [p.tags["source_id"] for p in found] == [texts.index(p.last_user) for p in found]
    assert [p.last_user for _, p in iter_prompts(path)] == texts


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (
            {"asked": "a", "text": "b"},
            "no column messages, turns, prompt, instruction or question (columns found: asked, te",
        ),
        ({}, "columns found: none"),
        ({"prompt": None}, "columns found: prompt"),
        ({"messages": []}, "ends with a user turn"),
        ({"messages": HISTORY[:3]}, "ends with the assistant's turn"),
        ({"messages": [{"role": "human", "content": "a"}]}, "the role 'human'"),
        ({"messages": [user("a"), HISTORY[0], user("b")]}, "only the first may be one"),
        ({"messages": "a"}, "messages is not a list"),
        ({"messages": ["a"]}, "message 1 of messages is not an object"),
        ({"messages": [{"role": "user"}]}, "message 1 of messages (user): a message without content (null)"),
        ({"messages": [user([{"type": "image_url", "image_url": {}}])]}, "content is not a text"),
        ({"messages": [user([{"type": "text", "text": "", "image": "x.png"}])]}, "holds image, which is no text"),
        ({"messages": [{**user("a"), "images": ["x.png"]}]}, "message 1 of messages (user): it holds images"),
        ({"prompt": "a", "tools": [{"name": "f"}]}, "column tools: it changes what a model is asked"),
        ({"instruction": "a", "history": [["b", "c"]]}, "column history: it changes"),
        ({"instruction": "a", "context": "b"}, "column context: the text that an instruction is about"),
        ({"prompt": "a", "system": ["b"]}, "column system is not a text"),
        ({"prompt": "a", "system": "b", "system_prompt": "c"}, "columns system and system_prompt differ"),
        ({"messages": [{"role": "system", "content": "x"}, user("a")], "system": "b"}, "column system differs"),
        ({"prompt": "a", "choices": ["b", "c"]}, "column choices: it belongs to what is asked and is not read here"),
        ({"prompt": "a", "documents": [{"text": "b"}]}, "column documents: it belongs to what is asked"),
        ({"prompt": "a", "retrievedPassages": ["b"]}, "column retrievedPassages: it belongs"),
        ({"turns": ["a"], "few_shot_examples": {"q": "b"}}, "write it into turns, or take the column out"),
        ({"prompt": "a", "input": "b"}, "column input: it belongs"),
        ({"prompt": "a", "option_a": "b"}, "column option_a: it belongs"),
        ({"instruction": "a", "question": "b"}, "column question: it belongs"),
        ({"prompt": "a", "starter_code": "b()"}, "column starter_code: it belongs"),
        ({"prompt": "a", "messages": [user("b")]}, "columns messages and prompt ask different things"),
        ({"prompt": "a", "instruction": "b"}, "columns prompt and instruction ask different things"),
        ({"turns": ["a", "b"], "prompt": "c"}, "columns turns and prompt ask different things"),
        ({"prompt": 3}, "prompt is neither"),
        ({"prompt": []}, "ends with a user turn"),
        ({"instruction": ["a"]}, "instruction is not a text"),
        ({"instruction": "a", "input": 3}, "input is not a text"),
        ({"turns": []}, "turns is not a list"),
        ({"turns": ["a", None]}, "without content (null)"),
    ],
)
def test_a_row_that_is_no_prompt_is_named_by_line(write, row, what):
    path = write({"prompt": "fine"}, row)
    with pytest.raises(InputError) as caught:
        read_prompts(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2: ")
    assert what in message
    assert "\n" not in message


def test_a_file_without_prompts_is_refused(write):
    with pytest.raises(InputError, match="the file is empty"):
        read_prompts(write())


def test_reading_is_lazy(write):
    path = write({"prompt": "fine"}, {"prompt": 3})
    prompts = iter_prompts(path)
    assert next(prompts)[0] == 1
    with pytest.raises(InputError):
        next(prompts)


def test_columns_that_change_the_prompt_are_read(write):
    system = {"role": "system", "content": "Be brief."}
    (prompt,) = read_prompts(write({"instruction": "a", "input": float("nan"), "system": "Be brief.", "tools": []}))
    assert prompt.messages == (system, user("a"))
    (same,) = read_prompts(write({"messages": [system, user("a")], "system_prompt": "Be brief.", "images": None}))
    assert same.id == prompt.id


def test_tables_of_other_kinds_hold_prompts_too(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_bytes('sep=;\r\n prompt ;category\r\n"what, then?";x\r\n'.encode("utf-16"))
    (prompt,) = read_prompts(path)
    assert (prompt.last_user, prompt.tags["category"]) == ("what, then?", "x")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Which: **Rhine** or Danube?", "choices": ["Rhine", "Danube"]},  # it says them
        {"prompt": "a", "choices": [], "documents": None, "image": "", "context": {"text": ""}},
        {"prompt": "a", "messages": [user("A ")], "instruction": "a."},
        {"messages": HISTORY, "prompt": "a"},
        {"turns": ["a", "b"], "prompt": "a"},
        {"prompt": "a", "num_tools": 3, "has_image": True, "context_length": "8k", "image_id": "x.png"},
        {"question_id": "x", "category": "c", "cluster": "d", "turns": [{"content": "a"}]},  # Arena-Hard
        {"instruction": "a", "input": "b", "output": "x", "generator": "m", "dataset": "d", "datasplit": "e"},
        {"question_id": 81, "category": "writing", "turns": ["a", "b"], "reference": ["x"]},  # MT-Bench
        {"prompt": "a", "prompt_id": "f", "chosen": [user("a")], "rejected": [user("a")], "score_chosen": 1.0},
    ],
)
def test_files_that_everybody_has_are_read_in_silence(write, row):
    assert read_prompts(write(row)).unknown == ()


def test_columns_that_nobody_knows_are_named_once(write):
    rows = [{"prompt": "a", "kwargs": [1], "checklist": ["x"]}, {"prompt": "b", "kwargs": [2], "empty": None}]
    assert read_prompts(write(*rows)).unknown == ("kwargs", "checklist")


def test_prompts_that_lost_something_on_their_way_are_named(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("None", "[1]", "-", "w" * 32_767)))
    (line,) = read_prompts(path).odd
    assert line.startswith("1 of 4 prompts are 32,767 characters long")
    assert line.endswith("(first line 4)")


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: text.strip())


@settings(max_examples=25)
@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, max_size=2), st.sampled_from([None, "Be brief."]))
def test_a_row_holds_its_prompt(turns, follow_ups, system):
    roles = ("user", "assistant")
    given_ = [
        {"role": roles[n % 2], "content": text} for n, text in enumerate(turns[: len(turns) - 1 + len(turns) % 2])
    ]
    before = [] if system is None else [{"role": "system", "content": system}]
    prompt = Prompt((*before, *given_), tuple(follow_ups))
    said = [m["content"] for m in given_ if m["role"] == "user"] + follow_ups
    assert user_text(prompt) == "\n\n".join(said)
    if len(given_) > 1 and follow_ups:
        with pytest.raises(ValueError, match="which no row holds both"):
            prompt_row(prompt)
        return
    again = read_prompt(json.loads(json.dumps(prompt_row(prompt))))
    assert (again.messages, again.follow_ups, again.id) == (prompt.messages, prompt.follow_ups, prompt.id)


@pytest.mark.parametrize(
    "row",
    [
        {"uid": "u", "model": "m", "messages": [user("Hi"), {"role": "assistant", "content": {"answer": "Hello"}}]},
        {"question_id": 81, "model_id": "m", "choices": [{"index": 0, "turns": ["Hello"]}]},
    ],
)
def test_a_model_s_answers_are_known_for_what_they_are(write, row):
    with pytest.raises(InputError, match=r"these look like one model's answers \(--model NAME=file:FILE\)"):
        read_prompts(write(row))
