"""AlpacaEval 2's length-controlled win rates, recomputed from its public annotations.

    python experiments/alpacaeval_length_control.py FOLDER

FOLDER holds `alpacaeval_preferences.parquet` (model, instruction_index, preference, output_len_model,
output_len_baseline), `alpacaeval_leaderboard.csv` (published rates and weights of the same models) and
`alpacaeval_instructions.jsonl.gz` (instruction_index, instruction_difficulty). Prints, for every model: the published
rate; the rate from the published weights and difficulty; our own fit with that difficulty; our own fit with the
difficulty estimated from these annotations alone; our own fit without any, as of a file of one model.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl

from arenaloop.ratings.length_control import length_controlled
from arenaloop.ratings.win_rate import Annotations, win_rates

BASELINE = "gpt4_1106_preview"


def main(folder: Path) -> None:
    """Print the table for the data in `folder`."""
    rows = pl.read_parquet(folder / "alpacaeval_preferences.parquet")
    board = pl.read_csv(folder / "alpacaeval_leaderboard.csv").rows_by_key("model", named=True, unique=True)
    prompts = pl.read_ndjson(folder / "alpacaeval_instructions.jsonl.gz")
    difficulty = dict(zip(prompts["instruction_index"], prompts["instruction_difficulty"], strict=True))
    models = rows["model"].unique().sort()
    annotations = Annotations(
        BASELINE,
        tuple(models),
        tuple(prompts["instruction_index"]),
        rows["model"].cast(pl.Enum(models)).to_physical().to_numpy().astype(np.int64),
        rows["instruction_index"].to_numpy().astype(np.int64),
        rows["preference"].to_numpy().copy(),
        rows["output_len_model"].cast(pl.Float64).to_numpy(),
        rows["output_len_baseline"].cast(pl.Float64).to_numpy(),
    )
    start = time.process_time()
    given = {r.model: r for r in win_rates(annotations, control="length", difficulty=difficulty)}
    seconds = time.process_time() - start
    estimated = {r.model: r for r in win_rates(annotations, control="length", samples=2)}
    alone = {r.model: r for r in win_rates(annotations, control="length", samples=2, min_models=len(models) + 1)}
    print(
        f"{'model':34} {'raw':>6} {'publ.':>6} | {'LC publ.':>8} {'weights':>8} {'fit':>6} {'interval':>15} own γ  no γ"
    )
    errors: dict[str, list[float]] = {"raw": [], "weights": [], "fit": [], "own": [], "alone": []}
    gamma = np.array([difficulty[key] for key in annotations.prompts])
    for name in models:
        published, one, own, single = board[name], given[name], estimated[name], alone[name]
        lc = published["length_controlled_winrate"]
        if lc is None or one.win_rate is None or one.lc_win_rate is None or own.lc_win_rate is None:
            continue
        weights = length_controlled(
            gamma,
            b_diff=published["glm_w_instruction_difficulty"],
            b_model=published["glm_w_not_gamed_baseline"],
        )
        print(
            f"{name[:34]:34} {one.win_rate:6.2f} {published['win_rate']:6.2f} | {lc:8.2f} {weights:8.2f} "
            f"{one.lc_win_rate:6.2f} {one.lc_lower:6.2f} – {one.lc_upper:6.2f} {own.lc_win_rate:6.2f} "
            f"{single.lc_win_rate:6.2f}"
        )
        if name != BASELINE:
            errors["raw"].append(abs(one.win_rate - published["win_rate"]))
            errors["weights"].append(abs(weights - lc))
            errors["fit"].append(abs(one.lc_win_rate - lc))
            errors["own"].append(abs(own.lc_win_rate - lc))
            errors["alone"].append(abs((single.lc_win_rate or 0.0) - lc))
    for key, values in errors.items():
        print(f"|{key} - published|: mean {np.mean(values):.4f}, largest {np.max(values):.4f}, {len(values)} models")
    print(f"{len(models)} models, 1,000 bootstrap refits each: {seconds:.2f} CPU seconds")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    main(parser.parse_args().folder)
