"""`arenaloop report`: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arenaloop.cli.rate_options import JudgeOption, WhereOption, refuse_where
from arenaloop.errors import ConfigError

__all__ = ["report"]


def report(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE", help="A run directory, a training's, a file of battles, or a folder of judgments."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where. Default: DIR/report.html; NAME.report.html beside other tools' files.",
            show_default=False,
        ),
    ] = None,
    judge: JudgeOption = None,
    where: WhereOption = None,
    live: Annotated[
        bool, typer.Option("--live", help="Serve a page on this machine that follows the run; Ctrl-C ends it.")
    ] = False,
    port: Annotated[int, typer.Option(help="With --live: the port on 127.0.0.1. Default: a free one.", min=0)] = 0,
) -> None:
    """Write DIR/report.html: ratings, judge health, cost, and battles side by side. Opens anywhere, loads nothing.

    Of a training's directory: its curves, what was measured, and the answers that it learned from. A run that is going
    on is reported as it stands; with --live by a page that is written again as it goes on. Of a file of battles,
    whatever `rank` reads: the board, what its order is worth, and the battles, with their texts where the file has
    them.

    Examples:

        arenaloop report runs/demo

        arenaloop report /mnt/archive/demo --out demo.html

        arenaloop report checkpoints/ppo

        arenaloop report arena.parquet -o report.html

        arenaloop report data/mt_bench/model_judgment --judge gpt-4

        arenaloop report runs/battle --live
    """
    from rich.console import Console

    from arenaloop.cli.directory import ARENA, say_lost
    from arenaloop.cli.standing import readable
    from arenaloop.data.formats.where import parse_where
    from arenaloop.report import write_report
    from arenaloop.report.documents import read_documents
    from arenaloop.report.page import is_battle_file
    from arenaloop.report.training import is_training
    from arenaloop.store import Store

    if live and judge:
        raise ConfigError("--live follows a run, merged by its rule: it goes without --judge")
    if live:
        _follow(directory, out, port)
        return
    rows_that = parse_where(where or ())
    if is_battle_file(directory):
        typer.echo(write_report(directory, out, judges=judge or (), where=rows_that))
        return
    if rows_that is not None:
        refuse_where(directory)
    messages = Console(stderr=True)
    with readable(directory, messages) as there:
        arena = there / ARENA if is_training(there) else read_documents(there).arena
        if arena.is_file():
            with Store(arena, readonly=True) as store:
                say_lost(store, messages)
        placed = out or (None if there == directory else directory / "report.html")
        typer.echo(write_report(there, placed, judges=judge or ()))


def _follow(directory: Path, out: Path | None, port: int) -> None:
    """Serve the page that follows a run, its address alone on stdout."""
    from arenaloop.cli.live_report import serve_live
    from arenaloop.errors import InputError

    if out is not None:
        raise ConfigError("--live serves its page and writes no file: it goes without --out")
    if not directory.exists():
        raise InputError(f"{directory}: no such run directory")

    def announce(url: str) -> None:
        print(url, flush=True)  # a script that started the server reads this line from a pipe
        typer.echo(f"follows {directory}; Ctrl-C ends", err=True)

    serve_live(directory, port, announce)
