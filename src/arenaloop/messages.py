"""What a message's text is, in the several ways that files and servers write one.

Functions raise ValueError with what is wrong; a caller that knows file and line adds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arenaloop.types import Message

__all__ = [
    "FAILED_ANSWER",
    "ROLES",
    "given_text",
    "instruction_text",
    "message_text",
    "read_messages",
    "refuse_more",
    "refuse_unread",
    "system_message",
]

ROLES = ("system", "user", "assistant")


FAILED_ANSWER = "$ERROR$"
"""What FastChat writes in the place of an answer when every call for it has failed."""

_MEDIA = ("images", "image", "image_url", "videos", "video", "audios", "audio", "input_audio")
_UNREAD_COLUMNS = (*_MEDIA, "tools", "functions", "history")
_UNREAD_KEYS = (*_MEDIA, "tool_calls", "function_call", "files", "file", "attachments")
"""What changes the meaning of a row, or of a message, and cannot be shown to a model here."""

_SYSTEM = ("system", "system_prompt")

_PART_KEYS = frozenset({"type", "text", "annotations", "cache_control", "logprobs", "index", "id"})
"""What a part of a message's content may hold and still be a text."""


def refuse_unread(row: Mapping[str, Any]) -> None:
    """Refuse a row that holds what no prompt here can: tools, images, sound, an earlier history.

    Args:
        row: cells by column; null, empty and false ones are as good as missing.

    Raises:
        ValueError: such a column with a value.
    """
    for name in _UNREAD_COLUMNS:
        if row.get(name):
            hint = "; write it as messages" if name == "history" else ""
            raise ValueError(f"column {name}: it changes what a model is asked, and is not read here{hint}")


def refuse_more(message: Mapping[str, Any]) -> None:
    """Refuse a message that holds more than its text: a tool's call, an image.

    Raises:
        ValueError: it does.
    """
    for name in _UNREAD_KEYS:
        if message.get(name):
            raise ValueError(f"it holds {name}, which is not read here")


def system_message(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The system message that a row has in a column of its own, for the shapes that hold the user's turns alone.

    Raises:
        ValueError: it is not a text, or there are two.
    """
    found = [row[name] for name in _SYSTEM if row.get(name)]
    if not all(isinstance(text, str) for text in found):
        raise ValueError("column system is not a text")
    if len(set(found)) > 1:
        raise ValueError("columns system and system_prompt differ")
    return tuple(Message(role="system", content=text) for text in found[:1])


def instruction_text(row: Mapping[str, Any]) -> str:
    """The user's turn of an Alpaca row: ``instruction``, and ``input``, where there is one, after a blank line.

    Raises:
        ValueError: one of them is not a text, or the row holds a ``context`` besides (Dolly's name for an input).
    """
    instruction, extra = row.get("instruction"), row.get("input")
    if not isinstance(instruction, str):
        raise ValueError("instruction is not a text")
    if row.get("context"):
        raise ValueError("column context: the text that an instruction is about goes by the name input")
    if extra is None or extra == "" or extra != extra:
        return instruction
    if not isinstance(extra, str):
        raise ValueError("input is not a text")
    return f"{instruction}\n\n{extra}"


def read_messages(value: object, column: str) -> tuple[Message, ...]:
    """Messages from a row, with role and content alone.

    Args:
        value: a list of ``{"role", "content"}``; a content may be OpenAI's list of text parts.
        column: its name, for errors.

    Raises:
        ValueError: it is no such list, a role is unknown, a system message is not the first, or a message holds more
            than text (a tool's call, an image, nothing at all).
    """
    if not isinstance(value, list):
        raise ValueError(f"{column} is not a list of messages")
    messages: list[Message] = []
    for number, item in enumerate(value, 1):
        if not isinstance(item, dict):
            raise ValueError(f"message {number} of {column} is not an object with role and content")
        role = item.get("role")
        if role not in ROLES:
            raise ValueError(f"message {number} of {column} has the role {role!r}; known are {', '.join(ROLES)}")
        if role == "system" and messages:
            raise ValueError(f"message {number} of {column} is a system message; only the first may be one")
        try:
            refuse_more(item)
            messages.append({"role": role, "content": given_text(item.get("content"))})
        except ValueError as error:
            raise ValueError(f"message {number} of {column} ({role}): {error}") from None
    return tuple(messages)


def message_text(content: object) -> str:
    """A message's text: the content itself, or its text parts put together.

    Raises:
        ValueError: it is no text, or holds a part that is none (an image).
    """
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            return "".join(texts)
    raise ValueError("a message's content is not a text" if content is not None else "a message without content (null)")


def given_text(content: object) -> str:
    """`message_text` of a user's file, where a part that holds more than text (an image beside it) is refused.

    Raises:
        ValueError: as `message_text`, or a part holds something else besides.
    """
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and (more := [key for key in part if key not in _PART_KEYS and part[key]]):
            raise ValueError(f"a part of a message's content holds {', '.join(more)}, which is no text")
    return message_text(content)
