"""`arenaloop merge`: the arena files of several directories in one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arenaloop.errors import ArenaloopError, ConfigError, InputError

if TYPE_CHECKING:
    from arenaloop.config import BattleSettings

__all__ = ["arena_of", "merge", "refuse_unmergeable"]


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The directory that gets all rows; made if need be.")],
    directories: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Run directories, or arena files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON document.")] = False,
) -> None:
    """Merge run directories: every answer, verdict and judgement, each once, with all attempts and what they cost.

    The others are only read. Merging a directory again adds what it has got meanwhile. Checkpoints and stages of
    recipes stay where they are. Where the directories hold battles that differ in their models alone, OUT gets the
    settings of the battle of them all.

    Examples:

        arenaloop merge runs/all runs/monday runs/tuesday

        arenaloop battle runs/all/config.yaml
    """
    from rich.console import Console

    from arenaloop.cli.directory import open_directory, write_settings
    from arenaloop.store import Store
    from arenaloop.store.merge import merge as added
    from arenaloop.terminal import say

    console = Console(stderr=as_json)
    for directory in directories:
        refuse_unmergeable(directory, out)
    settings, why = _joined([*directories, out])
    document: dict[str, Any] = {"out": str(out), "merged": []}
    with open_directory(out) as store:
        for directory in directories:
            with Store(arena_of(directory), readonly=True) as other:
                merged = added(store, other)
            document["merged"].append({"directory": str(directory), "added": merged.added, "there": merged.there})
            say(console, f"{directory}: {merged.told()}", fold=True)
    if settings is not None:
        write_settings(out, settings)
        say(console, f"the battle of all {len(settings.models)} models: arenaloop battle {out / 'config.yaml'}")
    else:
        say(console, f"note: {out} gets no settings of a battle: {why}", fold=True)
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")


def arena_of(directory: Path) -> Path:
    """The arena file of a run directory, or the file itself."""
    return directory if directory.is_file() else directory / "arena.db"


def refuse_unmergeable(directory: Path, out: Path) -> None:
    """Refuse a directory whose rows cannot be taken into another.

    Raises:
        ConfigError: it is the other one, or has batches on their way, whose answers it alone can collect.
        InputError: it has no arena file.
    """
    from arenaloop.calls.batch.state import open_batches
    from arenaloop.store import Store

    arena = arena_of(directory)
    if not arena.exists():
        raise InputError(f"{directory}: no run directory (it has no arena.db)")
    if arena.resolve() == arena_of(out).resolve():
        raise ConfigError(f"{directory}: is the directory itself that is to get the others' rows")
    with Store(arena, readonly=True) as store:
        if batches := open_batches(store):
            raise ConfigError(
                f"{directory}: {len(batches)} of its batches are not collected yet; collect them there first"
            )


def _joined(directories: Sequence[Path]) -> tuple[BattleSettings | None, str]:
    """The settings of one battle of all directories' models; or why there is none."""
    from arenaloop.config import BattleSettings, read_yaml, validate

    joined: dict[str, Any] | None = None
    for directory in directories:
        config = arena_of(directory).with_name("config.yaml")
        if not config.exists():
            if directory is directories[-1]:
                continue  # the target has none yet
            return None, f"{directory} has none"
        try:
            values = validate(BattleSettings, read_yaml(config), str(config)).model_dump(mode="json")
        except ArenaloopError as error:
            return None, f"{config} is not that of a battle ({error})"
        if joined is None:
            joined = values
            continue
        if odd := [name for name in values if name not in ("models", "limit") and values[name] != joined[name]]:
            return None, f"{config} differs in {', '.join(odd)}"
        joined["limit"] = None if None in (joined["limit"], values["limit"]) else max(joined["limit"], values["limit"])
        models = {model["name"]: model for model in joined["models"]}
        for model in values["models"]:
            if models.setdefault(model["name"], model) != model:
                return None, f"{config} has another {model['name']}"
        joined["models"] = list(models.values())
    return (None, "there is none") if joined is None else (validate(BattleSettings, joined, "merge"), "")
