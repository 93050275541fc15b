"""What an engine is: calls in, rows out."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from arenaloop.models.base import Admission, Reserve
from arenaloop.types import Completion, Request

__all__ = ["ENGINE", "Call", "Engine", "Row"]


@dataclass(slots=True, eq=False)
class Call:
    """One request on its way to a model, admitted already.

    Attributes:
        model: who is asked.
        request, samples: what, and for how many samples of it.
        admission: whom to ask before it is sent again; None where nobody counts.
        notice: takes one line that the user should read while the run goes on.
        reserve: gives what it may cost.
    """

    model: Any
    request: Request
    samples: int = 1
    admission: Admission | None = None
    notice: Callable[[str], None] | None = None
    reserve: Callable[[], Reserve] | None = None


class Row(NamedTuple):
    """What came of a call.

    Attributes:
        completions: of its samples; failures are completions, too.
        error: why there is none: a server that is down, a run that is stopping, a bug.
    """

    call: Call
    completions: list[Completion] | None = None
    error: Exception | None = None


class Engine(Protocol):
    """Makes calls somewhere."""

    @property
    def standing(self) -> str:
        """How its workers are, in words for a progress line; empty where there are none."""

    async def open(self, models: Sequence[Any]) -> None:
        """Make ready to ask these models, before the first call.

        Raises:
            UserError: it cannot be: versions differ, or a worker lacks the variable of a key.
            StoppedError: there are no workers.
        """

    def run(self, calls: AsyncIterable[Call]) -> AsyncIterator[Row]:
        """Make calls as they come, and give a row of each in whatever order they end.

        Raises:
            StoppedError: there is nobody left to make them.
        """

    def drop(self, call: Call) -> None:
        """Give up a call: there will be no row of it."""


ENGINE: ContextVar[Engine | None] = ContextVar("engine", default=None)
"""The engine that makes the calls of models behind servers; None: this process."""
