"""What goes over the wire to an OpenAI-compatible server and back, as pure functions: body, reply, error, Retry-After.

Servers differ in detail (vLLM, llama.cpp, Ollama, OpenRouter, Azure, DeepSeek); what is read here is what one or more
of them are known to send. Nothing is guessed from an answer's text but a leading ``<think>`` block.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, TypeGuard

from pydantic_core import from_json, to_json  # two to four times as fast as json on bodies of this size

from arenaloop.messages import message_text, split_reasoning
from arenaloop.types import Completion, Cost, Message, Status

__all__ = [
    "Blame",
    "Price",
    "blame",
    "encode_body",
    "encode_settings",
    "error_code",
    "error_text",
    "read_replies",
    "read_reply",
    "retry_after",
    "structured",
    "with_system",
]

_MOST_TOKENS = 10**9  # of one call; what a server counts beyond is no count, and sums of it would not fit into SQLite
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


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


def encode_body(head: bytes, messages: Sequence[Message]) -> bytes:
    """The request's bytes: its settings, then its messages.

    Args:
        head: every other field of the body, as `encode_settings` gives them; many requests share it.
        messages: the conversation. A lone surrogate, which UTF-8 cannot hold, becomes a question mark.
    """
    try:
        tail = to_json(messages)
    except ValueError:
        tail = _ENCODER.encode(messages).encode("utf-8", "replace")
    return b'%b"messages":%b}' % (head, tail)


def encode_settings(settings: Mapping[str, Any]) -> bytes:
    """The first part of a body, ``{"model":"m",``, up to its messages; at least one field."""
    return _ENCODER.encode(settings).encode("utf-8", "replace")[:-1] + b","


def structured(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The ``response_format`` that asks for an answer of this JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema), "strict": True}}


def with_system(messages: Sequence[Message], system: str) -> list[Message]:
    """The conversation under a model's own system prompt.

    One system message comes first, since many chat templates take no other: the model's, then the conversation's.
    """
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": f"{system}\n\n{messages[0]['content']}"}, *messages[1:]]
    return [{"role": "system", "content": system}, *messages]


def read_reply(raw: bytes, *, price: Price | None, seconds: float, calls: int) -> Completion:
    """The completion that a 200 reply holds; see `read_replies`."""
    return read_replies(raw, price=price, seconds=seconds, calls=calls)[0]


def read_replies(raw: bytes, *, price: Price | None, seconds: float, calls: int, samples: int = 1) -> list[Completion]:
    """The completions that a 200 reply holds: one, or as many samples as were asked for and came.

    What the call has taken is the first one's; the others cost nothing more.

    Args:
        raw: the body.
        price: the model's price, None if it is not known.
        seconds, calls: what the call has taken.
        samples: at most so many are read.

    Raises:
        ValueError: the body is no chat completion (cut off, HTML, an error object); the message says what it is.
    """
    try:
        reply = from_json(raw)
    except ValueError:
        try:
            reply = json.loads(raw)  # which takes lone surrogates, and says better what is wrong
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON ({error})") from None
    if not isinstance(reply, dict):
        raise ValueError("not a JSON object")
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError(f"no choices in the reply: {_error_message(reply) or raw[:200].decode('utf-8', 'replace')}")
    tokens_in, tokens_out, cached = _usage(reply.get("usage"))
    usd = None if price is None else price.usd(tokens_in, tokens_out, cached)
    cost = Completion(tokens_in=tokens_in, tokens_out=tokens_out, usd=usd, seconds=seconds, calls=calls)
    free = Completion(tokens_in=0, tokens_out=0, usd=0.0, calls=0)
    found = [choice for choice in choices[:samples] if isinstance(choice, dict)]
    return [_completion(choice, free if at else cost) for at, choice in enumerate(found)]


def _completion(choice: Mapping[str, Any], cost: Cost) -> Completion:
    """One choice of a reply."""
    finish_reason = choice.get("finish_reason")
    message = choice.get("message")
    if message is None and finish_reason == "content_filter":
        message = {}  # Azure leaves it out
    if not isinstance(message, dict):
        raise ValueError("no message in the reply's first choice")
    content, refusal = _content(message)
    inline, text = split_reasoning(content)
    told = message.get("reasoning_content") or message.get("reasoning")
    reasoning = "\n\n".join(part for part in (told, inline) if isinstance(part, str) and part) or None

    if refusal is not None or finish_reason == "content_filter":
        status = Status.REFUSED
    elif finish_reason == "length":
        status = Status.TRUNCATED
    else:
        status = Status.OK if text.strip() else Status.EMPTY
    return Completion(
        text=text or refusal or "",
        status=status,
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        reasoning=reasoning,
        tokens_in=cost.tokens_in,
        tokens_out=cost.tokens_out,
        usd=cost.usd,
        seconds=cost.seconds,
        calls=cost.calls,
        logprobs=_logprobs(found) if (found := choice.get("logprobs")) else None,
    )


def _logprobs(found: object) -> tuple[dict[str, float], ...] | None:
    """The likeliest texts of each new token, in the chat form or that of the old completions; None if it is neither."""
    if not isinstance(found, dict):
        return None
    content, old = found.get("content"), found.get("top_logprobs")
    tokens: list[dict[str, float]] = []
    for item in content if isinstance(content, list) else ():
        if not isinstance(item, dict):
            return None
        top: dict[str, float] = {}
        alternatives = item.get("top_logprobs") or [item]
        for alternative in alternatives if isinstance(alternatives, list) else ():
            if not isinstance(alternative, dict):
                continue
            text, value = alternative.get("token"), alternative.get("logprob")
            if isinstance(text, str) and _is_logprob(value) and value >= top.get(text, -math.inf):
                top[text] = float(value)
        tokens.append(top)
    if not tokens and isinstance(old, list):
        tokens = [
            {text: float(value) for text, value in (item or {}).items() if _is_logprob(value)}
            for item in old
            if item is None or isinstance(item, dict)
        ]
    return tuple(tokens) or None


def _is_logprob(value: object) -> TypeGuard[float]:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _MOST_TOKENS)  # others overflow


def _content(message: Mapping[str, Any]) -> tuple[str, str | None]:
    """The message's text, and the refusal that stands beside it or among its parts."""
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        refusal = refusal or next((part["refusal"] for part in parts if part.get("refusal")), None)
        content = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    elif content is None:
        content = ""
    return message_text(content), str(refusal) if refusal else None


def _usage(usage: object) -> tuple[int | None, int | None, int]:
    """Prompt tokens, completion tokens, and how many of the former were cached (0 if the server does not say)."""
    if not isinstance(usage, dict):
        return None, None, 0
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("prompt_cache_hit_tokens")
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached) or 0


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else None


