"""What goes wrong at a server: what passes, what stays, and when the run stops; nothing sleeps."""

from __future__ import annotations

import asyncio
import gzip
import random
import re
from contextlib import AsyncExitStack

import pytest
from misbehaving_server import HANG, RESET, Clock, Stub, ask, http, request, said

from arenaloop.errors import EndpointDownError
from arenaloop.models.advice import advice
from arenaloop.models.base import NOTICE
from arenaloop.models.openai_api import OpenAIModel, Price
from arenaloop.types import Status

BREAKS = r"(Client\w+|ServerDisconnected|ContentLength)Error: "
PASSING = [
    *((http(status, {"error": {"message": "no\n \x1b[2J way"}}), rf"HTTP {status}: no \[2J way$")
      for status in (408, 409, 425, 429, 500, 502, 503, 529)),
    (RESET, BREAKS),
    (http(200, b'{"choices": [{"mess'), "HTTP 200: not JSON"),
    (http(200, b'{"choices"', "Connection: close", length=1000), BREAKS),
    (http(200, b'{"choices"', "Content-Encoding: gzip"), BREAKS),
    (http(200, {"error": {"message": "overloaded", "code": 502}}), "HTTP 200 with error 502: overloaded$"),
    (http(200, {"choices": []}), "HTTP 200: no choices in the reply"),
    (http(200, [1]), "HTTP 200: not a JSON object$"),
    (http(200, {"choices": [{"message": {"content": 7}}]}), "HTTP 200: a message's content is not a text$"),
    (http(200, {"choices": [{"finish_reason": "stop"}]}), "HTTP 200: no message in the reply's first choice$"),
    (http(200, b"\xff\xfe"), "HTTP 200: not JSON"),
    (http(200, b""), "HTTP 200: an empty body$"),
    (b"rubbish\r\n\r\n", r"ClientResponseError: "),
]  # fmt: skip
"""What a server does, and what is told of it when it goes on."""
FOREIGN = [
    (http(200, b"<html>a proxy</html>"), "HTTP 200: a page of HTML, not an answer: a proxy$"),
    (http(200, b'data: {"id": 1}\n\ndata: [DONE]\n'), "HTTP 200: a stream of events, which was not asked for: data"),
]
"""Bodies of a 200 that no chat API gives, and what is told of them."""


@pytest.mark.parametrize("fault", [fault for fault, _ in PASSING])
def test_a_fault_that_passes_is_tried_again(fault):
    completion, stub, waits = ask(fault, fault, said("at last"))
    assert (completion.text, completion.status, completion.calls) == ("at last", Status.OK, 3)
    assert len(stub.bodies) == 3
    assert len(waits) == 2
    assert 0 <= waits[0] <= 0.5
    assert 0 <= waits[1] <= 1.0


@pytest.mark.parametrize(("fault", "error"), PASSING)
def test_a_fault_that_stays_is_a_completion(fault, error):
    completion, stub, waits = ask(fault, retries=3, price=Price(1, 1))
    assert completion.status is Status.ERROR
    assert re.match(error, completion.error)
    assert (completion.calls, len(stub.bodies), len(waits)) == (4, 4, 3)
    assert completion.text == ""
    # what the server turned down is free; what came late or broken, or cannot be read, may have been charged each time
    free = re.match("HTTP (409|425|429|500|503|529)", error)
    assert completion.usd_estimated == completion.usd
    once = ask(fault, retries=0, price=Price(1, 1))[0].usd
    assert completion.usd == (0 if free else pytest.approx(4 * once))
    assert once >= (0 if free else 512 / 1e6)  # nothing is known of its answers: as long as they may be


@pytest.mark.parametrize(("fault", "error"), FOREIGN)
def test_what_is_no_chat_api_is_tried_twice(fault, error):
    completion, stub, waits = ask(fault, retries=6, price=Price(1, 1))
    assert re.match(error, completion.error)
    assert (completion.calls, len(stub.bodies), len(waits)) == (2, 2, 1)
    assert ask(fault, said("at last"))[0].text == "at last"  # a proxy's page while the server behind it restarts
    assert ask(fault, retries=0)[0].calls == 1


