"""`arenaloop recover`: what a damaged arena file still holds, in a new one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["recover"]


def recover(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The new arena file. Default: DIR/arena.recovered.db.", show_default=False),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of DIR/arena.db, which is kept as arena.damaged.db.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON document.")] = False,
) -> None:
    """Save what can still be read of a damaged arena file, or of one whose log was lost, into a new arena file.

    The damaged file and its log are only read. With --replace the run's own command goes on from what was saved, and
    asks and pays for the missing rows alone.

    Examples:

        arenaloop recover runs/battle

        arenaloop recover runs/battle --replace
    """
    from rich.console import Console

    from arenaloop.cli.directory import ARENA
    from arenaloop.errors import ConfigError, InputError
    from arenaloop.store.recover import recover as save
    from arenaloop.store.recover import replace as put_in_place
    from arenaloop.terminal import figure, say, table

    source = directory / ARENA
    if not directory.is_dir():
        raise InputError(f"{directory}: no such run directory")
    if replace and out is not None:
        raise ConfigError("--replace puts the new file in the old one's place: leave out --out")
    target = out or directory / "arena.recovered.db"
    if out is not None and out.exists():
        raise ConfigError(f"--out {out}: a file stands there; name another")
    found = save(source, target)
    kept = put_in_place(source, target) if replace else None
    document: dict[str, Any] = {
        "rows": found.rows,
        "missing": found.missing,
        "broken": found.broken,
        "unplaced": found.unplaced,
        "file": str(source if replace else target),
        "kept": None if kept is None else str(kept),
    }
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    console = Console()
    rows = []
    for name, count in found.rows.items():
        numbered = found.numbered.get(name)
        rows.append([name, f"{count:,}", figure(None if numbered is None else numbered - count, ",d")])
    console.print(table(["table", "rows saved", "missing between them"], rows))
    unplaced = f", {found.unplaced:,} rows that fit more than one table" if found.unplaced else ""
    for line in (
        f"{found.calls:,} rows of calls saved, {found.missing:,} known to be missing; {found.broken:,} pages or rows "
        f"could not be read{unplaced}",
        f"{source}: what was saved; the old file is {kept}"
        if replace
        else f"{target}: what was saved; arenaloop recover {directory} --replace puts it in the place of {source}",
    ):
        say(console, line, fold=True)
