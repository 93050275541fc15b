"""The figures that a reply tells of what it took, by the words of their names.

Servers spell the same count in many ways (``prompt_tokens``, ``inputTokens``, ``prompt_eval_count``), and new ones come
every month. So no list of spellings decides what is read: every number whose name speaks of tokens or of money is a
figure, and its words say what it is of. What no word says anything about is kept, and named by whoever counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

__all__ = ["MOST_TOKENS", "NO_COUNT", "Count", "Figure", "Side", "amount", "count", "figures", "kind_of", "words_of"]

_DEEP, _MANY = 5, 300  # levels and figures of an object that are looked at
MOST_TOKENS = 10**9  # of one call; what a server counts beyond is no count, and sums of it would not fit into SQLite
_NUMBER = re.compile(
    r"\s*\$?\s*([+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,20})?(?:\.\d{0,20})?(?:[eE][+-]?\d{1,3})?)\s*", re.ASCII
)
_DECIMAL_COMMA = re.compile(r"\s*\$?\s*(?:0,\d{1,20}|\d{1,15},(?:\d{1,2}|\d{4,20}))\s*", re.ASCII)  # of no thousands
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+[a-z]*")
_SILENT = re.compile(r"tokens?|counts?|total|usage|metadata|billed|billable|units?|num(ber)?|[^a-z]|\bn(?=_)")
_READ, _WRITTEN = re.compile("(prompt|input)s?"), re.compile("(completion|output|candidate|generat(ed|ion)|response)s?")
_ABOUT_READ = re.compile("prompt|input|cache|context|system")
_ABOUT_WRITTEN = re.compile("completion|output|reason|think|thought|generat|candidate|predict|answer|response")
NO_COUNT = frozenset((
    "per", "sec", "second", "seconds", "ms", "time", "latency", "duration", "rate", "speed", "limit", "limits", "max",
    "maximum", "remaining", "left", "budget", "window", "available", "quota", "percent", "ratio", "price", "pricing",
    "cost", "costs", "usd",
))  # fmt: skip
"""Words of a name that speaks of tokens and counts none: speeds, limits, prices."""


class Side(Enum):
    """Which tokens a count is of."""

    READ = "read"
    WRITTEN = "written"
    BOTH = "both"
    """or it does not say"""


_OLLAMA = {"prompt_eval_count": Side.READ, "eval_count": Side.WRITTEN}
"""Ollama's own names, which speak of no tokens."""


class Count(NamedTuple):
    """What the name of a count says.

    Attributes:
        side: which tokens it is of.
        whole: whether it is of all of them, and not of a part.
        part: of a part that is known: ``"cached"``, ``"cache written"``, ``"cache written for long"``, ``"thought"``,
            ``"rejected"``, ``"known"``; empty where it is not.
        beside: whether its name means that the wholes do not hold it: Anthropic's caches, Gemini's thoughts.
        of_input: of a whole prompt, whether it is called input.
    """

    side: Side
    whole: bool = False
    part: str = ""
    beside: bool = False
    of_input: bool = False


Figure = tuple[tuple[str, ...], object]
"""A value, after the names that lead to it, the outermost first."""


def figures(found: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[Figure]:
    """All values that are no mappings, no lists and not null; of deep and wide objects a part.

    Lists have no names of their own: what stands in one has that of the list.
    """
    told: list[Figure] = []
    todo = [(path, found)]
    while todo and len(told) < _MANY:
        above, inner = todo.pop()
        for name, value in inner.items():
            if value is None:
                continue
            if isinstance(value, dict):
                if len(above) + 1 < _DEEP:
                    todo.append(((*above, name), value))
            elif isinstance(value, list):
                here = (*above, name)
                todo += [(here, one) for one in value[:_MANY] if isinstance(one, dict) and len(here) < _DEEP]
                told += [(here, one) for one in value[:_MANY] if isinstance(one, int | float | str)]
            else:
                told.append(((*above, name), value))
    return told


@lru_cache(maxsize=2048)
def words_of(name: str) -> frozenset[str]:
    """The words of a name in any of the usual spellings, in small letters."""
    return frozenset(word.lower() for word in _WORDS.findall(name))


@lru_cache(maxsize=2048)
def kind_of(path: tuple[str, ...]) -> Count | None:
    """What a figure of a usage object counts, by its name; None where that speaks of no tokens."""
    leaf, all_words = words_of(path[-1]), frozenset().union(*map(words_of, path))
    name = "_".join(path).lower()
    if "token" not in name.replace("tokeniz", "") and path[-1] not in _OLLAMA:
        return None
    if leaf & NO_COUNT:
        return None
    what = _SILENT.sub("", name)
    if path[-1] in _OLLAMA:
        return Count(_OLLAMA[path[-1]], whole=True)
    if _READ.fullmatch(what):
        return Count(Side.READ, whole=True, of_input="input" in what)
    if _WRITTEN.fullmatch(what):
        return Count(Side.WRITTEN, whole=True)
    if not what or what == "all":
        return Count(Side.BOTH, whole=True)
    read, written = _ABOUT_READ.search(what) is not None, _ABOUT_WRITTEN.search(what) is not None
    side = Side.BOTH if read == written else Side.READ if read else Side.WRITTEN
    if side is Side.READ and "cache" in name and not all_words & {"miss", "uncached"}:
        made = re.search("creat|writ", name) is not None
        # Anthropic's and Bedrock's own fields stand at the top, and their input leaves them out
        beside = len(path) == 1 and "input" in name and (made or "read" in leaf)
        part = ("cache written for long" if "1h" in leaf else "cache written") if made else "cached"
        return Count(side, part=part, beside=beside)
    if re.search("reason|think|thought", name) and side is Side.WRITTEN:
        return Count(side, part="thought", beside={"thoughts", "count"} <= leaf)
    if {"rejected", "prediction"} <= leaf:
        return Count(side, part="rejected")
    known = all_words & {"audio", "text", "image", "video", "accepted", "miss", "uncached", "tool"}
    return Count(side, part="known" if known and side is not Side.BOTH else "")


def amount(value: object) -> float | None:
    """A number that is finite and not negative, as JSON's or as a text; None for whatever else."""
    if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value):
        value = value.replace(",", ".")
    if isinstance(value, str) and (digits := _NUMBER.fullmatch(value)) and any(map(str.isdigit, digits[1])):
        try:
            value = float(digits[1].replace(",", ""))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= 10**15:  # also of NaN
        return None
    return float(value) if math.isfinite(value) else None


def count(value: object) -> int | None:
    """A count of tokens, rounded up; None for what can be none."""
    if type(value) is int:  # nearly always
        return value if 0 <= value <= MOST_TOKENS else None
    number = amount(value)
    return None if number is None or number > MOST_TOKENS else math.ceil(number)
