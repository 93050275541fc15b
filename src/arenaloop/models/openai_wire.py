"""What goes over the wire to an OpenAI-compatible server and back, as pure functions: the body, and what a reply holds.

Servers differ in detail (vLLM, llama.cpp, Ollama, OpenRouter, Azure, DeepSeek); what is read here is what one or more
of them are known to send. Nothing is guessed from an answer's text but the reasoning at its start (`reasoning`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeGuard

from pydantic_core import from_json, to_json  # two to four times as fast as json on bodies of this size

from arenaloop.messages import message_text
from arenaloop.models.charge import Charge, note_charge, read_charge
from arenaloop.models.finish import worst_ending
from arenaloop.models.notices import Notices
from arenaloop.models.openai_errors import Fault, body_in_words, exactly_decoded, foreign_form, reported_fault
from arenaloop.models.reasoning import Parted, part_reasoning
from arenaloop.models.reasoning_tags import FAMILIES, Tags, unknown_block
from arenaloop.models.reply_doubts import FailedTexts, contradicted_key, cut_at, odd_form
from arenaloop.models.usage import Price, least_tokens
from arenaloop.normal_form import is_blank
from arenaloop.types import Completion, Cost, Message, Status

__all__ = [
    "Price",
    "Reader",
    "Replies",
    "ReplyError",
    "encode_body",
    "encode_settings",
    "read_object",
    "read_replies",
    "read_reply",
    "structured",
    "with_system",
]

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_LARGEST_LOGPROB = 10**9  # integers beyond overflow a float
_READ_AT_LEAST = 0.75  # of the fewest tokens that a prompt can be; a server that counts less has cut it
_LONG = 50  # words of a prompt from which on that is looked at
_READ_AT_LEAST_OF_FEW, _FEW = 0.5, 4  # the same of short answers, whose words are told apart less surely

_FREE = Completion(tokens_in=0, tokens_out=0, usd=0.0, calls=0)
"""What further samples of a call cost."""


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


class ReplyError(ValueError):
    """A 200 reply that is no chat completion; the message says what it is."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


class Replies(NamedTuple):
    """What a 200 reply holds.

    Attributes:
        answers: its completions.
        charge: what all of them cost, as it says.
    """

    answers: list[Completion]
    charge: Charge


@dataclass(frozen=True, slots=True)
class Reader:
    """How the replies of one model are read.

    Attributes:
        price: None if it is not known.
        tags: of the model's reasoning; None for the known families.
        notices: what is odd about its replies is counted here.
        failed: which of its replies are an error's words.
    """

    price: Price | None = None
    tags: tuple[Tags, ...] | None = None
    notices: Notices = field(default_factory=Notices)
    failed: FailedTexts = field(default_factory=FailedTexts)


_PLAIN = Reader()


def read_reply(raw: bytes, *, reader: Reader = _PLAIN, asked: Sequence[Message] | None = None) -> Completion:
    """The completion that a 200 reply holds; see `read_replies`."""
    return read_replies(raw, reader=reader, asked=asked).answers[0]


