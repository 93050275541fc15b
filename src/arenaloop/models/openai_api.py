"""Any OpenAI-compatible server as a model: OpenAI itself, vLLM, llama.cpp, Ollama, a gateway.

The hot path is lean on purpose: one aiohttp session an endpoint, bodies as bytes, no task and no validation layer for a
call. Failures that may pass are tried again; those that do not are completions with status `ERROR`. No streaming, and
``/models`` is never asked. The API key is read from the environment when the session opens and goes nowhere else.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from arenaloop.errors import ConfigError, EndpointDownError, nearest
from arenaloop.models.advice import advice
from arenaloop.models.base import ADMISSION, NOTHING, Spent
from arenaloop.models.billing import Billing, Loss, token_limit
from arenaloop.models.breaker import Breaker, pause
from arenaloop.models.endpoint import CEILING, Endpoint, Limits, UnreachableError
from arenaloop.models.finish import ending
from arenaloop.models.openai_errors import Blame, Fault, blame, http_fault, remedy, retry_after, trust_remedy
from arenaloop.models.openai_wire import (
    Price,
    Reader,
    Replies,
    ReplyError,
    encode_body,
    encode_settings,
    read_replies,
    structured,
    with_system,
)
from arenaloop.models.reasoning_tags import Tags
from arenaloop.models.secrets import read_headers, read_key
from arenaloop.models.server_url import ServerUrl
from arenaloop.models.standing import Standing
from arenaloop.types import Completion, Request, Sampling, Status, content_hash

__all__ = ["OpenAIModel", "Price"]

OPENAI_URL = "https://api.openai.com/v1"

_PASSING = {408, 409, 425, 429}
"""Statuses besides 5xx that may pass: timeout, conflict, too early, too many requests."""

_LOSSES = dict.fromkeys((408, 499, 502, 504, 520, 522, 524), Loss.UNREAD)
"""Statuses by which a server or gateway says that an answer was not waited for, or broke off: it may be charged."""

_MANY, _FEW = 20, 5
"""Alternatives of a token that are asked for at most, and where a server refuses that."""
_PATIENCE = 4
"""How many times `retries` a call is tried again while the server says when to come back."""

_PARAMETERS = ("temperature", "top_p", "max_tokens", "stop", "seed")


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
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self.model = model
        self.urls = tuple(dict.fromkeys(ServerUrl.of(url) for url in (base_url, *urls)))
        self.base_url = self.urls[0].base
        self.key_env = key_env
        self.headers = tuple(sorted((headers or {}).items()))
        self.system = system
        self._alternatives = _MANY
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
        for parameter in sorted(self.drop_params.difference(_PARAMETERS)):
            raise ConfigError(f"{name}: no parameter {parameter!r} to drop{nearest(parameter, list(_PARAMETERS))}")
        for field in ("messages", "stream", "n"):
            if field in self.extra_body:
                raise ConfigError(f"{name}: extra_body may not set {field!r}")
        read_key(key_env)  # a missing key is refused before the first call
        read_headers(self.headers)
        # OpenAI's own newer models refuse max_tokens; other servers may not know its successor
        openai = urlsplit(self.base_url).hostname == "api.openai.com"
        self._max_tokens = "max_completion_tokens" if openai else "max_tokens"
        self.fingerprint = content_hash(
            "openai", self.base_url, model, system, self.extra_body, sorted(self.drop_params), send_seed
        )
        self._sends_seed = send_seed and "seed" not in self.drop_params and "seed" not in self.extra_body
        self._sleep = sleep
        self._endpoint: Endpoint | None = None
        self._heads: dict[tuple[Sampling, int], bytes] = {}
        self.billing = Billing(price)
        self._standing = Standing()

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
        endpoint = self._endpoint
        if endpoint is None or endpoint.loop is not asyncio.get_running_loop():
            endpoint = self._join()
        body = self.body(request, samples)
        slots = endpoint.slots
        if not slots.take():
            await slots.wait()
        try:
            return await self._ask(endpoint, request, body, samples)
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
        self._standing = Standing()
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

    def answered_before(self) -> None:
        """Say that it has answered in an earlier run: what it refuses is then the fault of single requests."""
        self._standing.answered_before()

    # ------------------------------------------------------------------ the request

    def gives_fewer(self, status: int, words: str) -> bool:
        """Whether an error may mean that it does not give as many alternatives; fewer are asked for from now on."""
        if status not in (400, 422) or "logprob" not in words:
            return False
        if self._alternatives > _FEW:  # servers differ in how many they give
            self._alternatives = _FEW
            self._heads.clear()
        return True

    def body(self, request: Request, samples: int = 1) -> bytes:
        """The request's body as JSON."""
        if request.schema is not None:
            head = encode_settings(self._settings(request))
        else:
            known = (request.sampling, request.top_logprobs)
            found = self._heads.get(known)
            if found is None:
                if len(self._heads) >= 64:
                    self._heads.clear()
                found = self._heads[known] = encode_settings(self._settings(request))
            head = found
        if samples > 1:
            head += b'"n":%d,' % samples
        if self._sends_seed:
            head += b'"seed":%d,' % (request.seed & 0x7FFFFFFF)
        messages = request.messages if self.system is None else with_system(request.messages, self.system)
        if request.prefill:  # the servers that go on from it see it as a turn that is not ended
            messages = [*messages, {"role": "assistant", "content": request.prefill}]
        return encode_body(head, messages)

    def _settings(self, request: Request) -> dict[str, Any]:
        """Every field of the body but the seed and the messages."""
        sampling = request.sampling
        # All are sent: what is left out would be the server's default, which differs from server to server.
        settings: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        settings[self._max_tokens] = sampling.max_tokens
        if sampling.stop:
            settings["stop"] = sampling.stop
        for parameter in self.drop_params:
            settings.pop(self._max_tokens if parameter == "max_tokens" else parameter, None)
        if request.top_logprobs:
            settings |= {"logprobs": True, "top_logprobs": min(request.top_logprobs, self._alternatives)}
        if request.schema is not None:
            settings["response_format"] = structured(request.schema)
        return {"model": self.model, **settings, **self.extra_body}

    # ------------------------------------------------------------------ the call

    async def _ask(self, endpoint: Endpoint, request: Request, body: bytes, samples: int) -> list[Completion]:
        """Try one request until it is answered, has failed for good, or has used up its tries."""
        import aiohttp

        clock = endpoint.loop.time
        begun = clock()
        calls = tries = told_to_wait = put_off = 0
        tokens, wait, lost = 0.0, 0.0, NOTHING
        admission = ADMISSION.get()
        not_sent = _nothing if admission is None else admission.unsent
        limit = token_limit(self, request.sampling)
        limit = None if limit is None else limit * samples
        reason, fewer = "", False
        while True:
            if wait:
                if admission is not None:
                    admission.over(lost)
                await endpoint.slots.renew()
            if wait or endpoint.gated:
                tokens = self.billing.tokens.expect(len(body), request.sampling.max_tokens)
                await endpoint.admit(tokens, self._sleep, at_least=wait)
            try:
                if admission is not None:
                    await admission.enter(partial(self.billing.reserve, len(body), limit), lost)
            except Exception:
                if not calls:
                    raise
                return [self._failure(Status.ERROR, endpoint.redact.line(reason), clock() - begun, calls, lost)]
            started = clock()
            calls += 1
            tries += 1
            whose, unreachable, asked, weight = Blame.SERVER, None, None, 1
            loss: Loss | None = None
            fault: Fault | None = None
            broken: Completion | None = None
            try:
                status, headers, raw = await endpoint.post(body, self.timeout, not_sent)
            except UnreachableError as error:
                reason, unreachable = str(error), error
                calls -= 1
                not_sent()  # while it waits for the next try it may be cancelled
            except TimeoutError:
                reason, loss = f"no answer within {self.timeout:g} s", Loss.UNREAD
                weight = self.retries + 1  # a hanging server takes the whole time of every try: it would take hours
            except (aiohttp.ClientError, OSError) as error:
                reason, loss = f"{type(error).__name__}: {error}", Loss.UNREAD
            else:
                if status == 200:
                    try:
                        read, charge = self._read(endpoint, raw, headers, request, clock() - begun, calls, samples)
                    except ReplyError as error:
                        fault = error.fault
                        loss = Loss.UNREAD if fault.status == 200 else _LOSSES.get(fault.status)
                    else:
                        told = self.billing.told(body, read, charge=charge, limit=limit)
                        if self.billing.unpriced and admission is not None:
                            admission.unpriced(self.name, self.billing.unpriced)
                        if told.status is not Status.ERROR:
                            read[0] = _with(told, lost)
                            self._answered(endpoint, started, read[0], tokens)
                            return read
                        reason, broken = f"HTTP 200: {told.error}", told
                        if not _passes(told):
                            whose = Blame.REQUEST
                            break
                        lost = lost.more(told.usd or 0.0, told.usd_estimated)
                else:
                    fault = http_fault(status, headers, raw)
                    loss = _LOSSES.get(status)
                    if not fewer and request.top_logprobs > _FEW and self.gives_fewer(status, fault.text):
                        fewer, wait = True, 0.0
                        body = self.body(request, samples)
                        continue
                if fault is not None:
                    status, reason = fault.status, fault.reason
                    charged = self.billing.failed(body, raw, headers, limit)
                    if self.billing.unpriced and admission is not None:
                        admission.unpriced(self.name, self.billing.unpriced)
                    if charged is not None:  # whatever its status says
                        lost, loss = lost.more(*charged), None
                    if status == 400 and fault.code == "content_filter":  # Azure's way to refuse; it charges the prompt
                        if charged is None:
                            lost = _estimated(lost, self.billing.lost(body, limit, Loss.UNANSWERED))
                        refused = self._failure(Status.REFUSED, None, clock() - begun, calls, lost)
                        self._answered(endpoint, started, refused, tokens)
                        return [refused]
                    whose = blame(status, fault.code, fault.text)
                    if whose is not Blame.SERVER:  # an exhausted quota, too, is told as 429, but no wait mends it
                        if status == 404 and not urlsplit(self.base_url).path:
                            reason = f"HTTP 404 (the URL of a server mostly ends in /v1): {fault.text}"
                        break
                    if status == 429:
                        endpoint.throttled(started)
                    if status == 429 or not endpoint.replicated:  # a replica that restarts is not all of them
                        asked = retry_after(headers)
                    if status == 429 or asked is not None:  # a server that works, at the pace that it can bear
                        weight = 0
                        put_off += 1
            if loss is not None:
                lost = _estimated(lost, self.billing.lost(body, limit, loss))
            if unreachable is None and weight:
                self._failed(endpoint, Blame.SERVER, endpoint.redact.line(reason), weight)
            wait = pause(tries, endpoint.breaker.failing)
            if asked is not None:
                endpoint.hold(asked, self.longest_wait, endpoint.redact.line(reason))
                wait = asked + random.random() / 8  # never sooner, and not all at once
                if told_to_wait < (_PATIENCE - 1) * self.retries:
                    told_to_wait += 1
                    tries -= 1
            if tries > self.retries or (unreachable is not None and unreachable.certain):
                break
        shown, helps = endpoint.redact.line(reason), trust_remedy(reason)
        if fault is not None:
            helps += remedy(fault, max_tokens=request.sampling.max_tokens, base_url=self.base_url)
        shown = shown.rstrip(".") + helps if helps else shown
        if unreachable is not None:
            times = "once" if tries == 1 else f"{tries} times"
            raise EndpointDownError(f"{endpoint.where} cannot be reached (tried {times}): {shown}")
        if whose is not Blame.SERVER:
            self._failed(endpoint, whose, shown, helped=bool(helps))
        elif put_off:
            self._failed(endpoint, whose, shown, min(put_off, self.retries + 1))
        if broken is not None:  # half an answer, with what it has cost
            half = replace(broken, text="", error=shown, calls=calls, seconds=clock() - begun)
            before = lost.more(-(broken.usd or 0.0), -broken.usd_estimated) if whose is Blame.SERVER else lost
            return [_with(half, before)]
        return [self._failure(Status.ERROR, shown, clock() - begun, calls, lost)]

    def _read(
        self,
        endpoint: Endpoint,
        raw: bytes,
        headers: Mapping[str, str],
        request: Request,
        seconds: float,
        calls: int,
        samples: int,
    ) -> Replies:
        """What a 200 reply to a request holds, without what is secret; see `read_replies`."""
        asked = request.messages if self.system is None else with_system(request.messages, self.system)
        read = read_replies(
            raw,
            reader=self.reader,
            asked=asked,
            seconds=seconds,
            calls=calls,
            samples=samples,
            limit=token_limit(self, request.sampling),
            headers=headers,
        )
        bare = endpoint.redact.answer
        return read._replace(
            answers=[
                replace(one, text=bare(one.text), reasoning=bare(one.reasoning or "") or None)
                if any(secret in one.text or secret in (one.reasoning or "") for secret in endpoint.redact.exact)
                else one
                for one in read.answers
            ]
        )

    def _answered(self, endpoint: Endpoint, started: float, completion: Completion, tokens: float) -> None:
        """Take note that the model answers, in whatever way."""
        self._standing.answered()
        tokens_in, tokens_out = completion.tokens_in, completion.tokens_out
        endpoint.replied(started, tokens_out)
        if endpoint.tpm is not None and tokens_in is not None and tokens_out is not None:
            endpoint.tpm.give_back(tokens - tokens_in - tokens_out)

    def _failed(self, endpoint: Endpoint, whose: Blame, shown: str, weight: int = 1, *, helped: bool = False) -> None:
        """Take note of a try that failed, and stop the run where there is no use in going on.

        Args:
            weight: of how many tries it takes the place; a server's tries count each, others are tried once.
            helped: whether `shown` says what helps.
        """
        tripped: Breaker | None = endpoint.breaker
        if whose is not Blame.SERVER:
            tripped = self._standing.refused(whose, endpoint.slots.taken)
        elif not endpoint.breaker.failed(endpoint.slots.taken, self.retries + 1, weight):
            return
        if tripped is not None:
            model = "" if whose is Blame.SERVER else f" of model {self.model!r}"
            hint = "" if helped else advice(shown)
            raise EndpointDownError(f"{endpoint.where} failed {tripped.told}{model}{hint}; last: {shown}")

    def _failure(self, status: Status, error: str | None, seconds: float, calls: int, lost: Spent) -> Completion:
        # a call that the server turned down is not charged for; only where prices are unknown its cost is, too
        return Completion(
            status=status,
            finish_reason="content_filter" if status is Status.REFUSED else None,
            usd=None if self.price is None else lost.usd,
            usd_estimated=lost.estimated,
            seconds=seconds,
            error=error,
            calls=calls,
        )


def _nothing() -> None:
    """Where nobody admits, nothing is booked."""


def _estimated(lost: Spent, usd: float) -> Spent:
    return lost.more(usd, usd)


def _with(completion: Completion, lost: Spent) -> Completion:
    """An answer, and what the tries before it have cost."""
    if not lost.usd:
        return completion
    usd = None if completion.usd is None else completion.usd + lost.usd
    return replace(completion, usd=usd, usd_estimated=completion.usd_estimated + lost.estimated)


def _passes(completion: Completion) -> bool:
    """Whether an answer that the server broke off may be whole when it is asked for again."""
    end = ending(completion.finish_reason)
    return end.status is not Status.ERROR or end.passing
