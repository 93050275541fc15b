"""`kill_training`: one method, killed twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


@pytest.mark.long
def test_kill_training(run: Run) -> None:
    lines = run("kill_training", "--methods", "rloo", "--kills", 2, "--small", "--set", "step_batch=32")
    assert lines[0].endswith("device=cpu step_batch=32")
    [[_, row]] = tables(lines)
    assert (row[0], row[3:6]) == ("rloo", ["equal"] * 3)
    assert row[1].startswith("2 (1) of ")
    calls, questions = map(int, row[6].split(" for "))
    assert calls == questions
    assert 0 <= int(row[8]) <= 16  # in flight, or just answered, at two kills
