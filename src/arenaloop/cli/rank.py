"""`arenaloop rank`: a leaderboard from a file of battles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from arenaloop.errors import ConfigError

__all__ = ["rank"]


def rank(
    file: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="Battles: JSONL, CSV, Parquet, or a run directory.")],
    method: Annotated[str, typer.Option(help="bt (Bradley–Terry) or elo.")] = "bt",
    interval: Annotated[str, typer.Option(help="sandwich or bootstrap.")] = "sandwich",
    samples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=10)] = 1000,
    cluster: Annotated[
        str | None, typer.Option(help="What is independent: prompt or battle. Default: prompt where there are ids.")
    ] = None,
    anchor: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Give one model a fixed rating.")] = None,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the leaderboard.json document.")] = False,
) -> None:
    """Rank models by their battles, with intervals.

    Examples:
      arenaloop rank battles.jsonl
      arenaloop rank arena.parquet --anchor llama-2-70b-chat=1100 --json
      arenaloop rank arena.csv --interval bootstrap --samples 1000 --cluster battle
    """
    from arenaloop.arena.leaderboard import leaderboard
    from arenaloop.data.formats import read_battles

    fixed = parse_anchor(anchor)
    board = leaderboard(
        read_battles(file),
        method=method,
        interval=interval,
        cluster=cluster,
        anchor=fixed,
        samples=samples,
        seed=seed,
        level=level,
    )
    if as_json:
        sys.stdout.write(board.to_json())
        return
    from rich.console import Console

    from arenaloop.arena.leaderboard import plain

    console = Console()
    console.print(board.table())
    console.print(plain(board.caption()), style="dim", markup=False, highlight=False)
    for note in board.notes:
        console.print(f"note: {plain(note)}", markup=False, highlight=False)


def parse_anchor(text: str | None) -> tuple[str, float] | None:
    """``NAME=VALUE`` as a model and its rating; the last ``=`` divides, as names may hold one.

    Raises:
        ConfigError: it is not of that form, or the value is no number.
    """
    if text is None:
        return None
    name, equals, value = text.rpartition("=")
    try:
        if not (equals and name):
            raise ValueError
        return name, float(value)
    except ValueError:
        raise ConfigError(f"--anchor wants NAME=VALUE, such as llama-2-70b-chat=1100, not {text!r}") from None