@pytest.mark.parametrize("fault", [fault for fault, _ in FOREIGN])
def test_a_server_that_gave_answers_is_tried_on_after_a_page(fault):
    async def main():
        async with Stub(said("one"), fault, fault, fault, said("two")) as stub:
            model = OpenAIModel("m", "x", stub.url, sleep=Clock().sleep)
            told = [(await model.complete(request())).text for _ in range(2)]
            await model.aclose()
            return told

    assert asyncio.run(main()) == ["one", "two"]


def test_a_login_page_stops_the_run_early():
    """Seven tries of twenty calls each bought a page that no try mends."""

    async def many(model):
        for _ in range(40):
            await model.complete(request())

    async def main():
        async with Stub(FOREIGN[0][0]) as stub:
            model = OpenAIModel("m", "x", stub.url, concurrency=1, sleep=Clock().sleep)
            with pytest.raises(EndpointDownError, match="a page of HTML"):
                await many(model)
            await model.aclose()
            return len(stub.bodies)

    assert asyncio.run(main()) <= 40


def test_a_reply_without_end_is_left_where_it_is_too_long(monkeypatch):
    monkeypatch.setattr("arenaloop.models.bounded.LONGEST_REPLY", 1 << 20)
    packed = http(200, gzip.compress(b" " * (2 << 20)), "Content-Encoding: gzip")
    for reply in (packed, http(200, b" " * (2 << 20), "Connection: close", length=1 << 40)):
        completion, _, _ = ask(reply, said("at last"), retries=1)
        assert (completion.text, completion.calls) == ("at last", 2)
        completion, _, _ = ask(reply, retries=0)
        assert completion.error == "ClientPayloadError: the reply is longer than 1 MB"


def test_a_server_that_hangs_is_left_after_the_timeout():
    completion, _, _ = ask(HANG, said("at last"), timeout=0.3)
    assert (completion.text, completion.calls) == ("at last", 2)
    completion, _, waits = ask(HANG, timeout=0.2, retries=2)
    assert (completion.status, completion.calls, len(waits)) == (Status.ERROR, 3, 2)
    assert completion.error == "no answer within 0.2 s"


def test_a_server_that_only_hangs_is_given_up_by_tries_not_by_calls():
    """With 120 s a try and seven tries a call, twenty failed calls would take half an hour."""

    async def main():
        async with Stub(HANG) as stub:
            model = OpenAIModel("m", "x", stub.url, timeout=0.2, retries=30, concurrency=4, sleep=Clock().sleep)
            with pytest.raises(EndpointDownError, match=r"the first 20 calls; last: no answer within 0\.2 s"):
                await asyncio.gather(*(model.complete(request()) for _ in range(4)))
            await model.aclose()
            return len(stub.bodies)

    assert asyncio.run(main()) <= 24


