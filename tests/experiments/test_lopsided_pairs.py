"""`lopsided_pairs`, with few prompts."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., list[str]]


def test_lopsided_pairs_are_held(run: Run) -> None:
    rows = [[float(cell) for cell in line.split("|")[1:-1]] for line in run("lopsided_pairs", "--prompts", 16)[2:]]
    assert [row[0] for row in rows] == [gap for gap in (0, 100, 300, 600, 1000) for _ in range(3)]
    assert all(abs(sum(row[4:]) - 100) < 0.2 for row in rows)
    assert min(row[4] for row in rows) > 90
