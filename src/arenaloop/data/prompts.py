"""Prompt files: the shapes that people keep prompts in, read into `Prompt`s.

Read are JSONL and JSON lists, CSV and Parquet (see `data.formats.tables`), with one of these columns (the first that a
row has):

* ``messages``: a conversation that ends with a user turn;
* ``turns``: FastChat's and Arena-Hard v0.1's ``question.jsonl``, texts or ``{"content": text}``; those after the first
  are follow-ups;
* ``prompt``: a text (Arena-Hard v2), or a message list as TRL writes;
* ``instruction``, and ``input`` after a blank line (Alpaca, AlpacaEval).

Nothing is trimmed. A column `system` is the system message. What changes a prompt and cannot be read here (tools,
images, a history) is refused by its name. A row's id in its source and what describes it go to the prompt's tags; no
other column is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arenaloop.data.formats.tables import table_rows
from arenaloop.errors import InputError
from arenaloop.jsonl import row_error
from arenaloop.messages import given_text, instruction_text, read_messages, refuse_unread, system_message
from arenaloop.types import Message, Prompt

__all__ = ["PromptSet", "iter_prompts", "read_prompt", "read_prompts"]

SOURCE_IDS = ("source_id", "question_id", "uid", "prompt_id", "id")
"""Columns that may hold a row's id in its source, the most telling first; it becomes ``tags["source_id"]``."""

DESCRIPTIONS = (
    "dataset", "datasplit", "source", "split", "category", "subcategory", "cluster",
    "language", "difficulty", "answer", "reference",
)  # fmt: skip
"""Columns that are kept as tags under their own names."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The different prompts of a file, in its order.

    Attributes:
        prompts: one for each id.
        duplicates: rows whose prompt had come before (their tags are dropped).
    """

    prompts: tuple[Prompt, ...]
    duplicates: int = 0

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    def __getitem__(self, index: int) -> Prompt:
        return self.prompts[index]


def read_prompts(path: str | os.PathLike[str]) -> PromptSet:
    """Read a prompt file; duplicates collapse into the first and are counted.

    Raises:
        InputError: the file cannot be read, a row has no known shape or is no prompt, or there is no prompt at all.
    """
    prompts: dict[str, Prompt] = {}
    rows = 0
    for _, prompt in iter_prompts(path):
        rows += 1
        prompts.setdefault(prompt.id, prompt)
    if not prompts:
        raise InputError(f"{os.fspath(path)}: no prompts in it")
    return PromptSet(tuple(prompts.values()), rows - len(prompts))


def iter_prompts(path: str | os.PathLike[str]) -> Iterator[tuple[int, Prompt]]:
    """Stream (line, prompt) from a prompt file, duplicates included, holding one row at a time.

    Raises:
        InputError: as in `read_prompts`, when the row is reached.
    """
    for line, row in table_rows(Path(path)):
        try:
            yield line, read_prompt(row)
        except ValueError as error:
            raise row_error(path, line, str(error)) from None


def read_prompt(row: Mapping[str, Any]) -> Prompt:
    """The prompt of one row.

    Raises:
        ValueError: the row's shape is unknown, or what it holds is no prompt.
    """
    for column, read in _SHAPES.items():
        if row.get(column) is not None:
            refuse_unread(row)
            messages, follow_ups = read(row)
            messages = _with_system(messages, row)
            if not messages or messages[-1]["role"] != "user":
                last = f"with the {messages[-1]['role']}'s turn" if messages else "before it begins"
                raise ValueError(f"a prompt ends with a user turn, this one ends {last}")
            return Prompt(messages, follow_ups, tags=_tags(row))
    columns = ", ".join(list(row)[:12]) or "none"
    raise ValueError(f"no column {', '.join(list(_SHAPES)[:-1])} or {list(_SHAPES)[-1]} (columns found: {columns})")


def _with_system(messages: tuple[Message, ...], row: Mapping[str, Any]) -> tuple[Message, ...]:
    system = system_message(row)
    if messages and messages[0]["role"] == "system":
        if system and system[0] != messages[0]:
            raise ValueError("column system differs from the system message")
        return messages
    return (*system, *messages)


def _tags(row: Mapping[str, Any]) -> dict[str, Any]:
    own = row.get("tags")
    tags: dict[str, Any] = dict(own) if isinstance(own, Mapping) else {}
    for column in SOURCE_IDS:
        value = row.get(column)
        if isinstance(value, str | int) and not isinstance(value, bool):
            tags["source_id"] = value
            break
    for column in DESCRIPTIONS:
        if row.get(column) is not None:
            tags[column] = row[column]
    return tags


_Turns = tuple[tuple[Message, ...], tuple[str, ...]]


def _from_messages(row: Mapping[str, Any]) -> _Turns:
    return read_messages(row["messages"], "messages"), ()


def _from_turns(row: Mapping[str, Any]) -> _Turns:
    turns = row["turns"]
    if not isinstance(turns, list) or not turns:
        raise ValueError("turns is not a list of the user's texts")
    texts = [given_text(turn["content"] if isinstance(turn, dict) and "content" in turn else turn) for turn in turns]
    return ({"role": "user", "content": texts[0]},), tuple(texts[1:])


def _from_prompt(row: Mapping[str, Any]) -> _Turns:
    prompt = row["prompt"]
    if isinstance(prompt, list):
        return read_messages(prompt, "prompt"), ()
    if not isinstance(prompt, str):
        raise ValueError("prompt is neither a text nor a list of messages")
    return ({"role": "user", "content": prompt},), ()


def _from_instruction(row: Mapping[str, Any]) -> _Turns:
    return ({"role": "user", "content": instruction_text(row)},), ()


_SHAPES: dict[str, Callable[[Mapping[str, Any]], _Turns]] = {
    "messages": _from_messages,
    "turns": _from_turns,
    "prompt": _from_prompt,
    "instruction": _from_instruction,
}
