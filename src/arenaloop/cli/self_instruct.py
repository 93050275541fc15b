"""`arenaloop self-instruct`: new prompts that a model writes after old ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arenaloop.cli.measure import Measure, measuring
from arenaloop.cli.money import Prices
from arenaloop.cli.options import Fields, Given

__all__ = ["self_instruct"]


def self_instruct(
    *,
    prompts: Annotated[
        str, typer.Option(metavar="FILE", help="The seeds: prompts of people, JSONL, or sandbox:prompts?n=….")
    ],
    model: Annotated[str, typer.Option(metavar="SPEC", help="Who writes.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The new prompts: a prompt file, JSONL.")],
    against: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Test prompts that no new prompt may be like.")
    ] = None,
    settings: Annotated[
        Given,
        Fields(
            "SelfInstructSettings",
            *("count", "each", "calls_per_round", "rouge_max", "min_words", "max_words", "stop_below"),
            *("concurrency", "budget_usd", "budget_calls", "seed"),
        ),
    ],
    keyword: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Prompts with this word go. Default: image, graph, video and the like."),
    ] = None,
    sampling: Annotated[Given, Fields("SamplingSettings", "max_tokens")],
    temperature: Annotated[
        float | None, typer.Option(metavar="X", min=0, help="Default: the model file's, or 0.6.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(metavar="X", help="Default: the model file's, or 0.9.")] = None,
    prices: Prices = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked and cost, and stop.")] = False,
    measure: Measure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON document.")] = False,
) -> None:
    """Have a model write new prompts after old ones (Self-Instruct); the same command resumes.

    A call shows eight prompts, six of the seeds and two new ones, and asks for eight more. Kept are those that are
    unlike all that are there (ROUGE-L), neither too short nor too long, ask for text alone, and are like no test
    prompt. With --out new.jsonl that file holds them, each with the call, the answer and the examples that it comes
    from; new.dropped.jsonl the others and why, new.card.json the counts, and new.jsonl.db all that was paid for.

    Examples:

        arenaloop self-instruct --prompts seeds.jsonl --model openai:gpt-4o --count 20000 --against test.jsonl
        --out new.jsonl --dry-run

        arenaloop self-instruct --prompts "sandbox:prompts?n=40" --model sandbox:author --count 100 --out new.jsonl
    """
    from arenaloop.cli.money import priced
    from arenaloop.cli.self_instruct_run import execute
    from arenaloop.config import SamplingSettings, SelfInstructSettings, validate
    from arenaloop.specs import model_settings
    from arenaloop.specs.models import planned_only

    decoding = {**sampling}
    decoding |= {name: value for name, value in (("temperature", temperature), ("top_p", top_p)) if value is not None}
    writer = model_settings(model)
    own = writer.sampling.model_dump(exclude_unset=True)
    writer = writer.model_copy(update={"sampling": validate(SamplingSettings, own | decoding, "self-instruct")})
    values = {"prompts": prompts, "model": writer, "against": against or [], "keywords": keyword or None}
    checked = validate(SelfInstructSettings, values | settings, "self-instruct")
    with planned_only(dry_run):
        execute(
            priced(checked, prices),
            out,
            dry_run=dry_run,
            as_json=as_json,
            measure=measuring(measure, dry_run),
            prices=prices,
        )
