"""Two leaderboard documents that are one, figure by figure."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["same"]


def same(one: Any, other: Any, where: str = "") -> None:
    """Assert that two documents are equal, numbers up to rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for at, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}[{at}]")
    elif isinstance(one, float) and isinstance(other, float):
        # (a level that holds for all at once is sought by halving)
        near = 1e-3 if "simultaneous" in where else 1e-6
        assert math.isclose(one, other, rel_tol=1e-9, abs_tol=near), (where, one, other)
    else:
        assert one == other, (where, one, other)
