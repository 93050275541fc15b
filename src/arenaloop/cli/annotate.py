"""`arenaloop annotate`: pairs labelled by simulated annotators, and annotators fitted to people's labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arenaloop.cli.measure import Measure, measuring
from arenaloop.cli.money import Batch, Batches, ForgetBatches, Prices
from arenaloop.cli.options import Fields, Given
from arenaloop.errors import ConfigError

__all__ = ["annotate"]


def annotate(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]FILE",
            help="What is labelled: one file of pairs of answers, or two files of answers to the same prompts "
            "(NEW OLD), or one file with several answers to each prompt.",
            show_default=False,
        ),
    ] = None,
    *,
    pool: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE|SPEC",
            help="Who labels: alpaca_farm (13 annotators on one model: needs --model), synthetic (of the small world, "
            "needs none), a YAML file or one judge.",
        ),
    ] = "alpaca_farm",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC|FILE", help="The model behind all annotators that name none of their own, as alpaca_farm's."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Where preference rows are written, JSONL. With --fit: where a pool is, YAML."
        ),
    ],
    drawn: Annotated[Given, Fields("PoolSettings", "preset", "p_label_flip", "noise_model", "seat_mode")],
    settings: Annotated[
        Given,
        Fields(
            "AnnotateSettings",
            "votes",
            "concurrency",
            "seed",
            shard={"metavar": "I/N"},
            budget_usd={"help": "US dollars that labels of this --out may cost in all, earlier runs included."},
            budget_calls={"help": "Calls that may be sent for this --out in all, earlier runs included."},
        ),
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prompts of two files of answers. Default: those of the first file."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on with the prompts that both files answer.")
    ] = False,
    engine: Annotated[Given, Fields("EngineSettings", "engine", "workers")],
    prices: Prices = None,
    batch: Batch = False,
    batches: Batches,
    forget_batches: ForgetBatches = False,
    fit: Annotated[
        str | None,
        typer.Option(metavar="LABELS", help="Fit annotators to people's labels (FILE or FILE#column=value) instead."),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", help="With --fit: what answers are worth, as in train; people's noise is about it."
        ),
    ] = None,
    level: Annotated[float, typer.Option(help="With --fit: level of the intervals.")] = 0.95,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")] = False,
    measure: Measure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Label pairs of answers with a pool of simulated annotators (AlpacaFarm); the same command resumes.

    Each pair is seen by one annotator, which the seed draws. Of preset p_sim a quarter of the labels is turned, which
    costs no call, and one seat is asked; of p_eval both seats are, and none is turned. --out rows.jsonl gets rows that
    `train dpo`, `reward_model` and `feedme` read; beside it, rows.labels.jsonl holds every label, ties and failures
    too, for `winrate` and `audit`, and rows.jsonl.db what was paid for.

    Examples:

        arenaloop annotate pairs.jsonl --model openai:gpt-4o-mini --out preferences.jsonl --dry-run

        arenaloop annotate new=new.json old=old.json --model judge.yaml --preset p_eval --out new-old.jsonl

        arenaloop annotate --fit people.jsonl --reward reward:checkpoints/rm --out people.yaml
    """
    from arenaloop.calls.engines.chosen import using
    from arenaloop.cli.money import batch_settings, priced
    from arenaloop.config import AnnotateSettings, EngineSettings, validate
    from arenaloop.specs.models import planned_only

    given = files or []
    if not 0.0 < level < 1.0:
        raise ConfigError(f"--level must lie strictly between 0 and 1, not {level}")
    if fit is not None:
        from arenaloop.cli.annotate_fit import execute as execute_fit

        if given or settings or drawn or model or dry_run or batch or batches:
            raise ConfigError("--fit LABELS estimates annotators and labels nothing: give it --out, --reward, --level")
        execute_fit(fit, out, reward, level=level, as_json=as_json)
        return
    if reward is not None:
        raise ConfigError("--reward goes with --fit")
    if not 1 <= len(given) <= 2:
        raise ConfigError("annotate takes one file of pairs or samples, or two files of answers")
    from arenaloop.cli.annotate_run import execute
    from arenaloop.specs.annotators import pool_settings

    chosen = pool_settings(pool, model, drawn)
    values = {"pool": chosen.model_dump(), "batch": batch_settings(batch, batches), **settings}
    checked = priced(validate(AnnotateSettings, values, "annotate"), prices)
    with planned_only(dry_run), using(None if dry_run else validate(EngineSettings, engine, "annotate")):
        execute(
            checked,
            given,
            out,
            prompts=prompts,
            allow_missing=allow_missing,
            dry_run=dry_run,
            as_json=as_json,
            forget=forget_batches,
            measure=measuring(measure, dry_run),
            prices=prices,
        )
