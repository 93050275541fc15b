"""`arenaloop sample`: several answers of one model to prompts, or the best of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arenaloop.cli.measure import Measure, measuring
from arenaloop.cli.money import Prices
from arenaloop.cli.options import Fields, Given
from arenaloop.errors import ConfigError

__all__ = ["sample"]


def sample(
    *,
    model: Annotated[str, typer.Option(metavar="SPEC", help="Who answers.")],
    prompts: Annotated[str, typer.Option(metavar="FILE", help="Prompts: JSONL, or sandbox:prompts?n=500.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The answers: JSONL.")],
    samples: Annotated[int | None, typer.Option(metavar="K", min=1, help="Answers to each prompt. Default: 1.")] = None,
    best_of: Annotated[
        int | None, typer.Option("--best-of", metavar="N", min=1, help="The best of N answers to each prompt alone.")
    ] = None,
    reward: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="What scores answers: reward:PATH, judge:FILE.yaml, battles:JUDGE.yaml#ANSWERS.jsonl, "
            "python:FILE.py:FUNCTION, http://HOST:PORT/PATH or sandbox:gold. The first chooses; a second one says what "
            "the choice is worth.",
        ),
    ] = None,
    sampling: Annotated[Given, Fields("SamplingSettings", "top_p", "max_tokens")],
    temperature: Annotated[
        float | None, typer.Option(metavar="X", min=0, help="0 = greedy. Default: the model file's, or 1.")
    ] = None,
    settings: Annotated[Given, Fields("RunSettings", "concurrency", "budget_usd", "budget_calls", "seed")],
    engine: Annotated[Given, Fields("EngineSettings", "engine", "workers")],
    prices: Prices = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked and cost, and stop.")] = False,
    measure: Measure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts, scores and cost as one document.")] = False,
) -> None:
    """Sample answers of one model to prompts; the same command resumes.

    SPEC is as in battles. Rows are `prompt` and `completion`, message lists: they are read as prompts, as training
    rows, and one to a prompt as answers (file:FILE). Beside them stand `sample`, and with a reward `score`. Every
    sample is kept in FILE.db beside the rows and paid once: more samples, or the best of more, cost what is new.

    Examples:

        arenaloop sample --model http://127.0.0.1:8000/v1#mine --prompts prompts.jsonl --samples 4 --out samples.jsonl

        arenaloop sample --model hf:checkpoints/mine --prompts prompts.jsonl --best-of 16 --reward reward:checkpoints/rm
        --out best.jsonl
    """
    from arenaloop.calls.engines.chosen import using
    from arenaloop.cli.money import priced
    from arenaloop.cli.sample_run import execute
    from arenaloop.config import EngineSettings, RunSettings, SamplingSettings, validate
    from arenaloop.specs import model_settings
    from arenaloop.specs.models import planned_only

    scored = reward or []
    if samples is not None and best_of is not None:
        raise ConfigError("--samples and --best-of: one of them; --best-of N samples N answers and writes the best")
    if best_of is not None and not scored:
        raise ConfigError("--best-of needs --reward SPEC, by which the best is chosen")
    if len(scored) > 2 or (best_of is None and len(scored) > 1):
        raise ConfigError("--reward: one that scores, and with --best-of a second one for what the choice is worth")
    given = sampling if temperature is None else {**sampling, "temperature": temperature}
    asked = model_settings(model)
    if "temperature" not in given and "temperature" not in asked.sampling.model_fields_set:
        given = {**given, "temperature": 1.0}
    decoding = validate(SamplingSettings, asked.sampling.model_dump() | given, "sample")
    count = best_of or samples or 1
    if count > 1 and decoding.temperature == 0:
        raise ConfigError(f"temperature 0 gives {count:,} times the same answer; take one above 0, or one sample")
    checked = validate(RunSettings, settings, "sample")
    with planned_only(dry_run), using(None if dry_run else validate(EngineSettings, engine, "sample")):
        execute(
            priced(asked.model_copy(update={"sampling": decoding}), prices),
            prompts,
            out,
            count,
            checked,
            best=best_of is not None,
            rewards=scored,
            dry_run=dry_run,
            measure=measuring(measure, dry_run),
            as_json=as_json,
            prices=prices,
        )
