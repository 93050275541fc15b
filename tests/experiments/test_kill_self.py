"""`kill_self`: one recipe, killed twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from printed_tables import tables

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.long
def test_kill_self() -> None:
    """In a process of its own, whose children are forked from one that has loaded it."""
    script = [sys.executable, str(EXPERIMENTS / "kill_self.py")]
    done = subprocess.run(
        [*script, "--kills", "2", "--small", "--recipes", "meta_rewarding"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("kill ") for line in lines) == 2
    [[head, row]] = tables(lines)
    assert head[:6] == ["recipe", "summary", "ratings", "preference rows", "weights", "metrics"]
    assert row[1:6] == ["equal"] * 5
    assert row[-1] == "0"
