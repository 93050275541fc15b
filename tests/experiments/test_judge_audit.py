"""`judge_audit` on files of the published form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from printed_tables import packed

Run = Callable[..., list[str]]


def test_judge_audit(run: Run, tmp_path: Path) -> None:
    """One version of a prompt says what people say, the other the opposite; four pairs nobody labelled."""
    pairs = [
        {"instruction": f"q{i}", "input": "", "output_1": f"{i} short", "output_2": f"{i} a longer one"}
        for i in range(24)
    ]
    people = [1 + i % 2 for i in range(len(pairs))]
    labelled = [pair | {"gold_preference": people[i], "annotator_index": 0} for i, pair in enumerate(pairs[:20])]
    recorded: list[dict[str, Any]] = [
        pair
        | {"annotator": version, "seed": seed, "preference": people[i] if version == "agrees" else 3 - people[i],
           "price_per_example": 0.01, "time_per_example": 1.0}
        for i, pair in enumerate(pairs) for version in ("agrees", "differs") for seed in range(4)
    ]  # fmt: skip
    packed(tmp_path / "farm_human_labels.jsonl.gz", labelled)
    packed(tmp_path / "farm_crossannotations_gpt4.jsonl.gz", recorded)
    lines = run("judge_audit", "--data", tmp_path, "--out", tmp_path / "out")
    agreement = next(line for line in lines if line.startswith("agreement"))
    assert re.findall(r"[\d.]+  [\d.]+…[\d.]+ \(20\)", agreement)[:2] == [
        "100.0  82.0…100.0 (20)",
        "0.0  0.0…18.0 (20)",
    ]
    itself = [line.split() for line in lines if " itself " in line]
    assert [(row[0], row[2]) for row in itself[:2]] == [("agrees", "100.0"), ("differs", "100.0")]
    assert any(line.startswith("24 pairs of 24 prompts, 20 with a human label: ") for line in lines)
    assert json.loads((tmp_path / "out" / "judge_audit.json").read_text())
