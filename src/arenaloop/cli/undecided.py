"""What is said of battles that stayed undecided: how many, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from arenaloop.store import Store
from arenaloop.store.rows import from_stored as from_text
from arenaloop.terminal import say

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["commonest_error", "say_undecided"]

_ERRORS = """SELECT error FROM (
    SELECT error FROM responses WHERE run = :run UNION ALL SELECT error FROM verdicts WHERE run = :run
) WHERE error IS NOT NULL GROUP BY error ORDER BY COUNT(*) DESC, error LIMIT 1"""


def commonest_error(store: Store) -> str | None:
    """The reason that most failed calls of this invocation have in common; None if none failed with one."""
    store.flush()
    row = next(store.select(_ERRORS, {"run": store.run}), None)
    return from_text(row[0]) if row else None


def say_undecided(console: Console, summary: Mapping[str, Any], error: str | None) -> None:
    """Print one line of how many battles stayed undecided, what became of their verdicts, and the commonest error."""
    undecided = summary["battles_wanted"] - summary["battles_decided"]
    failed = ", ".join(f"{n:,} {status}" for status, n in summary["verdicts_failed"].items() if n)
    why = f"{failed or 'answers missing'}" + (f"; most often: {error}" if error else "")
    say(console, f"{undecided:,} battles undecided ({why}); run again to ask again")
