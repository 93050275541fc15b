"""`arenaloop adopt`: a stage's model from another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["adopt"]


def adopt(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The run directory of a recipe.")],
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="What the trainer wrote, in Hugging Face form: safetensors and config.json, or a LoRA adapter.",
        ),
    ],
    stage: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose model it is to be. Default: the first stage that has none."),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Of an adapter: the model that it was trained beside, if it is elsewhere now."
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="run|checkpoint",
            help="Which chat template it has from now on, where its own renders otherwise than the run's.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take the place of a model that stands there; that one is kept beside it."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON document.")] = False,
) -> None:
    """Take a checkpoint of another trainer (OpenRLHF, verl, TRL, LLaMA-Factory) as a stage's model.

    `arenaloop run` then goes on from it instead of training that stage. Before anything is copied, it is compared with
    the model that the stage starts from: architecture, tokenizer, chat template, and the log-probability of answers
    that the run has stored. Weights are read from safetensors alone. Stages to be trained elsewhere are named by
    `elsewhere` in the recipe's file, at which the run stops with the rows for them.

    Examples:

        arenaloop adopt runs/first /data/ckpt/global_step400_hf --stage PPO-I1

        arenaloop adopt runs/first lora --base /data/start
    """
    from arenaloop.cli.adopt_run import execute

    execute(directory, checkpoint, stage, base=base, template=template, replace=replace, as_json=as_json)
