"""`arenaloop reward-server`: judges, reward models and battles as rewards over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arenaloop.cli.money import Prices
from arenaloop.cli.options import Fields, Given

__all__ = ["reward_server"]


def reward_server(
    *,
    reward: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="What is served: judge:FILE.yaml, battles:JUDGE.yaml#ANSWERS.jsonl, reward:PATH, "
            "python:FILE.py:FUNCTION, http://HOST:PORT/PATH or sandbox:gold.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Its directory: every verdict is kept there, paid once.")],
    prompts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The prompts that it answers for, by id or text. Default: any prompt."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 = any free one.")] = 8010,
    key_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The variable that holds the key which every request has to bring."),
    ] = None,
    fallback: Annotated[
        str,
        typer.Option(
            metavar="mean|X", help="What stands for a missing reward: the mean of those given so far, or a number."
        ),
    ] = "mean",
    answer_within: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="A row that is not judged by then is flagged as late.")
    ] = 150.0,
    max_characters: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of a prompt and its answer together; longer ones are flagged.")
    ] = 200_000,
    settings: Annotated[Given, Fields("RunSettings", "concurrency", "budget_usd", "budget_calls")],
    prices: Prices = None,
) -> None:
    """Serve rewards to trainers of other projects until interrupted; the same command goes on.

    `POST /get_reward` takes a batch: OpenRLHF's {"query", "prompts", "labels"}, or {"prompts", "answers"} and
    "prompt_ids". The reply has a number for each row in "rewards" and says in "flags" why a row has none of its own.
    The URL is printed alone on stdout.

    Examples:

        arenaloop reward-server --reward judge:judge.yaml --prompts prompts.jsonl --out runs/rewards

        arenaloop reward-server --reward battles:judge.yaml#baseline.jsonl --out runs/rewards --port 0 --budget-usd 20
    """
    from arenaloop.cli.reward_server_run import execute
    from arenaloop.config import RunSettings, validate

    execute(
        reward,
        out,
        prompts,
        host=host,
        port=port,
        key_env=key_env,
        fallback=fallback,
        seconds=answer_within,
        most_characters=max_characters,
        settings=validate(RunSettings, settings, "reward-server"),
        prices=prices,
    )
