"""The Batch API's files and control calls, against the sandbox's server with faults put in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from arenaloop.errors import EndpointDownError
from arenaloop.models.batch_lines import Batch, read_result, request_line
from arenaloop.models.openai_batch import BatchEndpoint, UnknownBatchError
from arenaloop.models.openai_wire import Price, Reader
from arenaloop.sandbox.batch_api import BatchApi
from arenaloop.sandbox.server import running_server
from arenaloop.types import Status

REPLY = {
    "choices": [{"message": {"role": "assistant", "content": "Scores: 7 5"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 100_000},
}


def result(**row: Any) -> bytes:
    return json.dumps({"id": "r", "custom_id": "k", "response": None, "error": None} | row).encode()


# ---------------------------------------------------------------------- lines


def test_a_request_line_holds_the_live_body() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": 'q"ü\n'}]}, ensure_ascii=False).encode()
    line = request_line("0" * 32, body)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "custom_id": "0" * 32,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": json.loads(body),
    }


def test_an_answer_is_read_as_a_live_one_and_costs_the_batch_s_share() -> None:
    price = Price(2.0, 8.0, batch=0.5)
    key, completion, _ = read_result(
        result(response={"status_code": 200, "request_id": "q", "body": REPLY}), Reader(price)
    )
    assert key == "k"
    assert completion.text == "Scores: 7 5"
    assert (completion.tokens_in, completion.tokens_out) == (1_000_000, 100_000)
    assert completion.usd == pytest.approx(0.5 * (2.0 + 0.8))
    assert completion.calls == 1
    assert completion.seconds == 0.0


def test_without_a_price_the_cost_is_unknown() -> None:
    _, completion, _ = read_result(result(response={"status_code": 200, "body": REPLY}))
    assert completion.usd is None


@pytest.mark.parametrize(
    ("row", "status", "reason", "calls"),
    [
        ({"error": {"code": "batch_expired", "message": "too late"}}, Status.ERROR, "batch_expired: too late", 0),
        ({"error": {"code": "batch_cancelled", "message": "stopped"}}, Status.ERROR, "batch_cancelled: stopped", 0),
        ({"error": {"code": "request_timeout", "message": "slow"}}, Status.ERROR, "request_timeout: slow", 1),
        ({}, Status.ERROR, "no response", 1),
        ({"response": {"status_code": 200, "body": {}}}, Status.ERROR, "HTTP 200: no choices", 1),
        ({"response": {"status_code": 500, "body": {"error": {"message": "down"}}}}, Status.ERROR, "HTTP 500: down", 1),
        (
            {"response": {"status_code": 400, "body": {"error": {"code": "content_filter", "message": "no"}}}},
            Status.REFUSED,
            None,
            1,
        ),
    ],
)
def test_failed_lines_have_their_reason(row: dict[str, Any], status: Status, reason: str | None, calls: int) -> None:
    _, completion, _ = read_result(result(**row), Reader(Price(1.0, 1.0)))
    assert completion.status is status
    assert completion.calls == calls
    if reason is None:
        assert completion.error is None
    else:
        assert completion.error is not None
        assert completion.error.startswith(reason)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"3", b"null", b'{"response": {}}', b'{"custom_id": 3}', b"\xff"])
def test_what_is_no_result_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="result line"):
        read_result(line)


def test_a_reason_shows_no_key_and_stays_one_line() -> None:
    _, completion, _ = read_result(result(error={"code": "x", "message": "bad sk-abcdefghijkl\n" + "y" * 500}))
    assert completion.error is not None
    assert "sk-" not in completion.error
    assert "\n" not in completion.error
    assert len(completion.error) <= 200


def test_what_servers_write_as_text_is_read() -> None:
    body = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]})
    for response in ({"status_code": "200", "body": json.loads(body)}, {"status_code": 200, "body": body}):
        _, completion, _ = read_result(json.dumps({"custom_id": "x", "response": response}).encode())
        assert (completion.text, completion.status) == ("a", Status.OK)


def test_a_batch_of_odd_parts_is_a_batch() -> None:
    odd = {"total": float("inf"), "completed": "many", "failed": -1}
    batch = Batch.of({"id": 5, "status": "completed", "request_counts": odd, "errors": ["no"]})
    assert (batch.total, batch.completed, batch.failed, batch.reason) == (0, 0, 0, "")


def test_a_list_that_never_ends_is_left() -> None:
    class Lists(BatchEndpoint):
        pages = 0

        async def _get(self, path: str, **options: Any) -> dict[str, Any]:
            self.pages += 1
            return {"data": [{"id": f"b{self.pages % 2}", "metadata": "none"}, 5], "has_more": True}

    assert asyncio.run(Lists("http://127.0.0.1:1/v1").find("file", "tag")) is None


def test_a_list_of_ever_new_batches_stops_the_run_before_a_batch_is_made_twice() -> None:
    class Lists(BatchEndpoint):
        pages = 0

        async def _get(self, path: str, **options: Any) -> dict[str, Any]:
            self.pages += 1
            return {"data": [{"id": f"b{self.pages}"}], "has_more": True}

    with pytest.raises(EndpointDownError, match="longer than 200 pages"):
        asyncio.run(Lists("http://127.0.0.1:1/v1").find("file", "tag"))


@pytest.mark.parametrize(
    "name", ["../files/x", "a/../b", "..", "x?y=1", "x#y", "x y", "x\r\nX-Evil: 1", "/x", "x//y", "x" * 600]
)
def test_an_id_that_leads_elsewhere_is_no_id(name: str) -> None:
    for row in ({"id": name}, {"id": "b", "output_file_id": name}, {"id": "b", "error_file_id": name}):
        with pytest.raises(ValueError, match="cannot be an id"):
            Batch.of({"status": "completed", **row})


@pytest.mark.parametrize(
    "name", ["batch_abc123", "file-1", 5, "projects/1/locations/eu/batches/2", "urn:x:1", "a.jsonl"]
)
def test_ids_that_servers_give_are_ids(name: str | int) -> None:
    assert Batch.of({"id": name, "status": "completed", "output_file_id": name}).output_file == str(name)


def test_a_batch_that_failed_names_the_first_error() -> None:
    errors = {"data": [{"code": "invalid", "message": "no model", "line": 3}, {"code": "x", "message": "y"}]}
    batch = Batch.of({"id": "b", "status": "failed", "errors": errors, "created_at": 5, "failed_at": 9})
    assert not batch.running
    assert batch.reason == "line 3: no model (and 1 more)"
    assert (batch.created_at, batch.ended_at) == (5.0, 9.0)


# ---------------------------------------------------------------------- control calls


CUT_OFF = 0  # stands for a status: half of the body, then the connection is closed


async def cut_off(request: web.Request, reply: web.StreamResponse) -> web.StreamResponse:
    assert isinstance(reply, web.Response)
    assert isinstance(reply.body, bytes)
    half = web.StreamResponse(headers={"Content-Length": str(len(reply.body))})
    await half.prepare(request)
    await half.write(reply.body[: len(reply.body) // 2])
    assert request.transport is not None
    request.transport.close()
    return half


class Faulty(BatchApi):
    """Answers control calls with the faults that a test lines up, by (method, start of the path)."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[tuple[str, str, int, bool]] = []
        self.keys: set[str] = set()

    def add_routes(self, app: web.Application, answer: Callable[[bytes], web.Response]) -> None:
        @web.middleware
        async def fail(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self.keys.add(request.headers.get("Authorization", ""))
            for n, (method, path, status, done) in enumerate(self.faults):
                if request.method == method and request.path.startswith(path):
                    del self.faults[n]
                    if status == CUT_OFF:
                        return await cut_off(request, await handler(request))
                    if done:  # the server has done it, and its reply is lost
                        await handler(request)
                    return web.json_response({"error": {"message": "not now sk-0123456789"}}, status=status)
            return await handler(request)

        app.middlewares.append(fail)
        super().add_routes(app, answer)


@pytest.fixture
def api() -> Faulty:
    return Faulty()


@pytest.fixture
def url(api: Faulty) -> Iterator[str]:
    with running_server(batches=api) as url:
        yield url


class Pauses(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def asked(url: str, what: Callable[[BatchEndpoint], Awaitable[Any]], retries: int = 3) -> Any:
    async def main() -> Any:
        endpoint = BatchEndpoint(url, retries=retries, sleep=Pauses())
        try:
            return await what(endpoint)
        finally:
            await endpoint.aclose()

    return asyncio.run(main())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    body = {"model": "judge", "messages": [{"role": "user", "content": "hello"}]}
    path.write_bytes(b"".join(request_line(f"k{n}", json.dumps(body).encode()) for n in range(20)))
    return path


def test_upload_create_poll_and_read(api: Faulty, url: str, file: Path) -> None:
    async def whole(endpoint: BatchEndpoint) -> list[str]:
        name = await endpoint.upload(file)
        batch = await endpoint.create(name, "tag")
        assert batch.running
        assert (await endpoint.get(batch.id)).running
        batch = await endpoint.get(batch.id)
        assert (batch.status, batch.total, batch.completed) == ("completed", 20, 20)
        assert batch.output_file is not None
        return [read_result(line)[0] async for line in endpoint.lines(batch.output_file, 20)]

    found = asked(url, whole)
    assert sorted(found) == sorted(f"k{n}" for n in range(20))
    assert found != [f"k{n}" for n in range(20)]  # in another order
    assert api.files[next(iter(api.files))] == file.read_bytes()
    assert next(iter(api.batches.values()))["metadata"] == {"arenaloop": "tag"}


def test_a_download_that_is_left_is_closed(url: str, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def first(endpoint: BatchEndpoint) -> bytes:
        name = await endpoint.upload(file)
        async with aclosing(endpoint.lines(name, 20)) as lines:
            async for line in lines:
                return line
        raise AssertionError("no line")

    assert b'"k0"' in asked(url, first)
    assert caplog.records == []  # where asyncio tells of what was left open


def test_a_key_in_what_comes_back_is_taken_out(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_KEY", "sk-of-twenty-letters-or-so")
    echo = tmp_path / "echo.jsonl"
    body = {"model": "judge", "messages": [{"role": "user", "content": "Bearer sk-of-twenty-letters-or-so"}]}
    echo.write_bytes(request_line("k", json.dumps(body).encode()))

    async def main() -> list[bytes]:
        endpoint = BatchEndpoint(url, key_env="BATCH_KEY", sleep=Pauses())
        try:
            return [line async for line in endpoint.lines(await endpoint.upload(echo), 1)]
        finally:
            await endpoint.aclose()

    [line] = asyncio.run(main())
    assert b"Bearer [key]" in line
    assert b"twenty" not in line


def test_a_download_that_breaks_off_begins_again(api: Faulty, url: str, file: Path) -> None:
    """Lines may come twice, none is missing, and half a line is no line."""
    api.looks = 0
    api.faults = [("GET", "/v1/files/", CUT_OFF, False)]

    async def whole(endpoint: BatchEndpoint) -> list[str]:
        batch = await endpoint.create(await endpoint.upload(file), "tag")
        batch = await endpoint.get(batch.id)
        assert batch.output_file is not None
        return [read_result(line)[0] async for line in endpoint.lines(batch.output_file, 20)]

    found = asked(url, whole)
    assert api.faults == []
    assert set(found) == {f"k{n}" for n in range(20)}
    assert len(found) >= 20


@pytest.mark.parametrize("status", [400, 401, 403])
def test_what_does_not_pass_is_tried_once(api: Faulty, url: str, file: Path, status: int) -> None:
    api.faults = [("POST", "/v1/files", status, False)] * 2
    with pytest.raises(EndpointDownError, match=rf"POST /files: HTTP {status}: not now"):
        asked(url, lambda endpoint: endpoint.upload(file))
    assert len(api.faults) == 1


def test_a_batch_that_the_server_does_not_know_is_told_apart(url: str) -> None:
    with pytest.raises(UnknownBatchError, match="no such batch"):
        asked(url, lambda endpoint: endpoint.get("batch_0"))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_faults_are_tried_again(api: Faulty, url: str, file: Path, status: int) -> None:
    api.faults = [
        ("POST", "/v1/files", status, False),
        ("POST", "/v1/batches", status, False),
        ("GET", "/v1/batches/", status, False),
        ("GET", "/v1/files/", status, False),
    ]
    api.looks = 0

    async def whole(endpoint: BatchEndpoint) -> int:
        batch = await endpoint.create(await endpoint.upload(file), "tag")
        batch = await endpoint.get(batch.id)
        assert batch.output_file is not None
        return len([line async for line in endpoint.lines(batch.output_file, 20)])

    assert asked(url, whole) == 20
    assert api.faults == []
    assert len(api.batches) == 1


def test_a_batch_whose_reply_was_lost_is_found_and_not_made_twice(api: Faulty, url: str, file: Path) -> None:
    api.faults = [("POST", "/v1/batches", 500, True)]

    async def whole(endpoint: BatchEndpoint) -> Batch:
        return await endpoint.create(await endpoint.upload(file), "tag")

    batch = asked(url, whole)
    assert list(api.batches) == [batch.id]


def test_a_batch_is_found_on_a_later_page_and_without_metadata(api: Faulty, url: str, file: Path) -> None:
    async def whole(endpoint: BatchEndpoint) -> tuple[Batch | None, Batch | None, Batch | None]:
        name = await endpoint.upload(file)
        made = await endpoint.create(name, "tag")
        other = await endpoint.upload(file)
        for n in range(150):
            await endpoint.create(other, f"other {n}")
        by_tag = await endpoint.find("elsewhere", "tag")
        api.batches[made.id]["metadata"] = None
        by_file = await endpoint.find(name, "tag")
        return by_tag, by_file, await endpoint.find("elsewhere", "tag")

    by_tag, by_file, nowhere = asked(url, whole)
    assert by_tag is not None
    assert by_file is not None
    assert by_tag.id == by_file.id == next(iter(api.batches))
    assert nowhere is None


def test_a_server_without_batches_says_so(url: str, file: Path) -> None:
    with pytest.raises(EndpointDownError, match="may have no Batch API"):
        asked(url.removesuffix("/v1") + "/v2", lambda endpoint: endpoint.upload(file))


def test_faults_that_do_not_pass_end_with_the_reason_and_without_a_key(
    api: Faulty, url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_KEY", "very-secret")
    api.faults = [("POST", "/v1/files", 503, False)] * 3

    async def main() -> None:
        endpoint = BatchEndpoint(url, "BATCH_KEY", retries=2, sleep=Pauses())
        try:
            await endpoint.upload(file)
        finally:
            await endpoint.aclose()

    with pytest.raises(EndpointDownError) as stopped:
        asyncio.run(main())
    assert "failed 3 times: HTTP 503: not now [key]" in str(stopped.value)
    assert api.keys == {"Bearer very-secret"}


def test_a_server_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(EndpointDownError, match=r"127\.0\.0\.1:9: POST /files failed 2 times"):
        asked("http://127.0.0.1:9", lambda endpoint: endpoint.upload(file), retries=1)


# ---------------------------------------------------------------------- replies without end


async def _served(
    reply: Callable[[web.StreamResponse], Awaitable[None]], status: int = 200
) -> tuple[web.AppRunner, str]:
    """A server that begins each reply and goes on as it is told."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        await reply(response)
        return response

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


async def _endless(response: web.StreamResponse) -> None:
    while True:
        await response.write(b"x" * (1 << 16))


async def _blank_lines(response: web.StreamResponse) -> None:
    while True:
        await response.write(b"\n" * (1 << 16))


async def _drip(response: web.StreamResponse) -> None:
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.002)


async def _lines(endpoint: BatchEndpoint) -> list[bytes]:
    return [line async for line in endpoint.lines("f", 3)]


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("reply", [_endless, _drip, _blank_lines])
@pytest.mark.parametrize("what", ["upload", "create", "get", "lines"])
def test_a_reply_without_end_ends(
    what: str, reply: Callable[..., Any], status: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In size or in time: each stops the run, resumably, whatever call it is the reply to."""
    monkeypatch.setattr("arenaloop.models.bounded.LONGEST_REPLY", 1 << 20)
    monkeypatch.setattr("arenaloop.models.openai_batch.LONGEST_REPLY", 1 << 20)
    monkeypatch.setattr("arenaloop.models.openai_batch._LONGEST_RESULT", 1 << 16)

    async def main() -> None:
        runner, url = await _served(reply, status)
        endpoint = BatchEndpoint(url, timeout=0.2, retries=0, sleep=Pauses())
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "upload": lambda: endpoint.upload(file),
            "create": lambda: endpoint.create("f", "tag"),
            "get": lambda: endpoint.get("b"),
            "lines": lambda: _lines(endpoint),
        }
        try:
            with pytest.raises(EndpointDownError, match="failed 1 times"):
                await calls[what]()
        finally:
            await endpoint.aclose()
            await runner.cleanup()

    asyncio.run(main())


def test_a_wish_to_wait_for_a_day_stops_the_run(url: str) -> None:
    endpoint = BatchEndpoint(url, longest_wait=100, sleep=Pauses())
    with pytest.raises(EndpointDownError, match=r"asks to wait 101 s, which is longer than longest_wait \(100 s\)"):
        asyncio.run(endpoint._pause(0, 101.0))
    asyncio.run(endpoint._pause(0, 99.0))
