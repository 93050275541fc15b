"""`kill_nodes` with one case, in `make test-slow` alone; others stand in ``tests/train/test_launch.py``, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., list[str]]


@pytest.mark.cluster
def test_a_training_whose_processes_are_killed_ends_as_an_unbroken_one(run: Run) -> None:
    lines = run("kill_nodes", "--methods", "sft", "--weights", "spread")
    assert sum(line.startswith("| sft | spread |") for line in lines) == 1
