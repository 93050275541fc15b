"""TRL's RLOO by an exported script on rewards of a server: "trl_rloo" at a size that learns nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.cluster
def test_trl_trains_on_rewards_of_a_server(tmp_path: Path) -> None:
    command = [sys.executable, str(EXPERIMENTS / "trl_rloo.py"), "--small", "--seeds", "1", "2", "--split", "dev"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-4000:]
    rows = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith(("| 1 |", "| 2 |"))]
    assert len(rows) == 2
    for row in rows:
        assert [cell.strip() for cell in row[5:8]] == ["2", "128", "0.0%"]  # steps, answers, flagged
    assert "last - first: " in done.stdout
