"""Any OpenAI-compatible server as a model: OpenAI itself, vLLM, llama.cpp, Ollama, a gateway.

The hot path is lean on purpose: one aiohttp session an endpoint, bodies as bytes, no task and no validation layer for a
call. Failures that may pass are tried again; those that do not are completions with status `ERROR`. No streaming, and
``/models`` is never asked. The API key is read from the environment when the session opens and goes nowhere else.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from arenaloop.errors import ConfigError
from arenaloop.models.base import ELSEWHERE
from arenaloop.models.billing import Billing, token_limit
from arenaloop.models.embedding_wire import embedding_body, read_vectors
from arenaloop.models.endpoint import CEILING, Endpoint, Limits
from arenaloop.models.limits import AdaptiveLimit
from arenaloop.models.openai_body import Bodies
from arenaloop.models.openai_calls import Calls
from arenaloop.models.openai_wire import Price, Reader, read_replies
from arenaloop.models.reasoning_tags import Tags
from arenaloop.models.secrets import read_headers, read_key
from arenaloop.models.server_url import ServerUrl
from arenaloop.models.standing import Standing
from arenaloop.types import Completion, Request, content_hash

__all__ = ["OpenAIModel", "Price"]

OPENAI_URL = "https://api.openai.com/v1"


class OpenAIModel:
    """A chat model behind an OpenAI-compatible server.

    Models that name the same URLs and the same key share connections, concurrency and limits (see `Endpoint`).

    Args:
        name: what leaderboards call it.
        model: the server's id of it; LoRA adapters that a server has by name are models of their own.
        base_url: as in ``http://HOST:PORT/v1``; a pasted ``/chat/completions`` is taken off, a query is kept.
        key_env: name of the environment variable that holds the API key; None sends no key.
        headers: further headers of each request, each with the name of the environment variable that holds its value.
            They are no part of the fingerprint, as the key is none.
        reasoning_tags: what opens and closes this model's reasoning, instead of the known families' tags.
        system: a system prompt of this contestant, put before any of the conversation's.
        extra_body: further fields of the request's body; they win over the sampling settings.
        price: US dollars per million tokens; without it the cost of calls is not known (`usd` is None).
        concurrency: how many calls may be in flight; None = as many as the server bears (`AdaptiveLimit`).
        timeout: seconds for one try, from connecting to the last byte.
        retries: how often a call is tried again after a failure that may pass.
        longest_wait: seconds that the server may ask to wait (``Retry-After``), in all since its last answer.
        send_seed: whether the request's seed (its low 31 bits) is sent.
        drop_params: sampling settings that this server refuses (thinking models take no temperature).
        urls: base URLs of further servers of the same model. They are no part of the fingerprint: the answers are known
            by `base_url`, however many replicas give them and in whatever order they are listed.
        rpm, tpm: requests and tokens per minute, of the endpoint.
        samples_per_call: how many samples of one prompt a request may ask for, where several are wanted (``n``).
        embeds: whether it is a model of embeddings: asked for vectors of the messages' texts (`embedding_wire`).
        sleep: how to wait between tries; tests need not.

    Attributes:
        fingerprint: content hash of base URL, model id, system prompt and whatever else of the body is fixed.
        billing: what its calls cost, learnt from its replies.

    Raises:
        ConfigError: the URL, the key's variable or a parameter name cannot be.
    """

    def __init__(
        self,
        name: str,
        model: str,
        base_url: str = OPENAI_URL,
        *,
        key_env: str | None = None,
        headers: Mapping[str, str] | None = None,
        reasoning_tags: Sequence[Sequence[str]] | None = None,
        system: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        price: Price | None = None,
        concurrency: int | None = None,
        timeout: float = 120.0,
        retries: int = 5,
        longest_wait: float = 600.0,
        send_seed: bool = False,
        drop_params: Collection[str] = (),
        urls: Sequence[str] = (),
        rpm: float | None = None,
        tpm: float | None = None,
        samples_per_call: int = 1,
        embeds: bool = False,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self.model = model
        self.urls = tuple(dict.fromkeys(ServerUrl.of(url) for url in (base_url, *urls)))
        self.base_url = self.urls[0].base
        self.key_env = key_env
        self.headers = tuple(sorted((headers or {}).items()))
        self.system = system
        self.extra_body = dict(extra_body or {})
        self.price = price
        tags = None if reasoning_tags is None else tuple(Tags(*pair) for pair in reasoning_tags)
        self.reader = Reader(price, tags)
        self.limits = Limits(concurrency, rpm, tpm)
        self.timeout = timeout
        self.retries = retries
        self.longest_wait = longest_wait
        self.send_seed = send_seed
        self.drop_params = frozenset(drop_params)
        self.samples_per_call = samples_per_call
        if (concurrency is not None and concurrency < 1) or retries < 0 or timeout <= 0:
            raise ConfigError(f"{name}: concurrency and timeout are positive, retries not negative")
        if any(limit is not None and limit <= 0 for limit in (rpm, tpm)):
            raise ConfigError(f"{name}: rpm and tpm are positive")
        # OpenAI's own newer models refuse max_tokens; other servers may not know its successor
        openai = urlsplit(self.base_url).hostname == "api.openai.com"
        bodies = Bodies(
            name,
            model,
            max_tokens="max_completion_tokens" if openai else "max_tokens",
            system=system,
            extra_body=self.extra_body,
            drop_params=self.drop_params,
            send_seed=send_seed,
        )
        self.body, self.gives_fewer = bodies.body, bodies.gives_fewer
        if embeds:
            self.urls = tuple(url.embedding() for url in self.urls)
            self.body = partial(embedding_body, model, self.extra_body)
        read_key(key_env)  # a missing key is refused before the first call
        read_headers(self.headers)
        self.fingerprint = content_hash(
            "embeddings" if embeds else "openai",
            self.base_url,
            model,
            system,
            self.extra_body,
            sorted(self.drop_params),
            send_seed,
        )
        self._endpoint: Endpoint | None = None
        self.billing = Billing(price)
        self._calls = Calls(
            name,
            model,
            self.base_url,
            system,
            timeout,
            retries,
            longest_wait,
            sleep,
            bodies,
            self.reader,
            self.billing,
            Standing(),
            read_vectors if embeds else read_replies,
        )

    queues = True
    """calls wait here for their turn, and ask `ADMISSION` when it comes"""

    def __repr__(self) -> str:
        return f"OpenAIModel({self.name!r}, {self.model!r}, {self.base_url!r})"

    @property
    def concurrency(self) -> int:
        """How many calls may ever be in flight at once: what is set, or the ceiling of what is found out."""
        return self.limits.concurrency or CEILING

    async def complete(self, request: Request) -> Completion:
        """Answer one request, trying again what may pass.

        Returns:
            The answer, or a completion with status `ERROR` and the server's reason.

        Raises:
            EndpointDownError: the server cannot be reached, or fails everything; the message has its reason.
        """
        return (await self._queue(request, 1))[0]

    async def complete_samples(self, requests: Sequence[Request]) -> list[Completion]:
        """Samples of one prompt by one call of as many; errors as in `complete`.

        Args:
            requests: of the same messages and sampling.

        Returns:
            One for each of the first requests: a server may give fewer than it was asked for. The call's cost is the
            first one's. A call that failed is the first one's failure.
        """
        return await self._queue(requests[0], len(requests))

    async def _queue(self, request: Request, samples: int) -> list[Completion]:
        if (elsewhere := ELSEWHERE.get()) is not None:
            return await elsewhere.ask(self, request, samples)
        endpoint = self._endpoint
        if endpoint is None or endpoint.loop is not asyncio.get_running_loop():
            endpoint = self._join()
        body = self.body(request, samples)
        slots = endpoint.slots
        if not slots.take():
            await slots.wait()
        try:
            return await self._calls.ask(endpoint, request, body, samples, token_limit(self, request.sampling))
        finally:
            slots.give_back()

    async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
        """Answer many requests with `concurrency` workers, yielding each with its completion as it arrives."""
        todo = iter(requests)
        # bounded, so that a slow consumer slows the workers instead of filling memory
        done: asyncio.Queue[tuple[Request, Completion] | Exception | None] = asyncio.Queue(self.concurrency)

        async def work() -> None:
            try:
                for request in todo:
                    await done.put((request, await self.complete(request)))
            except Exception as error:
                await done.put(error)
            else:
                await done.put(None)

        workers = [asyncio.create_task(work()) for _ in range(min(self.concurrency, len(requests)))]
        working = len(workers)
        try:
            while working:
                item = await done.get()
                if item is None:
                    working -= 1
                elif isinstance(item, Exception):
                    raise item
                else:
                    yield item
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def aclose(self) -> None:
        """Close the connections, unless another model uses them; the next call opens them again."""
        endpoint, self._endpoint = self._endpoint, None
        self._calls.standing = Standing()
        if endpoint is None:
            return
        if endpoint.loop is asyncio.get_running_loop():
            await endpoint.leave(self)
        else:
            endpoint.abandon()

    def _join(self) -> Endpoint:
        """Join the endpoint of the running event loop (a caller may run several loops, one after the other)."""
        if self._endpoint is not None:
            self._endpoint.abandon()
        self._endpoint = Endpoint.join(self, self.urls, self.key_env, self.limits, self.headers)
        return self._endpoint

    @property
    def endpoint(self) -> object:
        """What models have in common that share an endpoint."""
        return frozenset(self.urls), self.key_env, self.headers

    @property
    def variables(self) -> list[str]:
        """Names of the environment variables that hold what it needs to be asked: the key, and values of headers."""
        return [name for name in (self.key_env, *(name for _, name in self.headers)) if name is not None]

    @property
    def bears(self) -> int:
        """How many calls may be in flight at present, at its endpoint."""
        if self._endpoint is not None:
            return self._endpoint.slots.limit
        return self.limits.concurrency or AdaptiveLimit().limit

    def share(self, at: int, of: int) -> OpenAIModel | None:
        """The same for one of several processes that share its limits, able to travel; None where no call is left.

        Args:
            at: which of them, from 0.
            of: how many there are.
        """
        limits = self.limits
        if limits.concurrency is not None:
            of = min(of, limits.concurrency)
            if at >= of:
                return None
            part, over = divmod(limits.concurrency, of)
            limits = replace(limits, concurrency=part + (at < over))
        shared = copy.copy(self)
        shared.limits = replace(limits, rpm=limits.rpm and limits.rpm / of, tpm=limits.tpm and limits.tpm / of)
        shared._endpoint = None
        shared.reader, shared.billing = Reader(self.price, self.reader.tags), Billing(self.price)
        shared._calls = replace(self._calls, reader=shared.reader, billing=shared.billing)
        return shared

    def answered_before(self) -> None:
        """Say that it has answered in an earlier run: what it refuses is then the fault of single requests."""
        self._calls.standing.answered_before()