def read_replies(
    raw: bytes,
    *,
    reader: Reader = _PLAIN,
    asked: Sequence[Message] | None = None,
    seconds: float = 0.0,
    calls: int = 1,
    samples: int = 1,
    limit: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Replies:
    """The completions that a 200 reply holds: one, or as many samples as were asked for and came.

    What the call has taken is the first one's; the others cost nothing more. One that the server ended for a reason
    that means no whole answer is a completion too, with status `ERROR` and the server's word.

    Args:
        raw: the body.
        reader: how this model's replies are read.
        asked: the messages that were sent; None where they are not known.
        seconds, calls: what the call has taken.
        samples: at most so many are read.
        limit: new tokens that were asked for at most; None where no limit was sent.
        headers: the reply's, case-insensitive.

    Raises:
        ReplyError: the body is no chat completion (cut off, HTML, an error object), or holds a key twice with different
            values.
    """
    reply = read_object(raw, headers or {})
    if (fault := reported_fault(reply)) is not None:
        raise ReplyError(fault)
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _no_completion(f"no choices in the reply: {raw[:200].decode('utf-8', 'replace')}")
    if (key := contradicted_key(raw, choices)) is not None:
        raise _no_completion(f"the reply holds the key {key!r} twice, with different values")
    charge = read_charge(reply, headers or {}, reader.price)
    tokens_in, tokens_out = charge.usage.tokens_in, charge.usage.tokens_out
    cost = Completion(tokens_in=tokens_in, tokens_out=tokens_out, usd=charge.usd, seconds=seconds, calls=calls)
    found = sorted((choice for choice in choices if isinstance(choice, dict)), key=_place)[:samples]
    texts = None if asked is None else [message["content"] for message in asked]
    read = [_completion(choice, reply, _FREE if at else cost, reader, texts) for at, choice in enumerate(found)]
    if _notice(reader, charge, asked, read):
        read[0] = replace(read[0], tokens_out=None, usd=charge.bill.usd)
    if isinstance(model := reply.get("model"), str) and model.strip():
        reader.notices.answered_by(model, len(read))
    if len(read) == 1 and read[0].status is Status.OK and cut_at(read[0].text, tokens_out, limit):
        reader.notices.add("stopped at the limit", " ".join(read[0].text[-40:].split()))
    if warned := reply.get("warnings") or reply.get("warning"):
        reader.notices.add("warning", " ".join(json.dumps(warned, ensure_ascii=False)[:160].split()))
    return Replies(read, charge)


def read_object(raw: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The JSON object that a 200 reply is.

    Raises:
        ReplyError: it is none.
    """
    try:
        reply = from_json(raw)
    except ValueError:
        try:
            text = exactly_decoded(raw, headers)
        except UnicodeError as error:
            raise _no_completion(f"{error}: {body_in_words(raw, headers)}") from None
        if text.lstrip().startswith(":"):  # OpenRouter's comments, which keep the connection alive
            text = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith(":"))
        try:
            reply = json.loads(text)  # which takes lone surrogates, and says better what is wrong
        except (ValueError, RecursionError) as error:
            told = body_in_words(raw, headers)
            foreign = foreign_form(raw, headers) is not None
            raise _no_completion(told if not told.startswith("not JSON") else f"{told} ({error})", foreign) from None
    if not isinstance(reply, dict):
        raise _no_completion("not a JSON object")
    return reply


def _no_completion(what: str, foreign: bool = False) -> ReplyError:
    return ReplyError(Fault(200, "", "", f"HTTP 200: {what}", foreign=foreign))


def _place(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


_TOOL_CALLS = ("tool_calls", "tool_call", "function_call", "tool_use")


def _completion(
    choice: Mapping[str, Any], reply: Mapping[str, Any], cost: Cost, reader: Reader, asked: Sequence[str] | None
) -> Completion:
    """One choice of a reply."""
    end = worst_ending(choice, reply)
    word = end.word
    message = choice.get("message")
    if message is None and end.status is Status.REFUSED:
        message = {}  # Azure leaves it out
    if not isinstance(message, dict):
        raise _no_completion("no message in the reply's first choice")
    content, refusal, thoughts = _content(message)
    parted = part_reasoning(content, reader.tags, asked=asked)
    text = parted.answer
    error = None
    status = end.status
    if refusal is not None:
        status = Status.REFUSED
    elif (told := reported_fault({"error": choice["error"]}) if choice.get("error") else None) is not None:
        status, error = Status.ERROR, f"finish reason {word}: {told.text or told.reason}"
    elif status is Status.ERROR and word in _TOOL_CALLS and not text.strip():
        status = Status.EMPTY  # it called a tool, which it was not given, and said nothing
    elif status is Status.ERROR:
        error = f"finish reason {word}"
    elif status is Status.OK and is_blank(text):
        status = Status.EMPTY
    elif status is Status.OK and asked and reader.failed.holds(text, asked):
        said = " ".join(text.split())
        status, error = Status.ERROR, f"an error's words in the place of an answer: {said}"
        reader.notices.add("error text", said[:120])
    if end.unknown is not None:
        reader.notices.add("unknown ending", end.unknown)
    _notice_form(reader, parted, content, status)
    return Completion(
        text=text or refusal or "",
        status=status,
        finish_reason=None if word is None or word == "" else str(word),
        reasoning="\n\n".join(dict.fromkeys(part for part in (*thoughts, parted.reasoning) if part)) or None,
        tokens_in=cost.tokens_in,
        tokens_out=cost.tokens_out,
        usd=cost.usd,
        seconds=cost.seconds,
        calls=cost.calls,
        error=error,
        logprobs=_logprobs(found) if (found := choice.get("logprobs")) else None,
    )


def _notice(reader: Reader, charge: Charge, asked: Sequence[Message] | None, read: Sequence[Completion]) -> bool:
    """Count what is odd about what a server counts and charges: such as a prompt of which it has read a part only.

    Returns:
        Whether the answers have more words than it counts tokens, so that its count is none.
    """
    usage, notices = charge.usage, reader.notices
    notices.replies += len(read)
    note_charge(notices, charge)
    least = least_tokens(asked) if asked is not None and usage.tokens_in else 0
    if least >= _LONG and (usage.tokens_in or 0) + usage.cached < _READ_AT_LEAST * least:
        notices.add("prompt cut", f"{usage.tokens_in:,} tokens of at least {least:,}")
    if not usage.tokens_out or all(_fewer(usage.tokens_out, one.text) for one in read):
        return False
    words = least_tokens({"content": one.text} for one in read)
    share = _READ_AT_LEAST if words >= _LONG else _READ_AT_LEAST_OF_FEW
    if words < _FEW or usage.tokens_out >= share * words:
        return False
    notices.add("answer uncounted", f"{usage.tokens_out:,} tokens of at least {words:,}")
    return True


def _fewer(tokens: int, text: str) -> bool:
    """Whether a text has fewer words than tokens, as far as that is seen at once."""
    return text.isascii() and text.count(" ") + text.count("\n") + text.count("\t") < tokens


_LOST = re.compile("[\ufffd\ud800-\udfff]")  # what stands for bytes that were no character, and half a character


def _notice_form(reader: Reader, parted: Parted, content: str, status: Status) -> None:
    """Count what hints at reasoning that was not, or might not have been, parted from the answer."""
    if not content.isascii() and (lost := _LOST.search(content)) is not None:
        around = content[max(0, lost.start() - 20) : lost.end() + 10]
        reader.notices.add("lost characters", " ".join(_LOST.sub("\ufffd", around).split()))
    if (form := odd_form(parted.answer)) is not None:
        reader.notices.add(form, " ".join(parted.answer[:40].split()))
    if parted.closed_only:
        reader.notices.add("closing tag only", "")
    elif parted.reasoning and not parted.answer and status is Status.EMPTY:
        reader.notices.add("never closed", " ".join(content[:40].split()))
    elif parted.reasoning is None:
        if status is Status.TRUNCATED:
            reader.notices.add("cut without a tag", "")
        if (found := unknown_block(content)) is not None:
            reader.notices.add("thinking block" if found.thinks else "unknown block", found.tag)
        elif any(tag.close in content for tag in reader.tags or FAMILIES):
            reader.notices.add("tag in the text", "")


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
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _LARGEST_LOGPROB)


def _content(message: Mapping[str, Any]) -> tuple[str, str | None, list[str]]:
    """The message's text, the refusal that stands beside it or among its parts, and reasoning that was told apart."""
    content, refusal = message.get("content"), message.get("refusal")
    thoughts = [_thought(message.get(key)) for key in ("reasoning_content", "reasoning", "thinking")]
    if not any(thoughts):
        thoughts = [_thought(message.get(key)) for key in ("reasoning_details", "thinking_blocks")]
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        refusal = refusal or next((part["refusal"] for part in parts if part.get("refusal")), None)
        thoughts += [_thought(part) for part in parts if not isinstance(part.get("text"), str) or _thinks(part)]
        content = "".join(part["text"] for part in parts if isinstance(part.get("text"), str) and not _thinks(part))
    elif content is None:
        content = ""
    try:
        text = message_text(content)
    except ValueError as error:
        raise _no_completion(str(error)) from None
    return text, str(refusal) if refusal else None, thoughts


def _thinks(part: Mapping[str, Any]) -> bool:
    return str(part.get("type")) in ("thinking", "reasoning", "reasoning_text")


def _thought(found: object) -> str:
    """The text of reasoning in one of the forms that servers tell it apart in: a text, a part, or a list of parts."""
    if isinstance(found, str):
        return found
    if isinstance(found, list):
        return "".join(map(_thought, found[:1000]))
    if isinstance(found, dict):
        inner = (found.get(key) for key in ("thinking", "reasoning", "text", "summary"))
        return next((text for value in inner if isinstance(value, str | list) and (text := _thought(value))), "")
    return ""
