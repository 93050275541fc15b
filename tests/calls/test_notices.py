"""What is odd about a server's replies is kept over invocations and told once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from arenaloop.calls.notices import keep_notices, told_notices
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_wire import read_reply
from arenaloop.store import Store


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
