"""Tokens and money of a call: what a server counts, each count compared with its neighbours.

Servers disagree on what their counts hold: reasoning may stand in the completion or beside it, cached tokens in the
prompt or beside it. What is read is the dearest reading that no figure contradicts: a part that is larger than the
whole cannot be inside it, and a total that is larger than prompt and completion says what they leave out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from arenaloop.models.figures import MOST_TOKENS, Count, Side, count, figures, kind_of
from arenaloop.types import Message

__all__ = ["Price", "Usage", "are_rounds", "least_tokens", "read_usage"]

_CACHE_WRITE, _LONG_CACHE_WRITE = 0.25, 1.0
"""What writing a prompt token to a cache costs beside the token's own price, for five minutes and for an hour, as
Anthropic charges (docs, "Prompt caching"); Alibaba's and Bedrock's caches cost the same. Servers that charge nothing
for it do not count it."""
_MOST_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars per million tokens.

    Attributes:
        prompt, completion: tokens read and tokens written (reasoning included).
        cached: prompt tokens that the server had cached; the prompt's price if None.
        batch: share of these prices that a call through the Batch API costs.
        units: what one of other things costs that replies count, by the name of its count, in US dollars.
    """

    prompt: float
    completion: float
    cached: float | None = None
    batch: float = 0.5
    units: Mapping[str, float] = field(default_factory=dict, hash=False)

    def usd(
        self, tokens_in: int | None, tokens_out: int | None, cached: int = 0, cache_writes: float = 0.0
    ) -> float | None:
        """Price of one call in US dollars; None where tokens that cost something are not known.

        Args:
            tokens_in, tokens_out, cached, cache_writes: see `Usage`.
        """
        if self.prompt == self.completion == 0 and not self.cached:
            return 0.0
        if tokens_in is None or tokens_out is None:
            return None
        cached = min(cached, tokens_in)
        cached_price = self.prompt if self.cached is None else self.cached
        read = (tokens_in - cached + cache_writes) * self.prompt + cached * cached_price
        return (read + tokens_out * self.completion) / 1e6

    def unit_usd(self, things: Mapping[str, float]) -> float:
        """Price of what a reply counts besides its tokens, as far as `units` names it."""
        return sum(number * self.units.get(name, 0.0) for name, number in things.items())

    def in_batch(self) -> Price:
        """The price of calls through the Batch API."""
        share, cached = self.batch, self.cached
        return replace(
            self,
            prompt=self.prompt * share,
            completion=self.completion * share,
            cached=None if cached is None else cached * share,
        )


class Usage(NamedTuple):
    """What a call took.

    Attributes:
        tokens_in: tokens read, cached ones included; None where the server does not say.
        tokens_out: tokens written, reasoning included; likewise.
        cached: how many of the former came from a cache.
        cache_writes: what writing to a cache costs, in prompt tokens.
        unknown: names of counts that nobody knows, and that the counts above did not hold, with their values: they are
            in them now.
        no_counts: names of what should be a count and is none, with their values.
    """

    tokens_in: int | None = None
    tokens_out: int | None = None
    cached: int = 0
    cache_writes: float = 0.0
    unknown: tuple[str, ...] = ()
    no_counts: tuple[str, ...] = ()


