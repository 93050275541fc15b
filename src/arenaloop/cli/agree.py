"""`arenaloop agree`: a benchmark against a reference."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arenaloop.errors import ConfigError, InputError
from arenaloop.ratings.look_alikes import look_alikes
from arenaloop.terminal import counted, plain

if TYPE_CHECKING:
    from arenaloop.data.formats.leaderboards import RateKind

__all__ = ["agree"]

_SHOWN = 8  # models in one note
_RATES: Mapping[str | None, RateKind | None] = {None: None, "raw": "raw", "controlled": "controlled"}


def agree(
    benchmark: Annotated[
        Path,
        typer.Argument(
            metavar="A",
            help="The benchmark: leaderboard.json, a CSV, a run, or battles (also parts of them, or a URL).",
        ),
    ],
    reference: Annotated[Path, typer.Argument(metavar="B", help="The reference, in one of the same forms.")],
    rating: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column that is the rating, in lists that have it: length_controlled_winrate, say. No intervals.",
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Read battles a block at a time. Default: where they are many, or far away."),
    ] = False,
    rated_by: Annotated[
        str | None,
        typer.Option(
            "--rate",
            metavar="raw|controlled",
            help="Of a list of AlpacaEval's or of winrate: the win rate as it is, or length-controlled.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """How well benchmark A agrees with reference B, in percent.

    Spearman correlates the ranks. Human agreement counts +1, 0 or -1 for every pair that the reference's intervals
    separate: same order, undecided, opposite. Differentiation is the share of pairs that the benchmark separates. 95 %
    intervals say what new battles and votes of the same models could change, by the lists' own intervals.

    A CSV needs the columns model,rating,lower,upper; AlpacaEval's leaderboard.csv is read by its win_rate, and what
    `winrate --json` prints by its length-controlled rate where there is one, else by the win rate; --rate says which of
    them is compared. Battles are rated first, as rank does without options. Of a list without intervals Spearman's
    correlation alone is known.

    Examples:

        arenaloop agree runs/mine/leaderboard.json lmsys.csv

        arenaloop agree runs/mine lmsys.csv --json

        arenaloop agree battles/ votes.parquet

        arenaloop agree winrates.json leaderboard.csv --rate controlled

        arenaloop agree runs/mine elo.csv --rating arena_elo
    """
    from rich.console import Console

    from arenaloop.cli.ranked import board_named
    from arenaloop.ratings.agreement import consistency, consistency_rates, has_intervals

    if rated_by not in _RATES:
        raise ConfigError(f"--rate {rated_by}: raw or controlled")
    if rated_by is not None and rating is not None:
        raise ConfigError("--rate or --rating, not both")
    messages, kind = Console(stderr=True), _RATES[rated_by]
    ours, theirs = (
        board_named(source, messages, stream=stream, rate=kind, rating=rating) for source in (benchmark, reference)
    )
    if rating is not None and ours.column is None and theirs.column is None:
        raise InputError(f"neither {benchmark} nor {reference} is a list with a column {rating}")
    if not set(ours) & set(theirs):
        alike = "".join(f"; {line}" for line in _twins(ours, theirs))
        raise InputError(f"{benchmark} and {reference} have no model in common{alike}")
    try:
        result, rates = consistency(ours, theirs), consistency_rates(ours, theirs)
    except ValueError as error:
        raise InputError(str(error)) from None
    notes = [*ours.notes, *theirs.notes, *_unmatched(ours, theirs)]
    missing = [name.replace("_", " ") for name, rate in rates.items() if rate.value is None]
    if missing and (without := [letter for letter, one in (("A", ours), ("B", theirs)) if not has_intervals(one)]):
        lacks = f"{without[0]} has none" if len(without) == 1 else "A and B have none"
        notes.append(f"not known without intervals, of which {lacks}: {', '.join(missing)}")
    if as_json:
        for note in notes:  # the document has scalars only
            typer.echo(plain(f"note: {note}"), err=True)
        fields = ("models", "pairs", "reference_separated", *rates, "wrongly_separated")
        document = {name: getattr(result, name) for name in fields}
        for name, rate in rates.items():
            document |= {f"{name}_lower": rate.lower, f"{name}_upper": rate.upper}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    both = f"{counted(result.models, 'model')} in both, {counted(result.pairs, 'pair')}"
    told = result.reference_separated
    typer.echo(both if told is None else f"{both}, {told} separated by B")
    for name, rate in rates.items():
        ends = "" if rate.lower is None or rate.upper is None else f"  {rate.lower:6.2f} … {rate.upper:.2f}"
        typer.echo(f"{name.replace('_', ' '):16} {'–' if rate.value is None else f'{rate.value:6.2f}'}{ends}")
    if result.human_agreement is not None:
        other = f"A orders {result.opposite} the other way and leaves {result.undecided} open"
        typer.echo(f"of the pairs that B separates, {other}")
    if result.wrongly_separated is not None:
        typer.echo(f"wrong of the pairs that both separate: {result.wrongly_separated:.2f}")
    for note in notes:
        typer.echo(plain(f"note: {note}"))


def _unmatched(ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """What a reader should know of the models that only one of the lists rates."""
    notes = []
    for letter, own, other in (("A", ours, set(theirs)), ("B", theirs, set(ours))):
        alone = [name for name in own if name not in other]
        if alone:
            more = f" and {len(alone) - _SHOWN:,} others" if len(alone) > _SHOWN else ""
            notes.append(f"in {letter} alone, not compared ({len(alone):,}): {', '.join(alone[:_SHOWN])}{more}")
    return [*notes, *_twins(ours, theirs)]


def _twins(ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """A line for each group of names of which each list has another one, though they look alike."""
    a, b = set(ours), set(theirs)
    return [
        f"{' and '.join(f'{name!a} ({_place(name in a, name in b)})' for name in group)} look alike and are compared "
        "as different models: write them alike"
        for group in look_alikes(dict.fromkeys([*ours, *theirs]))
        if a.symmetric_difference(b) & set(group)
    ]


def _place(in_a: bool, in_b: bool) -> str:
    return "both" if in_a and in_b else "A" if in_a else "B"
