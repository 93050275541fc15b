"""`arenaloop export`: training rows, verdicts and leaderboards in the forms that other projects load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["export"]


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE", help="A run directory; or a file of training rows or labels, or a leaderboard.json."
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="Training rows: trl, llama-factory, axolotl, openrlhf, verl or nemo-rl. Battles: alpaca-eval, "
            "arena-hard, arena-hard-v0.1 or chatbot-arena; without texts, in parts: parquet. The leaderboard: csv or "
            "markdown.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="PATH", help="The file to write; for alpaca-eval and arena-hard a folder for several."),
    ],
    stage: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Training rows of this stage of a run; may be repeated. Default: all."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="sft|preferences|prompts",
            help="Which training rows; prompts are those of any rows, each once. Default: what SOURCE holds.",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Battles against this model alone, which comes first; arena-hard needs one."
        ),
    ] = None,
    strong: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="arena-hard: a lead of X points in the judge's scores is A>>B, which weighs three. Default: labels as "
            "the judge wrote them; of other judges none is.",
        ),
    ] = None,
    launch: Annotated[
        bool,
        typer.Option(
            "--launch",
            help="openrlhf, verl, trl: write a folder that trains on the prompts: data, launch.sh, and reward.py, "
            "which asks a reward-server.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the account as one JSON document.")] = False,
) -> None:
    """Write what a run found in the form that another trainer, benchmark or spreadsheet loads.

    Rows go out whole or are left out and counted by the reason: nothing is cut to fit. How the file is loaded (flags,
    settings, a snippet to paste) is printed below the counts. Lineage (prompt, models, margin, verdicts) stands in
    further columns, or beside the file where the loader stumbles over them.

    Examples:

        arenaloop export runs/demo --to trl --kind preferences --out dpo.jsonl

        arenaloop export runs/demo --to llama-factory --stage SFT-I3 --out data/arena_sft.jsonl

        arenaloop export runs/demo --to verl --kind prompts --out prompts.parquet

        arenaloop export runs/demo --to openrlhf --launch --out training

        arenaloop export runs/battle --to alpaca-eval --baseline gpt-4o --out annotated

        arenaloop export runs/battle --to csv --out board.csv
    """
    from arenaloop.cli.export_run import execute

    execute(
        source,
        to,
        out,
        stages=stage or [],
        kind=kind,
        baseline=baseline,
        strong=strong,
        launch=launch,
        force=force,
        as_json=as_json,
    )
