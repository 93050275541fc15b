"""Recorded texts that are what a program left, told by their shape; honest answers are not."""

from __future__ import annotations

import json

import pytest

from arenaloop.models.odd_texts import OddTexts, spreadsheet_error

SAID = "It’s fine — the café opens at nine."
ASKED = "When does the café open on Sundays?"


def lines(*texts: str, asked: str = ASKED, honest: int = 0) -> list[str]:
    odd = OddTexts()
    for number, text in enumerate([*texts, *[SAID] * honest], 1):
        odd.add(text, number, asked)
    return odd.lines("answers")


REPLIES = [
    {"id": "c-1", "object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": SAID}}]},
    {"candidates": [{"content": {"parts": [{"text": SAID}]}}]},
    {"model": "m", "message": {"role": "assistant", "content": SAID}, "done": True},
    {"id": "resp_1", "object": "response", "output": [{"type": "message", "role": "assistant", "content": []}]},
    {"model": "m", "created_at": "2026", "response": SAID, "done": True},
    {"generated_text": SAID},
    {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "text", "text": SAID}]},
]


@pytest.mark.parametrize("reply", REPLIES)
def test_a_whole_reply_is_named_whatever_wrote_it(reply: dict[str, object]) -> None:
    for text in (json.dumps(reply), json.dumps(reply, indent=2), repr(reply)):
        (line,) = lines(text, honest=9)
        assert line == "1 of 10 answers are the JSON of a server's whole reply, not what it says (first line 1)"


@pytest.mark.parametrize(
    "text",
    [
        'data: {"choices":[{"delta":{"content":"x"}}]}',
        'event: message_start\ndata: {"type":"message_start"}',
        ': OPENROUTER PROCESSING\n\ndata: {"id":"1"}',
        "data: [DONE]",
    ],
)
def test_events_of_a_stream(text: str) -> None:
    (line,) = lines(text, honest=9)
    assert "events of a server's stream" in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (repr(SAID.encode()), "a program writes its values"),
        (repr([SAID]), "a program writes"),
        (repr({"answer": SAID}), "a program writes"),
        (json.dumps('say "nine"'), "a program writes"),
        (f"ChatCompletion(id='x', choices=[Choice(message={SAID!r})])", "a program writes"),
        ("<coroutine object chat at 0x7f00c0ffee>", "a program writes"),
        ("[object Object]", "a program writes"),
        (f"content={SAID!r} additional_kwargs={{}} id='1'", "a program writes"),
        ("It&#39;s nine &quot;sharp&quot;", "entities of HTML"),
        ("It\\u2019s nine.\\n\\nSharp.", "that are escaped"),
        (SAID.encode().decode("latin-1"), "UTF-8 that was read as Latin-1"),
        ("naïve café".encode().decode("cp1252"), "UTF-8 that was read as Latin-1"),
        ("привет".encode().decode("latin-1"), "UTF-8 that was read as Latin-1"),
        ("caf\ufffd", "characters were lost"),
        (f" {ASKED}\n", "are their prompt again"),
        (f"{ASKED}\nAt nine.", "begin with their prompt"),
        *((word, "are a word for nothing") for word in ("nan", "None", "<empty>", "N/A", "TODO", "-", "[no output]")),
    ],
)
def test_kinds_that_take_more_than_one(text: str, told: str) -> None:
    (line,) = lines(text, text)
    assert f"2 of 2 answers {line.removeprefix('2 of 2 answers ')}" == line
    assert told in line
    assert lines(text, honest=1) == []  # one is no kind


def test_lines_of_json_are_a_reply_by_the_first() -> None:
    text = "\n".join(json.dumps({"model": "m", "response": word, "done": False}) for word in SAID.split())
    assert "JSON of a server's whole reply" in lines(text, text)[0]


def test_a_text_as_long_as_a_cell_is_probably_cut() -> None:
    assert "probably cut (first line 2)" in lines(SAID, "w" * 32_767)[0]
    assert "probably cut" in lines("😀" * 16_383 + "w")[0]
    assert lines("w" * 32_766, "w" * 32_768) == []


@pytest.mark.parametrize(
    "text",
    [
        SAID, "", "['a', 'b'", "data: a column of a table", "data:\n- one", '{"answer": 42}', "[1, 2, 3]",
        r"$\nabla u = \nu$", '{"id": 1, "model": "Ford"}', '"Nine."', "f(x=1) is", "print(f'a={b}')",

        "Use `\\n`.",
        "42", "No.",
        "CAFÉ» et «É»", "São Paulo, 20 °C – ça va", "Ångström", "日本語です", "привет", "[link](https://example.org)",
        "None of them.", '{"choices": ["red", "blue"]}', "before", "{'a'} is a set",
    ],
)  # fmt: skip
def test_honest_answers_are_not_named(text: str) -> None:
    assert lines(*[text] * 20) == []


def test_errors_of_spreadsheets() -> None:
    shown = ["#NAME?", " #REF!", "#N/A", "#VALUE!", "#DIV/0!", "#NULL!", "#WERT!", "#BEZUG!", "#¿NOMBRE?", "Err:502"]
    assert all(map(spreadsheet_error, shown))
    assert not any(map(spreadsheet_error, ["# Title", "#hashtag", "#1!", "#NAME? is an error", "N/A", "", "Err: 502"]))
