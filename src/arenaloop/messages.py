"""What a message's text is, in the several ways that files and servers write one.

Functions raise ValueError with what is wrong; a caller that knows file and line adds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arenaloop.types import Message

__all__ = ["ROLES", "instruction_text", "message_text", "read_messages", "split_reasoning"]

ROLES = ("system", "user", "assistant")


def instruction_text(row: Mapping[str, Any]) -> str:
    """The user's turn of an Alpaca row: ``instruction``, and ``input``, where there is one, after a blank line.

    Raises:
        ValueError: one of them is not a text.
    """
    instruction, extra = row.get("instruction"), row.get("input")
    if not isinstance(instruction, str):
        raise ValueError("instruction is not a text")
    if extra is None or extra == "":
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
        ValueError: it is no such list, a role is unknown, or a system message is not the first.
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
        messages.append({"role": role, "content": message_text(item.get("content"))})
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
    raise ValueError("a message's content is not a text")


def split_reasoning(text: str) -> tuple[str | None, str]:
    """Part a thinking model's text into its reasoning and its answer.

    The reasoning is a leading ``<think>…</think>`` block. A block that is not closed is reasoning to its end (the model
    ran out of tokens while it thought, and there is no answer); where a chat template wrote the opening tag itself, the
    text begins inside the block.

    Returns:
        The reasoning, None where there is no block, and the answer without the white space that sets it off.
    """
    if "<think>" not in text and "</think>" not in text:
        return None, text
    start = text.lstrip()
    opened = start.startswith("<think>")
    reasoning, closed, answer = start.removeprefix("<think>").partition("</think>")
    if closed:
        # a tag further on, in an answer about such tags, does not make what stands before it reasoning
        if not opened and "<think>" in reasoning:
            return None, text
        return reasoning.strip(), answer.lstrip()
    return (reasoning.strip(), "") if opened else (None, text)
