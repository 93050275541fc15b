"""`arenaloop trace`: from a training row to the verdicts behind it, and back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from arenaloop.errors import ConfigError, InputError

__all__ = ["trace"]


def trace(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory, running or stopped too.")],
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="A row: STAGE:LINE, FILE:LINE, or - for one as JSON on stdin. Or a STAGE. Or the key of a verdict, an "
            "answer or a judgement, or a prompt's id; its first 6 characters will do.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The rows that hold a text, in place of WHAT.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Long texts and keys whole.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """From a training row to the verdicts behind it, and back.

    Of a row: its prompt, who answered and with which scores, why it was selected, every verdict behind it, and the
    stages that trained on it. Of a verdict, an answer or a prompt: the rows and battles that came of it, and where none
    did, why. Nothing is asked, nothing is written.

    Examples:

        arenaloop trace runs/demo SFT-I1:1

        arenaloop trace runs/demo b74f178d

        arenaloop trace runs/demo --text "1032" --json

        sed -n 7p rows.jsonl | arenaloop trace runs/demo -
    """
    from arenaloop.cli.looked_up import looked_up
    from arenaloop.cli.trace_run import trace as traced

    if (what is None) == (text is None):
        raise ConfigError("trace wants WHAT (such as SFT-I1:1 or a key) or --text, one of them")
    if text is not None and not text.strip():
        raise ConfigError("--text wants a text that rows hold; this one is empty")
    stdin = sys.stdin.read() if what == "-" else None
    with looked_up(directory) as run:
        document = traced(run, what, text, stdin)
    print_document(document, full=full, as_json=as_json)


def print_document(document: dict[str, object], *, full: bool, as_json: bool) -> None:
    """Print a document, as JSON or for people."""
    try:
        if as_json:
            from arenaloop.jsonl import encode_json

            text = encode_json(document, indent=2).decode()
            if sys.stdout.isatty():
                text = json.dumps(json.loads(text), indent=2)  # in ASCII: no text moves the cursor
            sys.stdout.write(text + "\n")
            return
        from rich.console import Console

        from arenaloop.cli.panels import show_document

        show_document(Console(), document, full=full)
    except RecursionError:
        raise InputError("the row cannot be shown: it is nested too deeply") from None
