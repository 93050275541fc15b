"""`arenaloop sandbox`: the prompts of its worlds, and them as a server."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

__all__ = ["sandbox_app"]

sandbox_app = typer.Typer(
    no_args_is_help=True, help="The small world where the truth is known: its prompts, and it as a server."
)


@sandbox_app.command()
def prompts(
    n: Annotated[int, typer.Option("--n", min=0, help="How many.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    split: Annotated[str, typer.Option(help="train, dev or test; never overlapping.")] = "train",
    world: Annotated[
        str, typer.Option(help="words: tasks on short words and numbers; notes: real instructions under a constraint.")
    ] = "words",
) -> None:
    """Print prompts with answers of top utility, as JSONL.

    Examples:

        arenaloop sandbox prompts --n 500 --split dev > prompts.jsonl

        arenaloop sandbox prompts --n 240 --world notes > notes.jsonl
    """
    from arenaloop.sandbox import editors, tasks
    from arenaloop.specs.data import load_prompts

    for prompt in load_prompts(f"sandbox:prompts?n={n}&split={split}&world={world}", seed):
        asked = prompt.last_user
        task = tasks.parse(asked)
        answer = editors.good_note(asked) if task is None else task.answer
        sys.stdout.write(json.dumps({"messages": list(prompt.messages), "answer": answer}, ensure_ascii=False) + "\n")


@sandbox_app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 = any free one.")] = 8000,
    seed: Annotated[int, typer.Option(help="Seed of the judge's noise.")] = 0,
) -> None:
    """Serve the players and the judge as an OpenAI-compatible server.

    Example:

        arenaloop sandbox serve --port 8000 &

        arenaloop battle --model a=http://127.0.0.1:8000/v1#scholar --model b=http://127.0.0.1:8000/v1#novice
        --prompts prompts.jsonl --judge http://127.0.0.1:8000/v1#judge
    """
    from arenaloop.sandbox.players import SKILLS
    from arenaloop.sandbox.server import serve as serve_world

    def announce(url: str) -> None:
        print(url, flush=True)  # alone on stdout, for scripts that read it from a pipe
        typer.echo(f"players {', '.join(SKILLS)} and judge, as SPEC {url}#NAME; Ctrl-C ends", err=True)

    serve_world(host, port, seed=seed, announce=announce)
