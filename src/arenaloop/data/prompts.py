"""Prompt files: the shapes that people keep prompts in, read into `Prompt`s.

Read are JSONL and JSON lists, CSV, Parquet and Arrow (see `arenaloop.tables`), with one of these columns (the first
that a row has):

* ``messages``: a conversation that ends with a user turn;
* ``turns``: FastChat's and Arena-Hard v0.1's ``question.jsonl``, texts or ``{"content": text}``; those after the first
  are follow-ups;
* ``prompt``: a text (Arena-Hard v2), or a message list as TRL writes;
* ``instruction``, and ``input`` after a blank line (Alpaca, AlpacaEval);
* ``question``: a text, or a message list.

Nothing is trimmed. A column `system` is the system message. What belongs to the question and cannot be read here
(tools, images, a history, choices, documents) is refused by its name, and so is a row in which two of these columns ask
different things. A row's id in its source, what describes it and reference answers, which judges are shown, go to the
prompt's tags; no other column is kept, and those that nobody knows are named (`PromptSet.unknown`). Reference answers
of FastChat's questions stand in a folder beside them (`data.reference_answers`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from arenaloop.data.prompt_columns import differing, refuse_parts, unknown_columns
from arenaloop.data.reference_answers import ReferenceAnswers, reference_answers
from arenaloop.errors import InputError
from arenaloop.jsonl import row_error
from arenaloop.messages import given_text, instruction_text, read_messages, refuse_unread, system_message
from arenaloop.models.odd_texts import LOST, OddTexts
from arenaloop.tables import table_rows
from arenaloop.types import Message, Prompt

__all__ = ["PromptSet", "iter_prompts", "prompt_row", "read_prompt", "read_prompts", "user_text"]

SOURCE_IDS = ("source_id", "question_id", "uid", "prompt_id", "id")
"""Columns that may hold a row's id in its source, the most telling first; it becomes ``tags["source_id"]``."""

DESCRIPTIONS = (
    "dataset", "datasplit", "source", "split", "category", "subcategory", "cluster",
    "language", "difficulty", "answer",
)  # fmt: skip
"""Columns that are kept as tags under their own names."""

REFERENCES = ("reference", "reference_answer", "references", "reference_answers")
"""Columns that may hold reference answers, a text or a list of them; the first that does is the tag ``reference``."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The different prompts of a file, in its order.

    Attributes:
        prompts: one for each id.
        duplicates: rows whose prompt had come before (their tags are dropped).
        unknown: columns of the file that are not read and do not say what they are.
        odd: which prompts lost something on their way, in plain words.
        beside: where reference answers came from that do not stand in the file, in plain words; mostly empty.
    """

    prompts: tuple[Prompt, ...]
    duplicates: int = 0
    unknown: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    beside: str = ""

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
    unknown: dict[str, None] = {}
    rows, odd, beside = 0, OddTexts(), reference_answers(Path(path))
    for line, prompt in iter_prompts(path, unknown, beside):
        rows += 1
        odd.add(prompt.last_user, line)
        prompts.setdefault(prompt.id, prompt)
    if not prompts:
        raise InputError(f"{os.fspath(path)}: no prompts in it")
    told = "" if beside is None or not beside.used else f"reference answers to {len(beside.used):,} from {beside.path}"
    lost = tuple(odd.lines("prompts", LOST))
    return PromptSet(tuple(prompts.values()), rows - len(prompts), tuple(unknown), lost, told)


def iter_prompts(
    path: str | os.PathLike[str], unknown: dict[str, None] | None = None, beside: ReferenceAnswers | None = None
) -> Iterator[tuple[int, Prompt]]:
    """Stream (line, prompt) from a prompt file, duplicates included, holding one row at a time.

    Args:
        path: the file.
        unknown: collects the columns that nobody knows, in the order in which they come.
        beside: FastChat's reference answers, which take the place of what its questions hold themselves.

    Raises:
        InputError: as in `read_prompts`, when the row is reached.
    """
    for line, row in table_rows(Path(path)):
        try:
            prompt = read_prompt(row)
        except ValueError as error:
            raise row_error(path, line, f"{error}{_of_answers(row)}") from None
        if unknown is not None:
            unknown.update(dict.fromkeys(unknown_columns(row, _READ)))
        if beside is not None and row.get("turns") is not None and (texts := beside.of(prompt)):
            prompt = replace(prompt, tags={**prompt.tags, "reference": texts})
        yield line, prompt


