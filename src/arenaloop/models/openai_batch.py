"""The HTTP of an OpenAI-style Batch API: requests in one file, answers in another, at a lower price.

A request file (see `batch_lines`) is uploaded (``POST /files``, multipart, ``purpose=batch``), a batch is made of it
(``POST /batches`` with ``input_file_id``, ``endpoint``, ``completion_window`` and ``metadata``) and looked at (``GET
/batches/ID``) until it is ``completed``, ``failed``, ``expired`` or ``cancelled``. Answers stand in ``output_file_id``,
failed requests in ``error_file_id`` (``GET /files/ID/content``).

What is safe to repeat is tried again after a passing fault. Making a batch is not: before it is tried again, the
server's list is searched for it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arenaloop.errors import EndpointDownError
from arenaloop.models.batch_lines import CHAT, Batch, batch_id, mapping
from arenaloop.models.bounded import LONGEST_REPLY, SLOWEST, beginning, lines, whole
from arenaloop.models.openai_errors import http_fault, may_pass, remedy, retry_after
from arenaloop.models.secrets import Redactor, proxy_secrets, read_headers, read_key
from arenaloop.models.server_url import proxy_of

if TYPE_CHECKING:
    import aiohttp

__all__ = ["BatchEndpoint", "UnknownBatchError"]

_TAG = "arenaloop"  # the metadata's key by which a batch is found again
_MOST_PAGES = 200  # of the server's list of batches, a hundred to a page and the newest first
_LONGEST_RESULT = 4 << 20  # bytes a line on the average; a thousand tokens with their log-probabilities are a quarter
_MOST_REDIRECTS = 5


class UnknownBatchError(EndpointDownError):
    """The server does not know a batch: it was made with another key, or is gone."""


class BatchEndpoint:
    """The control calls of one server's Batch API.

    Args:
        base_url: as in ``https://api.openai.com/v1``.
        key_env: name of the environment variable that holds the API key; None sends no key.
        headers: further headers, each with the variable that holds its value (see `OpenAIModel`).
        timeout: seconds for one control call. Files take longer, but never less than `SLOWEST` bytes a second then.
        retries: how often a call is tried again after a fault that may pass.
        longest_wait: seconds that the server may ask to wait before the run is stopped.
        sleep: how to wait between tries.
    """

    def __init__(
        self,
        base_url: str,
        key_env: str | None = None,
        *,
        headers: Sequence[tuple[str, str]] = (),
        timeout: float = 120.0,
        retries: int = 6,
        longest_wait: float = 600.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.key_env = key_env
        self.headers = tuple(headers)
        self.timeout = timeout
        self.retries = retries
        self.longest_wait = longest_wait
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def upload(self, path: Path) -> str:
        """Upload a request file, streamed from disk; returns its id. Repeated uploads do no harm."""
        import aiohttp

        reason = ""
        for attempt in range(self.retries + 1):
            with path.open("rb") as file:
                form = aiohttp.FormData()
                form.add_field("purpose", "batch")
                form.add_field("file", file, filename=path.name, content_type="application/jsonl")
                longest = self.timeout + path.stat().st_size / SLOWEST
                reply, reason, wait = await self._try("POST", "/files", longest, data=form)
            if reply is not None:
                return self._field(reply, "id", "/files")
            await self._pause(attempt, wait)
        raise self._gave_up("POST /files", reason)

    async def create(self, file_id: str, tag: str) -> Batch:
        """Make a batch of an uploaded file, once: after a fault that leaves it open, the server's list decides."""
        body = {
            "input_file_id": file_id,
            "endpoint": CHAT,
            "completion_window": "24h",
            "metadata": {_TAG: tag},
        }
        reason = ""
        for attempt in range(self.retries + 1):
            if attempt and (found := await self.find(file_id, tag)) is not None:
                return found
            reply, reason, wait = await self._try("POST", "/batches", json=body)
            if reply is not None:
                return self._batch(reply)
            await self._pause(attempt, wait)
        raise self._gave_up("POST /batches", reason)

    async def find(self, file_id: str, tag: str) -> Batch | None:
        """The batch that was made of a file, or None: by our tag, or by the file's id where metadata is dropped."""
        after, seen = "", {""}
        for _ in range(_MOST_PAGES):
            query = {"limit": "100"} | ({"after": after} if after else {})
            page = await self._get("/batches", params=query)
            data = page.get("data")
            rows = [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []
            for row in rows:
                if mapping(row.get("metadata")).get(_TAG) == tag or row.get("input_file_id") == file_id:
                    return self._batch(row)
            last = page.get("last_id") or (rows[-1].get("id") if rows else None)
            if not page.get("has_more") or not rows or not last or str(last) in seen:
                return None
            after = str(last)
            seen.add(after)
        raise EndpointDownError(f"{self.base_url}: the list of batches is longer than {_MOST_PAGES} pages")

    async def get(self, batch_id: str) -> Batch:
        """How a batch stands."""
        return self._batch(await self._get(f"/batches/{batch_id}"))

    async def lines(self, file_id: str, requests: int) -> AsyncGenerator[bytes, None]:
        """Stream the lines of a result file; an interrupted download begins again, so lines may come twice.

        Args:
            file_id: of the file.
            requests: how many results there may be; bounds its size.
        """
        import aiohttp

        reason = ""
        longest = LONGEST_REPLY + requests * _LONGEST_RESULT
        for attempt in range(self.retries + 1):
            wait = None
            try:
                async with self._download(f"/files/{file_id}/content") as response:
                    if response.status == 200:
                        echoed = [secret.encode() for secret in self._redactor().exact]
                        async for line in lines(response, longest, self.timeout):
                            for secret in echoed:  # what comes back is stored
                                line = line.replace(secret, b"[key]") if secret in line else line
                            yield line
                        return
                    reason, wait = await self._fault(response, f"GET /files/{file_id}/content")
            except EndpointDownError:  # an OSError, too, but one that no other try mends
                raise
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = f"{type(error).__name__}: {error}"
            await self._pause(attempt, wait)
        raise self._gave_up(f"GET /files/{file_id}/content", reason)

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ------------------------------------------------------------------ one call

    @asynccontextmanager
    async def _download(self, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The reply to a download. Servers may keep files elsewhere: another host is asked without key and headers."""
        import aiohttp
        from yarl import URL

        url, session = URL(f"{self.base_url}{path}"), self._open()
        async with AsyncExitStack() as stack:
            for _ in range(_MOST_REDIRECTS):
                response = await stack.enter_async_context(
                    session.get(
                        url,
                        allow_redirects=False,
                        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=self.timeout),
                    )
                )
                location = response.headers.get("Location")
                if not 300 <= response.status < 400 or not location:
                    break
                there = url.join(URL(location))
                if there.origin() != url.origin():
                    session = await stack.enter_async_context(
                        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), proxy=proxy_of(str(there)))
                    )
                url = there
            yield response

    async def _get(self, path: str, **options: Any) -> dict[str, Any]:
        reason = ""
        for attempt in range(self.retries + 1):
            reply, reason, wait = await self._try("GET", path, **options)
            if reply is not None:
                return reply
            await self._pause(attempt, wait)
        raise self._gave_up(f"GET {path}", reason)

    async def _try(
        self, method: str, path: str, longest: float | None = None, **options: Any
    ) -> tuple[dict[str, Any] | None, str, float | None]:
        """The reply, or the reason of a fault that may pass and the wait that the server asks for.

        Args:
            method, path: of the call.
            longest: seconds that it may take; None is one control call's.
            options: of the request.
        """
        import aiohttp

        try:
            async with self._open().request(
                method,
                f"{self.base_url}{path}",
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=longest or self.timeout, sock_connect=min(30.0, self.timeout)),
                **options,
            ) as response:
                if response.status not in (200, 201):
                    return None, *await self._fault(response, f"{method} {path}")
                reply = json.loads(await whole(response))
        except EndpointDownError:  # an OSError, too, but one that no other try mends
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return None, f"{type(error).__name__}: {error}", None
        except (ValueError, RecursionError) as error:
            return None, f"not JSON ({error})", None
        if not isinstance(reply, dict):
            return None, "not a JSON object", None
        return reply, "", None

    async def _fault(self, response: aiohttp.ClientResponse, what: str) -> tuple[str, float | None]:
        """Reason and wait of a status that may pass; raises where it will not."""
        fault = http_fault(response.status, response.headers, await beginning(response, timeout=self.timeout))
        reason = fault.reason
        if not may_pass(response.status):
            told = f"{self.base_url}: {what}: {self._public(reason)}"
            if 300 <= fault.status < 400:
                raise EndpointDownError(f"{told}{remedy(fault, max_tokens=0, base_url=self.base_url)}")
            if response.status == 404 and what.startswith("GET /batches/"):
                raise UnknownBatchError(told)
            hint = "; this server may have no Batch API" if response.status in (404, 405) else ""
            raise EndpointDownError(f"{told}{hint}")
        return reason, retry_after(response.headers)

    async def _pause(self, attempt: int, wait: float | None) -> None:
        if attempt < self.retries:
            if wait is not None and wait > self.longest_wait:
                raise EndpointDownError(
                    f"{self.base_url} asks to wait {wait:,.0f} s, which is longer than longest_wait "
                    f"({self.longest_wait:g} s); the same command goes on then"
                )
            own = random.random() * min(0.5 * 2**attempt, 30.0)
            await self._sleep(own if wait is None else wait + own / 4)

    def _gave_up(self, what: str, reason: str) -> EndpointDownError:
        return EndpointDownError(f"{self.base_url}: {what} failed {self.retries + 1} times: {self._public(reason)}")

    def _batch(self, reply: Mapping[str, Any]) -> Batch:
        try:
            return Batch.of(reply)
        except (LookupError, TypeError, ValueError, AttributeError):
            raise EndpointDownError(f"{self.base_url}: the reply is no batch: {str(reply)[:80]}") from None

    def _field(self, reply: Mapping[str, Any], name: str, what: str) -> str:
        value = reply.get(name)
        if not isinstance(value, str) or not value:
            raise EndpointDownError(f"{self.base_url}: {what}: no {name} in the reply")
        try:
            return batch_id(value)
        except ValueError as error:
            raise EndpointDownError(f"{self.base_url}: {what}: {error}") from None

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            key, own = self._key(), read_headers(self.headers)
            ours = {"User-Agent": "arenaloop"}
            if key and "authorization" not in map(str.lower, own):
                ours["Authorization"] = f"Bearer {key}"
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=ours | own,
                proxy=proxy_of(self.base_url),
            )
        return self._session

    def _key(self) -> str | None:
        return read_key(self.key_env)

    def _public(self, reason: str) -> str:
        """A reason as one line without the key."""
        return self._redactor().line(reason)

    def _redactor(self) -> Redactor:
        return Redactor(self._key(), *read_headers(self.headers).values(), *proxy_secrets())
