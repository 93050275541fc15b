"""What the columns of training rows, and the fields of their turns, may mean beside the texts.

A name is read word by word (``loss_weight``, ``lossWeight`` and ``loss-weight`` are two words), so that a spelling that
nobody has thought of is known by its words. What may change what is learned is refused where nobody reads it; what
else is not read is named by the command.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

__all__ = ["HISTORY", "SYSTEM", "changes_meaning", "own_scores", "refuse_unread", "unread"]

SYSTEM = ("system", "system_prompt", "system_message")
"""Columns that hold a system message."""

HISTORY = ("history",)
"""Columns that hold earlier turns."""

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_HELD = frozenset(
    {"system", "developer", "persona", "reasoning", "thinking", "thought", "thoughts", "suffix", "history"}
    | {"tool", "tools", "function", "functions", "files", "media", "attachment", "attachments"}
    | {"image", "images", "video", "videos", "audio", "audios", "input", "inputs"}
    | {"document", "documents", "context", "contexts", "passage", "passages"}
)
"""Words of what a model would be shown, or would have said, beside the texts: a text, a list or an object."""
_SWITCHES = frozenset(
    {"prefix", "partial", "prefill", "masked", "ignore", "ignored", "skip", "exclude", "excluded", "undesirable"}
)
"""Words of a switch that takes something out of the loss, or says that a text is not whole, when it is on."""
_SHARES = frozenset(
    {"weight", "weights", "mask", "masks", "label", "labels", "kto", "desirable"}
    | {"train", "trained", "trainable", "learn", "loss"}
)
"""Words of how much something is learned: one, or true, is as good as missing; all else is not."""
_ABOUT = frozenset(
    {"id", "ids", "name", "names", "type", "types", "source", "hash", "index", "model", "models", "has", "is"}
    | {"token", "tokens", "length", "len", "count", "num", "number"}
    | {"format", "version", "language", "lang", "date", "time"}
)
"""Words that make a name say something about a thing, where the thing itself stands elsewhere (``tool_names``)."""
_QUOTED = re.compile(r"\s*(?:[-+]?[\d.,]+|true|false|yes|no|on|off)\s*", re.IGNORECASE)
_WORTH = frozenset({"score", "scores", "rating", "ratings", "reward", "rewards"})


def _words(name: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORDS.findall(name))


def changes_meaning(name: object, value: object) -> bool:
    """Whether a column, or a field of a turn, may change what a row teaches.

    Args:
        name: its name.
        value: what it holds; null and empty ones change nothing.
    """
    if value is None or value in ("", [], {}):
        return False
    words = _words(str(name))
    if words & _SHARES:
        # a file's name or a split is no share; a number or a truth value in quotes is one
        texts = isinstance(value, str) and not words & {"label", "labels"} and not _QUOTED.fullmatch(value)
        return not texts and not _whole(value) and not isinstance(value, Mapping)
    if words & _SWITCHES:
        return bool(value) and str(value).lower() not in ("false", "0")
    return bool(words & _HELD) and not words & _ABOUT and isinstance(value, str | list | tuple | Mapping)


def _whole(value: object) -> bool:
    """Whether a weight, a label or a mask says that all is learned."""
    if isinstance(value, list | tuple):
        return all(map(_whole, value))
    return value is True or value == 1 or str(value).strip().lower() in ("true", "1", "1.0")


def refuse_unread(row: Mapping[str, Any], read: Container[str]) -> None:
    """Refuse a row with a column that changes what it teaches and is not among those that are `read`.

    Raises:
        ValueError: the column is named, with what helps.
    """
    for name, value in row.items():
        if name in read or not changes_meaning(name, value):
            continue
        words = _words(name)
        if words & (_SHARES | _SWITCHES):
            advice = "keep the rows that are to be learned and take the column out"
        elif words & {"input", "inputs", "context", "contexts", "document", "documents", "passage", "passages"}:
            advice = "write its text into the prompt"
        else:
            advice = "write it as messages, or take it out"
        raise ValueError(f"the column {name!r} changes what the row means and is not trained on; {advice}")


def unread(rows: Iterable[Mapping[str, Any]], read: Container[str], fields: Container[str]) -> list[str]:
    """The columns that hold something in some row and are not read, and likewise the fields of turns.

    Args:
        rows: of a user's file.
        read: columns that are read, or compared with what is.
        fields: what is read of a turn; an unread one is named ``COLUMN[].FIELD``.
    """
    found: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            if value is None or value in ("", [], {}):
                continue
            if name not in read:
                found[str(name) or repr(name)] = None
            elif isinstance(value, list):
                turns = [turn for turn in value if isinstance(turn, Mapping)]
                found |= {f"{name}[].{key}": None for turn in turns for key in turn if key not in fields and turn[key]}
    return list(found)


def own_scores(row: Mapping[str, Any]) -> list[tuple[str, float, str, float]]:
    """The pairs of columns in which a preference row says how good its two answers are, higher being better.

    ``score_chosen`` and ``score_rejected``, ``chosen-rating`` and ``rejected-rating``, and their like; and `margin`,
    which is the first less the second.

    Returns:
        (column of the chosen answer, its value, column of the rejected one, its value); of a margin, (its name, its
        value, "nothing", 0).
    """
    found: list[tuple[str, float, str, float]] = []
    for name, value in row.items():
        if not _is_number(value):
            continue
        words = _words(name)
        if words == {"margin"}:
            found.append((name, float(value), "nothing", 0.0))
        elif "chosen" in words and words & _WORTH:
            other = re.sub("chosen", "rejected", re.sub("Chosen", "Rejected", name))
            if _is_number(row.get(other)):
                found.append((name, float(value), other, float(row[other])))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
