"""What a training does before its first step (loading a model, tokenising rows), told to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["OnPreparing", "going_through", "preparing", "told_to"]

OnPreparing = Callable[[str, int, int], None]
"""Hears what is done, in words, and how many rows of how many are through; 0 of 0 where nothing is counted."""

T = TypeVar("T")

_EVERY = 0.25  # seconds between two words on the same work
_listener: ContextVar[OnPreparing | None] = ContextVar("preparing", default=None)
# the loaders and tokenisers of all methods tell it, most of them far below whoever watches: no argument goes that way


@contextmanager
def told_to(listener: OnPreparing | None) -> Iterator[None]:
    """While the block runs, `listener` hears what is prepared in it."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def preparing(what: str, done: int = 0, total: int = 0) -> None:
    """Say what is done now."""
    if (listener := _listener.get()) is not None:
        listener(what, done, total)


def going_through(what: str, rows: Sequence[T]) -> Iterator[T]:
    """The rows, saying as they are taken how many are through."""
    preparing(what, 0, len(rows))
    last = time.monotonic()
    for at, row in enumerate(rows):
        if (now := time.monotonic()) - last >= _EVERY:
            preparing(what, at, len(rows))
            last = now
        yield row
    preparing(what, len(rows), len(rows))
