"""A run that is killed again and again while its judge's server misbehaves: `experiments/chaos.py`, a small one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "chaos.py"


def test_kills_and_faults_change_nothing_and_lose_nothing() -> None:
    """Its own checks hold (nothing lost or stored twice, the same leaderboard), and they had something to check."""
    options = ["--battles", "120", "--kills", "3", "--concurrency", "16", "--late", "200", "--json"]
    done = subprocess.run(
        [sys.executable, EXPERIMENT, *options],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert all(found["checks"].values())
    assert found["kills"] == 3
    assert 0 < found["decided"] < found["battles"] == 120
    assert found["requests"]["broken"] >= found["requests"]["unbroken"] > 2 * 120
    assert len(found["faults"]) >= 10  # of fifteen kinds
    assert found["lost"] + found["timed_out"] + found["flying"] >= found["paid_again"]
