"""The lines of a Batch API's files, and what its server tells of a batch: pure, without HTTP.

A request file is JSONL, one line a call: ``custom_id``, ``method``, ``url``, ``body``. Answers and failed requests
stand in result files in any order: ``custom_id``, ``response`` (``status_code``, ``request_id``, ``body``) and
``error`` (``code``, ``message``). ``vllm run-batch`` reads and writes the same lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from arenaloop.models.charge import Charge, note_charge, read_failed_charge
from arenaloop.models.openai_errors import error_text
from arenaloop.models.openai_wire import Reader, read_replies
from arenaloop.models.secrets import Redactor
from arenaloop.types import Completion, Message, Status

__all__ = ["CHAT", "Batch", "Result", "batch_id", "mapping", "read_result", "request_line"]

CHAT = "/v1/chat/completions"
_ENDS = ("completed_at", "expired_at", "cancelled_at", "failed_at")
_ID = re.compile(r"(?!.*(^|/)\.+(/|$))[\w.:~@+=,-]+(/[\w.:~@+=,-]+)*", re.ASCII)
_SHOWN = Redactor()
_PLAIN = Reader()
_NOT_RUN = ("batch_expired", "batch_cancelled")  # error codes of requests that never reached the model


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the server tells of it.

    Attributes:
        id: the server's name of it.
        status: ``validating``, ``in_progress``, ``finalizing``, ``cancelling``, or how it ended.
        output_file, error_file: ids of the result files, None where there is none (yet).
        total, completed, failed: requests, as far as the server counts them.
        reason: why the whole batch failed; empty if it did not.
        created_at, ended_at: by the server's clock, in Unix seconds; None where it does not say.
    """

    id: str
    status: str
    output_file: str | None = None
    error_file: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    reason: str = ""
    created_at: float | None = None
    ended_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether more may come of it. A status that no server is known to send counts as running."""
        return self.status not in ("completed", "failed", "expired", "cancelled")

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Batch:
        """Read the server's batch object; KeyError where it is none."""
        counts = mapping(reply.get("request_counts"))
        told = mapping(reply.get("errors")).get("data")
        errors = told if isinstance(told, list) else []
        first = errors[0] if errors and isinstance(errors[0], dict) else {}
        line = f"line {first['line']}: " if first.get("line") is not None else ""
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        reason = f"{line}{first.get('message') or first.get('code')}{more}" if first else ""
        return cls(
            id=batch_id(reply["id"]),
            status=str(reply["status"]),
            output_file=batch_id(name) if (name := reply.get("output_file_id")) else None,
            error_file=batch_id(name) if (name := reply.get("error_file_id")) else None,
            total=_count(counts.get("total")),
            completed=_count(counts.get("completed")),
            failed=_count(counts.get("failed")),
            reason=reason,
            created_at=_time(reply.get("created_at")),
            ended_at=next((at for key in _ENDS if (at := _time(reply.get(key))) is not None), None),
        )


class Result(NamedTuple):
    """One line of a result file.

    Attributes:
        custom_id: of the request.
        completion: what came of it.
        charge: what its reply says of its cost; None where it says nothing.
    """

    custom_id: str
    completion: Completion
    charge: Charge | None = None


def batch_id(value: object) -> str:
    """An id as it may stand in a URL's path; ValueError for one that would lead elsewhere."""
    text = str(value)
    if len(text) > 512 or _ID.fullmatch(text) is None:
        raise ValueError(f"{text[:80]!r} cannot be an id")
    return text


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def request_line(custom_id: str, body: bytes, url: str = CHAT) -> bytes:
    """One line of a request file; `body` is the JSON that the live call would send."""
    head = json.dumps({"custom_id": custom_id, "method": "POST", "url": url}, separators=(",", ":"))
    return head[:-1].encode() + b',"body":' + body + b"}\n"


def read_result(
    line: bytes, reader: Reader = _PLAIN, asked: Callable[[str], Sequence[Message] | None] = lambda custom_id: None
) -> Result:
    """The custom id and the completion in one line of a result file, an answer's or a failed request's.

    A request that was never run costs nothing and counts as no call. One that failed is not charged for.

    Args:
        line: of the file.
        reader: how the model's replies are read.
        asked: the messages that a custom id stands for; None where they are not known.

    Raises:
        ValueError: the line is no result.
    """
    try:
        row = json.loads(line)
        custom_id, response, error = row["custom_id"], row.get("response"), row.get("error")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise ValueError(f"no result line: {line[:80].decode('utf-8', 'replace')!r}") from None
    if not isinstance(custom_id, str):
        raise ValueError("a result line whose custom_id is no text")
    if reader.price is not None:
        reader = replace(reader, price=reader.price.in_batch())
    free = None if reader.price is None else 0.0
    if error or not isinstance(response, dict):
        error = error if isinstance(error, dict) else {"message": str(error or "no response")}
        code = str(error.get("code") or "")
        reason = ": ".join(part for part in (code, str(error.get("message") or "")) if part)
        return Result(
            custom_id,
            Completion(status=Status.ERROR, error=_SHOWN.line(reason), usd=free, calls=int(code not in _NOT_RUN)),
        )
    body = response.get("body", response)
    # some servers write both as texts
    raw = (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode("utf-8", "surrogatepass")
    status = response.get("status_code") or 200
    if str(status) != "200":
        detail = body.get("error") if isinstance(body, dict) else None
        if status == 400 and isinstance(detail, dict) and detail.get("code") == "content_filter":
            refused = Completion(status=Status.REFUSED, finish_reason="content_filter", usd=free)
            return _charged(custom_id, refused, raw, reader)
        reason = _SHOWN.line(f"HTTP {status}: {error_text(raw)}")
        return _charged(custom_id, Completion(status=Status.ERROR, error=reason, usd=free), raw, reader)
    try:
        read = read_replies(raw, reader=reader, asked=asked(custom_id))
    except ValueError as fault:
        unread = Completion(status=Status.ERROR, error=_SHOWN.line(str(fault)), usd=None)
        return _charged(custom_id, unread, raw, reader)
    completion = read.answers[0]
    if completion.status is Status.ERROR:  # half an answer is none
        completion = replace(completion, text="", error=_SHOWN.line(f"HTTP 200: {completion.error}"))
    return Result(custom_id, completion, read.charge)


def _charged(custom_id: str, failed: Completion, raw: bytes, reader: Reader) -> Result:
    """A request that failed, with what it has cost all the same, where its body says so."""
    charge = read_failed_charge(raw, {}, reader.price)
    if charge is None:
        return Result(custom_id, failed)
    reader.notices.replies += 1
    note_charge(reader.notices, charge)
    usage = charge.usage
    charged = replace(failed, tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, usd=charge.usd)
    return Result(custom_id, charged, charge)
