"""A model whose answers come from engines on a Ray cluster."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from arenaloop.calls.open_weights.actors import Wanted
from arenaloop.calls.open_weights.base import VLLM, Adapter
from arenaloop.calls.open_weights.pool import Cause, Pool, pool_of
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.models.openai_wire import with_system
from arenaloop.types import Completion, Request, Status, content_hash

__all__ = ["RayWeights"]


class RayWeights:
    """Weights in engines on a cluster, asked as any model is. Models of the same weights share the engines.

    Args:
        name: what leaderboards call it.
        wanted: the engines.
        adapter: a LoRA adapter that answers; None = the weights alone.
        system: a system prompt, put before conversations and before their own.
        concurrency: calls in flight, all engines together.
    """

    def __init__(
        self, name: str, wanted: Wanted, *, adapter: Adapter | None, system: str | None, concurrency: int
    ) -> None:
        self.name, self.system, self.concurrency = name, system, concurrency
        self._adapter, self._wanted = adapter, wanted
        self.pool: Pool = pool_of(wanted)
        self.pool.join(self, adapter, concurrency)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Content hash of weights, adapter, dtype, window, system prompt and whatever else the engine is told.

        How many engines there are, and on how many GPUs each, is no part of it.
        """
        settings = self._wanted.settings
        adapter = None if self._adapter is None else _adapter_hash(self._adapter)
        other = () if self._wanted.engine == VLLM else (self._wanted.engine,)
        return content_hash(
            "ray-vllm", self.pool.weights, settings.dtype, settings.max_model_len, dict(settings.more),
            settings.reasoning_tags, adapter, self.system, *other,
        )  # fmt: skip

    async def complete(self, request: Request) -> Completion:
        """Answer one request; an engine that is lost meanwhile is no failure, since another is asked.

        Raises:
            ConfigError: the workers' environment cannot hold the engine.
            EndpointDownError: no engine is left.
        """
        started = time.perf_counter()
        if self.system is not None:
            request = replace(request, messages=tuple(with_system(request.messages, self.system)))
        self.pool.join(self, self._adapter, self.concurrency)
        told, calls = await self.pool.ask(request, self._adapter)
        seconds = time.perf_counter() - started
        if isinstance(told, Cause):
            return Completion(status=Status.ERROR, error=told.why, usd=0.0, seconds=seconds, calls=calls)
        return replace(told, usd=0.0, seconds=seconds, calls=calls if told.calls else 0)

    async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
        """Answer many requests, `concurrency` at a time, yielding each with its completion as it arrives."""
        left = iter(requests)
        going: dict[asyncio.Task[Completion], Request] = {}
        try:
            while True:
                while len(going) < self.concurrency and (request := next(left, None)) is not None:
                    going[asyncio.create_task(self.complete(request))] = request
                if not going:
                    return
                done, _ = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield going.pop(task), task.result()
        finally:
            for task in going:
                task.cancel()

    async def aclose(self) -> None:
        """Let go of the engines: they end when another model needs their place, or with the command."""
        self.pool.leave(self)


def _adapter_hash(adapter: Adapter) -> str:
    """What identifies an adapter's weights; its name is none of it."""
    return checkpoint_fingerprint(Path(adapter.path))
