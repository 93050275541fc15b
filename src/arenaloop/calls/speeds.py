"""How fast local models were in this run directory, kept in the arena file chunk by chunk, and measured beforehand.

A model's speed depends on how many answers it works on at once, so that it is kept for each chunk size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from arenaloop.calls.estimated import duration
from arenaloop.models.speed import Speed
from arenaloop.store import Store
from arenaloop.types import Request

__all__ = ["PROBE", "judging_time", "keep_speed", "measured", "stored_speed"]

_ROOM = "local speeds"
PROBE = 8
"""Calls by which a model is timed beforehand: seconds for a small one on a processor."""
_PROBE_TOKENS = 16  # new tokens of each
_LOOKED_AT = 200  # stored calls, for their length


def _key(model: Any) -> str:
    return f"{model.fingerprint}/{model.concurrency}"


def keep_speed(store: Store, model: Any) -> Speed | None:
    """Add what a model has measured since this was last kept, and return it; None of other models."""
    if not hasattr(model, "speed_taken"):
        return None
    speed: Speed = model.speed_taken()
    store.put_note(_ROOM, _key(model), (stored_speed(store, model) or Speed()).and_then(speed)._asdict())
    return speed


def stored_speed(store: Store, model: Any) -> Speed | None:
    """The speed that a model had in this directory; None where it was not measured."""
    return Speed.of(store.note(_ROOM, _key(model))) if hasattr(model, "speed_taken") else None


def judging_time(store: Store | None, judge: Any, calls: int) -> str:
    """How long so many calls of a judge take, for people, by those that are stored; empty where it is no local model.

    Args:
        store: the arena file, as far as there is one.
        judge: who is asked.
        calls: at most to be made.
    """
    model = getattr(judge, "model", None)
    if not hasattr(model, "speed_taken") or not calls:
        return ""
    speed = None if store is None else stored_speed(store, model)
    stored = () if store is None else tuple(islice(store.judged_calls(judge.fingerprint, _LOOKED_AT), _LOOKED_AT))
    if speed is None or not stored:
        return f"judge {judge.name} runs here: how long it takes is told from its first chunk on"
    tokens_in, tokens_out = (sum(column) / len(stored) for column in zip(*(call[2:] for call in stored), strict=True))
    seconds = speed.seconds(calls * tokens_in, calls * tokens_out) or 0.0
    return f"judge {judge.name} runs here: at most {calls:,} calls take about {duration(seconds)} ({speed.words()})"


def measured(model: Any, requests: Sequence[Request]) -> Speed | None:
    """Load a local model and time requests, at most `PROBE`, a few new tokens each; None of models that do not tell."""
    if not hasattr(model, "speed_taken") or not requests:
        return None
    few = [
        replace(one, sampling=replace(one.sampling, max_tokens=min(_PROBE_TOKENS, one.sampling.max_tokens)))
        for one in requests
    ]
    for start in range(0, len(few), model.concurrency):
        model.generate(few[start : start + model.concurrency])
    speed: Speed = model.speed_taken()
    return speed
