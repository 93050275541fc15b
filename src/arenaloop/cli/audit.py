"""`arenaloop audit`: judges against human labels, against each other and against themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from arenaloop.cli.measure import Measure, measuring
from arenaloop.cli.money import Batch, Batches, ForgetBatches, Prices
from arenaloop.cli.options import Fields, Given
from arenaloop.errors import ConfigError
from arenaloop.judges.builtin import BUILTIN

__all__ = ["audit"]


def audit(
    *,
    judge: Annotated[
        list[str], typer.Option("--judge", metavar="SPEC", help=f"A judge, or several. Rules: {', '.join(BUILTIN)}.")
    ],
    labels: Annotated[str, typer.Option("--labels", metavar="FILE", help="Human labels: FILE or FILE#column=value.")],
    out: Annotated[Path, typer.Option(help="The run directory.")] = Path("runs/audit"),
    settings: Annotated[
        Given,
        Fields(
            "AuditSettings",
            "seeds",
            "limit",
            "merge",
            "concurrency",
            "budget_usd",
            "budget_calls",
            "seed",
            shard={"metavar": "I/N"},
        ),
    ],
    judging: Annotated[Given, Fields("JudgeSettings", "verdict", template={"metavar": "NAME|FILE"})],
    engine: Annotated[Given, Fields("EngineSettings", "engine", "workers")],
    prices: Prices = None,
    batch: Batch = False,
    batches: Batches,
    forget_batches: ForgetBatches = False,
    samples: Annotated[int, typer.Option(min=10, help="Bootstrap resamples of the prompts.")] = 1000,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Plant a seat and a length bias in the stored votes: are they found?")
    ] = False,
    planted: Annotated[float, typer.Option(metavar="X", help="Size of these: the favourite's share is 0.5 + X.")] = 0.1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")] = False,
    measure: Measure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Audit judges on labelled pairs: agreement with people, kappa, bias, variance, seats, length, lists, cost.

    Each judge is asked about every pair from both seats; the same command resumes, and adds judges to what is stored.
    SPEC is a model as for battle, builtin:RULE, reward:DIR, labels:FILE[#column=value] (recorded labels) or a YAML
    file. NAME=SPEC gives a judge another name. Labels are AlpacaEval annotations, Chatbot Arena votes, or a table with
    a prompt, two outputs and a preference (JSON, JSONL, CSV or Parquet, plain or gzip).

    Examples:

        arenaloop audit --judge openai:gpt-4o --judge builtin:longest --labels labels.csv

        arenaloop audit --judge "labels:annotations.json#annotator=gpt4" --labels human.jsonl --json
    """
    from arenaloop.calls.engines.chosen import using
    from arenaloop.cli.audit_run import execute
    from arenaloop.cli.money import batch_settings, priced
    from arenaloop.config import AuditSettings, EngineSettings, validate
    from arenaloop.specs.models import planned_only

    if not 0.0 < level < 1.0:
        raise ConfigError(f"--level must lie strictly between 0 and 1, not {level}")
    if not 0.0 < planted <= 0.5:
        raise ConfigError(
            f"--planted is what the favourite's share is raised by, above 0 and up to 0.5, not {planted:g}"
        )
    values = {"judges": [_judge(text, judging) for text in judge], "labels": labels, **settings}
    values["batch"] = batch_settings(batch, batches)
    checked = priced(validate(AuditSettings, values, "audit"), prices)
    measure = measuring(measure, dry_run)
    with planned_only(dry_run), using(None if dry_run else validate(EngineSettings, engine, "audit")):
        execute(
            checked,
            out,
            level=level,
            samples=samples,
            dry_run=dry_run,
            as_json=as_json,
            measure=measure,
            planted=planted if self_test else None,
            forget=forget_batches,
            prices=prices,
        )


def _judge(text: str, judging: Given) -> dict[str, Any]:
    """Settings of one judge; ``NAME=`` before a SPEC names it. Template and verdict mode are those of models."""
    from arenaloop.config import JudgeSettings
    from arenaloop.specs import model_settings

    head, equals, rest = text.partition("=")
    named = bool(equals and head and rest) and not set(head) & set(":/#?")
    values = model_settings(rest if named else text, head if named else None, kind=JudgeSettings).model_dump()
    asked = values["spec"].partition(":")[0] not in ("builtin", "labels")
    return values | judging if asked else values
