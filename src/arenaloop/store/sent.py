"""What an invocation has sent."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sent"]


@dataclass(slots=True)
class Sent:
    """What an invocation has sent.

    Attributes:
        calls: requests, retries included.
        open: those of them whose answer is not stored: on their way, or cut off.
        usd: what the open ones cost, by an estimate.
        unknown: open ones whose price is not known.
    """

    calls: int = 0
    open: int = 0
    usd: float = 0.0
    unknown: int = 0

    def begin(self, calls: int, usd: float | None) -> None:
        """Calls begin that will cost `usd` all together (None: not known)."""
        self.calls += calls
        self._move(calls, usd, 1)

    def end(self, calls: int, usd: float | None) -> None:
        """Calls that had begun so are open no more."""
        self._move(calls, usd, -1)

    def _move(self, calls: int, usd: float | None, sign: int) -> None:
        self.open += sign * calls
        if usd is None:
            self.unknown += sign * calls
        else:
            self.usd = self.usd + sign * usd if self.open else 0.0  # sums of many drift
