"""The option by which a dry run loads local models and times them: without it, it loads none."""

from __future__ import annotations

from typing import Annotated

import typer

from arenaloop.errors import ConfigError

__all__ = ["Measure", "measuring"]

Measure = Annotated[
    bool, typer.Option("--measure", help="With --dry-run: load local models, and time a few of their calls.")
]


def measuring(measure: bool, dry_run: bool) -> bool:
    """Whether local models are to be timed.

    Raises:
        ConfigError: a run that is no dry run tells their speed anyway, after their first chunk.
    """
    if measure and not dry_run:
        raise ConfigError(
            "--measure goes with --dry-run: a run tells how long local models take after their first chunk"
        )
    return measure
