"""`alpaca_farm`, small, on two seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


@pytest.mark.slow
def test_alpaca_farm(run: Run) -> None:
    """Every method and control, a row a seed, paired differences of those rows, and a table with every method."""
    lines = run("alpaca_farm", "--seeds", 1, 2, "--split", "dev", "--small")
    by_seed, methods = tables(lines)
    names = by_seed[0][1:-1]
    assert {"SFT", "FeedME", "DPO", "Best of 16", "PPO", "RLOO", "Quark", "Expert iteration"} < set(names)
    assert {"PPO, gold reward", "PPO, random reward", "Best of 16 by likelihood", "Reward conditioning"} < set(names)
    assert sorted(row[0] for row in methods[1:]) == sorted(set(names) - {"SFT"})
    gold = {name: [float(row[1 + at]) for row in by_seed[1:3]] for at, name in enumerate(names)}
    for first in set(names) - {"SFT"}:
        told = next(line for line in lines if line.startswith(f"{first} - SFT: "))
        assert float(told.split(": ")[1].split()[0]) == pytest.approx(
            100 * np.mean(np.subtract(gold[first], gold["SFT"])), abs=0.15
        )
    assert sum(" > " in line for line in lines) == 7
