"""`arenaloop testset`: diverse and hard prompts of a pool, as WizardArena's test set was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arenaloop.cli.measure import Measure, measuring
from arenaloop.cli.money import Batches, ForgetBatches, Prices
from arenaloop.cli.options import Fields, Given

__all__ = ["testset"]


def testset(
    *,
    prompts: Annotated[str, typer.Option(metavar="FILE", help="The pool: a prompt file, or sandbox:prompts?n=….")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The test set: a prompt file, JSONL.")],
    judge: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Who rates how difficult prompts are, from 0 to 10.")
    ] = None,
    embeddings: Annotated[
        str, typer.Option(metavar="SPEC", help="tfidf (built in), st:PATH, or an embeddings endpoint's URL#MODEL.")
    ] = "tfidf",
    settings: Annotated[
        Given,
        Fields(
            "TestSetSettings",
            "clusters",
            "diverse",
            "hard",
            "rated",
            "categories",
            "dimensions",
            "concurrency",
            "budget_usd",
            "budget_calls",
            "seed",
            shard={"metavar": "I/N"},
            disjoint={"flag": "--disjoint/--overlap", "help": "Draw the hard ones among those that are not diverse."},
        ),
    ],
    judging: Annotated[
        Given,
        Fields(
            "JudgeSettings",
            verdict={"help": "How the judge answers: text with a line that holds the score, or json. Default: text."},
            template={"metavar": "FILE", "help": "A template of your own that asks for the difficulty."},
        ),
    ],
    prices: Prices = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Rate through the server's Batch API, mostly at half the price.")
    ] = False,
    batches: Batches,
    forget_batches: ForgetBatches = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked and cost, and stop.")] = False,
    measure: Measure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as one JSON document.")] = False,
) -> None:
    """Draw a test set from a pool of prompts: diverse ones and hard ones (WizardArena); the same command resumes.

    The pool is cut into clusters of similar prompts. Diverse: so many of each cluster, at random. Hard: 20 of each
    are rated by the judge, and the most difficult of all are taken. With --out test.jsonl, that file holds both,
    test.diverse.jsonl and test.hard.jsonl one of them each: prompt files, for `battle` say. test.card.html and
    test.card.json tell what is in them, and test.jsonl.db holds what was paid for.

    Examples:

        arenaloop testset --prompts "sandbox:prompts?n=600" --clusters 20 --diverse 40 --hard 40
        --judge sandbox:judge --out test.jsonl

        arenaloop testset --prompts pool.jsonl --judge openai:gpt-4o --categories judge --out test.jsonl --dry-run
    """
    from arenaloop.cli.money import batch_settings, priced
    from arenaloop.cli.testset_run import execute
    from arenaloop.config import JudgeSettings, TestSetSettings, validate
    from arenaloop.specs import model_settings
    from arenaloop.specs.models import planned_only

    values = {
        "prompts": prompts,
        "judge": judge and model_settings(judge, kind=JudgeSettings).model_dump() | judging,
        "embeddings": model_settings(embeddings).model_dump(),
        "batch": batch_settings(batch, batches),
    }
    checked = priced(validate(TestSetSettings, values | settings, "testset"), prices)
    with planned_only(dry_run):
        execute(
            checked,
            out,
            dry_run=dry_run,
            as_json=as_json,
            forget=forget_batches,
            measure=measuring(measure, dry_run),
            prices=prices,
        )
