"""How a recorded answer ended, by what its row says of it, however the field is called and wherever it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from arenaloop.models.finish import ending
from arenaloop.types import Status

__all__ = ["plain_name", "recorded_ends"]

_END_NAME = re.compile(
    r"(?:model)?(?:finish|stop|done|end|completion|generation|termination)(?:ed|ing)?(?:reason|status)"
)
_CUT_NAME = re.compile(
    r"truncat|incomplete|unfinished|cutoff|cutshort|(?:hit|reached|over|exceeded).*(?:max|limit|length)|"
    r"(?:max|limit|length).*(?:hit|reached|exceeded)"
)
_WHOLE_NAME = re.compile(r"(?:is|was|output|response|answer)?(?:complete|completed|finished|done|eos|eosreached|ended)")
"""Flags that say that an answer is not whole, or that it is."""


def plain_name(column: object) -> str:
    """A column's name in small letters alone: ``finishReason`` is ``finish_reason``."""
    return re.sub(r"[^a-z]", "", str(column).lower())


def recorded_ends(row: Mapping[str, Any], turns: int) -> tuple[str, ...]:
    """The finish reasons of a row's turns, however deep beside its answer they stand; one for the row is the last's."""
    ends = [""] * turns
    choice = row["choices"][0] if isinstance(row.get("choices"), list) and row["choices"] else None
    inner = choice.get("turns") if isinstance(choice, Mapping) else row.get("messages")
    parts = [part for part in inner if isinstance(part, Mapping)] if isinstance(inner, list) else []
    own = [part for part in parts if part.get("role", "assistant") == "assistant"]
    for number, part in enumerate(own[:turns] if len(own) == turns else ()):
        if said := _end(part):
            ends[number] = str(said)
    for holder in (choice, row):
        said = _end(holder) if isinstance(holder, Mapping) else None
        if isinstance(said, list) and len(said) == turns:
            ends = [str(word or "") or end for word, end in zip(said, ends, strict=True)]
        elif isinstance(said, list) and said:
            ends[-1] = str(said[0] or "")
        elif said:
            ends[-1] = str(said)
    return tuple(ends)


def _end(holder: Mapping[str, Any]) -> object:
    """What a mapping says of an answer's end: the worst where it says several things, None where nothing.

    A stop reason beside a finish reason may be the text or the token that the server stopped at (vLLM).
    """
    said = dict(_told(holder))
    finish = said.get("finishreason")
    worse = [word for word in said.values() if ending(word).status is not Status.OK]
    if finish is not None:
        worse = [word for word in worse if word is finish or ending(word).status is not Status.ERROR]
    return worse[0] if worse else finish


def _told(holder: Mapping[str, Any], depth: int = 2) -> Iterator[tuple[str, object]]:
    """What a mapping, and those within it (``metadata``, ``details``), say of an answer's end, by plain name."""
    for column, value in holder.items():
        name, flag = plain_name(column), str(value).strip().lower()
        if isinstance(value, Mapping) and depth:
            yield from _told(value, depth - 1)
        elif (flag in ("1", "true", "yes") and _CUT_NAME.search(name)) or (
            flag in ("0", "false", "no") and _WHOLE_NAME.fullmatch(name)
        ):
            yield name, "length"
        elif _END_NAME.fullmatch(name) and isinstance(value, str | list) and value:
            yield name, "stop" if name.endswith("status") and flag in _WELL else value


_WELL = ("ok", "success", "succeeded", "successful", "true")
