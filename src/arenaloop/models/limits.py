"""What a server can bear: how many calls at once, and how many a minute.

Everything here is pure: no clock and no event loop; the time is passed in, in seconds from any fixed point.
"""

from __future__ import annotations

import math

__all__ = ["AdaptiveLimit", "TokenBucket", "TokenEstimate"]

READING = 32
"""What a call costs besides its new tokens, as a number of new tokens: queueing, network, reading the prompt."""


class AdaptiveLimit:
    """How many calls may be in flight at a server whose limits nobody has told us.

    The limit is set anew once a window, as many replies as the limit itself. The rule is that of congestion control by
    delay (Brakmo & Peterson 1995, TCP Vegas): compare the pace of the window, in seconds per new token, with the best
    that was seen. While the pace is within `TOLERANCE` of the best and all places were taken, the limit doubles, or
    grows by its square root once it has been cut. A slower pace means that calls wait inside the server: the limit
    becomes ``limit * max(1/2, TOLERANCE * best / pace) + sqrt(limit)``, which settles at about twice what a saturated
    server works on at once. HTTP 429 halves the limit, once for all calls that were sent before the cut.

    When it has held the limit down for `FORGET` windows, the best pace is measured again, at a quarter of the limit,
    where a server at which the rule has settled has nothing to wait for. A server that became slower for good would
    else keep a low limit; and to forget the best pace without measuring would be to climb without end.

    Args:
        start: the first limit.
        ceiling: the highest.

    Attributes:
        limit: how many calls may be in flight.
    """

    TOLERANCE = 2.0
    FORGET = 24
    WINDOW = 8  # replies, at least

    def __init__(self, start: int = 16, ceiling: int = 512) -> None:
        self.limit = min(start, ceiling)
        self._start, self._ceiling = self.limit, ceiling
        self._threshold = float(ceiling)  # below it the limit doubles, from there on it grows slowly
        self._best, self._age = math.inf, 0
        self._before: int | None = None  # the limit to return to after measuring
        self._cut = -math.inf  # when a 429 last halved the limit
        self._open(-math.inf)

    def _open(self, now: float) -> None:
        self._since, self._seconds, self._tokens, self._replies, self._full = now, 0.0, 0, 0, False

    def replied(self, started: float, now: float, tokens: int, in_flight: int) -> None:
        """Take note of a reply.

        Args:
            started, now: when its request was sent and when it arrived.
            tokens: new tokens in it, 0 where the server does not say.
            in_flight: calls in flight, this one included.
        """
        if started < self._since:
            return  # sent under another limit
        self._seconds += now - started
        self._tokens += tokens + READING
        self._replies += 1
        self._full = self._full or in_flight >= self.limit
        if self._replies >= self.limit and self._replies >= self.WINDOW:
            self._turn(now)

    def throttled(self, started: float, now: float) -> None:
        """Take note of a 429 to a request that was sent at `started`."""
        if started >= self._cut:
            self.limit = max(1, self.limit // 2)
            self._threshold, self._before, self._cut = self.limit, None, now
            self._open(now)

    def _turn(self, now: float) -> None:
        pace = self._seconds / self._tokens
        limit, root = self.limit, max(1, round(math.sqrt(self.limit)))
        if self._before is not None:  # measured at a part of the limit
            self._best, self._age = pace, 0
            limit, self._before = self._before, None
        elif pace <= self._best:
            self._best, self._age = pace, 0
        gradient = self.TOLERANCE * self._best / pace if pace > 0 else 1.0
        self._age += gradient < 1
        if self._age > self.FORGET and limit > 4:
            self._before = limit
            limit //= 4
        elif gradient < 1:
            # never below the start: that much is polite, and a floor under what a change of work could do
            target = max(min(self._start, limit), round(limit * max(0.5, gradient)) + root)
            limit = target if self._full else min(limit, target)
            self._threshold = limit
        elif self._full:
            limit = 2 * limit if 2 * limit <= self._threshold else limit + root
        self.limit = min(limit, self._ceiling)
        self._open(now)


class TokenBucket:
    """So much a minute, spread evenly: what is taken by reservation, so that a waiting call sleeps once.

    In no minute is more taken than allowed (save one amount that is larger than a second's share): the bucket holds the
    share of a second, and is filled with the rest over a minute.

    Args:
        per_minute: requests or tokens.
    """

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._size = max(1.0, per_minute / 60)
        self._rate = (per_minute - (self._size if per_minute > 60 else 0.0)) / 60
        self._level, self._at = self._size, -math.inf

    def take(self, amount: float, now: float) -> float:
        """Take `amount` and return in how many seconds it may be used; those who come later wait longer."""
        if now > self._at:
            grown = self._rate * (now - self._at) if self._at > -math.inf else 0.0
            self._level, self._at = min(self._size, self._level + grown), now
        self._level -= amount
        return max(0.0, -self._level / self._rate)

    def give_back(self, amount: float) -> None:
        """Correct what was taken: give back what was not used, or take more with a negative `amount`."""
        self._level = min(self._size, self._level + amount)


class TokenEstimate:
    """How many tokens a call of one model will take, learnt from its replies.

    The first guess is a token for four bytes of the request and all the new tokens it may have; then both are moving
    averages over about the last ten replies.

    Attributes:
        replies: how many were learnt from.
        longest: new tokens of the longest answer so far.
    """

    def __init__(self) -> None:
        self._per_byte, self._new, self.replies = 0.25, math.inf, 0
        self._most_per_byte, self._beside, self.longest = 0.0, 0, 0

    def expect(self, size: int, max_tokens: int) -> float:
        """Tokens that a request of `size` bytes will take, prompt and answer together."""
        return self.reading(size) + min(self._new, max_tokens)

    def reading(self, size: int) -> float:
        """Tokens of the prompt in a request of `size` bytes."""
        return size * self._per_byte

    def writing(self, limit: int) -> float:
        """New tokens of an answer: their mean, before the first one all that it may have."""
        return self._new if self.replies else limit

    def most(self, size: int, limit: int) -> tuple[float, int]:
        """The most tokens that a request of `size` bytes may be and bring.

        A tokenizer makes no token of less than a byte. After the first reply, the densest text so far is the measure
        (and the longest answer, where a server has passed the limit); what a server has put beside a request is added.
        """
        if not self.replies:
            return size, limit
        return min(float(size), size * self._most_per_byte) + self._beside, max(limit, self.longest)

    def learn(self, size: int, tokens_in: int, tokens_out: int) -> None:
        """Take note of what a request of `size` bytes took."""
        self.replies += 1
        weight = max(0.1, 1 / self.replies)
        self._per_byte += weight * (tokens_in / max(1, size) - self._per_byte)
        self._new = tokens_out if self.replies == 1 else self._new + weight * (tokens_out - self._new)
        self._most_per_byte = max(self._most_per_byte, tokens_in / max(1, size))
        self._beside = max(self._beside, tokens_in - size)
        self.longest = max(self.longest, tokens_out)
