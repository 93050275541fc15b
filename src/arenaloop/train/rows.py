"""Training rows by their number: `data.formats.training_rows` reads them, here its refusals get the row's name."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from arenaloop.data.formats import training_columns, training_rows
from arenaloop.data.formats.training_rows import ContradictionError
from arenaloop.data.formats.training_turns import FIELDS
from arenaloop.errors import InputError
from arenaloop.types import Message

__all__ = ["conversation", "labels", "preference", "prompt_turns", "refuse_unread", "unread_columns"]


def conversation(row: Mapping[str, Any], at: int) -> tuple[list[Message], list[Message]]:
    """What is given and what is learned of an SFT row.

    Raises:
        ContradictionError: its columns contradict each other.
        InputError: the row is malformed; `at` names it.
    """
    with _named(f"training row {at}"):
        read = training_rows.read_conversation(row)
    return read.prompt, read.completion


def preference(row: Mapping[str, Any], at: int) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected answer of a preference row.

    Raises:
        ContradictionError: its columns contradict each other.
        InputError: the row is malformed; `at` names it.
    """
    with _named(f"preference row {at}"):
        read = training_rows.read_preference(row)
    return read.prompt, read.chosen, read.rejected


def labels(row: Mapping[str, Any], at: int) -> tuple[float, float]:
    """What a preference row says beside its texts: ``preference`` and ``margin``.

    The first is the probability that the chosen answer is the better one, the second by how much it ought to be scored
    higher; a row without them has a hard label, 1, and no margin, 0.

    Raises:
        InputError: one of them is malformed; `at` names the row.
    """
    found = []
    for name, default, least, most in (("preference", 1.0, 0.0, 1.0), ("margin", 0.0, 0.0, float("inf"))):
        value = row.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            what = "a probability" if name == "preference" else "a number from 0 on"
            raise InputError(f"preference row {at}: {name!r} is {value!r}, not {what}")
        found.append(float(value))
    return found[0], found[1]


def prompt_turns(row: Mapping[str, Any], at: int) -> list[Message]:
    """The turns of a prompt row, of which none but the last is to be answered.

    Raises:
        ContradictionError: its columns contradict each other.
        InputError: the row is malformed; `at` names it.
    """
    with _named(f"training row {at}"):
        return training_rows.read_prompt(row)


def refuse_unread(row: Mapping[str, Any], read: Container[str], at: int) -> None:
    """Refuse a row with a column that changes what it means and is not among those that are `read`.

    Raises:
        InputError: the column is named; `at` names the row.
    """
    with _named(f"training row {at}"):
        training_columns.refuse_unread(row, read)


def unread_columns(rows: Sequence[Mapping[str, Any]], columns: Sequence[Sequence[str]]) -> list[str]:
    """The columns, and the fields of turns, that hold something in some row and that nobody reads.

    Args:
        rows: of a user's file.
        columns: what a method reads (`methods.Method.columns`).
    """
    read = {name for form in columns for name in form}
    read |= {name for row in rows for name in training_rows.compared(row)}
    return training_columns.unread(rows, read, FIELDS)


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except ContradictionError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
