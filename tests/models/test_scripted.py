"""Functions as models: what they return, raise and await becomes completions."""

from __future__ import annotations

import asyncio

import pytest

from arenaloop.models.base import Model
from arenaloop.models.scripted import ScriptedModel
from arenaloop.types import Completion, Request, Status


def request(text):
    return Request(({"role": "user", "content": text},))


def ask(script, text="hi"):
    return asyncio.run(ScriptedModel("m", script).complete(request(text)))


def test_a_function_answers():
    completion = ask(lambda r: r.messages[-1]["content"].upper())
    assert (completion.text, completion.status, completion.finish_reason) == ("HI", Status.OK, "stop")
    assert completion.usd == 0.0
    assert completion.seconds >= 0


def test_a_coroutine_answers():
    async def script(r):
        await asyncio.sleep(0)
        return "later"

    assert ask(script).text == "later"


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_no_text_is_empty(text):
    completion = ask(lambda r: text)
    assert (completion.text, completion.status) == (text, Status.EMPTY)


def test_a_whole_completion_is_given_on_as_it_is():
    refused = Completion(text="no", status=Status.REFUSED, calls=3)
    assert ask(lambda r: refused) is refused


def test_what_a_script_raises_is_a_failed_call():
    def broken(r):
        raise KeyError("x")

    async def broken_later(r):
        raise ValueError("y")

    completion = ask(broken)
    assert (completion.status, completion.error, completion.text) == (Status.ERROR, "KeyError: 'x'", "")
    assert ask(broken_later).error == "ValueError: y"


def test_many_are_answered_and_one_failure_ends_nothing():
    def script(r):
        if r.messages[0]["content"] == "2":
            raise RuntimeError
        return "ok"

    async def main():
        model = ScriptedModel("m", script)
        found = [(asked, done.status) async for asked, done in model.complete_many([request(str(i)) for i in range(4)])]
        await model.aclose()
        return found

    found = asyncio.run(main())
    assert [asked for asked, _ in found] == [request(str(i)) for i in range(4)]
    assert [status for _, status in found] == [Status.OK, Status.OK, Status.ERROR, Status.OK]


def test_the_fingerprint_tells_names_and_versions_apart():
    def fingerprint(name, **options):
        return ScriptedModel(name, str, **options).fingerprint

    assert fingerprint("m") == fingerprint("m") == fingerprint("m", concurrency=1)
    assert len({fingerprint("m"), fingerprint("n"), fingerprint("m", version=1)}) == 3
    assert isinstance(ScriptedModel("m", str), Model)
