"""A server with a Batch API, what it has heard, and an arena file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from batched_battles import PROMPTS, Api, scores

from arenaloop.sandbox.server import running_server
from arenaloop.store import Store
from arenaloop.types import Request


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def live() -> list[Request]:
    """Calls that the judge has heard one by one or in a batch."""
    return []


@pytest.fixture
def url(api: Api, live: list[Request]) -> Iterator[str]:
    def judge(request: Request) -> str:
        live.append(request)
        return scores(request)

    with running_server({"judge": judge}, api) as url:
        yield url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        yield store