@pytest.mark.parametrize("replicas", [1, 3])
def test_among_mixed_faults_nothing_is_lost_and_every_request_is_counted(replicas):
    chance = random.Random(replicas)
    faults = [fault for fault, _ in (*PASSING, *FOREIGN)] + [
        http(429, {}, "Retry-After: 1"),
        http(503, {}, "retry-after-ms: 50"),
    ]

    async def answer(body):
        await asyncio.sleep(0)
        return chance.choice(faults) if chance.random() < 0.2 else said(body["messages"][0]["content"])

    async def main():
        async with AsyncExitStack() as stack:
            stubs = [await stack.enter_async_context(Stub(answer)) for _ in range(replicas)]
            clock = Clock()
            urls = [stub.url for stub in stubs]
            model = OpenAIModel("m", "x", urls[0], urls=urls[1:], retries=9, sleep=clock.sleep)
            done = {}
            async for asked, completion in model.complete_many([request(f"q{i}") for i in range(500)]):
                done[asked.messages[0]["content"]] = completion
            assert model._endpoint.slots.taken == 0
            await model.aclose()
            return done, stubs

    done, stubs = asyncio.run(main())
    assert {text: completion.text for text, completion in done.items()} == {f"q{i}": f"q{i}" for i in range(500)}
    sent = sum(len(stub.bodies) for stub in stubs)
    assert sum(completion.calls for completion in done.values()) == sent
    assert 580 <= sent <= 680
    assert all(len(stub.bodies) >= 100 for stub in stubs)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_says_when_to_come_back_is_asked_more_patiently(status):
    wait = http(status, {"error": {"message": "later"}}, "Retry-After: 2")
    completion, stub, waits = ask(*[wait] * 8, said("at last"), retries=2)
    assert (completion.text, completion.calls, len(waits)) == ("at last", 9, 8)
    completion, stub, waits = ask(wait, retries=2)
    assert (completion.status, completion.error) == (Status.ERROR, f"HTTP {status}: later")
    assert completion.calls == len(stub.bodies) == 9  # four times the tries
    assert all(2 <= wait <= 2.2 for wait in waits)
    assert ask(wait, retries=0)[0].calls == 1


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (said(""), Status.EMPTY),
        (said(None, refusal="no"), Status.REFUSED),
        (said("half", finish_reason="length"), Status.TRUNCATED),
        (http(400, {"error": {"message": "filtered", "code": "content_filter"}}), Status.REFUSED),
    ],
)
def test_an_answer_of_no_use_is_an_answer_and_is_not_asked_again(reply, status):
    completion, stub, waits = ask(reply, said("never asked for"))
    assert (completion.status, completion.calls, len(stub.bodies), waits) == (status, 1, 1, [])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["Retry-After: 7"], 7.0),
        (["retry-after: 1.5"], 1.5),
        (["retry-after-ms: 250", "Retry-After: 7"], 0.25),
        (["Retry-After: 590"], 590.0),
    ],
)
def test_the_servers_wish_to_wait_is_kept(headers, seconds):
    completion, _, waits = ask(http(429, {}, *headers), said())
    assert completion.calls == 2
    assert seconds <= waits[0] <= seconds + 0.125


# ------------------------------------------------------------------ what goes wrong for good


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_permanent_failure_is_not_tried_again(status):
    completion, stub, waits = ask(http(status, {"error": {"message": "no " * 200}}, "Location: http://h/"))
    assert completion.status is Status.ERROR
    assert completion.error.startswith(f"HTTP {status}: no no")
    assert len(completion.error.partition("; the prompt and")[0]) == 200
    assert (completion.calls, len(stub.bodies), waits) == (1, 1, [])


def test_an_exhausted_quota_is_not_tried_again_and_a_filtered_prompt_is_refused():
    completion, _, _ = ask(http(429, {"error": {"message": "quota", "code": "insufficient_quota"}}))
    assert (completion.status, completion.calls) == (Status.ERROR, 1)
    completion, _, _ = ask(http(400, {"error": {"message": "filtered", "code": "content_filter"}}))
    assert (completion.status, completion.finish_reason) == (Status.REFUSED, "content_filter")


def test_a_forgotten_v1_is_hinted_at():
    async def main():
        async with Stub(http(404, b"Not Found")) as stub:
            model = OpenAIModel("m", "x", stub.url.removesuffix("/v1"))
            completion = await model.complete(request())
            await model.aclose()
            return completion

    assert "mostly ends in /v1" in asyncio.run(main()).error


def test_a_server_that_is_not_there_stops_the_run():
    async def main():
        async with Stub(said()) as stub:
            pass
        clock = Clock()
        model = OpenAIModel("m", "x", stub.url, sleep=clock.sleep, retries=2)
        with pytest.raises(EndpointDownError) as caught:
            await model.complete(request())
        await model.aclose()
        return stub.url, str(caught.value), clock.waits

    url, message, waits = asyncio.run(main())
    assert message.startswith(f"{url} cannot be reached (tried 3 times): ")
    assert "\n" not in message
    assert len(waits) == 2


