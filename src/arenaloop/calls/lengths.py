"""How long calls are: characters, tokens and means of them, by what is stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from arenaloop.calls.answers import Contestant
from arenaloop.calls.judging import AskedJudge, stored_verdicts
from arenaloop.calls.turns import stored_turns
from arenaloop.calls.units import Asked, Unit
from arenaloop.store import Store

__all__ = ["bytes_of", "characters_of", "mean_of", "ratio_of", "stored_calls"]


def stored_calls(
    one: Contestant | AskedJudge, store: Store, sample: int
) -> Iterator[tuple[Unit | None, int, int, int]]:
    """First turns of a contestant with these settings, or a judge's first samples.

    Returns:
        The unit (None where its tokens were not told) and the request's tokens; the answer's tokens and characters.
    """
    if isinstance(one, AskedJudge):
        for unit, tokens_in, tokens_out, _ in stored_verdicts(one, store, sample):
            yield unit, tokens_in, tokens_out, 0
        return
    for turn_unit, turn in stored_turns(one, Asked(one.asked, 1), store):
        yield turn_unit if turn.tokens_in else None, turn.tokens_in or 0, turn.tokens_out, turn.characters


def characters_of(unit: Unit) -> int:
    """Of all that a unit's request sends, the model's own system prompt included."""
    return sum(map(len, _texts(unit)))


def bytes_of(unit: Unit) -> int:
    """The same in bytes."""
    return sum(len(text.encode("utf-8", "replace")) for text in _texts(unit))


def _texts(unit: Unit) -> Iterator[str]:
    yield getattr(unit.asked.model, "system", None) or ""
    for message in unit.request().messages:
        yield message["content"]


def ratio_of(sent: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Characters to a token, and the relative standard error of such a ratio of sums.

    After Cochran, Sampling Techniques, section 6.3.
    """
    characters, tokens, n = sum(c for c, _ in sent), sum(t for _, t in sent), len(sent)
    rate = tokens / characters
    squares = sum((t - rate * c) ** 2 for c, t in sent)
    return characters / tokens, math.sqrt(squares * n / (n - 1)) / tokens if n > 1 else 1.0


def mean_of(values: Sequence[float], of: int) -> tuple[float, float]:
    """Mean and its standard error, of a sample of `of` units (finite population); 0 stands for without end."""
    n = len(values)
    if n == 0:
        return 0.0, 0.0
    mean = math.fsum(values) / n
    if n == 1:
        return mean, 0.0 if of == 1 else mean
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    finite = max(0.0, 1.0 - n / of) if of else 1.0
    return mean, math.sqrt(variance / n * finite)
