"""What is said of battles that stayed undecided: how many, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from arenaloop.terminal import say

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["say_undecided"]


def say_undecided(console: Console, summary: Mapping[str, Any], error: str | None) -> None:
    """Print one line of how many battles stayed undecided, what became of their verdicts, and the commonest error."""
    undecided = summary["battles_wanted"] - summary["battles_decided"]
    failed = ", ".join(f"{n:,} {status}" for status, n in summary["verdicts_failed"].items() if n)
    why = f"{failed or 'answers missing'}" + (f"; most often: {error}" if error else "")
    say(console, f"{undecided:,} battles undecided ({why}); run again to ask again")