def test_tls_to_a_server_without_it_stops_at_once():
    async def plain_text(reader, writer):
        writer.write(http(400, b"this is HTTP"))
        writer.close()

    async def main():
        server = await asyncio.start_server(plain_text, "127.0.0.1", 0)
        model = OpenAIModel("m", "x", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        with pytest.raises(EndpointDownError, match="tried once"):
            await model.complete(request())
        await model.aclose()
        server.close()

    asyncio.run(main())


def failing(*script, of, concurrency=1, retries=0):
    """Completions of `of` requests to a scripted server, and the message if the breaker trips."""

    async def main():
        async with Stub(*script) as stub:
            clock = Clock()
            model = OpenAIModel("m", "x", stub.url, concurrency=concurrency, retries=retries, sleep=clock.sleep)
            done = []
            try:
                async for _, completion in model.complete_many([request(str(i)) for i in range(of)]):
                    done.append(completion.status)
                return done, None
            except EndpointDownError as error:
                return done, str(error)
            finally:
                await model.aclose()

    return asyncio.run(main())


BUSY = http(503, {"error": {"message": "busy"}})
TOO_LONG = http(400, {"error": {"message": "This model's maximum context length is 4096 tokens"}})


def test_the_breaker_trips_when_the_first_twenty_calls_fail_and_not_sooner():
    done, message = failing(BUSY, of=30)
    assert done == [Status.ERROR] * 19
    assert message.endswith("failed the first 20 calls; last: HTTP 503: busy")
    done, message = failing(*[BUSY] * 19, said(), of=30)
    assert done == [Status.ERROR] * 19 + [Status.OK] * 11
    assert message is None


def test_the_breaker_trips_later_too_but_not_in_a_short_outage():
    done, message = failing(said(), BUSY, of=60)
    assert done == [Status.OK] + [Status.ERROR] * 19
    assert message.endswith("failed 20 calls in a row; last: HTTP 503: busy")
    done, message = failing(*([BUSY] * 19 + [said()]) * 3, of=60)
    assert done == [Status.ERROR] * 19 + [Status.OK]
    assert message.endswith("failed 20 of the last 21 calls; last: HTTP 503: busy")
    done, message = failing(*([BUSY] * 3 + [said()]) * 50, of=200)
    assert message is None
    assert done.count(Status.OK) == 50
    # every call in flight fails, and so does the next of each: no proof yet
    done, message = failing(said(), *[BUSY] * 99, said(), of=200, concurrency=50)
    assert message is None
    assert done.count(Status.ERROR) == 99
    done, message = failing(said(), BUSY, of=200, concurrency=50)
    assert message.endswith("failed 100 calls in a row; last: HTTP 503: busy")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": {"message": "bad key"}}),
        (403, {"error": {"message": "no access"}}),
        (404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}),
        (400, {"error": {"message": "no such model", "code": "model_not_found"}}),
        (429, {"error": {"message": "quota", "code": "insufficient_quota"}}),
    ],
)
def test_a_model_that_cannot_be_asked_stops_the_run_after_a_handful(status, body):
    done, message = failing(http(status, body), of=30)
    assert done == [Status.ERROR] * 4
    told = f"HTTP {status}: {body['error']['message']}"
    assert message.endswith(f"failed the first 5 calls of model 'x'{advice(told)}; last: {told}")


def test_a_request_that_every_server_would_refuse_is_told_from_one_that_none_can_answer():
    done, message = failing(http(400, {"error": {"message": "unknown field"}}), of=30)
    assert done == [Status.ERROR] * 19
    assert "failed the first 20 calls of model 'x'" in message
    # nothing was answered, so what no request can be answered with may be in the settings
    done, message = failing(TOO_LONG, of=60)
    assert done == [Status.ERROR] * 29
    assert "failed the first 30 calls of model 'x'; last: " in message
    assert message.endswith("sampling.max_tokens (512) must fit into the context together: lower it")  # told once


