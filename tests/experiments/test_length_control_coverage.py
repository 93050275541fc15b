"""`length_control_coverage`, with two repeats."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., list[str]]


def test_length_control_coverage_names_every_regime(run: Run) -> None:
    head, *rows = run("length_control_coverage", "--repeats", 2)
    assert head.split() == ["prompts", "b", "wins", "LC", "raw", "flagged"]
    assert [row.split()[0] for row in rows] == ["20", "60", "60", "60", "200", "805"]
    assert all(0.0 <= float(cell.rstrip("%")) <= 100.0 for row in rows for cell in row.split()[3:])
