"""A request that is tried until it is answered, has failed for good, or has used up its tries."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from arenaloop.errors import EndpointDownError
from arenaloop.models.advice import advice
from arenaloop.models.base import ADMISSION, NOTHING, Spent
from arenaloop.models.billing import Billing, Loss
from arenaloop.models.breaker import Breaker, pause
from arenaloop.models.endpoint import Endpoint, UnreachableError
from arenaloop.models.finish import ending
from arenaloop.models.openai_body import FEW, Bodies
from arenaloop.models.openai_errors import Blame, Fault, blame, http_fault, remedy, retry_after, trust_remedy
from arenaloop.models.openai_wire import Reader, Replies, ReplyError, read_replies, with_system
from arenaloop.models.standing import Standing
from arenaloop.types import Completion, Request, Status

__all__ = ["Calls"]

_LOSSES = dict.fromkeys((408, 499, 502, 504, 520, 522, 524), Loss.UNREAD)
"""Statuses by which a server or gateway says that an answer was not waited for, or broke off: it may be charged."""

_FOREIGN = 2
"""How often a call is tried that a server which never answered anything meets with a page, or with events: a proxy's
page may pass, a login does not. One that has answered is tried as often as after any fault."""
_PATIENCE = 4
"""How many times `retries` a call is tried again while the server says when to come back."""


@dataclass(slots=True)
class Calls:
    """The calls of one model; what is not said here is as of `OpenAIModel`.

    Attributes:
        name, model, base_url, system, timeout, retries, longest_wait, sleep: of the model.
        bodies: what it is sent.
        reader: how its replies are read.
        billing: what they cost.
        standing: how it stands with its server.
        read: reads its replies.
    """

    name: str
    model: str
    base_url: str
    system: str | None
    timeout: float
    retries: int
    longest_wait: float
    sleep: Callable[[float], Awaitable[object]]
    bodies: Bodies
    reader: Reader
    billing: Billing
    standing: Standing
    read: Callable[..., Replies] = read_replies

    async def ask(
        self, endpoint: Endpoint, request: Request, body: bytes, samples: int, limit: int | None
    ) -> list[Completion]:
        """Answer a request; errors as of `OpenAIModel.complete`.

        Args:
            limit: new tokens that each sample may have; None where no limit is sent.
        """
        return await _Call(self, endpoint, request, body, samples, limit).answer()

    def failed(self, endpoint: Endpoint, whose: Blame, shown: str, weight: int = 1, *, helped: bool = False) -> None:
        """Take note of a try that failed, and stop the run where there is no use in going on.

        Args:
            weight: of how many tries it takes the place; a server's tries count each, others are tried once.
            helped: whether `shown` says what helps.
        """
        tripped: Breaker | None = endpoint.breaker
        if whose is not Blame.SERVER:
            tripped = self.standing.refused(whose, endpoint.slots.taken)
        elif not endpoint.breaker.failed(endpoint.slots.taken, self.retries + 1, weight):
            return
        if tripped is not None:
            model = "" if whose is Blame.SERVER else f" of model {self.model!r}"
            hint = "" if helped else advice(shown)
            raise EndpointDownError(f"{endpoint.where} failed {tripped.told}{model}{hint}; last: {shown}")


@dataclass(slots=True)
class _Try:
    """What came of one try that brought no answer.

    Attributes:
        whose: fault it was.
        fault: what the server said. `broken`: half an answer that it gave. `unreachable`: why it could not be reached.
        final: trying again would not help. `changed`: the request is another now, and is sent at once.
        loss: what the try may have cost. `weight`: how many tries it takes the place of.
        asked: seconds that the server asks to wait.
    """

    whose: Blame = Blame.SERVER
    fault: Fault | None = None
    broken: Completion | None = None
    unreachable: UnreachableError | None = None
    final: bool = False
    changed: bool = False
    loss: Loss | None = None
    weight: int = 1
    asked: float | None = None


class _Call:
    """One request on its way; arguments as of `Calls.ask`."""

    def __init__(
        self, of: Calls, endpoint: Endpoint, request: Request, body: bytes, samples: int, limit: int | None
    ) -> None:
        self.of, self.endpoint, self.request, self.body, self.samples = of, endpoint, request, body, samples
        self.limit = limit
        self.clock = endpoint.loop.time
        self.begun = self.clock()
        self.admission = ADMISSION.get()
        self.calls = self.tries = self.told_to_wait = self.put_off = self.foreign = 0
        self.lost, self.tokens = NOTHING, 0.0
        self.reason, self.fewer = "", False

    async def answer(self) -> list[Completion]:
        """Try until there is an answer, or no use in trying."""
        of, endpoint, wait = self.of, self.endpoint, 0.0
        while True:
            if not await self._enter(wait):
                return [self._failure(Status.ERROR, endpoint.redact.line(self.reason))]
            started, one = self.clock(), _Try()
            self.calls += 1
            self.tries += 1
            if (answers := await self._send(one, started)) is not None:
                return answers
            wait = 0.0
            if one.changed:
                continue
            if one.final:
                break
            if one.loss is not None:
                self._estimate(one.loss)
            if one.unreachable is None:
                endpoint.unanswered()
                if one.weight:
                    of.failed(endpoint, Blame.SERVER, endpoint.redact.line(self.reason), one.weight)
            wait = pause(self.tries, endpoint.breaker.failing)
            if one.asked is not None:
                endpoint.hold(one.asked, of.longest_wait, endpoint.redact.line(self.reason))
                wait = one.asked + random.random() / 8  # never sooner, and not all at once
                if self.told_to_wait < (_PATIENCE - 1) * of.retries:
                    self.told_to_wait += 1
                    self.tries -= 1
            if (
                self.tries > of.retries
                or self.foreign >= _FOREIGN
                or (one.unreachable is not None and one.unreachable.certain)
            ):
                break
        return [self._given_up(one)]

    async def _enter(self, wait: float) -> bool:
        """Wait until the request may be sent; False where it has been, and may not be again."""
        endpoint, billing = self.endpoint, self.of.billing
        if wait:
            if self.admission is not None:
                self.admission.over(self.lost)
            await endpoint.slots.renew()
        if wait or endpoint.gated:
            self.tokens = billing.tokens.expect(len(self.body), self.request.sampling.max_tokens)
            await endpoint.admit(self.tokens, self.of.sleep, at_least=wait)
        if wait:
            await endpoint.slots.renew()  # fewer may be sent, perhaps, than when the pause began
        try:
            if self.admission is not None:
                await self.admission.enter(partial(billing.reserve, len(self.body), self._most), self.lost)
        except Exception:
            if not self.calls:
                raise
            return False
        return True

    @property
    def _most(self) -> int | None:
        """New tokens that all samples may have."""
        return None if self.limit is None else self.limit * self.samples

    async def _send(self, one: _Try, started: float) -> list[Completion] | None:
        """Send it once; None where that brought no answer, and `one` says why."""
        import aiohttp

        not_sent = _nothing if self.admission is None else self.admission.unsent
        try:
            status, headers, raw = await self.endpoint.post(self.body, self.of.timeout, not_sent)
        except UnreachableError as error:
            self.reason, one.unreachable = str(error), error
            self.calls -= 1
            not_sent()  # while it waits for the next try it may be cancelled
        except TimeoutError:
            self.reason, one.loss = f"no answer within {self.of.timeout:g} s", Loss.UNREAD
            one.weight = self.of.retries + 1  # a hanging server takes the whole time of every try: it would take hours
        except (aiohttp.ClientError, OSError) as error:
            self.reason, one.loss = f"{type(error).__name__}: {error}", Loss.UNREAD
        else:
            if status != 200:
                fault = http_fault(status, headers, raw)
                if not self.fewer and self.request.top_logprobs > FEW:
                    one.changed = self.fewer = self.of.bodies.gives_fewer(status, fault.text)
                if one.changed:
                    self.body = self.of.bodies.body(self.request, self.samples)
                    return None
                one.fault, one.loss = fault, _LOSSES.get(status)
            elif (answers := self._read(one, headers, raw, started)) is not None:
                return answers
            if one.fault is not None:
                return self._refused(one, one.fault, headers, raw, started)
        return None

    def _read(self, one: _Try, headers: Mapping[str, str], raw: bytes, started: float) -> list[Completion] | None:
        """The answers that a 200 reply holds, without what is secret."""
        of, request, redact = self.of, self.request, self.endpoint.redact
        try:
            read, charge = of.read(
                raw,
                reader=of.reader,
                asked=request.messages if of.system is None else with_system(request.messages, of.system),
                seconds=self.clock() - self.begun,
                calls=self.calls,
                samples=self.samples,
                limit=self.limit,
                headers=headers,
            )
        except ReplyError as error:
            one.fault = error.fault
            one.loss = Loss.UNREAD if one.fault.status == 200 else _LOSSES.get(one.fault.status)
            return None
        for at, reply in enumerate(read):
            if any(secret in reply.text or secret in (reply.reasoning or "") for secret in redact.exact):
                bare = redact.answer(reply.reasoning or "") or None
                read[at] = replace(reply, text=redact.answer(reply.text), reasoning=bare)
        told = of.billing.told(self.body, read, charge=charge, limit=self._most)
        self._tell_unpriced()
        if told.status is not Status.ERROR:
            read[0] = _with(told, self.lost)
            self._answered(started, read[0])
            return read
        self.reason, one.broken = f"HTTP 200: {told.error}", told
        if _passes(told):
            self.lost = self.lost.more(told.usd or 0.0, told.usd_estimated)
        else:
            one.whose, one.final = Blame.REQUEST, True
        return None

    def _refused(
        self, one: _Try, fault: Fault, headers: Mapping[str, str], raw: bytes, started: float
    ) -> list[Completion] | None:
        """Take note of what the server said instead of an answer; a refusal is one."""
        of, status = self.of, fault.status
        self.reason = fault.reason
        charged = of.billing.failed(self.body, raw, headers, self._most)
        self._tell_unpriced()
        if charged is not None:  # whatever its status says
            self.lost, one.loss = self.lost.more(*charged), None
        if status == 400 and fault.code == "content_filter":  # Azure's way to refuse; it charges the prompt
            if charged is None:
                self._estimate(Loss.UNANSWERED)
            refused = self._failure(Status.REFUSED, None)
            self._answered(started, refused)
            return [refused]
        one.whose = blame(status, fault.code, fault.text)
        if one.whose is not Blame.SERVER:  # an exhausted quota, too, is told as 429, but no wait mends it
            one.final = True
            if status == 404 and not urlsplit(of.base_url).path:
                self.reason = f"HTTP 404 (the URL of a server mostly ends in /v1): {fault.text}"
            return None
        if fault.foreign and not self.endpoint.breaker.answered:
            self.foreign += 1
            one.weight = -(-(of.retries + 1) // _FOREIGN)  # both tries are a whole call's
        if status == 429:
            self.endpoint.throttled(started)
        if status == 429 or not self.endpoint.replicated:  # a replica that restarts is not all of them
            one.asked = retry_after(headers)
        if status == 429 or one.asked is not None:  # a server that works, at the pace that it can bear
            one.weight = 0
            self.put_off += 1
        return None

    def _given_up(self, one: _Try) -> Completion:
        """The failure that the last try leaves."""
        of, endpoint = self.of, self.endpoint
        shown, helps = endpoint.redact.line(self.reason), trust_remedy(self.reason)
        if one.fault is not None:
            helps += remedy(one.fault, max_tokens=self.request.sampling.max_tokens, base_url=of.base_url)
        shown = shown.rstrip(".") + helps if helps else shown
        if one.unreachable is not None:
            times = "once" if self.tries == 1 else f"{self.tries} times"
            raise EndpointDownError(f"{endpoint.where} cannot be reached (tried {times}): {shown}")
        if one.whose is not Blame.SERVER:
            of.failed(endpoint, one.whose, shown, helped=bool(helps))
        elif self.put_off:
            of.failed(endpoint, one.whose, shown, min(self.put_off, of.retries + 1))
        if (broken := one.broken) is not None:  # half an answer, with what it has cost
            half = replace(broken, text="", error=shown, calls=self.calls, seconds=self.clock() - self.begun)
            own = one.whose is Blame.SERVER
            return _with(half, self.lost.more(-(broken.usd or 0.0), -broken.usd_estimated) if own else self.lost)
        return self._failure(Status.ERROR, shown)

    def _tell_unpriced(self) -> None:
        if self.of.billing.unpriced and self.admission is not None:
            self.admission.unpriced(self.of.name, self.of.billing.unpriced)

    def _estimate(self, loss: Loss) -> None:
        usd = self.of.billing.lost(self.body, self._most, loss)
        self.lost = self.lost.more(usd, usd)

    def _answered(self, started: float, completion: Completion) -> None:
        """Take note that the model answers, in whatever way."""
        self.of.standing.answered()
        tokens_in, tokens_out = completion.tokens_in, completion.tokens_out
        self.endpoint.replied(started, tokens_out)
        if self.endpoint.tpm is not None and tokens_in is not None and tokens_out is not None:
            self.endpoint.tpm.give_back(self.tokens - tokens_in - tokens_out)

    def _failure(self, status: Status, error: str | None) -> Completion:
        # a call that the server turned down is not charged for; only where prices are unknown its cost is, too
        return Completion(
            status=status,
            finish_reason="content_filter" if status is Status.REFUSED else None,
            usd=None if self.of.billing.price is None else self.lost.usd,
            usd_estimated=self.lost.estimated,
            seconds=self.clock() - self.begun,
            error=error,
            calls=self.calls,
        )


def _nothing() -> None:
    """Where nobody admits, nothing is booked."""


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
