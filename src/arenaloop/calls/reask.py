"""The one rule of asking again: which sample of a question is asked next, and which one counts.

A question is asked as sample 0. What could not be read is asked again as the next sample, warmer; an error or a refusal
is not mended by that. What failed in an earlier invocation is asked again from sample 0 on, unless one of its later
samples succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

from arenaloop.types import Status

__all__ = ["ANSWERED", "DECIDED", "final", "next_sample"]

DECIDED = frozenset({Status.OK})
"""Statuses of a verdict or judgement that ask for no further sample."""
ANSWERED = frozenset({Status.OK, Status.TRUNCATED, Status.EMPTY})
"""Statuses of a contestant's answer that stand: one that was cut off or is empty battles as it is."""


class _HasStatus(Protocol):
    @property
    def status(self) -> Status: ...


R = TypeVar("R", bound=_HasStatus)


def next_sample(
    status: Callable[[int], Status | None],
    tried: Callable[[int], int],
    reask: int,
    *,
    done: Collection[Status] = DECIDED,
    times: int = 1,
) -> int | None:
    """Which sample is to be asked; None where one is done, or nothing is left to ask.

    Args:
        status: of the latest attempt at a sample that is stored; None where there is none.
        tried: how often a sample was asked in this round of asking.
        reask: how many samples may follow the first.
        done: statuses that end the asking.
        times: how often one sample is asked in a round before its error stands.
    """
    wanted: int | None = None
    over = False  # what this round has tried leaves nothing to ask; a later sample may have been done before it
    for sample in range(reask + 1):
        found = status(sample)
        if found is None:
            return wanted if over or wanted is not None else sample
        if found in done:
            return None
        if over or wanted is not None:
            continue
        asked = tried(sample)
        if not asked or (found is Status.ERROR and asked < times):
            wanted = sample
        elif found in (Status.ERROR, Status.REFUSED):
            over = True
    return wanted


def final(found: Callable[[int], R | None], reask: int) -> R | None:
    """The sample that counts: the first that was decided, or else the last that was asked; None if none was.

    Args:
        found: the latest attempt at a sample.
        reask: how many samples may follow the first.
    """
    last = None
    for sample in range(reask + 1):
        row = found(sample)
        if row is None:
            break
        last = row
        if row.status is Status.OK:
            break
    return last
