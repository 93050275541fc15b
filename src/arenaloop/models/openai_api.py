"""Any OpenAI-compatible server as a model: OpenAI itself, vLLM, llama.cpp, Ollama, a gateway.

The hot path is lean on purpose: one aiohttp session an endpoint, bodies as bytes, no task and no validation layer for a
call. Failures that may pass are tried again; those that do not are completions with status `ERROR`. No streaming, and
``/models`` is never asked. The API key is read from the environment when the session opens and goes nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from arenaloop.errors import ConfigError, EndpointDownError, nearest
from arenaloop.models.openai_wire import (
    Price,
    encode_body,
    error_code,
    error_text,
    read_reply,
    retry_after,
    with_system,
)
from arenaloop.types import Completion, Request, Sampling, Status, content_hash

if TYPE_CHECKING:
    import aiohttp

__all__ = ["OpenAIModel", "Price"]

OPENAI_URL = "https://api.openai.com/v1"

_PASSING = {408, 409, 425, 429}
"""Statuses besides 5xx that may pass: timeout, conflict, too early, too many requests."""

_BREAKER = 20
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_WAIT = 0.5, 30.0, 600.0
_PARAMETERS = ("temperature", "top_p", "max_tokens", "stop", "seed")
_SECRETS = re.compile(r"\b(?:sk|pk|hf|gsk|xai)[-_][\w*.-]{8,}|\bBearer\s+[^\s\"',]+", re.IGNORECASE)


class OpenAIModel:
    """A chat model behind an OpenAI-compatible server.

    Args:
        name: what leaderboards call it.
        model: the server's id of it.
        base_url: as in ``http://HOST:PORT/v1``; a pasted ``/chat/completions`` is taken off, a query is kept.
        key_env: name of the environment variable that holds the API key; None sends no key.
        system: a system prompt of this contestant, put before any of the conversation's.
        extra_body: further fields of the request's body; they win over the sampling settings.
        price: US dollars per million tokens; without it the cost of calls is not known (`usd` is None).
        concurrency: how many calls may be in flight.
        timeout: seconds for one try, from connecting to the last byte.
        retries: how often a call is tried again after a failure that may pass.
        send_seed: whether the request's seed (its low 31 bits) is sent.
        drop_params: sampling settings that this server refuses (thinking models take no temperature).
        sleep: how to wait between tries; tests need not.

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
        system: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        price: Price | None = None,
        concurrency: int = 64,
        timeout: float = 120.0,
        retries: int = 5,
        send_seed: bool = False,
        drop_params: Collection[str] = (),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self.model = model
        self.base_url, self._url = _endpoint(base_url)
        self.key_env = key_env
        self.system = system
        self.extra_body = dict(extra_body or {})
        self.price = price
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self.send_seed = send_seed
        self.drop_params = frozenset(drop_params)
        if concurrency < 1 or retries < 0 or timeout <= 0:
            raise ConfigError(f"{name}: concurrency and timeout are positive, retries not negative")
        for parameter in sorted(self.drop_params.difference(_PARAMETERS)):
            raise ConfigError(f"{name}: no parameter {parameter!r} to drop{nearest(parameter, list(_PARAMETERS))}")
        for field in ("messages", "stream", "n"):
            if field in self.extra_body:
                raise ConfigError(f"{name}: extra_body may not set {field!r}")
        _read_key(key_env)  # a missing key is refused before the first call
        # OpenAI's own newer models refuse max_tokens; other servers may not know its successor
        openai = urlsplit(self.base_url).hostname == "api.openai.com"
        self._max_tokens = "max_completion_tokens" if openai else "max_tokens"
        self.fingerprint = content_hash(
            "openai", self.base_url, model, system, self.extra_body, sorted(self.drop_params), send_seed
        )
        self._sleep = sleep
        self._finished = self._failed = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None
        self._options: dict[str, Any] = {"allow_redirects": False}  # a redirected POST would become a GET
        self._slots: asyncio.Semaphore | None = None

    def __repr__(self) -> str:
        return f"OpenAIModel({self.name!r}, {self.model!r}, {self.base_url!r})"

    async def complete(self, request: Request) -> Completion:
        """Answer one request, trying again what may pass; at most `concurrency` calls are in flight.

        Returns:
            The answer, or a completion with status `ERROR` and the server's reason.

        Raises:
            EndpointDownError: the server cannot be reached, or its first 20 finished calls all failed.
        """
        if self._loop is not asyncio.get_running_loop():
            self._open()
        assert self._slots is not None
        async with self._slots:
            completion = await self._ask(request)
        self._finished += 1
        if completion.status is Status.ERROR:
            self._failed += 1
            if self._failed == self._finished and self._failed >= _BREAKER:
                raise EndpointDownError(f"{self.base_url} failed the first {_BREAKER} calls; last: {completion.error}")
        return completion

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
        """Close the connections; the next call opens them again."""
        session, self._session, self._loop = self._session, None, None
        self._finished = self._failed = 0
        if session is not None:
            await session.close()

    def _open(self) -> None:
        """Open the session of the running event loop (a caller may run several loops, one after the other)."""
        import aiohttp

        if self._session is not None:
            self._session.detach()  # it belongs to a loop that is gone and cannot be closed any more
        key = _read_key(self.key_env)
        headers = {"Content-Type": "application/json", "User-Agent": "arenaloop"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),  # the semaphore is the limit
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(30.0, self.timeout / 2)),
        )
        self._slots = asyncio.Semaphore(self.concurrency)
        self._loop = asyncio.get_running_loop()
        if proxy := _proxy(self._url):
            self._options["proxy"] = proxy

    def _body(self, request: Request) -> bytes:
        body: dict[str, Any] = {"model": self.model, **self._settings(request.sampling)}
        if self.send_seed and "seed" not in self.drop_params:
            body["seed"] = request.seed & 0x7FFFFFFF
        body |= self.extra_body
        body["messages"] = request.messages if self.system is None else with_system(request.messages, self.system)
        return encode_body(body)

    def _settings(self, sampling: Sampling) -> dict[str, Any]:
        # All are sent: what is left out would be the server's default, which differs from server to server.
        settings: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        settings[self._max_tokens] = sampling.max_tokens
        if sampling.stop:
            settings["stop"] = sampling.stop
        for parameter in self.drop_params:
            settings.pop(self._max_tokens if parameter == "max_tokens" else parameter, None)
        return settings

    async def _ask(self, request: Request) -> Completion:
        """Try one request until it is answered, has failed for good, or has used up its tries."""
        import aiohttp

        assert self._session is not None
        body = self._body(request)
        start = time.perf_counter()
        reason, unreachable = "", False
        for attempt in range(self.retries + 1):
            wait = random.random() * min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)  # full jitter
            unreachable = False
            try:
                async with self._session.post(self._url, data=body, **self._options) as response:
                    raw = await response.read()
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                reason, unreachable = _connect_reason(error), True
                if isinstance(error, aiohttp.ClientSSLError):
                    self._down(reason, attempt + 1)
            except TimeoutError:
                reason = f"no answer within {self.timeout:g} s"
            except (aiohttp.ClientError, OSError) as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                status = response.status
                if status == 200:
                    try:
                        return read_reply(raw, price=self.price, seconds=time.perf_counter() - start, calls=attempt + 1)
                    except ValueError as error:
                        reason = f"HTTP 200: {error}"
                else:
                    reason = f"HTTP {status}: {error_text(raw)}"
                    code = error_code(raw)
                    if status == 400 and code == "content_filter":  # Azure's way to refuse
                        return self._failure(Status.REFUSED, reason, start, attempt + 1)
                    # an exhausted quota is told as 429, but no wait mends it
                    if not (status in _PASSING or status >= 500) or code == "insufficient_quota":
                        if status == 404 and not urlsplit(self.base_url).path:
                            reason = f"HTTP 404 (the URL of a server mostly ends in /v1): {error_text(raw)}"
                        return self._failure(Status.ERROR, reason, start, attempt + 1)
                    asked = retry_after(response.headers)
                    if asked is not None:
                        wait = min(asked, _LONGEST_WAIT) + wait / 4  # never sooner, and not all workers at once
            if attempt < self.retries:
                await self._sleep(wait)
        if unreachable:
            self._down(reason, self.retries + 1)
        return self._failure(Status.ERROR, reason, start, self.retries + 1)

    def _failure(self, status: Status, reason: str, start: float, calls: int) -> Completion:
        # a call without an answer is not charged for; only where prices are unknown its cost is, too
        return Completion(
            status=status,
            finish_reason="content_filter" if status is Status.REFUSED else None,
            usd=None if self.price is None else 0.0,
            seconds=time.perf_counter() - start,
            error=self._public(reason) if status is Status.ERROR else None,
            calls=calls,
        )

    def _down(self, reason: str, tries: int) -> NoReturn:
        times = "once" if tries == 1 else f"{tries} times"
        raise EndpointDownError(f"{self.base_url} cannot be reached (tried {times}): {self._public(reason)}") from None

    def _public(self, reason: str) -> str:
        """A reason as one line that shows no key, cut to 200 characters."""
        assert self._session is not None
        key = self._session.headers.get("Authorization", "").removeprefix("Bearer ")
        if key:
            reason = reason.replace(key, "[key]")
        reason = _SECRETS.sub("[key]", reason)
        reason = " ".join("".join(c if c.isprintable() else " " for c in reason[:2000]).split())
        return reason if len(reason) <= 200 else reason[:199] + "…"


def _endpoint(base_url: str) -> tuple[str, str]:
    """The base URL, bare of query and pasted suffix, and the URL that requests go to."""
    try:
        parts = urlsplit(base_url.strip())
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"not the URL of a server: {base_url.strip()!r} (as in http://HOST:PORT/v1)")
    if "@" in parts.netloc:
        raise ConfigError(f"the URL of {parts.hostname} may not hold a password; name the key's variable (key_env)")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    base = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    return base, urlunsplit((parts.scheme, parts.netloc, f"{path}/chat/completions", parts.query, ""))


def _read_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {variable} is not set; it is to hold an API key")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the environment variable {variable} holds characters that no API key has")
    return key


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for `url`; never one for this machine itself."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return None if local or proxy_bypass(host) else getproxies().get(parts.scheme)


def _connect_reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None)
    return (getattr(cause, "strerror", None) or str(cause)) if cause is not None else str(error) or "no connection"