@dataclass(slots=True)
class _Told:
    """The counts of a usage object, by what their names say; of each the largest."""

    prompt: int | None = None
    input: int | None = None
    written: int | None = None
    total: int | None = None
    hits: int = 0
    writes: int = 0
    long_writes: int = 0
    beside: bool = False  # caches under names that mean that the input leaves them out
    thought: int = 0
    thought_beside: int = 0
    rejected: int = 0
    parts: dict[tuple[str, ...], tuple[Side, int, bool]] = field(default_factory=dict)  # others, and who knows them

    def note(self, kind: Count, value: int, path: tuple[str, ...], nested: dict[tuple[str, ...], int]) -> None:
        """Take note of one count; `nested` adds up what was written to caches, where that is told apart by duration."""
        if kind.whole:
            if kind.side is Side.WRITTEN:
                self.written = max(self.written or 0, value)
            elif kind.side is Side.BOTH:
                self.total = max(self.total or 0, value)
            elif kind.of_input:
                self.input = max(self.input or 0, value)
            else:
                self.prompt = max(self.prompt or 0, value)
        elif kind.part == "cached":
            self.hits, self.beside = max(self.hits, value), self.beside or (kind.beside and value > 0)
        elif kind.part in ("cache written", "cache written for long"):
            self.long_writes = max(self.long_writes, value if kind.part == "cache written for long" else 0)
            nested[path[:-1]] = nested.get(path[:-1], 0) + (value if len(path) > 1 else 0)
            self.writes, self.beside = max(self.writes, value), self.beside or (kind.beside and value > 0)
        elif kind.part == "thought" and kind.beside:
            self.thought_beside = max(self.thought_beside, value)
        elif kind.part == "thought":
            self.thought = max(self.thought, value)
        elif kind.part == "rejected":
            self.rejected = max(self.rejected, value)
        else:
            _, before, _ = self.parts.get(path, (kind.side, 0, True))  # of a list all add up
            self.parts[path] = kind.side, before + value, bool(kind.part)


def read_usage(usage: object) -> Usage:
    """The counts of a reply's ``usage``, under whatever names, in their dearest reading that no figure contradicts.

    Where it lists the rounds that a call took, each with both counts (Anthropic's ``iterations``), the top level may
    hold all of them or the last one: their sum counts or the top level, whichever is more, and never both.

    * A part that is larger than the whole that it would be inside of stands beside it and is added: reasoning, rejected
      predictions, cached tokens, and counts that nobody knows (those are named in `Usage.unknown`).
    * Anthropic's caches are no part of ``input_tokens``; in ``prompt_tokens``, as gateways translate it, they are,
      where they fit and the total leaves no room for them.
    * A total beyond prompt and completion is reasoning that is billed and not counted (Gemini, Grok), unless it is just
      what is told of caches. Where it is their sum, and all parts fit, nothing is added.
    """
    if not isinstance(usage, dict):
        return Usage()
    if (plain := _plain(usage)) is not None:
        return plain
    rounds = [name for name, value in usage.items() if isinstance(value, list) and are_rounds(value)]
    if not rounds:
        return _read(usage)
    whole = _read({name: value for name, value in usage.items() if name not in rounds})
    for name in rounds:
        whole = _dearer(whole, _sum([_read(one) for one in usage[name][:_MOST_ROUNDS]]))
    return whole