def _error_message(reply: object) -> str:
    """The message of an error body, in OpenAI's form or one near it; empty if there is none."""
    error = reply.get("error", reply) if isinstance(reply, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail")
    return error if isinstance(error, str) else ""


def error_text(raw: bytes) -> str:
    """What an error body says: its message, or all of it where it has no known form."""
    try:
        return _error_message(json.loads(raw)) or raw.decode("utf-8", "replace")
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")


def error_code(raw: bytes) -> str:
    """The ``error.code`` or ``error.type`` of an error body; empty if there is none."""
    try:
        error = json.loads(raw)["error"]
        return str(error.get("code") or error.get("type") or "")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""


class Blame(Enum):
    """What a call that failed says about other calls."""

    SERVER = "server"
    """it may pass, or takes the whole server"""
    MODEL = "model"
    """this model cannot be asked at all: a wrong name, key or account"""
    REQUEST = "request"
    """the server does not take the request; its settings may be at fault, and then every request is refused"""
    NOBODY = "nobody"
    """the request itself cannot be answered, such as one longer than the context window"""


_ABOUT_THE_PROMPT = re.compile(
    r"context[ _-]?(length|size|window)|too long|too many tokens|exceeds the (maximum|available|limit)|"
    r"reduce the length|inputs.{0,40}tokens|content[ _-]?(policy|filter)|moderation|flagged",
    re.IGNORECASE,
)
"""What servers say of a prompt that is too long for the model or against their rules. A ``max_tokens`` that the model
never takes is not among them: that is every request's fault."""


def blame(status: int, code: str, text: str) -> Blame:
    """What the failure of a call says about others, from its HTTP status, error code and error text."""
    if code in ("model_not_found", "model_decommissioned", "insufficient_quota", "invalid_api_key"):
        return Blame.MODEL
    if status in (408, 409, 425, 429) or status >= 500 or status < 300:
        return Blame.SERVER
    if status in (400, 403, 413, 422) and (status == 413 or _ABOUT_THE_PROMPT.search(f"{code} {text}")):
        return Blame.NOBODY
    return Blame.MODEL if status < 400 or status in (401, 402, 403, 404) else Blame.REQUEST


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that the server asks to wait, from ``retry-after-ms`` or ``Retry-After``; None if it does not.

    Args:
        headers: the reply's, case-insensitive.
        now: Unix time, for a ``Retry-After`` that is a date (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1e-3), ("Retry-After", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
            except (ValueError, TypeError, OverflowError):
                continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    return None
