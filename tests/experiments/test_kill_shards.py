"""`kill_shards` with two shards, in `make test-slow` alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., list[str]]


@pytest.mark.cluster
def test_shards_that_are_killed_are_merged_into_the_whole(run: Run) -> None:
    lines = run("kill_shards", "--small")
    assert any(line.startswith("kill ") for line in lines)
