"""The turns of training rows: message lists in both spellings, and transcripts.

Functions raise ValueError with what is wrong; a caller that knows file and line adds them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from arenaloop.data.formats.training_columns import changes_meaning
from arenaloop.messages import given_text
from arenaloop.types import Message

__all__ = ["FIELDS", "history_turns", "is_transcript", "read_turns", "transcript_turns"]

_ROLES = {role: role for role in ("system", "developer", "user", "assistant", "tool")} | {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
"""How turns name who speaks: OpenAI's names, then ShareGPT's; no other is guessed."""

FIELDS = ("role", "content", "from", "value")
"""What is read of a turn: ``role`` and ``content``, or ShareGPT's ``from`` and ``value``."""

_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def read_turns(value: object, column: str, role: str = "") -> list[Message]:
    """The turns in a column of a training row.

    Args:
        value: a list of messages, one message alone, or a text where that stands for one turn.
        column: its name, for errors.
        role: who says a text; empty where a text is no turn.

    Raises:
        ValueError: it is none of these, a role is unknown, or a turn holds more than its text.
    """
    if isinstance(value, str) and role:
        return [{"role": role, "content": value}]
    if isinstance(value, Mapping) and role:
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"{column!r} is not a list of messages")
    return [_turn(turn, column, number) for number, turn in enumerate(value, 1)]


def _turn(turn: object, column: str, number: int) -> Message:
    where = f"{column!r} holds a turn without a known role and a text content"
    if not isinstance(turn, Mapping):
        raise ValueError(f"{where} (message {number})")
    named = {said for said in (turn.get("role"), turn.get("from")) if isinstance(said, str)}
    roles = {_ROLES.get(said.strip().lower()) for said in named}
    texts = [turn[name] for name in ("content", "value") if turn.get(name) is not None]
    if len(roles) != 1 or None in roles or not texts:
        found = ", ".join(f"{name} {turn[name]!r}" if name in ("role", "from") else str(name) for name in turn)
        raise ValueError(f"{where} (message {number}: {found[:80]})")
    for name, given in turn.items():
        if name not in FIELDS and changes_meaning(name, given):
            raise ValueError(f"a turn of {column!r} holds {name!r}, which is not trained on; take it out")
    try:
        said = [given_text(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{where} (message {number}: {error})") from None
    if len(set(said)) > 1:
        raise ValueError(f"message {number} of {column!r} has a content and a value that differ")
    return {"role": str(roles.pop()), "content": said[0]}


def is_transcript(text: object, *, answered: bool) -> bool:
    r"""Whether a text is a whole conversation as Anthropic's HH has it, ``\n\nHuman: …\n\nAssistant: …``.

    Args:
        text: what stands in a column.
        answered: whether an answer ends it; else it ends with ``Assistant:``, for one that follows.
    """
    if not isinstance(text, str) or not text.lstrip().startswith("Human:"):
        return False
    last = list(_SPEAKER.finditer(text))[-1]
    return last[1] == "Assistant" and (answered or not text[last.end() :].strip())


def transcript_turns(text: str) -> list[Message]:
    """The turns of a transcript (see `is_transcript`), blanks around each taken off, and an empty last one."""
    _, *parts = _SPEAKER.split(text)
    said = zip(parts[::2], parts[1::2], strict=True)
    turns: list[Message] = [
        {"role": "user" if who == "Human" else "assistant", "content": words.strip()} for who, words in said
    ]
    return turns if turns[-1]["content"] else turns[:-1]


def history_turns(row: Mapping[str, Any]) -> list[Message]:
    """The earlier turns in a column ``history``: question and answer in pairs, as LLaMA-Factory has them.

    Raises:
        ValueError: it holds something else.
    """
    history = row.get("history")
    if not history:
        return []
    pairs = isinstance(history, list) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in history
    )
    if not pairs:
        raise ValueError("'history' is not a list of pairs of question and answer; write it as messages")
    return [
        {"role": role, "content": text}
        for pair in history
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
