"""Somebody who comes from AlpacaEval: outputs of some models, annotations, a leaderboard, and 805 instructions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
from newcomers.steps import Step

BASELINE = "gpt4_1106_preview"
ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
_ANNOTATED = 5  # models whose annotations are made from the table

_MODELS = "--model claude=file:data/alpacaeval_outputs/claude-2.json.gz"
_MODELS += " --model gpt4=file:data/alpacaeval_outputs/gpt4_1106_preview.json.gz"
_PROMPTS = "--prompts data/alpacaeval_instructions.jsonl.gz"
_FIELD = f"{_MODELS} {_PROMPTS}"
_QWEN = "qwen=file:data/alpacaeval_outputs/Qwen-14B-Chat.json.gz"


def prepare(directory: Path) -> None:
    """What such a user has beside the data: a `results` directory of annotations, a leaderboard, prices."""
    with gzip.open(directory / "data" / "alpacaeval_instructions.jsonl.gz", "rt") as file:
        asked = {row["instruction_index"]: row["instruction"] for row in map(json.loads, file)}
    told = pl.read_parquet(directory / "data" / "alpacaeval_preferences.parquet")
    names = [name for name in told["model"].unique().sort().to_list() if name != BASELINE][-_ANNOTATED:]
    for name in names:
        rows = [
            {
                "instruction": asked[row["instruction_index"]],
                "output_1": "x" * row["output_len_baseline"],
                "output_2": "y" * row["output_len_model"],
                "generator_1": BASELINE,
                "generator_2": name,
                "annotator": ANNOTATOR,
                "preference": row["preference"],
            }
            for row in told.filter(pl.col("model") == name).to_dicts()
        ]
        place = directory / "results" / name / ANNOTATOR
        place.mkdir(parents=True)
        (place / "annotations.json").write_text(json.dumps(rows))
    board = pl.read_csv(directory / "data" / "alpacaeval_leaderboard.csv").filter(pl.col("model").is_in(names))
    reach = 1.96 * pl.col("standard_error")
    rated = board.select("model", rating="win_rate", lower=pl.col("win_rate") - reach, upper=pl.col("win_rate") + reach)
    rated.write_csv(directory / "published.csv")
    (directory / "prices.yaml").write_text("prices:\n  gpt-4o: {input: 2.5, output: 10.0}\n")


STEPS = [
    Step("arenaloop", ("arenaloop demo", "arenaloop battle"), code=2),
    Step(
        f"arenaloop winrate results --baseline {BASELINE} --control length",
        ("LC win rate", f"percent against {BASELINE}"),
    ),
    Step("arenaloop rank results --json > published.json && tail -c 40 published.json"),
    Step("arenaloop agree published.json published.csv", ("spearman", "4 models in both")),
    Step(
        f"OPENAI_API_KEY=none arenaloop battle {_FIELD} --judge openai:gpt-4o --prices prices.yaml --out runs/priced"
        " --dry-run",
        ("1,610 judge calls", "$"),
        never="price unknown",
    ),
    Step(f"arenaloop battle {_FIELD} --judge openai:gpt-4o --out runs/priced", ("OPENAI_API_KEY",), code=2),
    Step(
        f"arenaloop battle {_FIELD} --judge {{server}}#judge --budget-calls 300 --out runs/stopped",
        ("not finished: 150 of 805 battles decided", "report: runs/stopped/report.html", "goes on"),
        code=4,
    ),
    Step("arenaloop rank runs/stopped", ("150 of 805 battles decided", "claude")),
    Step("arenaloop watch runs/stopped --once", ("150 of 805 battles decided", "300 calls")),
    Step("arenaloop winrate runs/stopped --baseline gpt4 --control length", ("150 prompts",)),
    Step("arenaloop report runs/stopped", ("report.html",)),
    Step(
        f"arenaloop battle {_FIELD} --judge {{server}}#scholar --concurrency 16 --out runs/unread",
        ("none of its first 20 answers could be read", "a last line like “Scores: 7 5”"),
        code=4,
    ),
    Step(
        f"arenaloop battle {_FIELD} --judge builtin:longest --out runs/ours", ("805 battles", "runs/ours/report.html")
    ),
    Step(
        f"arenaloop battle --model {_QWEN} {_PROMPTS} --judge builtin:longest --out runs/ours",
        ("at least two --model", "--add"),
        code=2,
    ),
    Step(f"arenaloop battle --add --model {_QWEN} --out runs/ours", ("2,415 battles", "qwen")),
    Step(
        f"arenaloop battle {_MODELS} --model {_QWEN} {_PROMPTS} --limit 100 --judge builtin:longest --reuse runs/ours"
        " --out runs/reused",
        ("300 battles",),
    ),
    Step("arenaloop rejudge runs/stopped --template labels --dry-run", ("calls",)),
    Step("arenaloop export runs/ours --to alpaca-eval --baseline gpt4 --out annotated", ("1,610",)),
    Step("arenaloop winrate annotated --baseline gpt4", ("claude", "qwen")),
]
