"""What goes over the wire to an OpenAI-compatible embeddings endpoint and back, as pure functions.

A request's messages hold the texts, and the completion's text all vectors: so they are asked, retried, priced and kept
as answers are.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arenaloop.models.charge import read_charge
from arenaloop.models.openai_errors import Fault, reported_fault
from arenaloop.models.openai_wire import Reader, Replies, ReplyError, encode_settings, read_object
from arenaloop.types import Completion, Message, Request

__all__ = ["embedding_body", "from_text", "read_vectors", "to_text"]


def embedding_body(model: str, extra: Mapping[str, Any], request: Request, samples: int = 1) -> bytes:
    """The request's body as JSON. `samples` is for likeness with chat: there is one."""
    texts = [message["content"] for message in request.messages]
    return encode_settings({"model": model, "input": texts, "encoding_format": "float", **extra})[:-1] + b"}"


def read_vectors(
    raw: bytes,
    *,
    reader: Reader,
    asked: Sequence[Message],
    seconds: float = 0.0,
    calls: int = 1,
    headers: Mapping[str, str] | None = None,
    **_: Any,
) -> Replies:
    """The vectors that a 200 reply holds, as one completion whose text `from_text` reads; as of `read_replies`.

    Raises:
        ReplyError: the body holds no vector for each text, or not all of one width.
    """
    reply = read_object(raw, headers or {})
    if (fault := reported_fault(reply)) is not None:
        raise ReplyError(fault)
    rows = reply.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _no_vectors(f"no embeddings in the reply: {raw[:200].decode('utf-8', 'replace')}")
    if len(rows) != len(asked):
        raise _no_vectors(f"{len(rows):,} embeddings of {len(asked):,} texts")
    placed: list[Any] = [None] * len(rows)
    for at, row in enumerate(rows):
        index = row.get("index", at)
        if isinstance(index, int) and 0 <= index < len(placed):
            placed[index] = row.get("embedding")
    widths = {len(row) if isinstance(row, list) else 0 for row in placed}
    if len(widths) != 1 or 0 in widths:
        raise _no_vectors(f"embeddings of different widths in one reply: {', '.join(map(str, sorted(widths)))}")
    try:
        vectors = np.array(placed, np.float32)
    except (ValueError, TypeError):
        raise _no_vectors("an embedding holds something else than numbers") from None
    if not np.isfinite(vectors).all():
        raise _no_vectors("an embedding holds something else than finite numbers")
    usage = reply.get("usage")
    counted = {"usage": {**usage, "completion_tokens": 0}} if isinstance(usage, dict) else {}
    charge = read_charge({**reply, **counted}, headers or {}, reader.price)
    tokens_in, usd = charge.usage.tokens_in, charge.usd
    whole = Completion(text=to_text(vectors), tokens_in=tokens_in, tokens_out=0, usd=usd, seconds=seconds, calls=calls)
    return Replies([whole], charge)


def _no_vectors(what: str) -> ReplyError:
    return ReplyError(Fault(200, "", "", f"HTTP 200: {what}"))


def to_text(vectors: NDArray[np.float32]) -> str:
    """(n, d) as a text that `from_text` reads: the width, and the numbers as base64."""
    return f"{vectors.shape[1]}:{base64.b64encode(np.ascontiguousarray(vectors, '<f4').tobytes()).decode()}"


def from_text(text: str) -> NDArray[np.float32]:
    """The vectors, (n, d)."""
    width, _, packed = text.partition(":")
    return np.frombuffer(base64.b64decode(packed), "<f4").astype(np.float32).reshape(-1, int(width))
