"""`alpacaeval_length_control` on files of the published form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from printed_tables import packed

Run = Callable[..., list[str]]


def test_alpacaeval_length_control(run: Run, tmp_path: Path) -> None:
    """Three models whose published rates are what their rows say; the published weights give 50 %."""
    rng = np.random.default_rng(0)
    models, prompts = ["gpt4_1106_preview", "good", "poor"], 40
    gamma = rng.normal(size=prompts // 2)
    gamma = np.concatenate([gamma, -gamma])
    rows, board = [], []
    for m, model in enumerate(models):
        preference = 1.0 + rng.random(prompts) ** (1 + m) if m else np.full(prompts, 1.5)
        rows += [
            {"model": model, "instruction_index": i, "preference": p, "output_len_model": int(rng.integers(100, 900)),
             "output_len_baseline": 500}
            for i, p in enumerate(preference.tolist())
        ]  # fmt: skip
        board.append(
            {"model": model, "win_rate": 100 * float(preference.mean() - 1), "length_controlled_winrate": 50.0,
             "glm_w_instruction_difficulty": 1.0, "glm_w_not_gamed_baseline": 0.0}
        )  # fmt: skip
    pl.DataFrame(rows).write_parquet(tmp_path / "alpacaeval_preferences.parquet")
    pl.DataFrame(board).write_csv(tmp_path / "alpacaeval_leaderboard.csv")
    difficulty = [{"instruction_index": i, "instruction_difficulty": g} for i, g in enumerate(gamma.tolist())]
    packed(tmp_path / "alpacaeval_instructions.jsonl.gz", difficulty)
    lines = run("alpacaeval_length_control", tmp_path)
    assert [line.split()[0] for line in lines[1:4]] == ["good", "gpt4_1106_preview", "poor"]
    for line in lines[1:4]:
        raw, published, bar, lc, weights, fitted, lower, _, upper, own, alone = line.split()[1:]
        assert (bar, lc, weights) == ("|", "50.00", "50.00")
        assert raw == published
        assert float(lower) <= float(fitted) <= float(upper)
        assert 0.0 <= float(own) <= 100.0
        assert 0.0 <= float(alone) <= 100.0
    said = {line.split(":")[0]: line for line in lines[4:]}
    assert said["|raw - published|"].endswith("mean 0.0000, largest 0.0000, 2 models")
    assert said["|weights - published|"].endswith("mean 0.0000, largest 0.0000, 2 models")
    assert {"|fit - published|", "|own - published|", "|alone - published|"} < set(said)
    assert lines[-1].startswith("3 models, 1,000 bootstrap refits each: ")
