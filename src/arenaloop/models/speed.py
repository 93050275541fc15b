"""How fast a local model works: tokens of prompts that it reads in a second, and of answers that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Speed"]


class Speed(NamedTuple):
    """What some chunks have taken, in tokens and seconds; the first new token of an answer is part of its reading.

    Attributes:
        read, reading: tokens of prompts, and seconds until their first new token.
        written, writing: the new tokens after the first, and seconds.
        loading: seconds until the model was in memory, the last time.
    """

    read: int = 0
    reading: float = 0.0
    written: int = 0
    writing: float = 0.0
    loading: float = 0.0

    def and_then(self, other: Speed) -> Speed:
        """Of both; loaded as the later one."""
        return Speed(
            self.read + other.read,
            self.reading + other.reading,
            self.written + other.written,
            self.writing + other.writing,
            other.loading or self.loading,
        )

    def seconds(self, tokens_in: float, tokens_out: float) -> float | None:
        """What as many tokens take, loading included; None where nothing was read yet.

        Where nothing was written, an answer's tokens are taken to cost what a prompt's do.
        """
        if not self.read or not self.reading:
            return None
        each_read = self.reading / self.read
        each_written = self.writing / self.written if self.written else each_read
        return self.loading + tokens_in * each_read + tokens_out * each_written

    def words(self) -> str:
        """``reads 310 tokens/s, writes 26``."""
        told = f"reads {self.read / self.reading:,.0f} tokens/s" if self.reading else ""
        return told + (f", writes {self.written / self.writing:,.1f}" if self.written and self.writing else "")

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Speed | None:
        """From its `_asdict`; None of anything else."""
        try:
            return None if stored is None else cls(**stored)
        except TypeError:
            return None
