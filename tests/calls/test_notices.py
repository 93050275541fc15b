"""What is odd about a server's replies is kept over invocations and told once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from arenaloop.calls.notices import keep_notices, told_notices
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_wire import read_reply
from arenaloop.store import Store
from arenaloop.store.merge import merge
from arenaloop.types import Status


def reply(text: str, tokens_in: int = 0, finish: str = "stop") -> bytes:
    usage = f'{{"prompt_tokens": {tokens_in}, "completion_tokens": 1}}'
    choice = f'{{"message": {{"content": "{text}"}}, "finish_reason": "{finish}"}}'
    return f'{{"choices": [{choice}], "usage": {usage}}}'.encode()


def test_counts_add_up_over_invocations(tmp_path: Path) -> None:
    model = OpenAIModel("m", "x", "http://h/v1")
    asked = [{"role": "user", "content": "word " * 100}]
    with Store(tmp_path / "arena.db") as store:
        for tokens in (20, 130):
            read_reply(reply("a", tokens), reader=model.reader, asked=asked)
            keep_notices(store, [model, SimpleNamespace(model=model), SimpleNamespace(members=[model])])
        (line,) = told_notices(store)
        assert line.startswith("http://h/v1#x: of 1 of 2 prompts it read a part only")


def test_merged_counts_of_a_server_add_up(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "word " * 100}]
    for name, port, tokens in (("a.db", 1, [20, 130]), ("b.db", 1, [20, 20]), ("c.db", 2, [20])):
        model = OpenAIModel("m", "x", f"http://h:{port}/v1")
        with Store(tmp_path / name) as store:
            for n in tokens:
                read_reply(reply("a", n), reader=model.reader, asked=asked)
            keep_notices(store, [model])
    with Store(tmp_path / "all.db") as store:
        for name in ("c.db", "b.db", "a.db", "b.db"):
            with Store(tmp_path / name, readonly=True) as other:
                merge(store, other)
        first, second = told_notices(store)
        assert first.startswith("http://h:1/v1#x: of 3 of 4 prompts it read a part only")
        assert second.startswith("http://h:2/v1#x: of 1 of 1 prompts")


def test_replies_cut_inside_a_block_that_the_template_opened_are_told(tmp_path: Path) -> None:
    model = OpenAIModel("m", "x", "http://h/v1")
    with Store(tmp_path / "arena.db") as store:
        read_reply(reply("still at it", finish="length"), reader=model.reader, asked=[])
        keep_notices(store, [model])
        assert told_notices(store) == []
        read_reply(reply("why\\n</think>\\nend"), reader=model.reader, asked=[])
        keep_notices(store, [model])
        (line,) = told_notices(store)
        assert "1 that were cut off" in line
        assert "reasoning_tags" in line


def test_what_is_odd_about_replies_is_told_with_an_example(tmp_path: Path) -> None:
    model = OpenAIModel("m", "x", "http://h/v1")
    with Store(tmp_path / "arena.db") as store:
        for text in ("<reflection>x</reflection>y", "Orl\ufffdans", "Orl\ufffdans", "<think>no end", "good"):
            read_reply(reply(text), reader=model.reader, asked=[])
        named = reply("good").replace(b'"finish_reason"', b'"native_finish_reason": "QUUX", "finish_reason"')
        assert read_reply(named, reader=model.reader, asked=[]).status is Status.OK
        keep_notices(store, [model])
        told = [line.removeprefix("http://h/v1#x: ") for line in told_notices(store)]
    assert [line[:44] for line in told] == [
        "1 of 6 replies begin with <reflection>, and ",
        "1 of 6 replies are reasoning to their end, t",
        "1 of 6 replies tell their end by a word that",
        "2 of 6 replies hold U+FFFD or half a charact",
    ]
    assert "native_finish_reason: QUUX" in told[2]
    assert "“Orl\ufffdans”" in told[3]


def test_honest_replies_are_told_nothing_of(tmp_path: Path) -> None:
    model = OpenAIModel("m", "x", "http://h/v1")
    with Store(tmp_path / "arena.db") as store:
        for text in ("good", "<p>x</p> y", "[1] a", "**Reasoning:** x", "```python x```", "<think>x</think>y"):
            read_reply(reply(text), reader=model.reader, asked=[])
        keep_notices(store, [model])
        assert told_notices(store) == []
