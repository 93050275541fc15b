"""`adaptive_pairing`, with few repetitions."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


def test_adaptive_pairing(run: Run) -> None:
    [rows] = tables(run("adaptive_pairing", "--repetitions", 2, 2, "--only", 10, 400))
    designs = ("drawn", "balanced", "greedy", "optimal")
    assert [row[1:3] for row in rows[1:]] == [[n, design] for n in ("300", "1,000", "3,000") for design in designs]
    assert all(row[4].startswith("1.00 ±") and row[5].startswith("1.00 ±") for row in rows[1:] if row[2] == "balanced")
    errors = {(row[1], row[2]): float(row[3]) for row in rows[1:]}
    assert all(errors["3,000", design] < errors["300", design] for _, design in errors)
    assert all(0.5 < float(cell.split()[0]) <= 1 for row in rows[1:] for cell in row[6:])


@pytest.mark.long
def test_adaptive_pairing_curves(run: Run) -> None:
    [rows] = tables(run("adaptive_pairing", "--curves", "--repetitions", 2, 2))
    assert [row[2] for row in rows[1:]] == ["balanced", "greedy", "optimal"] * 2
    assert all(1000 < float(row[3].replace(",", "")) < 16_000 for row in rows[1:])
    assert [bool(re.fullmatch(r"[\d.]+ \([\d.]+ … [\d.]+\)", row[4])) for row in rows[1:]] == [False, True, True] * 2
