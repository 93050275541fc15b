"""What a reply says that it took besides tokens of text, and that may be charged: searches, requests, pages, audio.

No list says what is charged: servers invent new things. So every figure of a usage object is one that is not known to
cost nothing (times, speeds, limits) and is no count of tokens and no amount of money; so is a tier of service that is
not the usual one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from arenaloop.models.figures import NO_COUNT, amount, figures, kind_of, words_of

__all__ = ["billable"]

_FREE = NO_COUNT | {
    "times", "us", "ns", "msec", "secs", "minutes", "hour", "hours", "timestamp", "created", "start", "started", "end",
    "ended", "finished", "first", "last", "ttft", "queue", "load", "tps", "throughput", "id", "index", "version",
    "seed", "score", "confidence", "length", "size", "energy", "joules", "watt", "watts", "wh", "kwh", "co2", "carbon",
    "gwp", "efficiency", "depth", "perplexity", "logprob", "fingerprint",
}  # fmt: skip
"""Words of a figure that tells how a server has worked, and of nothing that it has done for the caller."""
_MEDIA = frozenset(("audio", "video", "image", "speech", "voice"))
_WORKED = frozenset(("seconds", "second", "sec", "secs", "ms", "minutes", "duration"))
_MONEY = re.compile(r"cost|charge|dollar|usd|price|fees?\b|credit|currency|amount|spend|discount|saving|billed$")
_CLASSES = frozenset(("tier", "speed", "geo", "traffic", "modality", "priority"))
_USUAL = frozenset((
    "", "auto", "default", "standard", "normal", "none", "null", "on_demand", "ondemand", "flex", "batch", "scale",
    "global", "not_available", "text", "low", "free",
))  # fmt: skip
"""Classes of service that cost what the price table says, or less, or were paid in advance."""


def billable(usage: Mapping[str, Any], tier: object = None) -> dict[str, float]:
    """What is counted besides tokens of text, with its count; what is named in several places at its largest.

    Args:
        usage: the usage object.
        tier: the reply's own word for its class of service, where it stands beside the usage.
    """
    found: dict[tuple[str, ...], float] = {}
    for path, value in [*figures(usage), (("service_tier",), tier)]:
        if isinstance(value, str) and words_of(path[-1]) & _CLASSES and amount(value) is None:
            if (word := value.strip().lower()) not in _USUAL:
                found[(*path, word[:40])] = 1.0
        elif not isinstance(value, bool) and _charged(path) and (number := amount(value)):
            found[path] = found.get(path, 0.0) + number  # of a list all add up
    things: dict[str, float] = {}
    for path, number in found.items():
        things[path[-1]] = max(number, things.get(path[-1], 0.0))
    return things


@lru_cache(maxsize=2048)
def _charged(path: tuple[str, ...]) -> bool:
    """Whether a figure of that name counts something that may be charged apart from the tokens of text."""
    leaf, words = words_of(path[-1]), frozenset().union(*map(words_of, path))
    if kind_of(path) is not None:
        return bool(leaf & _MEDIA)  # which cost more than text
    if _MONEY.search("_".join(path).lower()):
        return False
    return not leaf & _FREE or bool(words & _MEDIA and leaf & _WORKED)
