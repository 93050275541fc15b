"""The rows of a file of answers, in all known forms: whom each answers, and with what."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arenaloop.messages import (
    given_text,
    instruction_text,
    read_messages,
    refuse_more,
    system_message,
)
from arenaloop.types import Message, Prompt, content_hash

__all__ = ["LOOSE_FORMS", "Form", "loose_keys", "match_keys", "read_answer"]

_ANSWERS = ("output", "response", "completion", "answer", "text")
"""Columns that may hold an answer; the first that a row has does."""
_QUESTIONS = ("messages", "instruction", "prompt", "question")
"""Columns that may hold what it answers."""

Form = Callable[[str], str]
"""How a text is written before it is compared."""

LOOSE_FORMS: Mapping[str, Form] = {
    "line ends": lambda text: text.replace("\r\n", "\n").replace("\r", "\n"),
    "Unicode form": lambda text: unicodedata.normalize("NFC", text),
    "blanks at its ends": str.strip,
    "HTML entities": html.unescape,
    "blanks, line ends, letter case or Unicode form": lambda text: " ".join(
        unicodedata.normalize("NFKC", text).casefold().split()
    ),
}
"""Ways to write a prompt that keep it the same for a reader, the narrowest first; they explain why nothing matched."""


def match_keys(prompt: Prompt) -> tuple[str, ...]:
    """The keys under which a recorded answer may name `prompt`.

    They are hashes of its messages as they are, of its messages less the system one, and of its source id
    (``tags["source_id"]``), as far as it has them.
    """
    keys = _text_keys(prompt.messages, prompt.follow_ups)
    source_id = prompt.tags.get("source_id")
    return keys if source_id is None else (*keys, _id_key(source_id))


def loose_keys(prompt: Prompt, form: Form) -> frozenset[str]:
    """The keys under which a recorded answer would name `prompt`, were both written in one form."""
    messages = tuple(Message(role=m["role"], content=form(m["content"])) for m in prompt.messages)
    return frozenset(_text_keys(messages, [form(text) for text in prompt.follow_ups]))


def _text_keys(messages: Sequence[Message], follow_ups: Sequence[str]) -> tuple[str, ...]:
    whole = content_hash("messages", list(messages), list(follow_ups), size=8)
    if not messages or messages[0]["role"] != "system":
        return (whole,)
    return whole, content_hash("messages", list(messages[1:]), list(follow_ups), size=8)


def _id_key(source_id: object) -> str:
    # as text: one tool writes 81 where another writes "81"
    return content_hash("source id", str(source_id), size=8)


_A_NAME = 4
"""Blanks beyond which a column's name is none."""
_Answer = tuple[tuple[str, ...], list[str | None]]


def read_answer(row: Mapping[str, Any], form: Form) -> _Answer:
    """Match keys and texts of one row, None for a text that is not there; ValueError says what is wrong with it."""
    if row.get("choices") is not None:
        return _from_choices(row)
    column = next((name for name in _ANSWERS if name in row), None)
    messages = row.get("messages")
    if isinstance(messages, list) and column != "output" and not (column and _asks(messages)):
        return _from_conversation(row, form)
    if column is not None:
        return _from_columns(row, column, form)
    raise ValueError(
        f"no answer in the columns {', '.join(_ANSWERS)}, choices or messages (columns found: {_listed(row)})"
    )


def _listed(row: Mapping[str, Any]) -> str:
    """A row's columns, cut short; of a mapping of prompts to answers, what is wanted instead."""
    if len(row) > 1 and any(name.count(" ") > _A_NAME for name in row):
        return f'{len(row):,} that look like prompts; wanted are rows {{"instruction": PROMPT, "output": ANSWER}}'
    return ", ".join(list(row)[:12]) or "none"


def _asks(messages: Sequence[object]) -> bool:
    """Whether the user has the last word, so that the answer stands in a column of its own."""
    return bool(messages) and isinstance(messages[-1], Mapping) and messages[-1].get("role") == "user"


def _keys(messages: Sequence[Message], follow_ups: Sequence[str], form: Form) -> tuple[str, ...]:
    """The key of a prompt's text; with a system message of its own, an answer belongs to that one alone."""
    written = [Message(role=m["role"], content=form(m["content"])) for m in messages]
    return _text_keys(written, [form(text) for text in follow_ups])[:1]


