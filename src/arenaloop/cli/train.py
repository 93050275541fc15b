"""`arenaloop train`: one method by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from arenaloop.cli.options import Fields, Given
from arenaloop.errors import ConfigError, nearest
from arenaloop.terminal import counted

__all__ = ["train"]

_LIKE = {"grpo": "rloo"}
"""Methods that are not here, and what is near them by what it does, not by its name."""


def listed() -> str:
    """What `--help` says of the methods; it is asked when the help is."""
    from arenaloop.config import METHODS

    return "; ".join(f"{name} on {settings.TRAINED_ON}" for name, settings in METHODS.items())


def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help=f"{listed()}.")],
    *,
    model: Annotated[str, typer.Option(metavar="SPEC", help="Where to start: hf:ID_OR_PATH.")],
    data: Annotated[Path, typer.Option(metavar="FILE", help="Training rows, in any table.")],
    out: Annotated[Path, typer.Option(help="Directory of the new checkpoint.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A training setting, e.g. learning_rate=1e-5."),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="What scores the model's own answers, for methods that learn from them: reward:PATH, judge:FILE.yaml, "
            "battles:JUDGE.yaml#ANSWERS.jsonl, python:FILE.py:FUNCTION, http://HOST:PORT/PATH or sandbox:gold.",
        ),
    ] = None,
    paid: Annotated[
        Given,
        Fields(
            "RunSettings",
            budget_usd={"help": "US dollars that the verdicts of a judge as reward may cost in all."},
            budget_calls={"help": "Calls that they may take in all."},
        ),
    ],
    seed: Annotated[int, typer.Option(help="Seed of shuffling and sampling.")] = 0,
) -> None:
    """Train a model on rows, or resume an interrupted training.

    Rows are those that the recipes write, and the forms that people keep. Prompts are `prompt`, or OpenRLHF's `input`,
    whose `label` is not read. Conversations are `messages`; `prompt` and `completion`; ShareGPT's `conversations` or
    `conversation`; Alpaca's `instruction`, `input` and `output`. Pairs are `chosen` and `rejected` behind a `prompt`,
    `instruction`, `question` or `conversations`, or alone where both begin with the prompt (messages, or HH's
    transcripts). Each is a list of messages or a text: a prompt's is one user turn, an answer's one assistant turn.
    `system`, `system_prompt` or `system_message` is the system message; `history` holds earlier turns in pairs. Columns
    that change what a row teaches and are not read (tools, images, weights, labels) are refused; others are named.

    Examples:

        arenaloop train sft --model hf:Qwen/Qwen2.5-0.5B --data rows.jsonl --out checkpoints/mine

        arenaloop train dpo --model hf:checkpoints/mine --data pairs.jsonl --out checkpoints/dpo --set beta=0.1

        arenaloop train ppo --model hf:checkpoints/mine --data prompts.jsonl --reward reward:checkpoints/rm --out new
    """
    from arenaloop.cli.directory import ARENA
    from arenaloop.config import METHODS, RunSettings, override, validate

    processes = None
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:  # first of all, so that one of them says what is wrong
        from arenaloop.train.processes import joined, leave

        processes = joined()

    if method not in METHODS:
        like = _LIKE.get(method.casefold())
        near = nearest(method, list(METHODS)) if like is None else f" (what comes closest to it is {like!r})"
        raise ConfigError(f"method {method!r} is not known{near}; known: {', '.join(METHODS)}")
    kind, _, start = model.partition(":")
    if kind != "hf" or not start:
        raise ConfigError(f"--model {model}: training starts from hf:ID_OR_PATH")
    from arenaloop.cli.progress import Watch
    from arenaloop.errors import InputError
    from arenaloop.tables import table_rows

    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: a file stands there")
    from arenaloop.specs.models import weights

    start = weights(start)
    if (start.startswith((".", "/", "~")) or start.count("/") > 1) and not Path(start).expanduser().is_dir():
        raise InputError(f"{start} is not a directory")
    lines, rows = [], []
    for line, row in table_rows(Path(data)):
        lines.append(line)
        rows.append(row)
    if not rows:
        raise InputError(f"{data}: no rows in it")
    checked = validate(METHODS[method], override({}, settings or []), "--set")
    scored = None
    if paid and not (reward or "").startswith(("judge:", "battles:")):
        raise ConfigError("--budget-usd and --budget-calls limit what a judge as reward costs; there is none")
    if reward is not None:
        from arenaloop.calls.budget import Budget
        from arenaloop.specs.rewards import reward as build

        limits = validate(RunSettings, paid, "train")
        make = partial(build, reward, out / ARENA, Budget(limits.budget_usd, limits.budget_calls))
        scored = make() if processes is None else processes.reward(make)
    stepped = False
    unused: list[str] = []

    def step(number: int, total: int, metrics: Mapping[str, float]) -> None:
        nonlocal stepped
        if unused and not stepped:  # the rows have been taken
            watch.note(f"{data}: columns not used: {', '.join(unused[:12])}" + (" …" if len(unused) > 12 else ""))
        stepped = True
        watch.step(number, total, metrics)

    quiet = processes is not None and not processes.first
    with _rows_by_line(data, lines), Watch(Console(quiet=True) if quiet else None) as watch:
        watch.phase(out.name, method)
        from arenaloop.train import methods
        from arenaloop.train.preparing import told_to
        from arenaloop.train.rows import unread_columns

        unused = unread_columns(rows, methods.METHODS[method].columns)
        with told_to(watch.preparing):
            done = methods.training(
                method, start, rows, out, checked, seed=seed, on_step=step, on_note=watch.note, reward=scored
            )
    if processes is not None:
        leave()
    if quiet:
        return
    remarks = (_by_line(remark, lines) for remark in done.remarks())
    typer.echo(
        (f"{out}: " if stepped else f"{out} was finished before, nothing is trained again: ")
        + "; ".join(
            [f"{counted(done.steps, 'step')} on {counted(done.rows_used, 'row')}, {done.seconds:.0f} s", *remarks]
        )
    )


def _by_line(text: str, lines: Sequence[int]) -> str:
    """Trainers number the rows that they are given; a user looks for the line of a file."""

    def line(found: re.Match[str]) -> str:
        at = int(found[1])
        return f"line {lines[at]}" if at < len(lines) else found[0]  # a column may be called so

    return re.sub(r"\b(?:training|preference) row (\d+)", line, text)


@contextmanager
def _rows_by_line(data: Path, lines: Sequence[int]) -> Iterator[None]:
    """Name rows in errors as `_by_line` does, and their file."""
    from arenaloop.errors import InputError

    try:
        yield
    except InputError as error:
        named = _by_line(str(error), lines)
        if named == str(error):
            raise
        raise InputError(f"{data}, {named}") from error
