"""`board_worth`, with three repeats."""

from __future__ import annotations

from collections.abc import Callable

from printed_tables import tables

Run = Callable[..., list[str]]


def test_board_worth_raises_the_planted_flags_and_claims_little_that_is_wrong(run: Run) -> None:
    flags, worlds = tables(run("board_worth", "--repeats", 3))
    assert [row[1:4] for row in flags[1:]] == [[row[1], "100.0 %", "100.0 %"] for row in flags[1:]]
    assert [row[1] for row in flags[1:]] == ["none", "thin", "seat", "ties", "cycles", "disconnected", "power_voters"]
    assert len(worlds) == 6
    wrong, ranks, each, pairs = ([float(row[k].split()[0]) for row in worlds[1:]] for k in (1, 2, 3, 5))
    assert max(wrong) <= 100 / 3
    assert min(ranks) >= 100 / 3
    assert min(each) > 80
    assert min(pairs) > 80
