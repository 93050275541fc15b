"""The sandbox's Batch API refuses what OpenAI's would, and runs what it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from arenaloop.sandbox.batch_api import BatchApi
from arenaloop.sandbox.server import running_server


def ask(steps: Callable[[aiohttp.ClientSession, str], Awaitable[Any]], api: BatchApi | None = None) -> Any:
    async def main(url: str) -> Any:
        async with aiohttp.ClientSession() as session:
            return await steps(session, url)

    with running_server(batches=api) as url:
        return asyncio.run(main(url))


def form(purpose: str, content: bytes) -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("purpose", purpose)
    data.add_field("file", content, filename="requests.jsonl")
    return data


def test_a_good_and_a_bad_line_end_in_two_files() -> None:
    message = {"role": "user", "content": "hello"}
    lines = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": m, "messages": [message]},
        }
        for name, m in (("good", "parrot"), ("bad", "nobody"))
    ]

    async def steps(session: aiohttp.ClientSession, url: str) -> Any:
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        file = await (await session.post(f"{url}/files", data=form("batch", content))).json()
        wish = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = await (await session.post(f"{url}/batches", json=wish)).json()
        assert batch["status"] == "validating"
        looked = [await (await session.get(f"{url}/batches/{batch['id']}")).json() for _ in range(3)]
        assert [look["status"] for look in looked] == ["in_progress", "completed", "completed"]
        return [
            json.loads(await (await session.get(f"{url}/files/{looked[-1][name]}/content")).read())
            for name in ("output_file_id", "error_file_id")
        ]

    good, bad = ask(steps)
    assert (good["custom_id"], good["response"]["status_code"]) == ("good", 200)
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("bad", 404)


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/files", {"data": {"purpose": "batch"}}, 400),
        ("GET", "/files/file-0/content", {}, 404),
        ("GET", "/batches/batch_0", {}, 404),
        ("POST", "/batches", {"json": {"input_file_id": "file-0"}}, 400),
    ],
)
def test_what_cannot_be_is_refused(method: str, path: str, options: dict[str, Any], status: int) -> None:
    async def steps(session: aiohttp.ClientSession, url: str) -> int:
        return (await session.request(method, f"{url}{path}", **options)).status

    assert ask(steps) == status
