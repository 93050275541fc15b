"""`annotators` on files of the published form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from printed_tables import packed, tables

Run = Callable[..., list[str]]


def test_annotators(run: Run, tmp_path: Path) -> None:
    """A pool varies more than one annotator, noise more than the pool; half of the calls are saved; intervals hold."""
    pairs: list[dict[str, Any]] = [
        {"instruction": f"q{i}", "output_1": f"{i} one", "output_2": f"{i} another"} for i in range(40)
    ]
    recorded: list[dict[str, Any]] = [
        pair | {"annotator": version, "seed": seed, "preference": 1 + (i + (version == "b")) % 2}
        for i, pair in enumerate(pairs) for version in ("a", "b") for seed in range(4)
    ]  # fmt: skip
    packed(tmp_path / "farm_crossannotations_gpt4.jsonl.gz", recorded)
    packed(
        tmp_path / "farm_human_labels.jsonl.gz", [pair | {"gold_preference": 1 + i % 2} for i, pair in enumerate(pairs)]
    )
    lines = run("annotators", "--pairs", 120, "--simulations", 6, "--data", tmp_path)
    world, calls, gpt4, found = tables(lines)
    variance = {row[0]: float(row[3].split()[0]) for row in world[1:]}
    assert (
        variance["one annotator, greedy"]
        < variance["one annotator"]
        < variance["pool, p_eval"]
        < variance["pool, p_sim"]
    )
    assert all(0.35 < float(row[3].rstrip("%")) / 100 < 0.65 for row in calls[1:])
    told = {row[0]: [cell.split()[0] for cell in row[1:4]] for row in gpt4[1:]}
    assert (told["a alone"], told["b alone"]) == (["100.0", "0.0", "0.0"], ["0.0", "100.0", "0.0"])
    assert float(told["pool of both, no noise"][2]) > 20
    assert all(float(cell.rstrip("%")) > 75 for cell in found[1][1:])
