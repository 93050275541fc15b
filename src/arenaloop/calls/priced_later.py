"""Earlier calls of an arena file that had no price when they were made, counted by the prices that are known now.

Prices are known by the name that rows have for a model. What was counted by is kept in the arena file, so that the next
invocation need not be told again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from arenaloop.errors import ConfigError
from arenaloop.models.usage import Price
from arenaloop.store import Store
from arenaloop.store.counts import unpriced_calls
from arenaloop.terminal import counted

__all__ = ["PricedLater", "priced_later"]

_ROOM = "prices"
"""of the notes: US dollars for a million tokens read and written, by the name of the model"""


class PricedLater(NamedTuple):
    """What all calls of an arena file have cost, and the part of it that no server has told the tokens of."""

    usd: float
    estimated: float


def priced_later(store: Store, prices: Mapping[str, Price]) -> PricedLater:
    """What an arena file has cost, where `prices` say what those calls cost that had no price.

    What the server had cached is not known any more, so that every token costs its full price. A call whose tokens were
    not told costs what others of its model did on the average, and one that was cut off what the dearest model did.

    Raises:
        ConfigError: it cannot be told of some calls; names their models.
    """
    found = unpriced_calls(store)
    prices = {name: Price(*each) for name, each in store.notes(_ROOM)} | dict(prices)
    usd, estimated, dearest = found.usd, found.usd_estimated, 0.0
    unknown: list[str] = []
    for one in found.models:
        price = prices.get(one.name)
        if price is None:
            unknown.append(f"{one.calls:,} of {one.name}")
            continue
        cost = price.usd(one.tokens_in, one.tokens_out) or 0.0
        if one.untold and not one.told and price.usd(1, 1):
            unknown.append(f"{one.calls:,} of {one.name}, which told no tokens")
            continue
        each = cost / one.told if one.told else 0.0
        usd, estimated, dearest = usd + cost + each * one.untold, estimated + each * one.untold, max(dearest, each)
    if found.cut_off and not dearest and not found.models:
        unknown.append(f"{counted(found.cut_off, 'call')} cut off")
    if unknown:
        raise ConfigError(
            f"{store.path.parent}: the price of some earlier calls here is not known ({'; '.join(unknown)}), so a "
            "budget in dollars cannot count them: give it now (price in the model's YAML file, or --prices FILE with "
            "that name), or go on without this budget (--budget-usd none; --budget-calls N limits the calls), or begin "
            "a new directory"
        )
    if not store.readonly:
        kept = dict(store.notes(_ROOM))
        for one in found.models:
            told = [prices[one.name].prompt, prices[one.name].completion]
            if kept.get(one.name) != told:
                store.put_note(_ROOM, one.name, told)
    cut_off = dearest * found.cut_off
    return PricedLater(usd + cut_off, estimated + cut_off)