def _plain(usage: Mapping[str, Any]) -> Usage | None:
    """What nearly all servers tell, OpenAI's three counts that add up, read at once; None of anything else."""
    read, written, total = (usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if not type(read) is type(written) is type(total) is int or read + written != total or min(read, written) < 0:
        return None
    if total > MOST_TOKENS or sum(value is not None for value in usage.values()) > 3:
        return None
    return Usage(read, written)


def are_rounds(value: Sequence[object]) -> bool:
    """Whether a list holds the usages of a call's rounds."""
    for one in value[:_MOST_ROUNDS]:
        wholes = {
            kind.side
            for path, _ in (figures(one) if isinstance(one, dict) else ())
            if len(path) == 1 and (kind := kind_of(path)) is not None and kind.whole
        }
        if not {Side.READ, Side.WRITTEN} <= wholes:
            return False
    return bool(value)


def _sum(rounds: Sequence[Usage]) -> Usage:
    """What rounds took together."""
    return Usage(
        sum(one.tokens_in or 0 for one in rounds),
        sum(one.tokens_out or 0 for one in rounds),
        sum(one.cached for one in rounds),
        sum(one.cache_writes for one in rounds),
        tuple(name for one in rounds for name in one.unknown),
        tuple(name for one in rounds for name in one.no_counts),
    )


def _dearer(one: Usage, other: Usage) -> Usage:
    """The prompt and the answer of whichever counts more of it; what is odd about either."""
    read = max(one, other, key=lambda usage: usage.tokens_in or 0)
    return Usage(
        read.tokens_in,
        max(one.tokens_out or 0, other.tokens_out or 0),
        read.cached,
        max(one.cache_writes, other.cache_writes),
        one.unknown + other.unknown,
        one.no_counts + other.no_counts,
    )


def _read(usage: Mapping[str, Any]) -> Usage:
    """The counts of one usage object, without rounds; see `read_usage`."""
    told, no_counts, nested = _Told(), [], dict[tuple[str, ...], int]()
    for path, value in figures(usage):
        if (kind := kind_of(path)) is None or (value == 0 and not kind.whole and value is not False):
            continue
        if (number := count(value)) is None:
            if isinstance(value, str) and not kind.whole:
                continue  # a word about a part: its modality, the kind of a cache
            no_counts.append(f"{'.'.join(path)}: {str(value)[:40]}")
        else:
            told.note(kind, number, path, nested)
    told.writes = max(told.writes, *nested.values(), 0) if nested else told.writes
    read, written = _two_of_three(told)
    if read is None and written is None and told.total and not no_counts:
        return Usage(None, told.total)  # all of it may have been written
    if read is None or written is None:  # a name that nobody knows may hold what is missing, in whatever unit
        no_counts += [f"{'.'.join(path)}: {value:,}" for path, (_, value, known) in told.parts.items() if not known]
        return Usage(read, written, told.hits, no_counts=tuple(no_counts))
    read, written = _beyond(told, read, written)
    unknown: list[str] = []
    for path, (side, value, known) in sorted(told.parts.items(), key=lambda part: -part[1][1]):
        # what does not say whose part it is may be of either, and costs the more where it is of answers
        if value <= (read if side is Side.READ else written):
            continue
        if side is Side.BOTH and value in (read, read + written, told.total):
            continue  # another name of one of those
        if side is Side.READ:
            read += value
        else:
            written += value
        unknown += [] if known else [f"{'.'.join(path)}: {value:,}"]
    writes = _CACHE_WRITE * told.writes + (_LONG_CACHE_WRITE - _CACHE_WRITE) * min(told.long_writes, told.writes)
    return Usage(read, written, told.hits, writes, tuple(unknown), tuple(no_counts))


def _two_of_three(told: _Told) -> tuple[int | None, int | None]:
    """Prompt and completion, with caches that cannot be inside the prompt; one of both may follow from the total."""
    caches = told.hits + told.writes
    read: int | None = max(told.prompt or 0, told.input or 0)
    if told.prompt is None and told.input is None:
        read = caches or None
    elif told.beside and told.input is not None and told.input >= (told.prompt or 0):
        read = told.input + caches
    elif caches > (read or 0):
        read = (read or 0) + caches
    written, total = told.written, told.total
    if written is None:
        written = max(told.thought + told.rejected, told.thought_beside) or None
    if total is not None and (read is None) != (written is None) and total >= (known := (read or 0) + (written or 0)):
        read, written = (total - known if one is None else one for one in (read, written))
    return read, written


def _beyond(told: _Told, read: int, written: int) -> tuple[int, int]:
    """Prompt and completion with what the total and the parts of the completion show to be beside them."""
    inside = told.thought + told.rejected
    beyond = (told.total or 0) - read - written
    more = inside if inside > written else 0
    if told.thought_beside and (not told.total or beyond < 0 or told.thought_beside > written):
        more = max(more, told.thought_beside)
    if beyond <= 0:
        return read, written + more
    thought = max(told.thought, told.thought_beside)
    apart = read != max(told.prompt or 0, told.input or 0)  # they are counted already
    for caches in (told.hits, told.writes, told.hits + told.writes):
        if caches and not apart and beyond in (caches, caches + thought) and beyond != thought:
            return read + caches, written + beyond - caches
    return read, written + max(beyond, more)


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
