"""How much a run directory may cost: hard stops on calls and on money, over all its invocations."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from arenaloop.errors import ConfigError
from arenaloop.models.base import Model
from arenaloop.store import Store

__all__ = ["Budget", "dollars", "require_prices"]


@dataclass(slots=True)
class Budget:
    """What may be spent on answers and verdicts together; what earlier invocations spent counts.

    One budget serves all plays of a recipe: it is filled from the arena file once, and then counts along.

    Attributes:
        usd: US dollars; None is no limit. No call begins once they are spent.
        calls: requests sent; None is no limit. No call begins that would be one more, those in flight counted.
        spent_usd, spent_calls: so far.
    """

    usd: float | None = None
    calls: int | None = None
    spent_usd: float = 0.0
    spent_calls: int = 0
    _begun: bool = False

    def __post_init__(self) -> None:
        if self.usd is not None and not 0 <= self.usd < math.inf:  # nothing is more than NaN
            raise ConfigError(f"a budget of {self.usd:g} dollars: a finite number, not negative")
        if self.calls is not None and self.calls < 0:
            raise ConfigError(f"a budget of {self.calls:,} calls: a number, not negative")

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.usd is not None or self.calls is not None

    def begin(self, store: Store) -> None:
        """Count what the arena file holds already, the first time only.

        Raises:
            ConfigError: dollars are limited, and some of the earlier calls have no known price.
        """
        if self._begun or not self.limited:
            return
        usage = store.usage()
        if self.usd is not None and usage.usd is None:
            raise ConfigError(
                f"{store.path.parent}: the price of some earlier calls here is not known, so a budget in dollars "
                "cannot count them: limit the calls instead (--budget-calls), or begin a new directory"
            )
        self.spent_usd, self.spent_calls, self._begun = usage.usd or 0.0, usage.calls, True

    def spend(self, calls: int, usd: float | None) -> None:
        """Count what came back."""
        self.spent_calls += calls
        self.spent_usd += usd or 0.0

    def refusal(self, in_flight: int, more: int = 1) -> str | None:
        """Why `more` calls may not begin while `in_flight` are under way; None if they may."""
        if self.calls is not None and self.spent_calls + in_flight + more > self.calls:
            return f"{self.spent_calls + in_flight:,} of {self.calls:,} calls"
        if self.usd is not None and self.spent_usd >= self.usd:
            return self.money()
        return None

    def money(self) -> str:
        """Dollars spent and allowed, e.g. ``$0.42 of $0.40``."""
        assert self.usd is not None
        return f"${dollars(self.spent_usd)} of ${dollars(self.usd)}"


def dollars(usd: float) -> str:
    """An amount without its sign: ``12.34``, ``0.0042``, ``0``."""
    return f"{usd:,.2f}" if usd >= 0.1 else f"{usd:.2g}"


def require_prices(budget: Budget, models: Iterable[Model]) -> None:
    """Refuse a budget in dollars where a model's price is not known; models without a `price` cost nothing.

    Raises:
        ConfigError: names the model, and says where its price goes.
    """
    if budget.usd is None:
        return
    for model in models:
        if getattr(model, "price", 0) is None:
            raise ConfigError(
                f"a budget in dollars needs the price of {model.name!r}: put it in the model's YAML file, "
                "price: {input: …, output: …} in dollars per million tokens (or limit the calls: --budget-calls)"
            )