def _of_answers(row: Mapping[str, Any]) -> str:
    """A clause for rows of FastChat's and Arena-Hard's ``model_answer``; empty for others."""
    told = "; these look like one model's answers (--model NAME=file:FILE): their prompts are in a file of questions"
    return told if any(shape <= row.keys() for shape in ({"choices", "model_id"}, {"messages", "model"})) else ""


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
            _refuse_others(row, column, (*(m["content"] for m in messages), *follow_ups))
            return Prompt(messages, follow_ups, tags=_tags(row))
    columns = ", ".join(list(row)[:12]) or "none"
    raise ValueError(f"no column {', '.join(list(_SHAPES)[:-1])} or {list(_SHAPES)[-1]} (columns found: {columns})")


def prompt_row(prompt: Prompt) -> dict[str, Any]:
    """A row that `read_prompt` reads as the same prompt, without its tags.

    Raises:
        ValueError: it has given turns and follow-ups, which no row holds both.
    """
    system, messages = [m for m in prompt.messages[:1] if m["role"] == "system"], list(prompt.messages)
    if not prompt.follow_ups:
        return {"messages": messages}
    if len(messages) > 1 + len(system):
        raise ValueError(f"prompt {prompt.id} has given turns and later ones of the user's, which no row holds both")
    return {**({"system": system[0]["content"]} if system else {}), "turns": [prompt.last_user, *prompt.follow_ups]}


def user_text(prompt: Prompt) -> str:
    """All that the user says in a prompt: given turns, the one to be answered and those that follow."""
    given = [message["content"] for message in prompt.messages if message["role"] == "user"]
    return "\n\n".join([*given, *prompt.follow_ups])


def _refuse_others(row: Mapping[str, Any], column: str, texts: tuple[str, ...]) -> None:
    """Refuse a row whose other columns ask something else than the one that was read."""
    others = [name for name in _SHAPES if name != "question"]  # which a longer prompt may hold: a part of it
    for other in others:
        if other == column or row.get(other) is None:
            continue
        try:
            messages, _ = _SHAPES[other](row)
        except ValueError:
            continue  # it holds no prompt
        users = [message["content"] for message in messages if message["role"] == "user"]
        if any(differing(text, list(texts)) for text in users):
            raise ValueError(f"columns {column} and {other} ask different things; keep the one that is meant")
    own = ("instruction", "input") if column == "instruction" else (column,)
    refuse_parts(row, (*own, *others), "\n".join(texts))


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
    if (told := next((name for name in REFERENCES if row.get(name)), None)) is not None:
        tags["reference"] = row[told]
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


def _from_text(row: Mapping[str, Any], column: str) -> _Turns:
    prompt = row[column]
    if isinstance(prompt, list):
        return read_messages(prompt, column), ()
    if not isinstance(prompt, str):
        raise ValueError(f"{column} is neither a text nor a list of messages")
    return ({"role": "user", "content": prompt},), ()


def _from_instruction(row: Mapping[str, Any]) -> _Turns:
    return ({"role": "user", "content": instruction_text(row)},), ()


_SHAPES: dict[str, Callable[[Mapping[str, Any]], _Turns]] = {
    "messages": _from_messages,
    "turns": _from_turns,
    "prompt": partial(_from_text, column="prompt"),
    "instruction": _from_instruction,
    "question": partial(_from_text, column="question"),
}

_READ = (*_SHAPES, "input", "system", "system_prompt", *SOURCE_IDS, *DESCRIPTIONS, *REFERENCES)
