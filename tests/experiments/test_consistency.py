"""`consistency`, small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


def test_consistency(run: Run, tmp_path: Path) -> None:
    """Fewer prompts separate less, a favourite rises and is separated wrongly, and the file says what is printed."""
    lines = run("consistency", "--small", "--out", tmp_path / "out.json")
    arenas, right, wrong, favourite, paths = tables(lines)
    columns = {name: at for at, name in enumerate(arenas[0])}
    found = {row[0]: row for row in arenas[1:]}

    def figure(arena: str, column: str) -> float:
        return float(found[arena][columns[column]].split(" ±")[0])

    assert figure("50 prompts", "differentiation") < figure("base", "differentiation") - 10
    assert figure("favourite by 2", "wrong") > figure("base", "wrong")
    assert 75 < figure("base", "judge") < 85
    gains = {row[0]: float(row[1].split(" ±")[0]) for row in favourite[1:]}
    assert gains["favourite by 2"] > gains["base"] + 3
    assert right[1][0] == "50 prompts"
    assert float(right[1][-1]) > float(right[1][1])  # what lies far apart is told sooner
    assert all(0 <= float(cell) <= 100 for row in (*right[1:], *wrong[1:]) for cell in row[1:])
    assert [row[0] for row in paths[-4:]] == [
        "half width of intervals",
        "Spearman",
        "human agreement",
        "differentiation",
    ]
    written = json.loads((tmp_path / "out.json").read_text())
    assert [one["arena"] for one in written["arenas"]] == list(found)
    assert written["arenas"][0]["differentiation"][0] == pytest.approx(figure("base", "differentiation"), abs=0.051)
