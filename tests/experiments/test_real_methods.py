"""`real_methods` on a tiny model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


@pytest.mark.long
def test_real_methods(run: Run, tiny: Path, tmp_path: Path) -> None:
    """A method that learns from what it says, and best of n; each row says what there is to say."""
    lines = run("real_methods", "--model", tiny, "--out", tmp_path, "--only", "rloo", "best_of_n")
    [[_, trained, best]] = tables(lines)
    assert (trained[:2], best[:2]) == (["rloo", "6"], ["best of 4", "–"])
    assert all(float(row[2]) > 0 and 0.1 < float(row[3]) < 8 and row[5] for row in (trained, best))
    assert re.search(r"score [\d.]+ → [\d.]+", trained[4])
    assert re.fullmatch(r"score [\d.]+", best[4])
