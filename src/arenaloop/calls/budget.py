"""How much a run directory may cost: hard stops on calls and on money, over all its invocations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from arenaloop.calls.priced_later import priced_later
from arenaloop.errors import ConfigError
from arenaloop.models.base import Model, Reserve
from arenaloop.models.usage import Price
from arenaloop.store import Store

__all__ = ["Budget", "Flying", "dollars", "require_prices", "unpriced"]


_SHARE = 0.02
"""Of a budget in dollars, what may be in flight where little is left, or nothing is learnt of what calls cost."""


def _costs(reserve: Reserve) -> bool:
    return reserve.most > 0 or not reserve.learnt


@dataclass(slots=True)
class Flying:
    """Calls in flight that may cost something.

    Attributes:
        calls: how many; `unlearnt`: of models that have not shown yet what a call costs.
        likely, most: US dollars that they cost together.
    """

    calls: int = 0
    unlearnt: int = 0
    likely: float = 0.0
    most: float = 0.0

    def add(self, reserve: Reserve, sign: int = 1) -> None:
        """Add a call, or with -1 take it out."""
        if not _costs(reserve):
            return
        self.calls += sign
        self.unlearnt += sign * (not reserve.learnt)
        if self.calls:
            self.likely += sign * (reserve.likely or 0.0)
            self.most += sign * reserve.most
        else:
            self.likely = self.most = 0.0  # sums of many drift


@dataclass(slots=True)
class Budget:
    """What may be spent on answers and verdicts together; what earlier invocations spent counts.

    One budget serves all plays of a recipe: it is filled from the arena file once, and then counts along.

    Attributes:
        usd: US dollars; None is no limit. No call begins that is likely to pass them, those in flight counted.
        calls: requests sent; None is no limit. No call begins that would be one more, those in flight counted.
        spent_usd, spent_calls: so far.
        estimated_usd: the part of `spent_usd` that no server has told.
        prices: of models, by their names in the arena file; earlier calls that had no price then are counted by them.
    """

    usd: float | None = None
    calls: int | None = None
    spent_usd: float = 0.0
    spent_calls: int = 0
    estimated_usd: float = 0.0
    prices: Mapping[str, Price] = field(default_factory=dict)
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
            ConfigError: dollars are limited, and some of the earlier calls have no price that is known by now.
        """
        if self._begun or not self.limited:
            return
        usage = store.usage()
        usd, estimated = usage.usd, usage.usd_estimated
        if self.usd is not None and usd is None:
            usd, estimated = priced_later(store, self.prices)
        self.spent_usd, self.spent_calls, self._begun = usd or 0.0, usage.calls, True
        self.estimated_usd = estimated

    def spend(self, calls: int, usd: float | None, estimated: float = 0.0) -> None:
        """Count what came back, or is known to be lost; `estimated` is the part of `usd` that no server has told."""
        self.spent_calls += calls
        self.spent_usd += usd or 0.0
        self.estimated_usd += estimated

    def refusal(self, in_flight: int, more: int = 1) -> str | None:
        """Why `more` calls may not begin while `in_flight` are under way; None if they may."""
        if self.calls is not None and self.spent_calls + in_flight + more > self.calls:
            return f"{self.spent_calls + in_flight:,} of {self.calls:,} calls"
        if self.usd is not None and self.spent_usd >= self.usd:
            return self.money()
        return None

    def holds(self, flying: Flying, reserve: Reserve) -> bool:
        """Whether a call of `reserve` may begin beside those in flight, in dollars.

        What is in flight may come to half of what is left, at the most that it may cost: as the end nears, fewer calls
        are in flight, and what they cost beyond their reserve, which has shown by then, has a margin. A fiftieth of the
        budget may always be, so that the end is not one call after the other; and while nothing is learnt of what the
        calls of a model cost, no more. One call may be by itself, if it is likely to fit.
        """
        if self.usd is None or not _costs(reserve):
            return True
        left = self.usd - self.spent_usd
        if flying.likely + (reserve.likely or 0.0) > left and (reserve.learnt or self.spent_usd > 0):
            return False
        if flying.calls == 0:
            return True
        learnt = reserve.learnt and not flying.unlearnt
        return reserve.most > 0 and flying.most + reserve.most <= max(left / 2 if learnt else 0.0, _SHARE * self.usd)

    def next_call(self, reserve: Reserve) -> str:
        """Why a call of `reserve` does not fit, though nothing else is in flight."""
        known = "is likely to" if reserve.learnt else "may"
        return f"{self.money()}, and the next call {known} cost ${dollars(reserve.likely or 0.0)}"

    def money(self) -> str:
        """Dollars spent and allowed, e.g. ``$0.42 of $0.40``, and what of them had to be estimated."""
        assert self.usd is not None
        estimated = f", ${dollars(self.estimated_usd)} of it estimated" if self.estimated_usd > 0 else ""
        return f"${dollars(self.spent_usd)} of ${dollars(self.usd)}{estimated}"


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
                "price: {input: …, output: …} in dollars per million tokens, or into a file for --prices; or go on "
                "without this budget (--budget-usd none; --budget-calls N limits the calls)"
            )


def unpriced(model: str, what: str) -> str:
    """Why a budget in dollars cannot be kept for a model whose replies count what no price covers, and what helps."""
    name = what.partition(":")[0]
    return (
        f"{model}: a reply counts what no price covers ({what}), so a budget in dollars cannot be kept: put "
        f"units: {{{name}: …}} into its price, in dollars for one (0 if that is in the price already), or limit the "
        "calls instead (--budget-usd none --budget-calls N)"
    )
