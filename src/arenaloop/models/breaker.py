"""When a server is given up: shares of failures in a moving window, and how long it may keep everybody waiting.

Everything here is pure: no clock and no event loop; the time is passed in, in seconds from any fixed point.
"""

from __future__ import annotations

import math
import random
from collections import deque

__all__ = ["TOLD_FROM", "Breaker", "Holds", "TooLongError", "pause"]

TOLD_FROM = 60.0
"""Seconds of waiting at a server's wish that the user is told of at once."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds
_CALM = 0.25  # share of failures up to which pauses are the ordinary ones
_LONGER = 2.0  # how many times a pause doubles on the way from there to a server that fails everything


class Breaker:
    """Watches the requests of late and says when too many of them failed to go on.

    Before anything was answered `first` failures are enough: nothing speaks for the server yet. Later every call that
    is in flight may fail, and so may the one after it, since a short outage takes all of them at once. So it takes
    twice as many failures as calls were in flight when the server last answered (and `least`), and they must be
    `share` of all requests in a window of as many as that allows: an unbroken row trips it, and so does a server that
    lets one request in twenty through, however long the run was before.

    Where calls are tried again, a try is a failure of its own, and `least` calls may use up all their tries. The many
    that are in flight need not: an endpoint that answers nothing sends fewer and fewer (`Endpoint.unanswered`).

    Args:
        first: failures that are too many when nothing was answered.
        least: failures that are never too many later, whatever is in flight.
        share: of failures in the window.

    Attributes:
        answered: whether anything was, ever.
    """

    __slots__ = ("_failed", "_flight", "_row", "_size", "_weight", "_window", "answered", "first", "least", "share")

    def __init__(self, first: int = 20, least: int = 20, share: float = 0.8) -> None:
        self.first, self.least, self.share = first, least, share
        self.answered = False
        self._window: deque[int] = deque()  # the latest requests, oldest first: what a failure weighs, 0 for an answer
        self._size = math.ceil(least / share)  # how much of them, an answer weighing 1, the window holds
        self._weight = 0  # of all in it
        self._failed = 0  # of the failures in it
        self._row = 0  # failures since the last answer, as requests
        self._flight = 1  # calls in flight at the last answer, or more that were since

    def failed(self, in_flight: int, tries: int = 1, weight: int = 1) -> bool:
        """Take note of a failure; True if it is one too many.

        Args:
            in_flight: calls in flight when it failed, itself included.
            tries: how often a call may be tried in all.
            weight: of how many tries it takes the place; one that took a call's whole patience, of all of them.
        """
        self._flight = max(self._flight, in_flight)
        self._row += 1
        self._failed += weight
        self._note(weight)
        later = (tries - 1) * self.least + max(self.least, 2 * self._flight)
        needed = later if self.answered else tries * self.first
        self._size = math.ceil(needed / self.share)
        return self._failed >= needed

    def succeeded(self, in_flight: int = 1) -> None:
        """Take note of an answer."""
        self.answered, self._row, self._flight = True, 0, in_flight
        self._note(0)

    @property
    def failing(self) -> float:
        """The share of a full window that failed; what the window has not seen yet counts as answered."""
        return min(1.0, self._failed / self._size)

    @property
    def told(self) -> str:
        """What failed of late, in words."""
        failures = sum(1 for weight in self._window if weight)
        if not self.answered:
            return f"the first {failures:,} calls"
        if self._row >= failures:
            return f"{self._row:,} calls in a row"
        return f"{failures:,} of the last {len(self._window):,} calls"

    def _note(self, weight: int) -> None:
        self._window.append(weight)
        self._weight += weight or 1
        while self._weight - ((oldest := self._window[0]) or 1) >= self._size:
            self._window.popleft()
            self._weight -= oldest or 1
            self._failed -= oldest


def pause(tries: int, failing: float) -> float:
    """Seconds to wait before a call is tried again: at random up to 0.5 s, 1 s, 2 s … 30 s ("full jitter").

    Where much fails of late they are up to four times as long: a server that is down or overloaded is not helped by
    more requests, and one that comes back finds the calls waiting.

    Args:
        tries: how often it was tried.
        failing: the share of requests that failed of late (`Breaker.failing`).
    """
    more = _LONGER * max(0.0, failing - _CALM) / (1 - _CALM)
    return random.random() * min(_FIRST_PAUSE * 2 ** (tries - 1 + more), _LONGEST_PAUSE)


class TooLongError(Exception):
    """A server asks to wait longer than anybody is willing to; `seconds` since it last answered, in all."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Holds:
    """Until when a server has asked to be left alone, and for how long in all since it last answered.

    Attributes:
        until: nothing is sent before.
    """

    __slots__ = ("_since", "_told", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._since: float | None = None
        self._told = -math.inf

    def ask(self, seconds: float, now: float, longest: float) -> float | None:
        """Take note that the server asks for so many seconds.

        Args:
            seconds: from `now`.
            longest: seconds since the last answer after which there is no use in waiting.

        Returns:
            Seconds from now that the user is to be told of; None where it is not long, or told already.

        Raises:
            TooLongError: it takes too long. Nothing is held.
        """
        since = now if self._since is None else self._since
        if now + seconds - since > longest:
            raise TooLongError(now + seconds - since)
        self._since, self.until = since, max(self.until, now + seconds)
        if self.until - since <= TOLD_FROM or self.until - self._told <= TOLD_FROM:
            return None
        self._told = self.until
        return self.until - now

    def answered(self) -> None:
        """Take note of an answer: whoever asks to wait from now on does so anew."""
        self._since = None
