"""What makes a reply doubtful that reads like any other: another model's name, a length at the limit, an error's words.

Each looks at one reply and at what was asked; `Notices` counts what they find.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from arenaloop.models.failed_answer import MANY, failed_call, failed_reply, like, speaks_of_calls, tells_of_a_call

__all__ = ["FailedTexts", "contradicted_key", "cut_at", "odd_form", "plain_model"]

_SHORTEST_LIMIT = 16
"""New tokens below which an answer may well be as long as it may be: a label, a yes."""


# ---------------------------------------------------------------------- which model answered

_SERVED = re.compile(  # words behind a name that say how, since when or by whom the same model is served
    r"\d{3,}|latest|preview|stable|free|nitro|floor|extended|instruct|chat|it|hf|gguf|awq|gptq|mlx|"
    r"fp\d+|bf\d+|int\d+|nf\d|q\d\w*|k|m|s|\d?bit|[0-9a-f]{7,}|\d{2}"
)


_BEDROCK = re.compile(r"-v\d{1,2}:\d{1,2}\Z")


@lru_cache(maxsize=256)
def plain_model(name: str) -> str:
    """A model's name without its owner, its path, a date and how it is served; equal for what may be one model."""
    last = _BEDROCK.sub("", name).strip().rstrip("/").replace("\\", "/").rsplit("/", 1)[-1].casefold()
    words = [word for word in re.split(r"[\s:@_.\-]+", last) if word]
    while len(words) > 1 and _SERVED.fullmatch(words[-1]):
        words.pop()
    return "-".join(words)


# ---------------------------------------------------------------------- where it ends

_LAST = re.compile(r"(?:[\w][.!?…。！？؟।][\s\W]*|[^\w\s,;–—-]\s*)\Z")


def cut_at(text: str, tokens_out: int | None, limit: int | None) -> bool:
    """Whether an answer that is called whole is as long as it may be, and ends in the midst of a sentence.

    Args:
        text: the answer.
        tokens_out: new tokens that the server counts.
        limit: new tokens that were asked for at most; None where no limit was sent.
    """
    if not tokens_out or limit is None or limit < _SHORTEST_LIMIT or tokens_out < limit:
        return False
    return _LAST.search(text[-40:].rstrip()) is None


# ---------------------------------------------------------------------- a key twice


_OF_A_CHOICE = (b'"content"', b'"message"', b'"finish_reason"')


def contradicted_key(raw: bytes, choices: Sequence[Any]) -> str | None:
    """A key that a reply's object holds twice with different values; None where there is none.

    Only where one of the keys that matter stands in the body more often than in what was parsed is it read again.
    """
    most = ((b'"choices"', 1), (b'"usage"', 1), *((key, len(choices)) for key in _OF_A_CHOICE))
    if all(raw.count(key) <= expected for key, expected in most):
        return None
    found: list[str] = []

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in pairs:
            if key in kept and kept[key] != value:
                found.append(key)
            kept[key] = value
        return kept

    try:
        json.loads(raw, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return None  # it was read otherwise, and is not compared
    return found[0] if found else None


# ---------------------------------------------------------------------- an error's words for an answer

_KEPT = 256  # different texts that are kept, and prompts of each
_SHORT = 400
_HINTS = (  # one of these is in all that the rules find; nearly no answer has any, and the rules take their time
    "err", "fail", "exception", "timeout", "time-out", "timed", "time out", "limit", "request", "gateway",
    "unavailable", "forbid", "auth", "server", "quota", "overload", "again", "retr", "connect", "api key", "no answer",
    "no response", "no output", "no_", "no-", "memory", "context", "insufficient", "filter", "upstream", "support",
    "wrong", "later", "currently", "busy",
)  # fmt: skip


class FailedTexts:
    """Which replies of a model are an error's words, by the rule of recorded answers (`failed_answer`).

    A question that speaks of errors, servers or requests may be answered by such words: then it is an answer.
    """

    def __init__(self) -> None:
        self._alike: dict[str, set[int]] = {}

    def holds(self, text: str, asked: Sequence[str]) -> bool:
        """Whether a reply is no answer to what was asked; texts that only may be none must come under many prompts."""
        if len(text) > _SHORT:
            return False
        folded = text.casefold()
        if not any(hint in folded for hint in _HINTS):
            return False
        certain = failed_call(text) or failed_reply(text)
        if not certain and not tells_of_a_call(text):
            return False
        if any(map(speaks_of_calls, asked)):
            return False
        if not certain and len(self._alike) < _KEPT:
            prompts = self._alike.setdefault(like(text), set())
            prompts.add(hash(tuple(asked)))
            return len(prompts) >= MANY
        return certain


# ---------------------------------------------------------------------- forms

_ROLE = re.compile(r"\s*(?:assistant|model|bot|ai|gpt|chatbot|ASSISTANT|Assistant|AI)[ \t]*:?[ \t]*\r?\n\s*\S")


def odd_form(text: str) -> str | None:
    """What is odd about how a reply is written down: ``quoted`` or ``role``; None of others."""
    head = text[:40]
    if head.startswith('"') and len(text) >= 2 and text.rstrip().endswith('"'):
        try:
            return "quoted" if isinstance(json.loads(text), str) and "\\" in text else None
        except (ValueError, RecursionError):
            return None
    return "role" if _ROLE.match(head) is not None else None
