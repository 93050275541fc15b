"""What a cleaning step is given and what it gives back: rows, one by one, and word of those that it drops."""

from __future__ import annotations

import pickle
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

from arenaloop.data.embeddings import encodable
from arenaloop.data.held_out import Turn, normalised, prompt_turns, row_turns
from arenaloop.data.prompts import iter_prompts, prompt_row, read_prompt
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, row_error
from arenaloop.tables import table_rows
from arenaloop.types import Prompt

__all__ = [
    "TURN", "BenchmarkItem", "Drop", "Dropping", "Row", "Rows", "Spool",
    "benchmark_items", "pool_rows", "prompt_rows",
]  # fmt: skip

TURN = "\n"
"""What parts two turns among the words of a row: a word of its own."""


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt or a conversation of the pool.

    Attributes:
        line: where it stands in its file, or its number.
        turns: all of them, the system's and the assistant's too.
        form: the user's turns, normalised as held-out prompts are: words and `TURN`, a blank between any two.
        cells: the row of the file, as it stands.
    """

    line: int
    turns: tuple[Turn, ...]
    form: str
    cells: JsonRow

    @classmethod
    def of(cls, line: int, turns: Iterable[Turn], cells: JsonRow) -> Row:
        """A row from its turns."""
        whole = tuple(turns)
        form = f" {TURN} ".join(normalised(turn.text) for turn in whole if turn.role == "user")
        return cls(line, whole, encodable(form), cells)

    @property
    def words(self) -> list[str]:
        """The words of its form."""
        return self.form.split(" ")

    @property
    def asked(self) -> str:
        """The user's turns as they were written."""
        return encodable("\n\n".join(turn.text for turn in self.turns if turn.role == "user"))


class BenchmarkItem(NamedTuple):
    """A prompt that no row of the pool may be like, and what it is called where a row was dropped for it."""

    name: Mapping[str, Any]
    prompt: Prompt


class Drop(NamedTuple):
    """A row that a step dropped.

    Attributes:
        step: its setting's name. `why`: what the row is.
        partner: the line of the row that stays in its stead, or the test prompt that it is like.
        similarity: to the partner, as the step measures it.
    """

    row: Row
    step: str
    why: str
    partner: int | BenchmarkItem | None = None
    similarity: float | None = None

    def to_json(self, name: Callable[[int], Mapping[str, Any]]) -> JsonRow:
        """The row as it stood, and what became of it; `name` says what a row of this line is called."""
        partner = self.partner if self.partner is None or isinstance(self.partner, int) else dict(self.partner.name)
        told = {
            "step": self.step,
            "why": self.why,
            **name(self.row.line),
            "partner": name(partner) if isinstance(partner, int) else partner,
            "similarity": self.similarity,
        }
        return {**self.row.cells, "dropped": told}


Rows: TypeAlias = Iterable[Row]
Dropping: TypeAlias = Callable[[Drop], None]


class Spool:
    """Rows on disk, for steps that must have seen all before they let one through; memory holds 8 bytes for each."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when this is left
        self._starts = array("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, row: Row) -> None:
        """Put a row behind the others."""
        self._starts.append(self._file.tell())
        pickle.dump((row.line, row.turns, row.form, row.cells), self._file, pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[Row]:
        for number in range(len(self)):
            yield self[number]

    def __getitem__(self, number: int) -> Row:
        self._file.seek(self._starts[number])
        return Row(*pickle.load(self._file))  # noqa: S301 - a nameless file that this process wrote


def pool_rows(path: Path) -> Iterator[Row]:
    """Stream a file of prompts, or of conversations that end with an answer, duplicates included.

    Args:
        path: JSONL, a JSON list, CSV or Parquet; see `data.prompts` and `formats.training_rows` for the columns.

    Raises:
        InputError: the file cannot be read, or a row is neither; file and line are named.
    """
    for line, cells in table_rows(path):
        try:
            turns = row_turns(cells) if _is_answered(cells) else prompt_turns(read_prompt(cells))
        except ValueError as error:
            raise row_error(path, line, str(error)) from None
        yield Row.of(line, turns, cells)


def _is_answered(cells: JsonRow) -> bool:
    """Whether a row is a conversation in which the assistant has the last word."""
    if "conversations" in cells or "conversation" in cells:
        return True
    messages = cells.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") == "assistant"


def prompt_rows(prompts: Iterable[Prompt]) -> Iterator[Row]:
    """Prompts as rows; a row's line is the prompt's number, from 0."""
    for number, prompt in enumerate(prompts):
        yield Row.of(number, prompt_turns(prompt), prompt_row(prompt))


def benchmark_items(path: Path) -> list[BenchmarkItem]:
    """The prompts of a test set.

    Raises:
        InputError: the file cannot be read, holds no prompt, or a row of it has no user turn; the line is named.
    """
    found = [BenchmarkItem({"file": str(path), "line": line}, prompt) for line, prompt in iter_prompts(path)]
    if not found:
        raise InputError(f"{path}: no prompts in it")
    return found
