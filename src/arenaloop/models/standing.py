"""How a model stands with its server: how many of its requests may be refused before there is no use in going on."""

from __future__ import annotations

from arenaloop.models.breaker import Breaker
from arenaloop.models.openai_errors import Blame

__all__ = ["Standing"]

_HANDFUL = 5
"""Failures that are too many if a model that was never answered is told that it cannot be asked."""

_TOO_LONG = 30
"""Refusals of prompts for their length or content that are too many if nothing was ever answered: settings may be at
fault. More than other failures, since a set that is sorted by length may begin with what does not fit."""

_FORM = 0.95
"""Share of the last hundred requests refused for their form (HTTP 400 and the like) that is too high once something was
answered: a server may refuse many prompts for what they say, in words that nobody knows, and answer the others."""


class Standing:
    """The breakers of one model, one for each kind of refusal.

    A model that cannot be asked is not blamed on its endpoint, nor a request that cannot be answered on its model; but
    where nothing was ever answered, its settings may be what no request can be answered with.
    """

    __slots__ = ("_rejected", "_unanswerable", "_unknown")

    def __init__(self) -> None:
        self._unknown = Breaker(_HANDFUL)
        self._rejected = Breaker(least=round(100 * _FORM), share=_FORM)
        self._unanswerable = Breaker(_TOO_LONG)

    def answered_before(self) -> None:
        """Take note that it has answered in an earlier run: what it refuses is then the fault of single requests."""
        self._rejected.answered = self._unanswerable.answered = True

    def answered(self) -> None:
        """Take note that it answers, in whatever way."""
        self._unknown.succeeded()
        self._rejected.succeeded()
        self._unanswerable.answered = True

    def refused(self, whose: Blame, in_flight: int) -> Breaker | None:
        """Take note of a refusal; the breaker that has tripped by it, None where all may go on.

        Args:
            whose: what it says about other calls; not `Blame.SERVER`, whose breaker is the endpoint's.
            in_flight: calls in flight, this one included.
        """
        breaker = {Blame.MODEL: self._unknown, Blame.REQUEST: self._rejected}.get(whose, self._unanswerable)
        if breaker is self._unanswerable and breaker.answered:
            return None
        return breaker if breaker.failed(in_flight, 1, 1) else None
