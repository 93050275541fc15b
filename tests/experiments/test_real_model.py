"""The lane of a real model, on a tiny one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from printed_tables import tables

Run = Callable[..., list[str]]


@pytest.mark.long
def test_real_model(run: Run, tiny: Path, tmp_path: Path) -> None:
    """Every arm answers and is rated, and both trainings of the round learn their rows."""
    small = ("data.prompts=sandbox:prompts?world=notes&n=48&split=train", "target.sampling.max_tokens=6")
    changes = [word for change in (*small, "sft.learning_rate=2e-3") for word in ("--set", change)]
    lines = run(
        "real_model", "--seeds", 1, "--prompts", 12, "--split", "dev", "--model", tiny, "--out", tmp_path, *changes
    )
    [[head, *rows]] = tables(lines)
    assert head[1] == "gold on 12 prompts"
    assert [row[0] for row in rows] == [
        "SFT-I0", "SFT-I1", "DPO-I1", "shipped", "random", "reporter", "columnist", "copywriter",
    ]  # fmt: skip
    gold = {row[0]: float(row[1].split()[0]) for row in rows}
    assert gold["shipped"] == 0 < min(gold[name] for name in ("reporter", "columnist", "copywriter"))
    rated = {row[0]: float(row[3].split()[0]) for row in rows}
    assert max(rated[name] for name in ("shipped", "SFT-I0")) < min(rated["reporter"], rated["columnist"])
    assert [line.split(":")[0] for line in lines[-4:]] == [
        "SFT-I1 - SFT-I0", "SFT-I1 - random", "DPO-I1 - SFT-I1", "random - SFT-I0",
    ]  # fmt: skip
    kept = json.loads((tmp_path / "gold.json").read_text())["1"]
    assert 100 * np.mean(kept["gold"]["reporter"]) == pytest.approx(gold["reporter"], abs=0.051)
    data = tmp_path / "seed-1" / "data"
    chosen, anyone = ([json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()] for name in (
        "SFT-I1", "random",
    ))  # fmt: skip
    assert len(chosen) == len(anyone) == kept["rows"]["SFT-I1"] > 12
    for name in ("SFT-I1", "random"):
        steps = (tmp_path / "seed-1" / "checkpoints" / name / "metrics.jsonl").read_text().splitlines()
        losses = [json.loads(step)["loss"] for step in steps]
        assert losses[-1] < losses[0] - 0.5
