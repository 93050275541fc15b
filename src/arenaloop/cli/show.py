"""`arenaloop show`: a battle, a key or a training row, to be read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["show"]


def show(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory, running or stopped too.")],
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT…",
            help="PROMPT MODEL MODEL: their battle. battles.jsonl:LINE, undecided.jsonl:LINE. STAGE:LINE: a training "
            "row. Or the key of a verdict, an answer or a judgement, or a prompt's id; its first 6 characters will do. "
            "A PROMPT goes by the id that it has in its own file, too (question_id, uid, id). "
            "Without it: what there is.",
            show_default=False,
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Long texts and keys whole.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Read a battle, a verdict, an answer, a prompt or a training row.

    Control characters in texts are spelled out. Nothing is asked, nothing is written.

    Examples:

        arenaloop show runs/demo

        arenaloop show runs/demo battles.jsonl:1

        arenaloop show runs/demo 8eb814c0 SFT-I0 scholar

        arenaloop show runs/mt_bench 81 gpt-4 mine

        arenaloop show runs/demo b74f178d --full
    """
    from arenaloop.cli.looked_up import looked_up
    from arenaloop.cli.show_run import show as shown
    from arenaloop.cli.trace import print_document

    with looked_up(directory) as run:
        document = shown(run, list(what or ()))
    print_document(document, full=full, as_json=as_json)
