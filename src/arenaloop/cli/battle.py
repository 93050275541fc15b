"""`arenaloop battle`: models, prompts and a judge in; a leaderboard with intervals out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from arenaloop.cli.measure import Measure, measuring
from arenaloop.cli.money import Batch, Batches, ForgetBatches, Prices
from arenaloop.cli.options import Fields, Given
from arenaloop.errors import ConfigError

__all__ = ["NoPreflight", "battle"]

NoPreflight = Annotated[
    bool, typer.Option("--no-preflight", help="Do not ask every server once before anything else is asked or trained.")
]


def battle(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.yaml]", help="A battle's settings, as its config.yaml; options win.")
    ] = None,
    *,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME=SPEC", help="A contestant; give at least two.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Prompts, in any table; or sandbox:prompts?n=500.", show_default=False),
    ] = None,
    judge: Annotated[str | None, typer.Option(metavar="SPEC", help="Who decides.", show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run directory. Default: FILE's, or runs/battle.", show_default=False),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Keep the directory's models; --model adds to them, one alone is enough.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let models and prompts that are not given leave the board.")
    ] = False,
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
            "limit",
            "concurrency",
            "budget_usd",
            "budget_calls",
            "seed",
            "engine",
            "workers",
            shard={"metavar": "I/N"},
        ),
    ],
    judging: Annotated[Given, Fields("JudgeSettings", "verdict", "reask", template={"metavar": "NAME|FILE"})],
    prices: Prices = None,
    batch: Batch = False,
    batches: Batches,
    forget_batches: ForgetBatches = False,
    anchor: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Give one model a fixed rating.")] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option("--reuse", metavar="DIR", help="Take answers and verdicts that another run has; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")] = False,
    measure: Measure = False,
    no_preflight: NoPreflight = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json to stdout.")] = False,
) -> None:
    """Let models battle on your prompts, judged from both seats; the same command resumes.

    SPEC is openai:MODEL, http://HOST:PORT/v1#MODEL, hf:ID_OR_PATH, ray-vllm:MODEL, file:ANSWERS, sandbox:NAME, or a
    YAML file.

    Examples:

        arenaloop battle --model a=sandbox:scholar --model b=sandbox:novice --prompts "sandbox:prompts?n=200"
        --judge sandbox:judge

        arenaloop battle --model old=file:old.json --model new=http://127.0.0.1:8000/v1#new --prompts prompts.jsonl
        --judge openai:gpt-4o --dry-run

        arenaloop battle --add --model newer=file:newer.json

        arenaloop battle runs/battle/config.yaml
    """
    from arenaloop.cli.battle_run import execute
    from arenaloop.cli.directory import ARENA
    from arenaloop.cli.money import batch_settings, priced
    from arenaloop.cli.rate_options import parse_anchor
    from arenaloop.config import BattleSettings, JudgeSettings, validate
    from arenaloop.data.result_files import home_of
    from arenaloop.specs import model_settings
    from arenaloop.specs.models import planned_only

    contestants = [_named(text) for text in model or ()]
    for name, count in Counter(name for name, _ in contestants).items():
        if count > 1:
            raise ConfigError(f"--model {name}: this name is given {count} times")
    home = None if file is None else home_of(file.parent)
    directory = out or (home if home is not None and (home / ARENA).exists() else Path("runs/battle"))
    values = _standing(file, directory if add else None)
    source = str(file or (directory / "config.yaml" if add else "battle"))
    given = {name: model_settings(spec, name).model_dump() for name, spec in contestants}
    if given or "models" not in values:
        values["models"] = list(({one["name"]: one for one in _named_models(values)} | given).values())
    if isinstance(values["models"], list) and len(values["models"]) < 2:
        raise ConfigError(
            "a battle needs at least two --model NAME=SPEC; one is enough with --add, which keeps the board of --out"
        )
    if prompts is not None:
        values["prompts"] = prompts
    if judge is not None:
        values["judge"] = model_settings(judge, kind=JudgeSettings).model_dump()
    for name in ("prompts", "judge"):
        if name not in values:
            raise ConfigError(f"a battle needs --{name}, or a FILE.yaml that names it")
    if judging:
        values["judge"] = values["judge"] | judging
    if (batched := batch_settings(batch, batches)) is not None:
        values["batch"] = batched
    checked = priced(validate(BattleSettings, values | settings, source), prices)
    with planned_only(dry_run):
        execute(
            checked,
            directory,
            parse_anchor(anchor),
            dry_run=dry_run,
            as_json=as_json,
            forget=forget_batches,
            measure=measuring(measure, dry_run),
            replace=replace,
            reuse=reuse or (),
            ask_first=not no_preflight,
            prices=prices,
        )


def _standing(file: Path | None, directory: Path | None) -> dict[str, Any]:
    """The settings that a battle starts from: a file's, a directory's that it adds to, or none."""
    from arenaloop.config import read_yaml

    if file is not None and directory is not None:
        raise ConfigError(f"--add starts from a directory's own settings: give it or {file}")
    if directory is not None and not (directory / "config.yaml").exists():
        raise ConfigError(f"--add: there is no battle in {directory} yet")
    path = file or (directory / "config.yaml" if directory is not None else None)
    if path is None:
        return {}
    values = dict(read_yaml(path))
    if "recipe" in values:
        raise ConfigError(f"{path}: settings of a recipe; run it by: arenaloop run {path}")
    return values


def _named_models(values: dict[str, Any]) -> list[dict[str, Any]]:
    """A file's models, those alone that have a name: what is wrong with the others is said where they are read."""
    models = values.get("models")
    return [one for one in models if isinstance(one, dict) and "name" in one] if isinstance(models, list) else []


def _named(text: str) -> tuple[str, str]:
    name, equals, spec = text.partition("=")
    if not equals or not name or not spec or ":" in name:
        raise ConfigError(f"--model {text}: expected NAME=SPEC, as in --model mine=hf:org/model")
    return name, spec
