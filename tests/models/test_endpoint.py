"""What models behind one server share: connections, places, limits, replicas; nothing sleeps."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from misbehaving_server import HANG, RESET, Clock, Stub, http, request, said

from arenaloop.errors import ConfigError, EndpointDownError
from arenaloop.models.endpoint import CEILING, Endpoint
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.types import Status

BUSY = http(503, {"error": {"message": "busy"}})


def usage(tokens_in, tokens_out):
    return said(usage={"prompt_tokens": tokens_in, "completion_tokens": tokens_out})


async def ask_all(model, n):
    """`n` calls at once, of one model or of several in turn."""
    models = model if isinstance(model, list) else [model]
    return await asyncio.gather(*(models[i % len(models)].complete(request(str(i))) for i in range(n)))


async def close(*models):
    for model in models:
        await model.aclose()


# ------------------------------------------------------------------ sharing


def test_adapters_of_one_server_share_its_connections_and_its_places():
    async def answer(body):
        await asyncio.sleep(0.001)
        return said(body["model"])

    async def main():
        async with Stub(answer) as stub:
            names = ["base", "org/adapter:v2 (a)", "org/adapter:v2 (b)"]
            models = [OpenAIModel(name, name, stub.url, concurrency=3) for name in names]
            answers = await ask_all(models, 30)
            assert [answer.text for answer in answers] == names * 10
            assert len({model.fingerprint for model in models}) == 3
            assert len({id(model._endpoint) for model in models}) == 1
            assert stub.most_open == stub.connections == 3
            await close(*models)

    asyncio.run(main())


def test_who_shares_and_who_does_not(monkeypatch):
    monkeypatch.setenv("ONE_KEY", "one-key")
    monkeypatch.setenv("OTHER_KEY", "other-key")

    async def main():
        a, b = "http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"
        first = OpenAIModel("m", "x", a, urls=[b], key_env="ONE_KEY")
        same = OpenAIModel("n", "y", b, urls=[a, a + "/"], key_env="ONE_KEY", system="s", timeout=3, retries=1)
        others = [
            OpenAIModel("m", "x", a, key_env="ONE_KEY"),
            OpenAIModel("m", "x", a, urls=[b], key_env="OTHER_KEY"),
            OpenAIModel("m", "x", a, urls=[b]),
        ]
        assert first._join() is same._join()
        assert len({id(model._join()) for model in (first, *others)}) == 4
        assert repr(first._endpoint) == f"Endpoint({a} and {b})"
        await close(first, same, *others)

    asyncio.run(main())


def test_the_strictest_limit_of_those_who_share_holds():
    async def main():
        url = "http://127.0.0.1:1/v1"
        free, tight, slow = (
            OpenAIModel("free", "x", url),
            OpenAIModel("tight", "y", url, concurrency=2, rpm=100, tpm=5000),
            OpenAIModel("slow", "z", url, concurrency=7, rpm=30),
        )
        endpoint = free._join()
        assert endpoint.adaptive.limit == endpoint.slots.limit == 16
        assert (free.concurrency, tight.concurrency) == (CEILING, 2)
        tight._join()
        slow._join()
        assert endpoint.adaptive is None
        assert (endpoint.slots.limit, endpoint.rpm.per_minute, endpoint.tpm.per_minute) == (2, 30, 5000)
        await close(free, tight, slow)

    asyncio.run(main())
    with pytest.raises(ConfigError, match="rpm and tpm are positive"):
        OpenAIModel("m", "x", rpm=0)


def test_the_last_to_leave_closes():
    async def main():
        async with Stub(said()) as stub:
            first, second = OpenAIModel("m", "x", stub.url), OpenAIModel("n", "y", stub.url)
            await ask_all([first, second], 2)
            endpoint = first._endpoint
            await first.aclose()
            assert not endpoint._session.closed
            assert (await second.complete(request())).text == "hello"
            await second.aclose()
            assert endpoint._session.closed
            assert (await first.complete(request())).text == "hello"
            assert first._endpoint is not endpoint
            await first.aclose()

    asyncio.run(main())


# ------------------------------------------------------------------ replicas


def replicas(*scripts, n=60, **options):
    """`n` calls, at most six at once, to a model with one replica for each script: (answers, requests each, waits)."""

    async def main():
        async with AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(Stub(*script)) for script in scripts]
            for stub, script in zip(stubs, scripts, strict=True):
                if script == (None,):
                    stub.server.close()
            clock = Clock()
            urls = [stub.url for stub in stubs]
            options.setdefault("concurrency", 6)
            model = OpenAIModel("m", "x", urls[0], urls=urls[1:], sleep=clock.sleep, **options)
            try:
                answers = await ask_all(model, n)
            finally:
                await model.aclose()
            return answers, [len(stub.bodies) for stub in stubs], clock.waits

    return asyncio.run(main())


def test_calls_go_to_the_replica_with_the_fewest_in_flight():
    async def at_once(body):
        await asyncio.sleep(0)
        return said()

    async def slow(body):
        await asyncio.sleep(0.02)
        return said()

    answers, counts, _ = replicas((at_once,), (at_once,), (at_once,))
    assert {answer.status for answer in answers} == {Status.OK}
    assert all(15 <= count <= 25 for count in counts)
    answers, counts, _ = replicas((slow,), (at_once,))
    assert {answer.status for answer in answers} == {Status.OK}
    assert counts[0] < counts[1]


def test_a_replica_that_is_not_there_is_set_aside():
    answers, counts, waits = replicas((None,), (said(),))
    assert {(answer.status, answer.calls) for answer in answers} == {(Status.OK, 1)}
    assert counts == [0, 60]
    assert waits == []


def test_a_replica_that_fails_everything_at_once_does_not_draw_all_calls():
    answers, counts, _ = replicas((BUSY,), (said(),), retries=8)
    assert {answer.status for answer in answers} == {Status.OK}
    assert 1 <= counts[0] <= 15
    assert counts[1] == 60


def test_a_replica_that_restarts_does_not_hold_the_others():
    restarting = http(503, {}, "Retry-After: 500")
    answers, _, waits = replicas((restarting,), (said(),), retries=8)
    assert {answer.status for answer in answers} == {Status.OK}
    assert max(waits) <= 30
    answers, _, waits = replicas((restarting, said()), retries=8)
    assert {answer.status for answer in answers} == {Status.OK}
    assert min(waits) > 400  # the only one holds all


def test_where_no_replica_is_there_the_run_stops_and_all_are_named():
    with pytest.raises(
        EndpointDownError, match=r"^http://\S+/v1 and http://\S+/v1 cannot be reached \(tried 3 times\)"
    ):
        replicas((None,), (None,), n=1, retries=2)


def test_what_was_set_aside_is_tried_again():
    async def main():
        async with Stub(said("one")) as one, Stub(said("two")) as two:
            one.server.close()
            model = OpenAIModel("m", "x", one.url, urls=[two.url])
            texts = [(await model.complete(request())).text for _ in range(3)]
            assert texts == ["two"] * 3
            resting, _ = model._endpoint._replicas
            assert 0 < resting.rests_until - model._endpoint.loop.time() <= 1
            host, port = one.url.removeprefix("http://").removesuffix("/v1").split(":")
            one.server = await asyncio.start_server(one._serve, host, int(port))
            resting.rests_until = 0.0  # the pause is over
            assert (await model.complete(request())).text == "one"
            assert resting.rests == 0
            await model.aclose()

    asyncio.run(main())


def test_a_pause_grows_while_a_replica_stays_away():
    async def main():
        async with Stub(said()) as gone, Stub(said()) as there:
            gone.server.close()
            model = OpenAIModel("m", "x", gone.url, urls=[there.url])
            pauses = []
            for _ in range(9):
                endpoint = model._endpoint or model._join()
                endpoint._replicas[0].rests_until = 0.0
                before = endpoint.loop.time()
                await model.complete(request())
                pauses.append(round(endpoint._replicas[0].rests_until - before))
            await model.aclose()
            return pauses

    assert asyncio.run(main()) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


# ------------------------------------------------------------------ waiting


class Gate:
    """Stands in for sleeping until it is opened."""

    def __init__(self):
        self.waits, self.open = [], asyncio.Event()

    async def sleep(self, seconds):
        self.waits.append(seconds)
        await self.open.wait()


async def settle():
    """Let everything happen that can, sockets included."""
    for _ in range(50):
        await asyncio.sleep(0.0005)


def test_retry_after_holds_the_whole_endpoint():
    async def main():
        async with Stub(http(429, {}, "Retry-After: 30"), said()) as stub:
            gate = Gate()
            models = [OpenAIModel(name, name, stub.url, sleep=gate.sleep) for name in "ab"]
            first = asyncio.create_task(models[0].complete(request()))
            await settle()
            others = [asyncio.create_task(models[i % 2].complete(request())) for i in range(6)]
            await settle()
            assert len(stub.bodies) == 1  # six calls are waiting, none is sent
            assert len(gate.waits) == 7
            assert all(29 < wait <= 30.2 for wait in gate.waits)
            gate.open.set()
            models[0]._endpoint.holds.until = 0.0
            answers = await asyncio.gather(first, *others)
            assert [answer.calls for answer in answers] == [2] + [1] * 6
            assert {answer.status for answer in answers} == {Status.OK}
            await close(*models)

    asyncio.run(main())


def test_who_waits_out_a_hold_waits_for_a_longer_one_too():
    async def main():
        async with Stub(said()) as stub:
            gate = Gate()
            model = OpenAIModel("m", "x", stub.url, sleep=gate.sleep)
            endpoint = model._join()
            endpoint.hold(10, 600, "later")
            call = asyncio.create_task(model.complete(request()))
            await settle()
            endpoint.hold(100, 600, "later")
            gate.open.set()
            assert (await call).status is Status.OK
            assert [round(wait) for wait in gate.waits] == [10, 100]
            with pytest.raises(EndpointDownError, match=r"wait 277,778 h, until .* longest_wait \(10 min\)"):
                endpoint.hold(10**9, 600, "later")
            await model.aclose()

    asyncio.run(main())


def test_requests_per_minute_are_spread():
    async def main():
        async with Stub(said()) as stub:
            clock = Clock()
            models = [OpenAIModel(name, name, stub.url, rpm=60, sleep=clock.sleep) for name in "ab"]
            await ask_all(models, 5)
            await close(*models)
            return clock.waits

    waits = asyncio.run(main())
    assert waits == pytest.approx([1, 2, 3, 4], abs=0.2)


def test_tokens_per_minute_are_guessed_and_corrected():
    async def main():
        async with Stub(usage(100, 20)) as stub:
            clock = Clock()
            model = OpenAIModel("m", "x", stub.url, tpm=60_000, sleep=clock.sleep)
            for _ in range(40):
                await model.complete(request("a" * 300))
            await model.aclose()
            return clock.waits

    # 4,800 tokens in truth, of 60,000 a minute and 1,000 a second: about 3.9 s of saving up after the first second's
    # share, and the last call waits that long; pessimism about new tokens (512 a call) would have it wait 23 s
    assert 3.4 <= max(asyncio.run(main())) <= 4.6


def test_a_cancelled_wait_gives_back_what_it_took():
    async def main():
        async with Stub(said()) as stub:
            gate = Gate()
            model = OpenAIModel("m", "x", stub.url, rpm=1, tpm=6000, sleep=gate.sleep)
            await model.complete(request(max_tokens=5))
            endpoint = model._endpoint
            before = endpoint.rpm._level, endpoint.tpm._level
            calls = [asyncio.create_task(model.complete(request())) for _ in range(5)]
            await settle()
            assert len(gate.waits) == 5
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert endpoint.slots.taken == 0
            assert endpoint.rpm._level > before[0] - 1  # five calls are 5 requests and about 2,700 tokens
            assert endpoint.tpm._level > before[1] - 500
            assert len(stub.bodies) == 1
            await model.aclose()

    asyncio.run(main())


# ------------------------------------------------------------------ how many at once


def test_the_limit_is_found_out_where_none_is_set():
    async def answer(body):
        await asyncio.sleep(0.002)
        return said()

    async def main():
        async with Stub(answer) as stub:
            model = OpenAIModel("m", "x", stub.url)
            await ask_all(model, 600)
            assert stub.most_open > 16
            assert model._endpoint.slots.limit == model._endpoint.adaptive.limit
            assert model._endpoint.slots.taken == 0
            await model.aclose()

    asyncio.run(main())


def test_429_lowers_it_and_a_fixed_one_stays():
    async def main(concurrency):
        async with Stub(http(429, {}), said()) as stub:
            clock = Clock()
            model = OpenAIModel("m", "x", stub.url, concurrency=concurrency, sleep=clock.sleep)
            await model.complete(request())
            limit = model._endpoint.slots.limit
            await model.aclose()
            return limit

    assert asyncio.run(main(None)) == 8
    assert asyncio.run(main(10)) == 10


# ------------------------------------------------------------------ stopping


@pytest.mark.parametrize("fault", [HANG, http(429, {}, "Retry-After: 500"), http(503, {}), RESET])
def test_cancelling_ends_at_once_and_leaves_nothing(fault):
    async def main():
        async with Stub(fault) as stub:
            model = OpenAIModel("m", "x", stub.url, concurrency=4)  # with real sleeps
            calls = [asyncio.create_task(model.complete(request())) for _ in range(12)]
            await settle()
            endpoint = model._endpoint
            for call in calls:
                call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
            assert endpoint.slots.taken == 0
            assert all(replica.in_flight == 0 for replica in endpoint._replicas)
            await model.aclose()
            assert all(timeouts.deadlines._timer is None for timeouts in endpoint._timeouts.values())
            assert len(asyncio.all_tasks()) <= 2 + stub.connections  # this one, what waits for it, and the server's

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_deadline_is_a_timeout_and_a_cancelled_call_is_cancelled():
    async def main():
        async with Stub(HANG) as stub:
            model = OpenAIModel("m", "x", stub.url, timeout=0.03, retries=0)
            late = await asyncio.gather(*(model.complete(request()) for _ in range(10)))
            assert {answer.error for answer in late} == {"no answer within 0.03 s"}
            # cancelled by both: the caller's wish is what counts
            call = asyncio.create_task(model.complete(request()))
            (deadlines,) = (timeouts.deadlines for timeouts in model._endpoint._timeouts.values())
            while call not in deadlines._due:
                await asyncio.sleep(0)
            deadlines._due[call] = 0.0
            deadlines._sweep()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert not deadlines._late
            await model.aclose()

    asyncio.run(main())


def test_models_of_different_patience_share_an_endpoint():
    async def main():
        async with Stub(HANG, said()) as stub:
            short = OpenAIModel("m", "x", stub.url, timeout=0.03, retries=0)
            long = OpenAIModel("n", "y", stub.url, timeout=60)
            first = asyncio.create_task(short.complete(request()))
            while not stub.bodies:
                await asyncio.sleep(0)
            assert (await long.complete(request())).status is Status.OK
            assert (await first).error == "no answer within 0.03 s"
            assert isinstance(short._endpoint, Endpoint)
            assert short._endpoint is long._endpoint
            await close(short, long)

    asyncio.run(main())
