"""Whether a judging model gives log-probabilities: found out by one call, not by as many as may be in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from arenaloop.errors import StoppedError
from arenaloop.types import Completion, Status

__all__ = ["NoLogprobsError", "Probe"]


class NoLogprobsError(StoppedError):
    """The judge is to be read by log-probabilities and its server gives none: asking on would only cost money."""


class Probe:
    """What is known of a model's log-probabilities.

    Until an answer has come with some or without, one call goes at a time. All votes of a judge share one probe.

    Args:
        judge: its name.
    """

    def __init__(self, judge: str) -> None:
        self._judge = judge
        self._given = self._withheld = False
        self._first: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        """Whether nothing is known yet."""
        return not self._given and not self._withheld

    def check(self) -> None:
        """Before a request is made.

        Raises:
            NoLogprobsError: an answer came without log-probabilities, and none came with them.
        """
        if self._withheld and not self._given:
            raise NoLogprobsError(
                f"judge {self._judge}: it answers without log-probabilities, so no verdict can be read from "
                "them; judge with --verdict json or text, or with another server "
                "(one that thinks before it answers needs deciding_label: last)"
            )

    def read(self, completion: Completion) -> str | None:
        """Take note of an answer; the error where it lacks what it was asked for."""
        if completion.status not in (Status.OK, Status.TRUNCATED):
            return None
        self._given |= completion.logprobs is not None
        self._withheld |= completion.logprobs is None
        return "no log-probabilities came with the answer" if completion.logprobs is None else None

    async def ask(self, ask: Callable[[], Awaitable[Completion]]) -> Completion:
        """Make a call, alone until one has shown what there is.

        Raises:
            NoLogprobsError: as of `check`, after the first call.
        """
        loop = asyncio.get_running_loop()
        while self.open and self._first is not None and self._first.get_loop() is loop and not self._first.done():
            await asyncio.shield(self._first)
        self.check()
        if not self.open:
            return await ask()
        first = self._first = loop.create_future()
        try:
            completion = await ask()
            self.read(completion)
            return completion
        finally:
            first.set_result(None)
