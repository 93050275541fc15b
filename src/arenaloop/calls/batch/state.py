"""How each batch of a run directory stands: notes in the arena file, one of its state and one of its requests.

A state goes from ``written`` over ``uploaded`` and ``submitted`` to ``collected`` and ``closed``. Each is committed
before the next step is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from arenaloop.jsonl import JsonRow
from arenaloop.judges.base import AnyJudge
from arenaloop.store import Store

__all__ = ["REQUESTS", "STATE", "WAITING", "batch_rows", "batch_seconds", "forget_batches", "open_batches"]

STATE, REQUESTS = "batch", "batch requests"
"""Rooms of the notes; their key is the batch's tag."""
WAITING = ("written", "uploaded", "submitted")
"""States of batches that are not collected."""


def open_batches(store: Store, judges: Collection[AnyJudge] | None = None) -> dict[str, JsonRow]:
    """The batches of the round of judging that is not closed, by tag, oldest first; of some judges only, if given."""
    known = None if judges is None else {judge.fingerprint for judge in judges}
    found = {tag: row for tag, row in batch_rows(store) if row["state"] != "closed"}
    return {tag: row for tag, row in found.items() if known is None or row["judge_hash"] in known}


def forget_batches(store: Store, judges: Collection[AnyJudge]) -> int:
    """Give up what is not collected: its verdicts are asked again, and paid again. Returns how many batches it was.

    What was submitted has been sent, and counts as calls that were cut off, at the most that they may have cost.
    """
    given_up = {tag: row for tag, row in open_batches(store, judges).items() if row["state"] in WAITING}
    for tag, row in given_up.items():
        if row["state"] == "submitted":
            store.sent.begin(row["requests"], row["usd_most"])
            store.put_sent()
        store.put_note(STATE, tag, row | {"state": "closed", "reason": "given up"})
    return len(given_up)


def batch_seconds(store: Store) -> float:
    """Seconds in which at least one batch was under way, over all invocations: waiting is wall time, too."""
    spans = sorted((row["from"], row["to"]) for _, row in batch_rows(store) if row.get("from") and row.get("to"))
    total, end = 0.0, 0.0
    for start, stop in spans:
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def batch_rows(store: Store) -> Iterator[tuple[str, JsonRow]]:
    """Tag and state of every batch that was ever written, oldest first."""
    return iter(sorted(store.notes(STATE), key=lambda item: item[1]["number"]))
