"""What is odd about the replies of a run's models, kept in the arena file over all its invocations, and told in words.

A single reply may be fine where many are not: see `models.notices`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from arenaloop.models.notices import Notices
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.store import Store
from arenaloop.store.merge import COUNTED, ELSEWHERE
from arenaloop.store.reads import Readings

__all__ = ["behind_servers", "keep_notices", "told_notices"]


def keep_notices(store: Store, asked: Iterable[Any]) -> None:
    """Add what the replies of models, and of judges and juries by their models, have shown since this was last kept."""
    for model in {id(model): model for one in asked for model in behind_servers(one)}.values():
        if model.reader.notices.replies:
            key = f"{model.base_url}#{model.model}"
            store.put_note(
                COUNTED, key, Notices.merged(store.note(COUNTED, key), model.reader.notices.taken()).to_json()
            )


def told_notices(store: Readings) -> list[str]:
    """A line for each server and oddity, of all that was merged into the arena file, too."""
    counts: dict[str, list[Any]] = {}
    for key, value in store.notes(COUNTED):
        counts.setdefault(key, []).append(value)
    for key, value in store.notes(ELSEWHERE):
        counts.setdefault(key.partition("/")[2], []).append(value)
    return [f"{key}: {line}" for key in sorted(counts) for line in Notices.merged(*counts[key]).lines()]


def behind_servers(one: Any) -> Iterator[OpenAIModel]:
    """The models behind servers of a model, a judge or a jury."""
    if isinstance(one, OpenAIModel):
        yield one
    elif (model := getattr(one, "model", None)) is not None:
        yield from behind_servers(model)
    for member in getattr(one, "members", ()):
        yield from behind_servers(member)
