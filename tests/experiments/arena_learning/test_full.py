"""`arena_learning/full` with its controls and gates, small, on two seeds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


@pytest.mark.long
def test_arena_learning_whole_and_its_controls(run: Run, tmp_path: Path) -> None:
    """Every stage and every control; the controls find the run that was made; differences are those of what is kept."""
    options = ("--seeds", 1, 2, "--split", "dev", "--small", "--out", tmp_path)
    lines = run("arena_learning/full", *options)
    stages, compared, models = tables(lines)
    assert [row[0] for row in stages[1:]] == ["SFT-I0", "SFT-I1", "DPO-I1", "PPO-I1"]
    assert [row[0] for row in compared[1:]] == ["PPO-I1 − SFT-I0", "DPO-I1 − SFT-I1", "PPO-I1 − DPO-I1"]
    assert [("no worse by 3 points" in row[1]) for row in compared[1:]] == [False, True, True]
    assert [row[0] for row in models[1:]] == ["RM-I1", "all"]
    kept = [json.loads(path.read_text())["figures"] for path in tmp_path.glob("small-dev-?-full.json")]
    lead = np.mean([one["PPO-I1"]["gold"] - one["SFT-I0"]["gold"] for one in kept])
    assert float(compared[1][1].split()[0]) == pytest.approx(100 * lead, abs=0.051)
    assert len({row[4] for row in stages[1:]}) > 1  # the other judge tells the stages apart

    made = sorted((tmp_path / "small-dev-1" / "checkpoints").rglob("*.safetensors"))
    dated = [path.stat().st_mtime_ns for path in made]
    arms, differ = tables(run("arena_learning/full", *options, "--controls"))
    assert [path.stat().st_mtime_ns for path in made] == dated
    single = [f"one: {name}" for name in ("scholar", "clerk", "poet")]
    names = ["SFT-I0", "SFT-I1", "winners", "random", *single, "DPO-I1", "chosen", "dpo alone", "PPO-I1"]
    assert [row[0] for row in arms[1:]] == names
    rows = {row[0]: int(row[1].replace(",", "")) for row in arms[1:]}
    assert rows["winners"] == rows["random"] > 20
    assert rows["chosen"] == rows["dpo alone"] == rows["DPO-I1"]
    assert all(re.fullmatch(r"\S+ \(\S+ to \S+\)", cell) for row in differ[1:] for cell in row[1:])

    [measured] = tables(run("arena_learning/full", *options, "--gates"))
    assert [row[0] for row in measured[1:]] == ["RM-I1", "all"]
    pairs, own, likely = (float(cell) for cell in measured[1][1:4])
    assert pairs > 50
    assert float(measured[1][4].split()[0]) == pytest.approx(own - likely, abs=0.101)
