"""A server's own bill for a call: what it says that the call has cost, wherever it says so.

OpenRouter and many gateways tell ``usage.cost``, DeepInfra ``estimated_cost``, Perplexity a table of parts, xAI ticks,
LiteLLM a header. What is read is every amount whose name speaks of money, in US dollars; the largest one stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from arenaloop.models.figures import amount, figures, words_of

__all__ = ["Bill", "read_bill"]

_MOST = 10_000.0  # US dollars of one call: more is no amount of it
_MONEY = re.compile(r"cost|charge|dollar|usd|\bfees?\b|total_?price")
_STRONG = re.compile(r"cost|dollar|usd")
_WEAK = re.compile(r"billed|credit")
_NOT_OF_THE_CALL = frozenset((
    "per", "rate", "rates", "limit", "max", "budget", "remaining", "balance", "saved", "saving", "savings", "discount",
    "margin", "original", "unit", "currency", "market", "key", "account", "team", "user", "daily", "monthly", "period",
    "multiplier", "tier", "type", "source", "model", "spend",
))  # fmt: skip
"""Words of a name that speaks of money and tells of no call: prices, limits, an account's sums."""
_UNITS = {"ticks": 1e-10, "tick": 1e-10, "cents": 1e-2, "cent": 1e-2, "millis": 1e-3}
_SMALL = (("micro", 1e-6), ("nano", 1e-9), ("milli", 1e-3))
_FOREIGN = frozenset((
    "eur", "euro", "euros", "cny", "rmb", "yuan", "gbp", "jpy", "yen", "inr", "krw", "chf", "credits", "credit",
))  # fmt: skip
_PART = re.compile(r"prompt|input|completion|output|request|search|cache|reason|citation|image|audio|tool|web")
_SUMS = frozenset(("amount", "total", "sum", "value", "price", "bill"))
_DOLLARS = frozenset(("usd", "$", "us$", "dollar", "dollars"))


class Bill(NamedTuple):
    """What a server says that a call has cost.

    Attributes:
        usd: US dollars; None where it does not say.
        field: where that stands, for people.
        unread: names of amounts that are none, or not in dollars, with their values.
    """

    usd: float | None = None
    field: str = ""
    unread: tuple[str, ...] = ()


class _Kind(NamedTuple):
    """What the name of an amount says: dollars to its unit (None: another currency), and whether it is of a part."""

    unit: float | None
    part: bool


def read_bill(reply: Mapping[str, Any], headers: Mapping[str, str]) -> Bill:
    """The bill in a reply or its headers.

    Parts add up (``input_tokens_cost`` and its neighbours); of several amounts for the whole call the largest counts.
    With a key of one's own (OpenRouter's ``is_byok``) the provider's bill comes on top.

    Args:
        reply: the body.
        headers: the reply's.
    """
    wholes, parts, unread = dict[str, float](), dict[tuple[str, ...], list[tuple[str, float]]](), list[str]()
    own_key = False
    for path, value, currency in chain(_amounts(reply), _header_amounts(headers)):
        if currency is None and _is_silent(path):  # nearly all
            continue
        kind = _kind(path) or (_Kind(1.0, False) if _is_sum(path, currency) else None)
        if kind is None or isinstance(value, bool):
            own_key = own_key or (path[-1] == "is_byok" and value is True)
            continue
        number, name = amount(value), ".".join(path)
        foreign = kind.unit is None or currency not in (None, *_DOLLARS)
        if number is None or foreign or number * (kind.unit or 0.0) > _MOST:
            if number or (number is None and _MONEY.search(path[-1].lower())):
                unread.append(f"{name}: {str(value)[:40]}{f' {currency}' if currency and foreign else ''}")
            continue
        usd = number * (kind.unit or 0.0)
        if kind.part:
            parts.setdefault(path[:-1], []).append((name, usd))
        else:
            wholes[name] = max(usd, wholes.get(name, 0.0))
    for some in parts.values():
        name = " + ".join(name for name, _ in some)
        wholes[name] = sum(usd for _, usd in some)
    if not wholes:
        return Bill(unread=tuple(unread))
    field = max(wholes, key=lambda name: wholes[name])
    usd = wholes[field]
    if own_key:
        upstream = max((value for name, value in wholes.items() if "upstream" in name), default=0.0)
        usd = max(usd, upstream + max((value for name, value in wholes.items() if "upstream" not in name), default=0.0))
    return Bill(usd, field, tuple(unread))


def _amounts(reply: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], object, str | None]]:
    """Everything in a body that may speak of money, with the currency that stands beside it; no answers' texts."""
    for name, value in reply.items():
        if name == "choices":
            first = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}
            message = first.get("message")
            for one in (first, message if isinstance(message, dict) else {}):
                for key, found in one.items():
                    if isinstance(found, dict) and key not in ("message", "logprobs"):
                        yield from _within(found, (key,))
        elif isinstance(value, dict):
            yield from _within(value, (name,))
        elif value is not None and not isinstance(value, list):
            yield (name,), value, None


def _within(found: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object, str | None]]:
    told = figures(found, path)
    currencies = {
        where[:-1]: value.lower()
        for where, value in told
        if isinstance(value, str)
        and (where[-1] == "currency" or (where[-1] == "unit" and value.lower() in _DOLLARS | _FOREIGN))
    }
    for where, value in told:
        yield where, value, currencies.get(where[:-1]) if currencies else None


def _header_amounts(headers: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], object, str | None]]:
    for name, value in headers.items():
        if _may_be_a_bill(name):
            yield (name.lower(),), value, None


@lru_cache(maxsize=2048)
def _may_be_a_bill(header: str) -> bool:
    lower = header.lower()
    return "cost" in lower or "usd" in lower or "charge" in lower


@lru_cache(maxsize=2048)
def _is_silent(path: tuple[str, ...]) -> bool:
    """Whether a figure without a currency says nothing of what the call has cost, whatever its value is."""
    return _kind(path) is None and not _is_sum(path, None) and path[-1] != "is_byok"


def _is_sum(path: tuple[str, ...], currency: str | None) -> bool:
    """Whether a plain amount is money by what stands around it: its currency, or that it is billing's."""
    billing = any("billing" in name.lower() or "invoice" in name.lower() for name in path[:-1])
    return (billing or currency is not None) and frozenset() < words_of(path[-1]) <= _SUMS


@lru_cache(maxsize=2048)
def _kind(path: tuple[str, ...]) -> _Kind | None:
    """What an amount is, by its name; None where it speaks of no money that a call has cost."""
    name, leaf = "_".join(path).lower(), path[-1].lower()
    words = words_of(path[-1])
    if "token" in name:  # they, too, are charged and billed
        money = _STRONG.search(leaf if "token" in leaf else name)
    else:
        money = _MONEY.search(name) or _WEAK.search(leaf)
    if not money or words & _NOT_OF_THE_CALL:
        return None
    unit: float | None = 1.0
    if words & _FOREIGN:
        unit = None
    elif scales := [_UNITS[word] for word in words if word in _UNITS]:
        unit = scales[0]
    else:
        unit = next((scale for start, scale in _SMALL if any(word.startswith(start) for word in words)), 1.0)
    return _Kind(unit, part=_PART.search(leaf) is not None)
