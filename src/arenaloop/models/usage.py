"""Tokens and money of a call: what a server counts, compared with its own total and with what it was sent.

Servers disagree on what their counts hold. A total that is larger than prompt and completion together says what was
left out: reasoning that is billed and not counted, or prompt tokens that came from a cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from arenaloop.types import Message

__all__ = ["Price", "Usage", "least_tokens", "read_usage"]

_MOST_TOKENS = 10**9  # of one call; what a server counts beyond is no count, and sums of it would not fit into SQLite
_DIGITS = re.compile(r"\s*(\d{1,10})(?:\.0*)?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars per million tokens.

    Attributes:
        prompt, completion: tokens read and tokens written (reasoning included).
        cached: prompt tokens that the server had cached; the prompt's price if None.
        batch: share of these prices that a call through the Batch API costs.
    """

    prompt: float
    completion: float
    cached: float | None = None
    batch: float = 0.5

    def usd(self, tokens_in: int | None, tokens_out: int | None, cached: int = 0) -> float | None:
        """Price of one call in US dollars; None where tokens that cost something are not known."""
        if self.prompt == self.completion == 0 and not self.cached:
            return 0.0
        if tokens_in is None or tokens_out is None:
            return None
        cached = min(cached, tokens_in)
        cached_price = self.prompt if self.cached is None else self.cached
        return ((tokens_in - cached) * self.prompt + cached * cached_price + tokens_out * self.completion) / 1e6


class Usage(NamedTuple):
    """What a call took.

    Attributes:
        tokens_in: tokens read, cached ones included; None where the server does not say.
        tokens_out: tokens written, reasoning included; likewise.
        cached: how many of the former came from a cache.
    """

    tokens_in: int | None = None
    tokens_out: int | None = None
    cached: int = 0


def read_usage(usage: object) -> Usage:
    """The counts of a reply's ``usage``, in OpenAI's names or Anthropic's.

    A total beyond prompt and completion is reasoning that is billed and not counted (Gemini, Grok), unless it is just
    what is told of caches (a prompt count that leaves cached tokens out). Where the total is their sum, and where there
    is none and reasoning is no more than the completion, nothing is added.
    """
    if not isinstance(usage, dict):
        return Usage()
    read = _first(usage, "prompt_tokens", "input_tokens")
    written = _first(usage, "completion_tokens", "output_tokens")
    total = _count(usage.get("total_tokens"))
    details = _mapping(usage, "prompt_tokens_details", "input_tokens_details")
    cached = _first(details, "cached_tokens")
    if cached is None:
        cached = _first(usage, "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
    cached = cached or 0
    thought = _first(_mapping(usage, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    if thought is None:
        thought = _first(usage, "reasoning_tokens")
    thought = thought or 0
    if total is not None and (read is None) != (written is None) and total >= (known := (read or 0) + (written or 0)):
        read, written = (total - known if one is None else one for one in (read, written))  # two of three are told
    if read is None or written is None:
        return Usage(read, written, cached)
    if not total:
        return Usage(read, written + thought if thought > written else written, cached)
    beyond = total - read - written
    if beyond <= 0:
        return Usage(read, written, cached)
    fresh = _first(usage, "cache_creation_input_tokens") or 0
    for from_cache in (cached, fresh, cached + fresh):
        if from_cache and beyond in (from_cache, from_cache + thought) and beyond != thought:
            return Usage(read + from_cache, written + beyond - from_cache, cached)
    return Usage(read, written + beyond, cached)


def _mapping(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((found for name in names if isinstance(found := usage.get(name), dict)), {})


def _first(counts: Mapping[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := _count(counts.get(name))) is not None), None)


def _count(value: object) -> int | None:
    """A count of tokens: a whole number that is not negative, as JSON's integer, as a float, or in digits."""
    if isinstance(value, str) and (digits := _DIGITS.fullmatch(value)):
        value = int(digits[1])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else None


_SCRIPTS_WITHOUT_BLANKS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def least_tokens(messages: Iterable[Message]) -> int:
    """The fewest tokens that messages can be: no usual tokenizer puts two words into one token.

    Words are what white space parts; in scripts without it, two characters out of five are taken for a token. The real
    count is higher by a third or more.
    """
    least = 0
    for message in messages:
        text = message["content"]
        words = len(text.split())
        least += words if text.isascii() else max(words, len(_SCRIPTS_WITHOUT_BLANKS.findall(text)) * 2 // 5)
    return least
