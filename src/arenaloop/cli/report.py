"""`arenaloop report`: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
) -> None:
    """Write DIR/report.html: ratings, judge health, cost, and battles side by side. Opens anywhere, loads nothing.

    Example:

        arenaloop report runs/demo
    """
    from arenaloop.report import write_report

    typer.echo(write_report(directory))