def test_a_wrong_model_is_not_blamed_on_the_others_of_its_server():
    async def answer(body):
        return said() if body["model"] == "right" else http(404, {"error": {"message": "no such model"}})

    async def main():
        async with Stub(answer) as stub:
            right, wrong = (OpenAIModel(name, name, stub.url, concurrency=1) for name in ("right", "wrong"))
            fine = [(await right.complete(request())).status]
            for _ in range(4):
                assert (await wrong.complete(request())).status is Status.ERROR
            with pytest.raises(EndpointDownError, match="first 5 calls of model 'wrong'"):
                await wrong.complete(request())
            fine += [(await right.complete(request())).status for _ in range(30)]
            assert right._endpoint is wrong._endpoint
            assert right._endpoint.breaker.failing == 0
            await right.aclose()
            await wrong.aclose()
            return fine

    assert asyncio.run(main()) == [Status.OK] * 31


# ------------------------------------------------------------------ legitimate mixtures


@pytest.mark.parametrize(
    "refusal",
    [TOO_LONG, http(413, b"too large"), http(400, {"error": {"message": "we do not talk of that"}})],
    ids=["length", "size", "unknown words"],
)
@pytest.mark.parametrize("refused", [1, 5, 9])
def test_where_some_prompts_are_refused_and_some_answered_nothing_stops(refusal, refused):
    done, message = failing(*([refusal] * refused + [said()]) * 30, of=30 * (refused + 1), concurrency=4)
    assert message is None
    assert (done.count(Status.OK), done.count(Status.ERROR)) == (30, 30 * refused)


def test_prompts_that_are_refused_at_the_end_are_no_sign_of_anything():
    done, message = failing(said(), TOO_LONG, of=300)
    assert message is None
    assert len(done) == 300


def test_a_server_that_begins_to_refuse_every_form_stops_the_run():
    done, message = failing(said(), http(400, {"error": {"message": "unknown field"}}), of=300)
    assert done == [Status.OK] + [Status.ERROR] * 94
    assert "failed 95 calls in a row of model 'x' (check sampling, extra_body and drop_params)" in message


@pytest.mark.parametrize("answered_before", [False, True])
def test_a_model_that_answered_in_an_earlier_run_may_be_left_with_what_it_refuses(answered_before):
    async def main():
        async with Stub(TOO_LONG) as stub:
            model = OpenAIModel("m", "x", stub.url)
            if answered_before:
                model.answered_before()
            try:
                return [(await model.complete(request(str(i)))).status for i in range(60)]
            except EndpointDownError as error:
                return str(error)
            finally:
                await model.aclose()

    found = asyncio.run(main())
    assert (found == [Status.ERROR] * 60) is answered_before


@pytest.mark.parametrize(("fails", "limit"), [(10_000, 16), (150, 64)], ids=["for good", "an outage"])
def test_a_server_that_answers_nothing_any_more_is_sent_fewer_and_fewer(fails, limit):
    """It is given up after twice the calls in flight and twenty calls' further tries, none of them paid for."""

    async def main():
        async with Stub(*[said()] * 100, *[BUSY] * fails, said()) as stub:
            model = OpenAIModel("m", "x", stub.url, concurrency=64, retries=6, sleep=Clock().sleep)
            done, message = [], None
            try:
                async for _, completion in model.complete_many([request(str(i)) for i in range(600)]):
                    done.append(completion.status)
            except EndpointDownError as error:
                message = str(error)
            left = model._endpoint.slots.limit
            await model.aclose()
            return done, message, left, len(stub.bodies) - 100

    done, message, left, sent = asyncio.run(main())
    assert left == limit
    if fails == 150:
        assert done == [Status.OK] * 600  # the others waited, and kept their tries
    else:
        assert re.search(r"/v1 failed 248 (calls in a row|of the last \d+ calls); last: HTTP 503: busy$", message)
        assert sent <= 2 * 64 + 6 * 20 + 16  # and those in flight
        assert done.count(Status.ERROR) < 64


# ------------------------------------------------------------------ tries, not only calls


@pytest.mark.parametrize("fault", [BUSY, RESET, http(200, b"<html>login</html>")], ids=["503", "reset", "html"])
def test_a_server_that_lets_one_try_in_twenty_through_is_given_up(fault):
    """Most calls are answered at last, so that no row of failed calls is long; but nearly all requests are in vain."""
    done, message = failing(*([said()] * 20 + ([fault] * 19 + [said()]) * 60), of=120, concurrency=4, retries=6)
    assert re.search(r"failed 140 of the last 1\d\d calls", message)
    assert len(done) >= 20


def test_a_server_that_fails_two_tries_in_three_is_asked_to_the_end():
    done, message = failing(*([BUSY] * 2 + [said()]) * 200, of=120, concurrency=4, retries=6)
    assert message is None
    assert done.count(Status.OK) > 110


def test_a_server_that_says_it_is_too_busy_is_not_broken_while_calls_get_through():
    """With a rate that is lower than the calls at once most tries are told to wait, and all are answered at last."""
    busy = http(429, {"error": {"message": "slow down"}}, "Retry-After: 1")
    done, message = failing(*([busy] * 19 + [said()]) * 60, of=60, concurrency=1, retries=6)
    assert message is None
    assert done == [Status.OK] * 60
    done, message = failing(said(), http(429, {"error": {"message": "slow down"}}), of=60, retries=2)
    assert "(lower concurrency, or set rpm and tpm); last: HTTP 429: slow down" in message


def test_a_server_that_begins_to_hang_is_given_up_by_tries():
    async def main():
        async with Stub(said(), HANG) as stub:
            model = OpenAIModel("m", "x", stub.url, timeout=0.2, retries=30, concurrency=4, sleep=Clock().sleep)
            with pytest.raises(EndpointDownError, match=r"20 calls in a row; last: no answer within 0\.2 s"):
                await asyncio.gather(*(model.complete(request()) for _ in range(5)))
            await model.aclose()
            return len(stub.bodies)

    assert asyncio.run(main()) <= 25


def test_pauses_grow_with_the_share_of_failures(monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 1.0)
    _, _, calm = ask(*[BUSY] * 3, said(), retries=3)
    assert calm == [0.5, 1.0, 2.0]

    async def main():
        async with Stub(BUSY) as stub:
            clock = Clock()
            model = OpenAIModel("m", "x", stub.url, retries=3, sleep=clock.sleep)
            for _ in range(19):
                await model.complete(request())
            await model.aclose()
            return clock.waits

    waits = asyncio.run(main())
    assert waits[:3] == [0.5, 1.0, 2.0]
    assert 1.2 < waits[-3] < 2.0  # 75 of the 100 that the window holds have failed by then


# ------------------------------------------------------------------ Retry-After


def asked_to_wait(*script, **options):
    """The notices while one call is made, and its completion or the message with which the run stops."""

    async def main():
        notices: list[str] = []
        NOTICE.set(notices.append)
        async with Stub(*script) as stub:
            model = OpenAIModel("m", "x", stub.url, sleep=Clock().sleep, **options)
            try:
                return notices, (await model.complete(request())).status
            except EndpointDownError as error:
                return notices, str(error).replace(stub.url, "URL")
            finally:
                await model.aclose()

    return asyncio.run(main())


def later(wish):
    return http(429, {"error": {"message": "slow down"}}, f"Retry-After: {wish}")


def test_a_wish_to_wait_long_is_told_at_once_and_once():
    notices, status = asked_to_wait(later(90), later(90), said())
    assert status is Status.OK
    assert re.sub("http.*/v1", "URL", notices[0]) == "URL asks to wait 90 s: HTTP 429: slow down"
    assert len(notices) == 1
    assert asked_to_wait(later(59), said()) == ([], Status.OK)


@pytest.mark.parametrize("wish", ["86400", "Wed, 21 Oct 2099 07:28:00 GMT", "1e300", "601"])
def test_a_wish_to_wait_too_long_stops_the_run_and_says_until_when(wish):
    notices, message = asked_to_wait(later(wish), said())
    assert re.match(r"URL asks to wait [\d,]+ (h|min), until \d{4}-\d\d-\d\d \d\d:\d\d UTC, which is longer", message)
    assert message.endswith("longest_wait (10 min): HTTP 429: slow down; the same command goes on then")
    assert notices == []
    assert asked_to_wait(later(601), said(), longest_wait=700)[1] is Status.OK
