"""Both runs of an arm of `reward_hacking`, small."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., list[str]]


@pytest.mark.long
def test_reward_hacking(run: Run, tmp_path: Path) -> None:
    """Both runs of an arm, at a size that learns nothing: what is printed is what was measured."""
    out = tmp_path / "measured.json"
    head, *lines = run("reward_hacking", "--seeds", 1, 2, "--split", "dev", "--small", "--arms", "phrase", "--out", out)
    assert head.split()[:2] == ["arm", "seed"]
    measured = json.loads(out.read_text())
    assert list(measured) == ["phrase 1", "phrase 2"]
    for line, figures in zip(lines, measured.values(), strict=False):
        assert line.split()[-3:] == [f"{figures[key]:.3f}" for key in ("start", "result", "last")]
        assert (figures["stopped"] is None) == ("not stopped" in line)
        # without guards, in the directory of the run that had them, every stage is reached and rated
        assert [one["name"] for one in figures["watched"]] == ["SFT-I0", "SFT-I1", "DPO-I1"]
        assert all(one["held_out_judge"]["win_rate"] is not None for one in figures["watched"])
        assert figures["result"] == figures["by stage"][figures["best"]]
    told = re.match(r"phrase: result - last: (\S+) points", lines[2])
    assert told is not None
    differences = [figures["result"] - figures["last"] for figures in measured.values()]
    assert float(told[1]) == pytest.approx(100 * np.mean(differences), abs=0.051)
    assert lines[-1].startswith("phrase: stopped in ")
