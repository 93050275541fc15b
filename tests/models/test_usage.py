"""What is billed is counted: a total beyond prompt and completion, and a prompt that was cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.models.openai_wire import Reader, read_reply
from arenaloop.models.usage import least_tokens, read_usage

counts = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        # Grok: reasoning is billed, stands in the total, and not in the completion
        ({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 1010,
          "completion_tokens_details": {"reasoning_tokens": 900}}, (100, 910, 0)),
        ({"prompt_tokens": 100, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 900}},
         (100, 910, 0)),
        # Gemini: the same, untold
        ({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 1010}, (100, 910, 0)),
        # OpenAI: the completion holds it
        ({"prompt_tokens": 100, "completion_tokens": 910, "total_tokens": 1010,
          "completion_tokens_details": {"reasoning_tokens": 900}}, (100, 910, 0)),
        # a prompt count that leaves cached tokens out
        ({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 1010,
          "prompt_tokens_details": {"cached_tokens": 900}}, (1000, 10, 900)),
        ({"input_tokens": 100, "output_tokens": 10, "total_tokens": 1510, "cache_read_input_tokens": 900,
          "cache_creation_input_tokens": 500}, (1500, 10, 900)),
        ({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 310, "reasoning_tokens": 50,
          "prompt_tokens_details": {"cached_tokens": 150}}, (250, 60, 150)),
        ({"prompt_tokens": 20.0, "completion_tokens": "5", "total_tokens": "25.0"}, (20, 5, 0)),
        ({"prompt_tokens": 20, "total_tokens": 25}, (20, 5, 0)),
        ({"completion_tokens": 5, "total_tokens": 25}, (20, 5, 0)),
        ({"prompt_tokens": 20, "total_tokens": 0}, (20, None, 0)),
        ({"prompt_tokens": 20.5, "completion_tokens": True, "total_tokens": 0}, (21, None, 0)),
        ({"prompt_tokens": "many", "completion_tokens": -1}, (None, None, 0)),
        ({"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 7}, (20, 5, 0)),
        (None, (None, None, 0)),
    ],
)  # fmt: skip
def test_golden_counts(usage: Any, read: tuple[int | None, int | None, int]) -> None:
    assert read_usage(usage)[:3] == read


@given(counts, counts, counts, counts)
def test_where_the_total_is_the_sum_nothing_is_added(read: int, written: int, cached: int, thought: int) -> None:
    usage = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    if cached <= read and thought <= written:
        assert read_usage(usage)[:2] == (read, written)
    else:
        found = read_usage(usage)
        assert found[:2] == (read + (cached if cached > read else 0), written + (thought if thought > written else 0))


@given(counts, counts, counts)
def test_nothing_of_a_total_is_lost(read: int, written: int, beyond: int) -> None:
    found = read_usage({"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written + beyond})
    assert (found.tokens_in or 0) + (found.tokens_out or 0) == read + written + beyond


def reply(tokens_in: Any, **details: Any) -> bytes:
    usage = f'{{"prompt_tokens": {tokens_in}, "completion_tokens": 5, "prompt_tokens_details": '
    cached = details.get("cached", 0)
    return (f'{{"choices": [{{"message": {{"content": "a"}}, "finish_reason": "stop"}}], "usage": {usage}'
            f'{{"cached_tokens": {cached}}}}}}}').encode()  # fmt: skip


def test_a_prompt_that_was_cut_is_told_once_for_its_server() -> None:
    asked = [{"role": "user", "content": "some words " * 500}]
    assert least_tokens(asked) == 1000
    assert least_tokens([{"role": "user", "content": "漢" * 100}]) == 40
    reader = Reader()
    for tokens in (500, 740, 760, 1300, 0):
        read_reply(reply(tokens), reader=reader, asked=asked)
    read_reply(reply(100, cached=1200), reader=reader, asked=asked)
    read_reply(reply(3), reader=reader, asked=[{"role": "user", "content": "some words " * 20}])
    (line,) = reader.notices.lines()
    assert line.startswith("of 2 of 7 prompts it read a part only, by its own count (500 tokens of at least 1,000)")
