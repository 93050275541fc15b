"""Where a budget holds, a battle begins only if the budget pays it to its end beside those that have begun.

Else the first answers of hundreds of battles would take all of it, and no battle would be judged: a bill and no table.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque

from arenaloop.calls.budget import Budget
from arenaloop.calls.units import Asked

__all__ = ["Need", "Opening"]

Need = Counter[Asked]
"""How many calls of whom something will take."""


class Opening:
    """Lets work of several calls begin, in the order in which it asks.

    What is open counts whole, so that near the end less is open at once. A call of whoever has been asked here costs
    what those so far did on average; until there is one, nothing else is open beside it. By itself anything may begin:
    a rest that is too small for it is used to its last call, and the gate stops there.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._open: Need = Counter()
        self._works = 0
        self._queue: deque[asyncio.Event] = deque()

    async def begin(self, need: Need) -> None:
        """Wait until the budget has room for it, and for all who came earlier."""
        turn = asyncio.Event()
        self._queue.append(turn)
        try:
            while self._queue[0] is not turn or not self._fits(need):
                turn.clear()
                await turn.wait()
        except BaseException:
            self._queue.remove(turn)
            self._call_next()
            raise
        self._queue.popleft()
        self._open.update(need)
        self._works += 1
        self._call_next()  # there may be room for more

    def end(self, need: Need) -> None:
        """Close what has begun."""
        self._open.subtract(need)
        self._works -= 1
        self._call_next()

    def _fits(self, need: Need) -> bool:
        if not self._works:
            return True
        budget, together = self._budget, self._open + need
        if budget.calls is not None and budget.spent_calls + together.total() > budget.calls:
            return False
        if budget.usd is None:
            return True
        costs = {asked: asked.mean_cost for asked in together}
        if None in costs.values():
            return False
        return budget.spent_usd + sum((costs[asked] or 0.0) * n for asked, n in together.items()) <= budget.usd

    def _call_next(self) -> None:
        if self._queue:
            self._queue[0].set()
