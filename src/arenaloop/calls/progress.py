"""Live counts of one play, for progress lines and budgets."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from arenaloop.calls.budget import Budget
from arenaloop.models.speed import Speed

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """Live counts of one invocation, for progress lines and budgets.

    Attributes:
        answers, verdicts: units finished (found or asked); `answers_total`, `verdicts_total`: wanted.
        calls: requests sent, retries included. `cached`: verdicts found in the arena file.
        failed: answers and verdicts of this invocation that ended without a result.
        usd: money spent in this invocation; None once a price is unknown.
        usd_estimated: the part of it that no server has told.
        in_flight: calls that have begun and not come back.
        budget: what the run directory may cost in all, and has cost.
        paces: seconds a call of local models, by role and name, from their first chunk on, and how fast that was.
        notices: lines that the user should read at once; whoever shows them takes them out.
        workers: how those of an engine are, where there are any.
        unit: what an answer is called. `so_far`: what has come of them, where that is what counts.
    """

    answers: int = 0
    answers_total: int = 0
    verdicts: int = 0
    verdicts_total: int = 0
    calls: int = 0
    cached: int = 0
    failed: int = 0
    usd: float | None = 0.0
    usd_estimated: float = 0.0
    in_flight: int = 0
    budget: Budget = field(default_factory=Budget)
    paces: dict[tuple[str, str], tuple[float, Speed]] = field(default_factory=dict)
    notices: deque[str] = field(default_factory=deque)
    unit: str = "answers"
    so_far: str = ""
    workers: str = ""

    def spent(self, calls: int, usd: float | None, estimated: float = 0.0) -> None:
        """Add the cost of one finished unit."""
        self.calls += calls
        self.usd_estimated += estimated
        if calls:
            self.usd = None if self.usd is None or usd is None else self.usd + usd

    @property
    def missing(self) -> str:
        """What is wanted and not done yet, in words: verdicts, or answers where nothing is judged."""
        if self.so_far:
            return self.so_far
        if self.verdicts_total:
            return f"{self.verdicts_total - self.verdicts:,} of {self.verdicts_total:,} verdicts missing"
        return f"{self.answers_total - self.answers:,} of {self.answers_total:,} answers missing"