def _from_columns(row: Mapping[str, Any], column: str, form: Form) -> _Answer:
    """A column of answers beside what they answer: of a list of messages every assistant turn is an answer."""
    asked, answer = _asked(row, column), row[column]
    if asked is None:
        if (source_id := _source_id(row)) is None:
            found = ", ".join(list(row)[:12])
            raise ValueError(
                f"an answer ({column}) without {', '.join(_QUESTIONS)} or question_id to say what it answers (columns "
                f"found: {found})"
            )
        return (_id_key(source_id),), [_whole(answer, column)]
    if column == "output" or not isinstance(answer, list):
        return _keys(asked, (), form), [_whole(answer, column)]
    turns = read_messages(answer, column)
    due = [("assistant", "user")[at % 2] for at in range(len(turns))]
    if [turn["role"] for turn in turns] != due or due[-1:] != ["assistant"]:
        raise ValueError(f"{column} is not assistant and user in turn, from the first to the last answer")
    texts: list[str | None] = [turn["content"] for turn in turns[::2]]
    return _keys(asked, [turn["content"] for turn in turns[1::2]], form), texts


def _asked(row: Mapping[str, Any], column: str) -> Sequence[Message] | None:
    """The turns that a column answers; None where the row has none."""
    name = next((name for name in _asking(column) if row.get(name) is not None), None)
    if name is None:
        return None
    if name == "instruction":
        return (*system_message(row), {"role": "user", "content": instruction_text(row)})
    asked = row[name]
    if isinstance(asked, str) and name != "messages":
        return (*system_message(row), {"role": "user", "content": asked})
    messages = read_messages(asked, name)
    if not messages or messages[-1]["role"] != "user":
        raise ValueError(
            f"{name} do{'' if name == 'messages' else 'es'} not end with the user turn that {column} answers"
        )
    return messages


def _asking(column: str) -> Sequence[str]:
    """The columns that may hold what is answered, those first that come with this one."""
    return ("prompt", *_QUESTIONS) if column == "completion" else _QUESTIONS


def _whole(answer: object, column: str) -> str | None:
    if answer is not None and not isinstance(answer, str):
        raise ValueError(f"{column} is not a text")
    return answer


def _from_choices(row: Mapping[str, Any]) -> _Answer:
    """FastChat, and Arena-Hard v0.1: the first choice's turns, texts or ``{"content": text}``."""
    choices = row["choices"]
    turns = choices[0].get("turns") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if not isinstance(turns, list) or not turns:
        raise ValueError("choices[0].turns is not a list of texts")
    texts = [_said(turn.get("content") if isinstance(turn, dict) else turn) for turn in turns]
    source_id = _source_id(row)
    if source_id is None:
        raise ValueError("choices without question_id or uid")
    return (_id_key(source_id),), texts


def _said(content: object) -> str | None:
    return None if content is None else given_text(content)


def _from_conversation(row: Mapping[str, Any], form: Form) -> _Answer:
    """Arena-Hard v2: user and assistant in turn; an assistant's content is ``{"answer": text}`` or a text."""
    messages = row["messages"]
    system: list[Message] = []
    asked: list[str] = []
    texts: list[str | None] = []
    for number, message in enumerate(messages, 1):
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(message, dict):
            refuse_more(message)
        if role == "system" and number == 1:
            system.append({"role": "system", "content": given_text(content)})
        elif role == "user" and len(asked) == len(texts):
            asked.append(given_text(content))
        elif role == "assistant" and len(asked) == len(texts) + 1:
            texts.append(_said(content["answer"] if isinstance(content, dict) and "answer" in content else content))
        else:
            due = "user" if len(asked) == len(texts) else "assistant"
            raise ValueError(f"message {number} of messages has the role {role!r} where the {due}'s turn is due")
    if not texts or len(asked) != len(texts):
        raise ValueError("messages do not end with the assistant's answer, and there is no output")
    keys = _keys((*system, {"role": "user", "content": asked[0]}), asked[1:], form)
    source_id = _source_id(row)
    return (keys if source_id is None else (*keys, _id_key(source_id))), texts


def _source_id(row: Mapping[str, Any]) -> object:
    return row["question_id"] if row.get("question_id") is not None else row.get("uid")
