"""One server, or several replicas of it: connections, concurrency and limits, shared by all models behind it.

Models that name the same URLs and the same key on the same event loop share one `Endpoint`. Where they set different
limits the strictest holds. An endpoint lives from its first member's `Endpoint.join` to its last one's `leave`.
"""

from __future__ import annotations

import asyncio
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arenaloop.errors import EndpointDownError
from arenaloop.models.base import NOTICE
from arenaloop.models.bounded import whole
from arenaloop.models.breaker import Breaker, Holds, TooLongError
from arenaloop.models.limits import AdaptiveLimit, TokenBucket
from arenaloop.models.queueing import Deadlines, Slots
from arenaloop.models.secrets import Redactor, proxy_secrets, read_headers, read_key
from arenaloop.models.server_url import ServerUrl, proxy_of

if TYPE_CHECKING:
    import aiohttp

__all__ = ["CEILING", "Endpoint", "Limits", "UnreachableError"]

CEILING = 512
"""The most calls in flight at an endpoint for which nobody has set a limit."""

_PROBES = 16
"""Calls in flight at an endpoint that answers nothing: enough to find out when it does."""

_LAST_DATE = 253_402_300_799  # the end of the year 9999, Unix time
_FAULTS = 5  # in a row, after which a replica is set aside while others live
_FIRST_REST, _LONGEST_REST = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a user has set for a server; None = not set.

    Attributes:
        concurrency: calls in flight at once; adaptive if it is not set.
        rpm, tpm: requests and tokens per minute.
    """

    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None


class UnreachableError(Exception):
    """No connection, so nothing was sent.

    Args:
        reason: why not.
        certain: whether it will not be otherwise in a moment (TLS that the server does not speak).
    """

    def __init__(self, reason: str, certain: bool) -> None:
        super().__init__(reason)
        self.certain = certain


@dataclass(slots=True, eq=False)
class _Replica:
    """One URL of an endpoint and how it fares."""

    base: str
    options: dict[str, Any]
    in_flight: int = 0
    sent: int = 0
    faults: int = 0
    rests: int = 0
    rests_until: float = 0.0

    def set_aside(self, now: float) -> None:
        self.rests_until = now + min(_FIRST_REST * 2**self.rests, _LONGEST_REST)
        self.rests += 1


@dataclass(slots=True, eq=False)
class _Timeouts:
    deadlines: Deadlines
    client: aiohttp.ClientTimeout


_ENDPOINTS: weakref.WeakValueDictionary[object, Endpoint] = weakref.WeakValueDictionary()
"""By event loop (its id: an endpoint keeps its loop alive), URLs and key; the models keep them alive."""


class Endpoint:
    """One server, or several replicas of it, on one event loop. Made by `join`.

    Attributes:
        loop: the event loop that it belongs to.
        slots: places for calls in flight.
        adaptive: what sets their number, where no user has.
        rpm, tpm: what is left of the limits per minute, where there are any.
        breaker: failures of late that are the server's own.
        holds: how long the server has asked to be left alone.
        redact: takes the key, and whatever else is secret, out of texts.
    """

    def __init__(
        self, urls: tuple[ServerUrl, ...], key_env: str | None, own_headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        import aiohttp

        from arenaloop.models.connecting import Connector

        self.loop = asyncio.get_running_loop()
        self.slots = Slots(1)
        self.adaptive: AdaptiveLimit | None = None
        self.rpm: TokenBucket | None = None
        self.tpm: TokenBucket | None = None
        self.breaker = Breaker()
        self.gated = False  # whether `admit` must be asked before a request
        self.holds = Holds()
        self._unanswered = 0  # tries since the last answer, or since they last lowered the limit
        self._full: int | None = None  # the limit to return to, where they have lowered it
        self._identity: object = None
        self._members: weakref.WeakKeyDictionary[object, Limits] = weakref.WeakKeyDictionary()
        self._timeouts: dict[float, _Timeouts] = {}
        key = read_key(key_env)
        own = read_headers(own_headers)
        self.redact = Redactor(key, *own.values(), *(value for url in urls for value in url.secrets), *proxy_secrets())
        self._echoed = [(secret.encode(), b"[key]") for secret in self.redact.exact]
        headers = {"Content-Type": "application/json", "User-Agent": "arenaloop"}
        if key is not None and "authorization" not in map(str.lower, own):
            headers["Authorization"] = f"Bearer {key}"
        headers |= own
        self._connector = Connector()
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )
        self._replicas = [_Replica(url.base, _options(url)) for url in urls]
        self._only = self._replicas[0] if len(urls) == 1 else None

    def __repr__(self) -> str:
        return f"Endpoint({self.where})"

    @property
    def replicated(self) -> bool:
        """Whether it has more than one URL."""
        return self._only is None

    @property
    def where(self) -> str:
        """Its base URLs, for messages."""
        return " and ".join(replica.base for replica in self._replicas)

    @classmethod
    def join(
        cls,
        member: object,
        urls: tuple[ServerUrl, ...],
        key_env: str | None,
        limits: Limits,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Endpoint:
        """The running loop's endpoint for these URLs (in any order), key and headers, with `member` among its users."""
        identity = (id(asyncio.get_running_loop()), frozenset(urls), key_env, headers)
        endpoint = _ENDPOINTS.get(identity)
        if endpoint is None:
            endpoint = _ENDPOINTS[identity] = cls(urls, key_env, headers)
            endpoint._identity = identity
        endpoint._members[member] = limits
        endpoint._set_limits()
        return endpoint

    async def leave(self, member: object) -> None:
        """Say that `member` will not ask any more; the last one closes the connections."""
        self._members.pop(member, None)
        if self._members:
            return
        self._forget()
        await self._session.close()

    def abandon(self) -> None:
        """Let go of an endpoint whose event loop is gone, and which cannot be closed any more."""
        self._forget()
        self._session.detach()

    def _forget(self) -> None:
        for timeouts in self._timeouts.values():
            timeouts.deadlines.close()
        if _ENDPOINTS.get(self._identity) is self:
            del _ENDPOINTS[self._identity]

    def _set_limits(self) -> None:
        """The strictest of what the members ask for; what was learnt and used stays, unless a limit changes."""
        limits = list(self._members.values())
        concurrency = min((x.concurrency for x in limits if x.concurrency is not None), default=None)
        rpm = min((x.rpm for x in limits if x.rpm is not None), default=None)
        tpm = min((x.tpm for x in limits if x.tpm is not None), default=None)
        if concurrency is not None:
            self.adaptive = self._full = None
            self.slots.resize(concurrency)
        elif self.adaptive is None:
            self.adaptive = AdaptiveLimit(ceiling=CEILING)
            self.slots.resize(self.adaptive.limit)
        if rpm != (self.rpm and self.rpm.per_minute):
            self.rpm = TokenBucket(rpm) if rpm else None
        if tpm != (self.tpm and self.tpm.per_minute):
            self.tpm = TokenBucket(tpm) if tpm else None
        self.gated = self.rpm is not None or self.tpm is not None or self.holds.until > 0

    def replied(self, started: float, tokens: int | None) -> None:
        """Take note of an answer to a request that was sent at `started`."""
        self.breaker.succeeded(self.slots.taken)
        self.holds.answered()
        self._unanswered = 0
        if self._full is not None:
            self.slots.resize(self._full)
            self._full = None
        if (adaptive := self.adaptive) is not None:
            adaptive.replied(started, self.loop.time(), tokens or 0, self.slots.taken)
            if adaptive.limit != self.slots.limit:
                self.slots.resize(adaptive.limit)

    def unanswered(self) -> None:
        """Take note of a try that the server failed, or put off.

        When as many in a row were as may be in flight, a quarter as many may, down to `_PROBES`, until the next answer:
        the others wait and keep their tries, and a server that is gone is not sent thousands of requests.
        """
        self._unanswered += 1
        limit = self.slots.limit
        if self._unanswered >= limit > _PROBES:
            self._unanswered = 0
            self._full = self._full or limit
            self.slots.resize(max(_PROBES, limit // 4))

    def throttled(self, started: float) -> None:
        """Take note of a 429 to a request that was sent at `started`."""
        if (adaptive := self.adaptive) is not None:
            adaptive.throttled(started, self.loop.time())
            self._full = None
            self.slots.resize(min(adaptive.limit, self.slots.limit))

    def hold(self, seconds: float, longest: float, why: str) -> None:
        """Send nothing for so long: the server has asked one of the callers to wait, and means all of them.

        More than a minute is said at once (`NOTICE`).

        Args:
            seconds: from now.
            longest: seconds since the server last answered, beyond which there is no use in waiting.
            why: what it said.

        Raises:
            EndpointDownError: it would be longer.
        """
        try:
            told = self.holds.ask(seconds, self.loop.time(), longest)
        except TooLongError as error:
            end = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(min(time.time() + seconds, _LAST_DATE)))
            raise EndpointDownError(
                f"{self.where} asks to wait {_duration(error.seconds)}, until {end}, which is longer than longest_wait "
                f"({_duration(longest)}): {why}; the same command goes on then"
            ) from None
        self.gated = True
        if told is not None and (notice := NOTICE.get()) is not None:
            notice(f"{self.where} asks to wait {_duration(told)}: {why}")

    async def admit(self, tokens: float, sleep: Callable[[float], Awaitable[object]], at_least: float = 0.0) -> None:
        """Wait until a request of so many tokens may be sent, and for `at_least` so many seconds.

        Each call takes its share of the limits at once and sleeps until its turn; nobody polls.
        """
        now = self.loop.time()
        wait, held = at_least, self.holds.until
        if held > now:
            wait = max(wait, held - now + random.random() / 8)  # never sooner, and not all at once
        if self.rpm is not None:
            wait = max(wait, self.rpm.take(1, now))
        if self.tpm is not None:
            wait = max(wait, self.tpm.take(tokens, now))
        self.gated = self.rpm is not None or self.tpm is not None or held > now
        if wait <= 0:
            return
        try:
            await sleep(wait)
            while self.holds.until > held:  # held anew meanwhile
                held = self.holds.until
                if held > (now := self.loop.time()):
                    await sleep(held - now + random.random() / 8)
        except BaseException:
            if self.rpm is not None:
                self.rpm.give_back(1)
            if self.tpm is not None:
                self.tpm.give_back(tokens)
            raise

    async def post(
        self, body: bytes, timeout: float, not_sent: Callable[[], None] = lambda: None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request to the replica with the fewest calls in flight, and read the whole reply.

        A replica that cannot be reached is set aside, and the next one asked, while there are others.

        Args:
            body: of the request.
            timeout: seconds that the reply may take.
            not_sent: called where the caller is cancelled before there was a connection, so that nothing was sent.

        Returns:
            HTTP status, headers, body.

        Raises:
            UnreachableError: no replica can be reached.
            TimeoutError: no whole reply came within `timeout` seconds.
            aiohttp.ClientError, OSError: the connection broke, or what came is no HTTP.
        """
        import aiohttp

        timeouts = self._timeouts.get(timeout) or self._new_timeouts(timeout)
        deadlines, connected = timeouts.deadlines, self._connector.connected
        while True:
            replica = self._only or self._pick()
            now = self.loop.time()
            task = deadlines.enter(now)
            replica.in_flight += 1
            replica.sent += 1
            fault: bool | None = True
            try:
                response = await self._session.post(data=body, timeout=timeouts.client, **replica.options)
                raw = await whole(response)
                for secret, mark in self._echoed:  # what comes back is stored
                    if secret in raw:
                        raw = raw.replace(secret, mark)
                fault = response.status >= 500
                return response.status, response.headers, raw
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                certain = isinstance(error, aiohttp.ClientSSLError)
                unreachable = UnreachableError(_connect_reason(error), certain)
                fault = None
            except asyncio.CancelledError:
                late, sent = deadlines.leave(task), task in connected
                if late and sent:
                    raise TimeoutError from None
                fault = None
                if not late:
                    if not sent:
                        not_sent()
                    raise
                unreachable = UnreachableError(f"no connection within {timeout:g} s", False)
            finally:
                deadlines.leave(task)
                connected.discard(task)
                replica.in_flight -= 1
                if fault is not None:
                    self._judge(replica, fault)
            replica.set_aside(now)
            if all(other.rests_until > now for other in self._replicas):
                raise unreachable

    def _pick(self) -> _Replica:
        """The live replica with the fewest calls in flight; if none is live, the one that rests the shortest."""
        now = self.loop.time()
        live = [r for r in self._replicas if r.rests_until <= now]
        if not live:
            return min(self._replicas, key=lambda r: r.rests_until)
        return min(live, key=lambda r: (r.in_flight, r.sent))

    def _judge(self, replica: _Replica, fault: bool) -> None:
        # A replica that fails at once would be the least loaded for ever and draw all calls.
        if not fault:
            replica.faults = replica.rests = 0
        elif self._only is None:
            replica.faults += 1
            if replica.faults % _FAULTS == 0:
                replica.set_aside(self.loop.time())

    def _new_timeouts(self, seconds: float) -> _Timeouts:
        import aiohttp

        client = aiohttp.ClientTimeout(total=None, sock_connect=min(30.0, max(1.0, seconds / 2)))
        timeouts = self._timeouts[seconds] = _Timeouts(Deadlines(self.loop, seconds), client)
        return timeouts


def _options(url: ServerUrl) -> dict[str, Any]:
    from yarl import URL

    options: dict[str, Any] = {"url": URL(url.chat, encoded=False), "allow_redirects": False}  # a redirected POST
    if proxy := proxy_of(url.chat):  # would become a GET
        options["proxy"] = proxy
    return options


def _connect_reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None)
    return (getattr(cause, "strerror", None) or str(cause)) if cause is not None else str(error) or "no connection"


def _duration(seconds: float) -> str:
    """Seconds as people say them: ``90 s``, ``12 min``, ``26 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"
