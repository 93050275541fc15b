"""A reward server in this process, and what OpenRLHF's client posts to one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from arenaloop.calls.budget import Budget
from arenaloop.serving.app import PATH, make_app
from arenaloop.serving.asking import Desk
from arenaloop.serving.listening import listen
from arenaloop.serving.rewarder import Rewarder
from arenaloop.serving.service import RewardService
from arenaloop.serving.wire import Fallback, KnownPrompts
from arenaloop.store import Store
from arenaloop.types import Prompt

__all__ = ["Client", "openrlhf_body", "reward_serving"]


class Client:
    """Posts to a server; `desk` and `service` are its own, `said` the lines that it says."""

    def __init__(self, url: str, desk: Desk, service: RewardService, said: list[str]) -> None:
        self.url, self.desk, self.service, self.said = url, desk, service, said

    async def post(self, body: Any, *, path: str = PATH, **more: Any) -> tuple[int, Any]:
        """Status and JSON of the reply; a body of bytes goes out as it is."""
        given = {"data": body} if isinstance(body, bytes) else {"json": body}
        headers = {"Content-Type": "application/json"} | more.pop("headers", {})
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, **given, headers=headers, **more) as reply,
        ):
            return reply.status, await reply.json()

    async def rewards(self, prompts: Sequence[Any], answers: Sequence[str], **more: Any) -> dict[str, Any]:
        """The reply to a plain batch, which has to be 200."""
        status, found = await self.post({"prompts": prompts, "answers": answers, **more})
        assert status == 200, found
        return found  # type: ignore[no-any-return]


@contextlib.asynccontextmanager
async def reward_serving(
    made: Rewarder,
    arena: Path,
    *,
    prompts: Sequence[Prompt] | None = None,
    budget: Budget | None = None,
    seconds: float = 30.0,
    fallback: float | None = None,
    key: str | None = None,
    most_characters: int = 10_000,
) -> AsyncIterator[Client]:
    """Serve for the block."""
    said: list[str] = []
    with Store(arena) as store:
        desk = Desk(store, made.judge, made.reask, made.several, budget, said.append)
        service = RewardService(made, desk, store, Fallback(fallback), seconds)
        app = make_app(service, KnownPrompts(prompts), most_characters=most_characters, key=key)
        working = asyncio.create_task(desk.work())
        runner, url = await listen(app, "127.0.0.1", 0)
        try:
            yield Client(url, desk, service, said)
        finally:
            working.cancel()
            await asyncio.wait([working])
            await runner.cleanup()
            await made.judge.aclose()


def openrlhf_body(prompt: str, answer: str, label: str) -> dict[str, list[str]]:
    """What OpenRLHF posts for one sample: the rendered prompt, and it with the answer and the end of its turn."""
    rendered = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    return {"query": [f"{rendered}{answer}<|im_end|>"], "prompts": [rendered], "labels": [label]}
