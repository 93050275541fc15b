"""Options that several verbs share, worded once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["BudgetCalls", "BudgetUsd"]

BudgetUsd = Annotated[
    float | None,
    typer.Option("--budget-usd", metavar="X", help="Stop once the directory has cost X dollars.", show_default=False),
]
BudgetCalls = Annotated[
    int | None,
    typer.Option(
        "--budget-calls", metavar="N", help="Stop before call N + 1, earlier runs counted.", show_default=False
    ),
]
