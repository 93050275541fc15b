"""`arenaloop rank` by itself, as a command in this process."""

from __future__ import annotations

import typer
from typer.testing import CliRunner

from arenaloop.cli.rank import rank

__all__ = ["app", "run"]

app = typer.Typer()
app.command()(rank)


def run(*arguments: str) -> str:
    """What it prints; it has to succeed."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout
