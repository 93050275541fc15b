"""The author goes on with a list of prompts, alike each time, and is not always of use."""

from __future__ import annotations

from arenaloop.data.self_instruct.lists import listed_prompts, written_prompts
from arenaloop.sandbox.author import Author
from arenaloop.sandbox.tasks import draw, parse
from arenaloop.types import Request

SHOWN = [task.prompt.last_user for task in draw(8, 3)]


def asked(sample: int = 0) -> Request:
    return Request(messages=listed_prompts(SHOWN).messages, sample=sample)


def test_a_list_is_gone_on_with() -> None:
    author = Author(odd=0.2)
    said = author(asked())
    found = written_prompts(said, 8)
    assert len(found) == 8
    assert author(asked()) == said != author(asked(1))
    many = [text for sample in range(30) for text in written_prompts(author(asked(sample)), 8)]
    shares = [sum(text in SHOWN for text in many) / len(many), sum(parse(text) is None for text in many) / len(many)]
    assert 0.08 < shares[0] < 0.25
    assert 0.1 < shares[1] < 0.3


def test_what_is_no_list_gets_no_list() -> None:
    assert written_prompts(Author()(Request(messages=({"role": "user", "content": "reverse: abc"},))), 8) == []
