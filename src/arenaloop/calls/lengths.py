"""How long requests and answers are, in characters and tokens: from what is at hand, and from stored calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from arenaloop.calls.answers import Contestant
from arenaloop.judges.base import ModelJudge
from arenaloop.store import Store, response_key
from arenaloop.types import Prompt, Response, Sampling

__all__ = [
    "CHARACTERS_PER_TOKEN",
    "Length",
    "Shown",
    "answer_length",
    "asked_characters",
    "judged_characters",
    "shown_contestant",
    "shown_judge",
    "token_limit",
]

CHARACTERS_PER_TOKEN = 4.0
"""Where a model has not been asked yet: a rule of thumb for English; other languages need more tokens."""


@dataclass(frozen=True)
class Shown:
    """What stored calls say of a model.

    Attributes:
        per_token: characters to a token, in all they were sent; None if nothing is stored.
        per_token_error: its standard error, relative to it.
        tokens_out: of each answer. `characters_out`: of an answer, in the mean.
    """

    per_token: float | None = None
    per_token_error: float = 0.0
    tokens_out: tuple[int, ...] = ()
    characters_out: float | None = None

    @classmethod
    def of(cls, sent: Sequence[tuple[int, int]], tokens_out: Sequence[int], written: int = 0) -> Shown:
        """From characters and tokens of each request, tokens of each answer, and all answers' characters."""
        characters, tokens = sum(c for c, _ in sent), sum(t for _, t in sent)
        mean = written / len(tokens_out) if written else None
        if not characters or not tokens:
            return cls(tokens_out=tuple(tokens_out), characters_out=mean)
        # the error of a ratio of sums (Cochran, Sampling Techniques, section 6.3)
        rate, n = tokens / characters, len(sent)
        spread = math.sqrt(sum((t - rate * c) ** 2 for c, t in sent) * n / (n - 1)) / tokens if n > 1 else 1.0
        return cls(characters / tokens, spread, tuple(tokens_out), mean)


def shown_contestant(c: Contestant, store: Store | None, sample: int) -> Shown:
    """What up to `sample` stored first turns of a contestant with these settings have shown."""
    if store is None or c.asked is None:
        return Shown()
    sent: list[tuple[int, int]] = []
    out: list[int] = []
    written = 0
    for key, prompt_id, tokens_in, tokens_out, length in store.asked_turns(c.name):
        if len(out) == sample:
            break
        if key != response_key(prompt_id, c.asked.fingerprint, c.sampling.key(), 0):
            continue  # of other settings
        prompt = store.prompt(prompt_id)
        if prompt is not None and tokens_in:
            sent.append((asked_characters(c, prompt, ()), tokens_in))
        out.append(tokens_out)
        written += length
    return Shown.of(sent, out, written)


def shown_judge(judge: ModelJudge, store: Store | None, sample: int) -> Shown:
    """What up to `sample` stored verdicts of a judge with these settings have shown, their prompts rendered again."""
    if store is None:
        return Shown()
    sent: list[tuple[int, int]] = []
    out: list[int] = []
    for prompt_id, first_hash, second_hash, tokens_in, tokens_out in store.judged_calls(judge.fingerprint, sample):
        prompt, first, second = store.prompt(prompt_id), store.texts(first_hash), store.texts(second_hash)
        if prompt is None or first is None or second is None:
            continue
        seats = Response(prompt_id, "", first), Response(prompt_id, "", second)
        sent.append((judged_characters(judge, prompt, *seats), tokens_in))
        out.append(tokens_out)
    return Shown.of(sent, out)


def asked_characters(c: Contestant, prompt: Prompt, answers: Sequence[str]) -> int:
    """Characters of the conversation that a contestant is sent, its own system prompt included."""
    system = getattr(c.asked, "system", None) or ""
    return len(system) + sum(len(message["content"]) for message in prompt.conversation(answers))


def judged_characters(judge: ModelJudge, prompt: Prompt, first: Response, second: Response) -> int:
    """Characters of the judge prompt for one seating."""
    request = judge.request(prompt, first, second, secret="0" * 32, seed=0)
    return sum(len(message["content"]) for message in request.messages)


def token_limit(model: object, sampling: Sampling) -> int | None:
    """The most new tokens that a call may bring; None where the limit is not sent."""
    extra = getattr(model, "extra_body", {})
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(extra.get(name), int):
            return int(extra[name])
    return None if "max_tokens" in getattr(model, "drop_params", ()) else sampling.max_tokens


@dataclass(frozen=True)
class Length:
    """Characters of one answer: expected, and at most (None without a limit)."""

    expected: float
    most: float | None


def answer_length(c: Contestant, shown: Shown) -> Length:
    """How long a contestant's answers to come are: as those it gave, or half of what it may write."""
    per_token = shown.per_token or CHARACTERS_PER_TOKEN
    limit = token_limit(c.asked, c.sampling)
    expected = c.sampling.max_tokens / 2 * per_token if shown.characters_out is None else shown.characters_out
    return Length(expected, None if limit is None else max(limit * per_token, expected))
