"""`real_farm` on a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from printed_tables import difference, tables

from arenaloop.jsonl import write_jsonl
from arenaloop.specs.data import load_demonstrations

Run = Callable[..., list[str]]


@pytest.mark.slow
def test_real_farm(run: Run, tiny: Path, tmp_path: Path) -> None:
    """Every method learns and is measured as the recipe measures it; differences are those of the kept answers."""
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "SFT-I1.jsonl", load_demonstrations("sandbox:demonstrations?world=notes&n=24", 0))
    experts = ("Expert iteration", "Expert iteration, gold reward")
    small = [f"methods.{name}.training.max_new_tokens=6" for name in experts] + ["target.sampling.max_tokens=6"]
    changes = [word for change in (*small, f"target.model=hf:{tiny}") for word in ("--set", change)]
    sizes = ("--split", "dev", "--train", 8, "--prompts", 12, "--out", tmp_path / "out")
    lines = run("real_farm", "--start", tmp_path, *sizes, *changes)
    assert 8 < int(lines[0].split()[0]) <= 16
    [[head, *rows]] = tables(lines)
    methods = ["DPO", "Best of 4", experts[0], "Best of 4, gold reward", experts[1], "FeedME"]
    assert head[1] == "gold on 12 prompts"
    assert [row[0] for row in rows] == ["SFT", "RM", *methods]
    pairs = lines[0].split()[0]
    learned_from = {row[0]: row[3] for row in rows}
    assert (learned_from["SFT"], learned_from["DPO"], learned_from[experts[1]]) == ("24", pairs, "8")
    kept = json.loads((tmp_path / "out" / "gold.json").read_text())["gold"]
    stages = json.loads((tmp_path / "out" / "summary.json").read_text())["stages"]
    assert {one["name"]: one["gold_accuracy"] for one in stages if one["name"] != "RM"} == pytest.approx(
        {name: float(np.mean(values)) for name, values in kept.items()}
    )
    for name in methods:
        assert difference(lines, f"{name} - SFT")[0] == pytest.approx(
            100 * np.mean(np.subtract(kept[name], kept["SFT"])), abs=0.051
        )
