"""The local engine, and what stands between jobs and an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

import pytest
from misbehaving_server import Stub, request, said

from arenaloop.calls.engines.base import Call, Engine, Row
from arenaloop.calls.engines.dispatch import making_calls
from arenaloop.calls.engines.local import LocalEngine
from arenaloop.errors import ConfigError, EndpointDownError, StoppedError
from arenaloop.models.openai_api import OpenAIModel


async def given(*calls: Call) -> AsyncIterator[Call]:
    for call in calls:
        yield call


def test_every_call_has_a_row_and_a_failure_is_one() -> None:
    async def main() -> None:
        async with Stub(said("hello")) as stub:
            up, down = OpenAIModel("m", "m", stub.url), OpenAIModel("m", "m", "http://127.0.0.1:1/v1", retries=0)
            calls = [*(Call(up, request(f"say {n}")) for n in range(20)), Call(down, request())]
            rows = [row async for row in LocalEngine().run(given(*calls))]
            assert {row.call for row in rows} == set(calls)
            answered = {row.completions[0].text for row in rows if row.completions is not None}
            assert answered == {"hello"}
            (failed,) = (row for row in rows if row.completions is None)
            assert failed.call.model is down
            assert isinstance(failed.error, EndpointDownError)
            await up.aclose()
            await down.aclose()

    asyncio.run(main())


def test_what_is_dropped_has_none() -> None:
    async def main() -> None:
        async def slow(_: object) -> bytes:
            await asyncio.sleep(0.05)
            return said("late")

        async with Stub(slow) as stub:
            model, engine = OpenAIModel("m", "m", stub.url, concurrency=1), LocalEngine()
            first, second = Call(model, request("1")), Call(model, request("2"))
            asyncio.get_running_loop().call_later(0.01, engine.drop, second)
            assert [row.call async for row in engine.run(given(first, second))] == [first]
            await model.aclose()

    asyncio.run(main())


class Broken(LocalEngine):
    """An engine that cannot begin, or breaks after some rows."""

    def __init__(self, opening: Exception | None = None, after: int = 0) -> None:
        super().__init__()
        self.opening, self.after = opening, after

    async def open(self, models: Sequence[Any]) -> None:
        if self.opening is not None:
            raise self.opening

    async def run(self, calls: AsyncIterable[Call]) -> AsyncIterator[Row]:
        async for row in super().run(calls):
            if not self.after:
                raise StoppedError("the cluster is gone")
            self.after -= 1
            yield row


def asked(engine: Engine, count: int, concurrency: int = 4) -> tuple[list[object], int]:
    """What becomes of so many calls of one model by an engine, and how many the server had at once."""

    async def main() -> tuple[list[object], int]:
        async def slow(_: object) -> bytes:
            await asyncio.sleep(0.002)
            return said("hello")

        async with Stub(slow) as stub:
            model = OpenAIModel("m", "m", stub.url, concurrency=concurrency)
            async with making_calls(engine, [model]):
                jobs = (model.complete(request(f"say {n}")) for n in range(count))
                return list(await asyncio.gather(*jobs, return_exceptions=True)), stub.most_open

    return asyncio.run(main())


def test_answers_come_by_way_of_the_engine_and_limits_hold() -> None:
    came, most = asked(LocalEngine(), 40)
    assert [getattr(one, "text", one) for one in came] == ["hello"] * 40
    assert most == 4


@pytest.mark.parametrize("error", [ConfigError("no key there"), StoppedError("no cluster")])
def test_an_engine_that_cannot_begin_is_told_to_everybody(error: Exception) -> None:
    assert asked(Broken(error), 5)[0] == [error] * 5


def test_an_engine_that_breaks_stops_who_waits_and_who_comes() -> None:
    came, _ = asked(Broken(after=6), 20)
    assert sum(getattr(one, "text", "") == "hello" for one in came) == 6
    assert {str(one) for one in came if isinstance(one, Exception)} == {"the cluster is gone"}
