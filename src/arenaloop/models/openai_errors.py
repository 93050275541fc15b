"""What a server says when it does not answer: whose fault it is, what its words are, and the line that helps.

Servers differ in where they put an error (a status, a code inside a 200, a page of HTML) and in what they call it.
"""

from __future__ import annotations

import codecs
import html
import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Literal, NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

__all__ = [
    "Blame",
    "Fault",
    "blame",
    "body_in_words",
    "decoded",
    "error_code",
    "error_text",
    "exactly_decoded",
    "foreign_form",
    "http_fault",
    "may_pass",
    "remedy",
    "reported_fault",
    "retry_after",
    "trust_remedy",
]


class Fault(NamedTuple):
    """A reply that is no answer.

    Attributes:
        status: the HTTP status, or the one that an error inside a 200 stands for; 200 where it stands for none.
        code: the error's code or type.
        text: the server's words.
        reason: all of it, to be shown; may hold what the server was sent.
        location: of a redirect, where it leads.
        foreign: it is a page of HTML or a stream of events: no chat API's answer, nor its error.
    """

    status: int
    code: str
    text: str
    reason: str
    location: str = ""
    foreign: bool = False


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


_TOO_LONG = re.compile(
    r"context[ _-]?(length|size|window)|too long|too many tokens|exceeds the (maximum|available|limit)|"
    r"reduce the length|inputs.{0,40}tokens",
    re.IGNORECASE,
)
_AGAINST_RULES = re.compile(r"content[ _-]?(policy|filter)|moderation|flagged", re.IGNORECASE)
"""What servers say of a prompt that is too long for the model or against their rules. A ``max_tokens`` that the model
never takes is not among them: that is every request's fault."""


def blame(status: int, code: str, text: str) -> Blame:
    """What the failure of a call says about others, from its HTTP status, error code and error text."""
    if code in ("model_not_found", "model_decommissioned", "insufficient_quota", "invalid_api_key"):
        return Blame.MODEL
    if may_pass(status) or status < 300:
        return Blame.SERVER
    said = f"{code} {text}"
    if status in (400, 403, 413, 422) and (status == 413 or _TOO_LONG.search(said) or _AGAINST_RULES.search(said)):
        return Blame.NOBODY
    return Blame.MODEL if status < 400 or status in (401, 402, 403, 404) else Blame.REQUEST


def may_pass(status: int) -> bool:
    """Whether a failure of this HTTP status may pass: timeout, conflict, too early, too many requests, the server's."""
    return status in (408, 409, 425, 429) or status >= 500


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that the server asks to wait, from ``retry-after-ms`` or ``Retry-After``; None if it does not.

    Args:
        headers: the reply's, case-insensitive.
        now: Unix time, for a ``Retry-After`` that is a date (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1e-3), ("Retry-After", 1.0)):
        value = headers.get(name)
        if value is None or not value.isascii():  # other digits than ASCII's are no number of HTTP's
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


# ---------------------------------------------------------------------- a fault and its words


def http_fault(status: int, headers: Mapping[str, str], raw: bytes) -> Fault:
    """The fault that a reply with another status than 200 tells of."""
    text, code = error_text(raw, headers), error_code(raw)
    location = headers.get("Location", "") if 300 <= status < 400 else ""
    if location:
        reason = f"HTTP {status}: redirects to {location}"
    else:
        reason = f"HTTP {status}: {text or body_in_words(raw, headers)}"
    return Fault(status, code, text, reason, location)


def reported_fault(reply: Mapping[str, Any]) -> Fault | None:
    """The fault that the JSON of a 200 tells of; None where it holds no error."""
    error = reply.get("error")
    if not error and (reply.get("choices") or not (reply.get("object") == "error" or _error_message(reply))):
        return None
    text = _error_message(reply)
    code = _code(error) if isinstance(error, dict) else _code(reply)
    status = _status(error if isinstance(error, dict) else {}) or _status(reply) or _status({"type": text}) or 200
    told = f"HTTP 200 with error {status}" if status != 200 else "HTTP 200 with an error"
    return Fault(status, code, text, f"{told}: {text or code or json.dumps(error)[:200]}")


_STATUSES: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(words, re.IGNORECASE), status)
    for words, status in (
        (r"insufficient.?(quota|balance|credit|fund)|payment|billing|quota_?exceeded", 402),
        (r"rate.?limit|too.?many.?requests|throttl|resource.?exhausted", 429),
        (r"unauth|authenticat|invalid.?api.?key|auth.?(error|failed)|no auth", 401),
        (r"permission|forbidden|access.?denied", 403),
        (r"not.?found", 404),
        (r"overload|unavailable|capacity", 503),
        (r"timeout|timed.?out|deadline", 504),
        (r"internal|server.?error|upstream|bad.?gateway", 500),
        (r"invalid|bad.?request|validation|context.?length|unsupported", 400),
    )
)
"""The types and words that servers use where they give no number, and the status that each stands for."""


