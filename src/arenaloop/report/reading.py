"""What cards ask an arena file for: prompts, texts and who wrote them, each looked up once while it is wanted.

Battles come in the order of their prompts, and every answer to a prompt stands in several of them.
"""

from __future__ import annotations

from typing import Protocol

from arenaloop.store import Store
from arenaloop.types import Prompt

__all__ = ["Reader", "Source"]

_KEPT = 2_000
"""texts that are remembered; then all are forgotten"""


class Source(Protocol):
    """An arena file, or a `Reader` of one."""

    def prompt(self, prompt_id: str) -> Prompt | None:
        """As of `Store`."""

    def texts(self, text_hash: str) -> tuple[str, ...] | None:
        """As of `Store`."""

    def authors(self, prompt_id: str, text_hash: str) -> list[str]:
        """As of `Store`."""


class Reader:
    """Reads a store that nobody writes to, or whose later rows need not be seen; raises as it does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: tuple[str, Prompt | None] | None = None
        self._texts: dict[str, tuple[str, ...] | None] = {}
        self._authors: dict[tuple[str, str], list[str]] = {}

    def prompt(self, prompt_id: str) -> Prompt | None:
        """As of `Store`."""
        if self._last is None or self._last[0] != prompt_id:
            self._last = prompt_id, self._store.prompt(prompt_id)
        return self._last[1]

    def texts(self, text_hash: str) -> tuple[str, ...] | None:
        """As of `Store`."""
        if text_hash not in self._texts:
            if len(self._texts) >= _KEPT:
                self._texts.clear()
            self._texts[text_hash] = self._store.texts(text_hash)
        return self._texts[text_hash]

    def authors(self, prompt_id: str, text_hash: str) -> list[str]:
        """As of `Store`."""
        key = prompt_id, text_hash
        if key not in self._authors:
            if len(self._authors) >= _KEPT:
                self._authors.clear()
            self._authors[key] = self._store.authors(prompt_id, text_hash)
        return self._authors[key]
