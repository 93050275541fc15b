"""Demonstration files: conversations that a model first learns from, checked row by row before anything is trained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from arenaloop.data.formats.training_columns import refuse_unread
from arenaloop.data.formats.training_rows import read_conversation
from arenaloop.errors import InputError
from arenaloop.jsonl import row_error
from arenaloop.tables import table_rows

__all__ = ["read_demonstrations"]


def read_demonstrations(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Rows of conversations, as they stand; see `formats.training_rows` for their forms.

    Raises:
        InputError: the file cannot be read or holds no row, or a row is no conversation that ends with an answer, or
            says two things at once; file and line are named.
    """
    rows: list[dict[str, Any]] = []
    for line, row in table_rows(Path(path)):
        try:
            refuse_unread(row, read_conversation(row).form)
        except ValueError as error:
            raise row_error(path, line, str(error)) from None
        rows.append(dict(row))
    if not rows:
        raise InputError(f"{os.fspath(path)}: no demonstrations in it")
    return rows
