"""What a reply has cost, by all that it tells: its counts at the price table's prices, and the server's own bill.

The two are compared, and the higher one is booked. A failed call may be charged, too: whatever its status is, a body
that counts tokens or names an amount says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from arenaloop.models.bill import Bill, read_bill
from arenaloop.models.billable import billable
from arenaloop.models.notices import Notices
from arenaloop.models.usage import Price, Usage, are_rounds, read_usage

__all__ = ["Charge", "note_charge", "read_charge", "read_failed_charge"]

_NEAR, _CENT = 0.01, 1e-6  # of the dearer one, and US dollars: as far apart as rounding leaves two figures
_MOST_USAGES = 8
_NAMES = ("usage", "usageMetadata", "usage_metadata")


class Charge(NamedTuple):
    """What a reply says that its call has cost.

    Attributes:
        usage: tokens.
        bill: the server's own amount.
        table: what that costs by the price table; None where the price or the tokens are not known.
        usd: the higher one of both; None where neither is known.
        unpriced: what it counts besides tokens of text (searches, pages, seconds of audio) and neither the price table
            nor a bill holds, with its count.
    """

    usage: Usage
    bill: Bill
    table: float | None
    usd: float | None
    unpriced: tuple[str, ...] = ()

    @property
    def told(self) -> bool:
        """Whether it says anything."""
        usage = self.usage
        return bool(usage.tokens_in or usage.tokens_out or self.bill.usd or usage.no_counts or self.unpriced)


def read_charge(reply: Mapping[str, Any], headers: Mapping[str, str], price: Price | None) -> Charge:
    """What a reply has cost.

    Args:
        reply: its JSON object.
        headers: its headers.
        price: of the model; None where it is not known, and then a bill is all there is.
    """
    found = list(_usages(reply))
    usages = [read_usage(one) for one in found]
    usage = max(usages, key=lambda one: (one.tokens_out or 0) + (one.tokens_in or 0), default=Usage())
    if not found and (unread := [name for name in _NAMES if reply.get(name)]):
        usage = Usage(no_counts=(f"{unread[0]}: {str(reply[unread[0]])[:40]}",))
    bill = read_bill(reply, headers)
    if price is None:
        return Charge(usage, bill, None, bill.usd)
    things = dict[str, float]()
    for one in found or [{}]:
        for name, number in billable(one, reply.get("service_tier")).items():
            things[name] = max(number, things.get(name, 0.0))
    table = price.usd(usage.tokens_in, usage.tokens_out, usage.cached, usage.cache_writes)
    table = None if table is None else table + price.unit_usd(things)
    amounts = [usd for usd in (table, bill.usd) if usd is not None]
    # a bill is for all of it
    unpriced = () if bill.usd else tuple(f"{name}: {n:,.6g}" for name, n in things.items() if name not in price.units)
    return Charge(usage, bill, table, max(amounts, default=None), unpriced)


def read_failed_charge(raw: bytes, headers: Mapping[str, str], price: Price | None) -> Charge | None:
    """What a call that failed has cost, where its body or its headers say so; None where they do not."""
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError):
        reply = {}
    if isinstance(reply, list) and reply:  # Gemini's
        reply = reply[0]
    charge = read_charge(reply if isinstance(reply, dict) else {}, headers, price)
    return charge if charge.told else None


def _usages(reply: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The usage objects of a reply: under that name at the top, or else one level below (an error's, a choice's)."""
    named = [value for name, value in reply.items() if "usage" in name.lower()]
    named = [{"rounds": value} if isinstance(value, list) and are_rounds(value) else value for value in named]
    found = [one for value in named for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
    if not found:
        for value in reply.values():
            inner = value[0] if isinstance(value, list) and value else value
            if isinstance(inner, dict):
                found += [one for name, one in inner.items() if isinstance(one, dict) and "usage" in name.lower()]
    yield from found[:_MOST_USAGES]


def note_charge(notices: Notices, charge: Charge) -> None:
    """Count what is odd about a charge, each kind with its first example."""
    usage, bill, table = charge.usage, charge.bill, charge.table
    if usage.unknown:
        notices.add("unknown count", usage.unknown[0])
    if usage.no_counts:
        notices.add("no count", usage.no_counts[0])
    if charge.unpriced:
        notices.add("unpriced", ", ".join(charge.unpriced))
    if bill.unread:
        notices.add("unread bill", bill.unread[0])
    if bill.usd is None or table is None or abs(bill.usd - table) <= max(_CENT, _NEAR * max(bill.usd, table)):
        return
    told = f"${bill.usd:.3g} in {bill.field} against ${table:.3g}"
    notices.add("bill above" if bill.usd > table else "bill below", told)
