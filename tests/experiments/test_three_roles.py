"""`three_roles`, at a size that learns nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


@pytest.mark.long
def test_three_roles(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 1_000)  # a judge that is never read would stop it
    (table,) = tables(run("three_roles", "--small", "--split", "dev", "--seeds", 0, 1))
    head, *rows = table
    assert [row[0] for row in rows] == ["0", "1", "mean"]
    assert head[1:9] == ["accuracy", "utility", "sampled", "spearman", "pairwise", "read", "meta", "seat"]
    for row in rows[:2]:  # four steps teach it nothing, and what cannot be read is told as such
        assert 0 <= float(row[head.index("utility")]) <= 1
        assert float(row[head.index("read")]) <= 1
