"""`arenaloop battle`: models, prompts and a judge in; a leaderboard with intervals out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from arenaloop.cli.measure import Measure, measuring
from arenaloop.cli.money import Batch, Batches, ForgetBatches, Prices
from arenaloop.cli.options import Fields, Given
from arenaloop.errors import ConfigError

__all__ = ["battle"]


def battle(
    *,
    model: Annotated[list[str], typer.Option("--model", metavar="NAME=SPEC", help="A contestant; give at least two.")],
    prompts: Annotated[str, typer.Option(metavar="FILE", help="Prompts, in any table; or sandbox:prompts?n=500.")],
    judge: Annotated[str, typer.Option(metavar="SPEC", help="Who decides.")],
    out: Annotated[Path, typer.Option(help="The run directory.")] = Path("runs/battle"),
    settings: Annotated[
        Given,
        Fields(
            "BattleSettings",
            "pairs",
            "merge",
            "one_seat_failed",
            "seats",
            "own_failure",
            "allow_missing",
            "concurrency",
            "budget_usd",
            "budget_calls",
            "seed",
        ),
    ],
    judging: Annotated[Given, Fields("JudgeSettings", "verdict", "reask", template={"metavar": "NAME|FILE"})],
    prices: Prices = None,
    batch: Batch = False,
    batches: Batches,
    forget_batches: ForgetBatches = False,
    anchor: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Give one model a fixed rating.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")] = False,
    measure: Measure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json to stdout.")] = False,
) -> None:
    """Let models battle on your prompts, judged from both seats; the same command resumes.

    SPEC is openai:MODEL, http://HOST:PORT/v1#MODEL, hf:ID_OR_PATH, file:ANSWERS, sandbox:NAME, or a YAML file.

    Examples:

        arenaloop battle --model a=sandbox:scholar --model b=sandbox:novice --prompts "sandbox:prompts?n=200"
        --judge sandbox:judge

        arenaloop battle --model old=file:old.json --model new=http://127.0.0.1:8000/v1#new --prompts prompts.jsonl
        --judge openai:gpt-4o --dry-run
    """
    from arenaloop.cli.battle_run import execute
    from arenaloop.cli.money import batch_settings, priced
    from arenaloop.cli.rank import parse_anchor
    from arenaloop.config import BattleSettings, JudgeSettings, validate
    from arenaloop.specs import model_settings

    contestants = [_named(text) for text in model]
    if len(contestants) < 2:
        raise ConfigError("a battle needs at least two --model NAME=SPEC")
    for name, count in Counter(name for name, _ in contestants).items():
        if count > 1:
            raise ConfigError(f"--model {name}: this name is given {count} times")
    values = {
        "models": [model_settings(spec, name).model_dump() for name, spec in contestants],
        "prompts": prompts,
        "judge": model_settings(judge, kind=JudgeSettings).model_dump() | judging,
        "batch": batch_settings(batch, batches),
    }
    checked = priced(validate(BattleSettings, values | settings, "battle"), prices)
    measure = measuring(measure, dry_run)
    anchored = parse_anchor(anchor)
    execute(checked, out, anchored, dry_run=dry_run, as_json=as_json, forget=forget_batches, measure=measure)


def _named(text: str) -> tuple[str, str]:
    name, equals, spec = text.partition("=")
    if not equals or not name or not spec or ":" in name:
        raise ConfigError(f"--model {text}: expected NAME=SPEC, as in --model mine=hf:org/model")
    return name, spec