def _status(error: Mapping[str, Any]) -> int | None:
    """The HTTP status that an error object stands for, by its number or its words."""
    named = [error.get(key) for key in ("code", "status", "status_code", "http_status", "type")]
    for value in named:
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
        if isinstance(value, str) and value.isdecimal() and 400 <= int(value[:9]) < 600:
            return int(value)
    words = " ".join(value for value in named if isinstance(value, str))
    return next((status for pattern, status in _STATUSES if pattern.search(words)), None)


def _code(error: Mapping[str, Any]) -> str:
    return str(error.get("code") or error.get("type") or error.get("status") or "")


def _error_message(reply: object) -> str:
    """The message of an error body, in OpenAI's form or one near it; empty if there is none."""
    if isinstance(reply, list) and reply:  # Gemini's
        reply = reply[0]
    error = reply.get("error", reply) if isinstance(reply, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error.get("msg")
    if isinstance(error, list) and error and isinstance(error[0], dict):  # FastAPI's
        where = error[0].get("loc")
        what = str(error[0].get("msg") or "")
        return f"{where[-1]}: {what}" if isinstance(where, list) and where else what
    return error if isinstance(error, str) else ""


def error_text(raw: bytes, headers: Mapping[str, str] | None = None) -> str:
    """What an error body says: its message, or all of it where it has no known form; of a page its words."""
    try:
        if message := _error_message(json.loads(raw)):
            return message
    except (ValueError, RecursionError):
        pass
    text = decoded(raw[:20_000], headers or {})
    return _page(text) if _is_page(text) else text


def error_code(raw: bytes) -> str:
    """The ``error.code`` or ``error.type`` of an error body; empty if there is none."""
    try:
        reply = json.loads(raw)
        return _code((reply[0] if isinstance(reply, list) else reply)["error"])
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""


# ---------------------------------------------------------------------- bodies that are no JSON


def decoded(raw: bytes, headers: Mapping[str, str]) -> str:
    """A body as text to be shown, in the charset that the reply names, or UTF-8."""
    try:
        return raw.decode(_charset(headers) or "utf-8", "replace")
    except (LookupError, UnicodeError):
        return raw.decode("utf-8", "replace")


def exactly_decoded(raw: bytes, headers: Mapping[str, str]) -> str:
    """A body of JSON as text, not one byte of it guessed: UTF-8 (RFC 8259), UTF-16 or 32, or the charset that it names.

    A byte order mark is taken off. Lone surrogates, which servers write into JSON as bytes, too, stay.

    Raises:
        UnicodeError: it is none of these; the message says which byte is wrong.
    """
    try:
        return raw.decode("utf-8", "surrogatepass").removeprefix("\ufeff") if b"\0" not in raw[:4] else _wide(raw)
    except UnicodeDecodeError as error:
        if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return _wide(raw)
        named = _charset(headers)
        if named is not None:
            try:
                return raw.decode(named)
            except UnicodeDecodeError as other:
                raise UnicodeError(_wrong_byte(raw, other, named)) from None
        raise UnicodeError(f"{_wrong_byte(raw, error, 'utf-8')}, and no charset is named") from None


def _wide(raw: bytes) -> str:
    coding = json.detect_encoding(raw)
    try:
        return raw.decode(coding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UnicodeError(_wrong_byte(raw, error, coding)) from None


def _wrong_byte(raw: bytes, error: UnicodeDecodeError, coding: str) -> str:
    return f"not {coding.upper()}, by byte 0x{raw[error.start]:02X} at {error.start:,}"


def _charset(headers: Mapping[str, str]) -> str | None:
    """The text encoding that a reply names, as Python knows it; None where it names none, or one that nobody knows."""
    named = re.search(r"charset=[\"']?([\w.:-]+)", headers.get("Content-Type", ""), re.IGNORECASE)
    try:
        found = codecs.lookup(named[1]) if named else None
        return found.name if found is not None and "".encode(found.name) is not None else None
    except (LookupError, UnicodeError):  # base64, rot13 and their like encode no text
        return None


_TAG = re.compile(r"<(script|style)\b.{0,5000}?</\1\s*>|<[^<>]{0,500}>", re.IGNORECASE | re.DOTALL)
_FIRST_WORDS = 120


def _is_page(text: str) -> bool:
    return re.match(r"\s*<(!doctype|html|head|body|\?xml|!--)", text, re.IGNORECASE) is not None


def _page(text: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", text)).split())


def body_in_words(raw: bytes, headers: Mapping[str, str]) -> str:
    """A body that is no JSON, in words: what kind it is, its content type, and how it begins."""
    kind = headers.get("Content-Type", "").partition(";")[0].strip()
    text = decoded(raw[:20_000], headers)
    named = f" ({kind})" if kind else ""
    form = foreign_form(raw, headers)
    if form is None:
        return f"not JSON{named}: {_short(text)}" if text.strip() else f"an empty body{named}"
    if form == "events":
        return f"a stream of events{named}, which was not asked for: {_short(text)}"
    return f"a page of HTML{named}, not an answer: {_short(_page(text))}"


def foreign_form(raw: bytes, headers: Mapping[str, str]) -> Literal["page", "events"] | None:
    """What a body is that no plain request to a chat API is answered by; None of others, an empty one among them."""
    kind = headers.get("Content-Type", "")
    text = decoded(raw[:20_000], headers)
    if not text.strip():
        return None
    if "event-stream" in kind or re.match(r"\s*(data|event|id)\s*:", text):
        return "events"
    return "page" if _is_page(text) or "html" in kind else None


def _short(text: str) -> str:
    line = " ".join(text[:2000].split())
    return line if len(line) <= _FIRST_WORDS else line[: _FIRST_WORDS - 1] + "…"


# ---------------------------------------------------------------------- what helps

_NOT_TAKEN = re.compile(
    r"unsupported|not supported|does not support|not allowed|not permitted|unknown|unrecognized|unexpected|extra|"
    r"cannot both|deprecated|only the default|no longer|invalid (parameter|argument)|instead",
    re.IGNORECASE,
)
_DROPPED = ("temperature", "top_p", "stop", "seed")
_ANSWER_FORMS = ("response_format", "json_schema", "logprobs", "top_logprobs")
_TRUST = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", re.IGNORECASE)


def remedy(fault: Fault, *, max_tokens: int, base_url: str = "") -> str:
    """What the user can do about a fault, as the end of a line that tells of it; empty where nothing is known.

    Args:
        fault: what the server said.
        max_tokens: what `sampling.max_tokens` was.
        base_url: where the server is, for a redirect.
    """
    if 300 <= fault.status < 400:
        return _redirected(fault.location, base_url)
    if fault.status not in (400, 413, 422):
        return ""
    said = f"{fault.code} {fault.text}"
    refused = _NOT_TAKEN.search(said)
    if (
        refused
        and re.search(r"\bmax_tokens\b", said)
        and "max_completion_tokens" in said
        and not _TOO_LONG.search(said)
    ):
        return (
            "; in the model's YAML file: drop_params: [max_tokens] and "
            f"extra_body: {{max_completion_tokens: {max_tokens}}}"
        )
    if _TOO_LONG.search(said) or re.search(r"max_(new_|completion_)?tokens\b.{0,40}(too large|exceed|at most)", said):
        return f"; the prompt and sampling.max_tokens ({max_tokens}) must fit into the context together: lower it"
    if not refused:
        return ""
    named = [name for name in _DROPPED if re.search(rf"\b{name}\b", said)]
    if {"temperature", "top_p"} <= set(named):
        named.remove("temperature")  # one of both is enough
    if named:
        return f"; in the model's YAML file: drop_params: [{', '.join(named)}]"
    if re.search(r"\bmax_tokens\b", said):
        return "; in the model's YAML file: drop_params: [max_tokens]"
    if any(name in said for name in _ANSWER_FORMS):
        return "; judge with --verdict text"
    return ""


def trust_remedy(reason: str) -> str:
    """What helps where a server's certificate is not trusted."""
    return "; SSL_CERT_FILE names a file with your own CA" if _TRUST.search(reason) else ""


def _redirected(location: str, base_url: str) -> str:
    """How the URL is to be written, where a redirect leads to the same interface; redirects are never followed."""
    if not location:
        return "; redirects are not followed"
    try:
        here = urlsplit(base_url)
        there = urlsplit(urljoin(f"{base_url}/chat/completions", location))
        same_path = there.path.rstrip("/").endswith("/chat/completions")
        host = there.hostname or ""
    except ValueError:
        return "; redirects are not followed"
    if not same_path:
        return "; redirects are not followed, and this one leads to no chat completions: a login page, or a wrong URL"
    netloc = there.netloc.rpartition("@")[2]
    path = there.path.rstrip("/").removesuffix("/chat/completions")
    target = urlunsplit((there.scheme, netloc, path, "", ""))
    if here.scheme == "http" and there.scheme == "https" and host == here.hostname:
        return f"; redirects are not followed: write the URL with https, {target}"
    return f"; redirects are not followed, since they would carry the key: write the URL as {target}"
