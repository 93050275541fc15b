"""`arenaloop watch`: a running directory, looked at from another terminal until it ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from arenaloop.store import Store

__all__ = ["watch"]

_REASONS = 5
_SHARE = 5.0  # of the time at most one part in so many goes into looking


def watch(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory, of a battle or a recipe.")],
    every: Annotated[float, typer.Option(metavar="SECONDS", help="How often to look, at most.", min=0.2)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and stop.")] = False,
) -> None:
    """Follow a run from another terminal: how far it is, what failed, what it cost, and the leaderboard so far.

    Nothing is written, and the run goes on as if nobody looked. Ends with the run. Without a terminal it prints a new
    view whenever something has changed.

    Examples:

        arenaloop watch runs/battle

        arenaloop watch runs/battle --once
    """
    import time

    from rich.console import Console, Group
    from rich.live import Live

    from arenaloop.cli.directory import ARENA
    from arenaloop.errors import InputError
    from arenaloop.store.lock import being_written

    arena = directory / ARENA
    if not arena.is_file():
        raise InputError(f"{directory}: no run directory (no {ARENA})")
    console = Console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        shown: list[str] = []
        while True:
            going, began = being_written(arena), time.monotonic()
            view, words = _view(directory, going=going, width=console.width)
            took = time.monotonic() - began
            if console.is_terminal and going and not once:
                live.update(Group(*view), refresh=True)
            elif words != shown or not going or once:
                live.update("", refresh=console.is_terminal)
                for part in view:
                    console.print(part)
                shown = words
            if once or not going:
                return
            time.sleep(max(every, _SHARE * took))


def _view(directory: Path, *, going: bool, width: int) -> tuple[list[RenderableType], list[str]]:
    """What is to be shown, and its lines in words, by which it is seen whether anything has changed."""
    import json

    from rich.text import Text

    from arenaloop.arena.board import Leaderboard
    from arenaloop.cli.directory import ARENA
    from arenaloop.cli.run import stage_table
    from arenaloop.cli.standing import is_under_way, readable
    from arenaloop.errors import ArenaloopError
    from arenaloop.regular_files import read_regular
    from arenaloop.store import Store
    from arenaloop.terminal import plain

    lines = [f"{directory}: {'going on' if going else _ended(directory)}"]
    with Store(directory / ARENA, readonly=True) as store:
        spent = _spent(store)
        if going and (doing := _doing(directory, counts=not store.usage().calls)):
            lines.append(doing)
        lines += spent
    board: Leaderboard | None = None
    stages: list[dict[str, Any]] = []
    try:
        if is_under_way(directory) or (directory / "leaderboard.json").is_file():
            with readable(directory) as there:
                summary = json.loads(read_regular(there / "summary.json"))
                board = Leaderboard.of(json.loads(read_regular(there / "leaderboard.json")))
                far = f"{summary['battles_decided']:,} of {summary['battles_wanted']:,} battles decided"
                lines.insert(1, summary.get("progress") or far)
                if not board.battles:
                    stages = summary.get("stages") or []
                    lines += [summary["awaits"]] if "awaits" in summary else []
    except (ArenaloopError, OSError, ValueError, LookupError, TypeError) as error:
        lines.append(f"no leaderboard yet ({error})")
    view: list[RenderableType] = [Text(plain(line)) for line in lines]
    if board is not None and board.battles:
        view.append(board.table(width=width))
    elif stages:  # what they came to by themselves
        view.append(stage_table(stages, width))
    return view, [*lines, "" if board is None else board.to_json()]


def _ended(directory: Path) -> str:
    """How a run ended that nobody works on any more."""
    from arenaloop.cli.directory import PROGRESS
    from arenaloop.data.result_files import not_through

    if (directory / PROGRESS).is_file():
        return "its process was cut off: the command that began it goes on"
    if not (directory / "summary.json").is_file():
        return "nobody works on it, and it has no results: the command that began it goes on"
    told = not_through(directory)
    return told[0] if told else "finished"


def _doing(directory: Path, *, counts: bool) -> str:
    """What the process that works there says of its work.

    Args:
        counts: whether to believe that nothing is done: what it says is a second old, and the arena file may know more.
    """
    import json

    from arenaloop.cli.directory import PROGRESS
    from arenaloop.regular_files import read_regular

    try:
        told = json.loads(read_regular(directory / PROGRESS))
        if not (told["done"] or counts):
            return str(told["doing"])
        total = f"{int(told['done']):,} of {int(told['total']):,} " if told["total"] else ""
        return f"{told['doing']}: {total}{told['note']}"
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _spent(store: Store) -> list[str]:
    """Calls and cost of all invocations, and the commonest reasons of verdicts without an outcome."""
    from arenaloop.store.counts import failure_reasons, last_judges
    from arenaloop.terminal import counted

    usage = store.usage()
    cost = "cost unknown" if usage.usd is None else f"${usage.usd:,.2f}"
    lines = [f"{counted(usage.calls, 'call')} · {cost}"]
    for status, reason, n in failure_reasons(store, sorted(last_judges(store)), _REASONS):
        lines.append(f"{counted(n, 'verdict')} {status}" + (f": {reason[:200]}" if reason else ""))
    return lines
