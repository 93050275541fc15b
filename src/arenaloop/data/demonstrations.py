"""Demonstration files: conversations that a model first learns from, checked row by row before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from arenaloop.errors import InputError
from arenaloop.jsonl import row_error, user_rows
from arenaloop.messages import refuse_unread

__all__ = ["read_demonstrations"]

_ROLES = ("system", "developer", "user", "assistant", "tool")  # more than prompts have: chat templates know them


def read_demonstrations(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Rows ``{"messages"}``, or ``{"prompt", "completion"}`` with message lists as TRL writes them.

    Raises:
        InputError: the file cannot be read or holds no row, or a row is no conversation that ends with an answer; file
            and line are named.
    """
    rows: list[dict[str, Any]] = []
    for line, row in user_rows(path):
        try:
            _check(row)
        except ValueError as error:
            raise row_error(path, line, str(error)) from None
        rows.append(dict(row))
    if not rows:
        raise InputError(f"{os.fspath(path)}: no demonstrations in it")
    return rows


def _check(row: Mapping[str, Any]) -> None:
    refuse_unread(row)
    if "messages" in row:
        turns = _turns(row, "messages")
    elif "prompt" in row and "completion" in row:
        turns = [*_turns(row, "prompt"), *_turns(row, "completion")]
    else:
        columns = ", ".join(list(row)[:12]) or "none"
        raise ValueError(f"no column messages, nor prompt and completion (columns found: {columns})")
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise ValueError("the conversation does not end with an assistant's answer to something")


def _turns(row: Mapping[str, Any], column: str) -> list[Mapping[str, Any]]:
    turns = row[column]
    if not isinstance(turns, list):
        raise ValueError(f"{column} is not a list of messages")
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict) or turn.get("role") not in _ROLES:
            raise ValueError(f"message {number} of {column} has none of the roles {', '.join(_ROLES)}")
        if not isinstance(turn.get("content"), str):
            raise ValueError(f"message {number} of {column} has no text as its content")
    return turns
