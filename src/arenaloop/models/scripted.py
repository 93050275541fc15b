"""A Python function as a model: for tests, baselines and the sandbox's players and judge."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from arenaloop.models.reasoning import part_reasoning
from arenaloop.normal_form import is_blank
from arenaloop.types import Completion, Request, Status, content_hash

__all__ = ["ScriptedModel"]

Script = Callable[[Request], "str | Completion | Awaitable[str | Completion]"]


class ScriptedModel:
    """A model whose answers come from a function of the request.

    Args:
        name: what leaderboards call it.
        script: returns the text for a request, which is read as a server's reply is, or a whole `Completion`; may be a
            coroutine function. An exception that it raises becomes a completion with status `ERROR`.
        version: distinguishes scripts of one name in the store; change it when the function's answers change.
        concurrency: how many requests may be in flight (only matters for coroutine scripts).
    """

    def __init__(self, name: str, script: Script, *, version: object = 0, concurrency: int = 64) -> None:
        self.name = name
        self.fingerprint = content_hash("scripted", name, version)
        self.concurrency = concurrency
        self._script = script

    async def complete(self, request: Request) -> Completion:
        """Run the script on one request."""
        start = time.perf_counter()
        try:
            answer = self._script(request)
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception as error:  # a broken script is a failed call, as a broken server would be
            seconds = time.perf_counter() - start
            return Completion(status=Status.ERROR, error=f"{type(error).__name__}: {error}", usd=0.0, seconds=seconds)
        if isinstance(answer, Completion):
            return answer
        reasoning, text, _ = part_reasoning(answer, asked=[message["content"] for message in request.messages])
        return Completion(
            text=text,
            status=Status.EMPTY if is_blank(text) else Status.OK,
            finish_reason="stop",
            reasoning=reasoning,
            usd=0.0,
            seconds=time.perf_counter() - start,
        )

    async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
        """Run the script on each request in order."""
        for request in requests:
            yield request, await self.complete(request)

    async def aclose(self) -> None:
        """Nothing to release."""
