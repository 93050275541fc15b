"""`self_rewarding/full` and what is measured on its runs, small, on two seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from printed_tables import tables

Run = Callable[..., list[str]]
LATER = ("M2", "M3", "M4", "M5")


@pytest.mark.slow
def test_self_rewarding_and_its_controls(run: Run, tmp_path: Path) -> None:
    """Both recipes from one M1; controls and meetings find that run; what is printed is what is kept."""
    options = ("--seeds", 1, 2, "--split", "dev", "--small", "--out", tmp_path)
    answers, judges, drift, *_, claims = tables(run("self_rewarding/full", *options))
    models = [f"{arm} M{n}" for arm in ("self", "open", "meta") for n in range(1, 6)]
    assert [row[0] for row in answers[1:]] == [row[0] for row in judges[1:]] == models
    kept = [json.loads(path.read_text())["figures"] for path in tmp_path.glob("small-dev-?-full.json")]
    for one in kept:  # one seed model: the same answers, the same scores of them
        for name in ("judge_spearman", "fixed judge_spearman"):  # none, of a judge that scores all answers alike
            assert one["meta M1"][name] == pytest.approx(one["self M1"][name], rel=0, abs=0, nan_ok=True)
        for arm in ("open", "meta"):
            assert [one[f"{arm} {name}"]["judgements pairs"] > 0 for name in LATER] == [False, True, True, False]
        assert all(one[f"self {name}"]["judgements pairs"] == 0 for name in LATER)
    utility = [float(row[2].split()[0]) for row in answers[1:]]
    assert utility == pytest.approx(
        [100 * np.mean([one[name]["gold_utility"] for one in kept]) for name in models], abs=0.051
    )
    assert float(drift[1][1].split()[0]) == pytest.approx(
        np.mean([one["self M1"]["own mean"] for one in kept]), abs=0.0051
    )
    assert {row[-1] for row in claims[1:]} <= {"same", "opposite", "not shown"}

    made = sorted(
        path for arm in ("self", "open", "meta") for path in (tmp_path / "small-dev-1" / arm).rglob("*.safetensors")
    )
    dated = [path.stat().st_mtime_ns for path in made]
    arms, differ, *_ = tables(run("self_rewarding/full", *options, "--controls"))
    assert [path.stat().st_mtime_ns for path in made] == dated
    head, rows = arms[0], {row[0]: row for row in arms[1:]}
    right, verdicts = head.index("pairs of answers right, %"), head.index("of these right, %")
    assert float(rows["gold answers"][right].split()[0]) == 100.0
    assert float(rows["random answers"][right].split()[0]) < 100.0
    assert float(rows["gold verdicts"][verdicts].split()[0]) == 100.0
    assert rows["chosen"][head.index("rows")] == rows["own answers"][head.index("rows")]
    assert len(differ) > 8

    (worth,) = tables(run("self_rewarding/verdicts", *options))
    at = [worth[0].index(name) for name in ("verdicts right, %", "scores right: all answers, %", "compared answers, %")]
    for row in worth[1:]:  # the script is right in 95 %, and compared are answers on which scores differ
        named, everywhere, compared = (float(row[n].split()[0]) for n in at)
        assert named > 80
        assert everywhere > compared > 0

    simulated, small = tables(run("self_rewarding/pairs", *options))
    assert [float(cell) for cell in simulated[1][2:3]] == [110.0]
    by = {(row[0], row[1]): row for row in simulated[1:]}
    assert float(by["75", "all"][3]) > float(by["75", "2"][3]) + 10  # the best judgement is kept more often
    assert float(by["90", "tournament"][2]) == 40
    assert [row[0] for row in small[1:]] == [f"pairs {p}" for p in ("all", 8, 6, "tournament", 4, 2)]
    assert {small[1][small[0].index(cell)].split()[0] for cell in small[0] if "all, %" in cell} == {"100.0"}
    calls = [float(row[2].split()[0]) for row in small[1:]]
    assert calls[0] >= calls[1] > calls[-1]
