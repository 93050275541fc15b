"""`kill_recipe`: two methods, killed twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


@pytest.mark.long
def test_kill_recipe(run: Run) -> None:
    lines = run("kill_recipe", "--kills", 2, "--small", "--methods", "DPO", "PPO, judge")
    assert sum(line.startswith("kill ") for line in lines) == 2
    [[head, row]] = tables(lines)
    assert head[:6] == ["methods", "ratings", "labels", "weights", "roll-outs", "metrics"]
    assert row[:6] == ["equal"] * 6
    assert 0 <= int(row[7].split(",")[0]) <= 16  # in flight, or just answered, at two kills
    assert row[8] == "0"
