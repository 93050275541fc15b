"""`interval_edges`, with four repeats."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., list[str]]


@pytest.mark.parametrize("interval", ["sandwich", "bootstrap"])
def test_interval_edges_holds_the_truth(run: Run, interval: str) -> None:
    lines = run("interval_edges", "--repeats", 4, "--only", "ladder", "--interval", interval)
    worst = [float(line.split(" prompts")[1].split()[0]) for line in lines if line.startswith("ladder")]
    assert len(worst) == 3
    assert min(worst) >= 50.0  # of four simulations each; before, the outer models held in one of three
