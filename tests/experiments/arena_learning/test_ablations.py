"""`arena_learning/ablations`: all arms of one seed, small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


@pytest.mark.long
def test_arena_learning_ablations(run: Run, tmp_path: Path) -> None:
    """All arms of one seed, each of as many rows as is said; a claim's direction is its interval's."""
    from arena_learning import ablations

    figures = ablations.one_seed(1, "dev", tmp_path / "run", small=True)
    thirds = {arm: told["rows"] for arm, told in figures.items() if arm.startswith("selection: ")}
    whole = thirds.pop("selection: all rows")
    assert len(thirds) > 4
    assert set(thirds.values()) == {whole // 3}
    assert all(0 <= told["gold"] <= 1 for arm, told in figures.items() if arm != "judges")
    for kind in ("SFT", "DPO"):
        counts = [figures[f"{kind}: K = {k}"]["rows"] for k in (0, 1, 3)]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] < counts[0]
    for seed, lead in ((1, 0.2), (2, 0.22)):  # battles gain, random selection loses, the others are as they were
        moved = {arm: dict(told) for arm, told in figures.items()}
        moved["selection: battles"]["gold"] = moved["selection: random"]["gold"] + lead
        moved["selection: k-means"]["gold"] = moved["selection: random"]["gold"] - lead
        kept = tmp_path / f"small-dev-{seed}-ablations.json"
        kept.write_text(json.dumps({"figures": moved, "cpu_s": 1.0}))
    lines = run("arena_learning/ablations", "--seeds", 1, 2, "--split", "dev", "--small", "--out", tmp_path)
    arms, claims = tables(lines)
    assert [row[0] for row in arms[1:]] == [arm for arm in figures if arm != "judges"]
    said = {row[0]: row for row in claims[1:]}
    assert said["battles − random"][1:3] == ["1108 − 1072", "+21.0 (+8.3 to +33.7)"]
    assert said["battles − random"][-1] == "same"
    assert said["k-means − random"][-1] == "opposite"
    assert said["DPO: K = 2 − K = 0"][-1] == "not shown"
    assert said["SFT: K = 2 − K = 0"][-1] == "not the paper's"
    assert any(line.startswith("Spearman of all arms' ratings by the two judges: ") for line in lines)
