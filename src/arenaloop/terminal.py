"""Text for a terminal: contestants, judges and servers may say anything, and none of it moves the cursor."""

from __future__ import annotations

__all__ = ["plain"]


def plain(text: str) -> str:
    """`text` with every control character spelled out, so that a model's name cannot move the cursor or colour it.

    Marks that reorder text (U+202A to U+202E, U+2066 to U+2069) count as control characters.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
