"""Nodes and driver are killed while battles are judged by Ray: `experiments/kill_ray.py`, in `make test-slow` alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "kill_ray.py"


@pytest.mark.cluster
def test_deaths_of_nodes_and_driver_lose_nothing() -> None:
    """Its own checks: every battle decided or recorded, no key twice, no more asked again than was in flight."""
    pytest.importorskip("ray")
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, EXPERIMENT], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("node killed") == 3
    assert done.stdout.count("driver killed") == 5
