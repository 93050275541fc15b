"""`arenaloop agree`: a benchmark against a reference."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from arenaloop.errors import InputError

__all__ = ["agree"]


def agree(
    benchmark: Annotated[Path, typer.Argument(metavar="A", help="The benchmark: leaderboard.json, a CSV, or a run.")],
    reference: Annotated[Path, typer.Argument(metavar="B", help="The reference, in one of the same forms.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """How well benchmark A agrees with reference B, in percent.

    Spearman correlates the ranks. Human agreement counts +1, 0 or -1 for every pair that the reference's intervals
    separate: same order, undecided, opposite. Differentiation is the share of pairs that the benchmark separates.

    A CSV needs the columns model,rating,lower,upper.

    Examples:

        arenaloop agree runs/mine/leaderboard.json lmsys.csv

        arenaloop agree runs/mine lmsys.csv --json
    """
    from arenaloop.data.formats import read_leaderboard
    from arenaloop.ratings.agreement import consistency

    ours, theirs = read_leaderboard(benchmark), read_leaderboard(reference)
    if not set(ours) & set(theirs):
        raise InputError(f"{benchmark} and {reference} have no model in common")
    try:
        result = consistency(ours, theirs)
    except ValueError as error:
        raise InputError(str(error)) from None
    if as_json:
        fields = ("models", "pairs", "reference_separated", "spearman", "human_agreement", "differentiation", "average")
        sys.stdout.write(json.dumps({name: getattr(result, name) for name in fields}, indent=2) + "\n")
        return
    typer.echo(f"{result.models} models in both, {result.pairs} pairs, {result.reference_separated} separated by B")
    for name in ("spearman", "human_agreement", "differentiation", "average"):
        value = getattr(result, name)
        typer.echo(f"{name.replace('_', ' '):16} {'–' if value is None else f'{value:6.2f}'}")
    typer.echo(
        f"of the pairs that B separates, A orders {result.opposite} the other way and leaves {result.undecided} open"
    )
