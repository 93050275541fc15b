"""What stands on a directory's board already: a battle of others takes nothing off it without being told to."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from arenaloop.config import BattleSettings, read_yaml, validate
from arenaloop.errors import ArenaloopError, ConfigError
from arenaloop.jsonl import read_rows
from arenaloop.regular_files import refuse_others
from arenaloop.terminal import counted

__all__ = ["changed", "leaving", "refuse_leaving"]

_NAMED = 5


def refuse_leaving(out: Path, settings: BattleSettings, prompt_ids: Collection[str]) -> None:
    """Refuse a battle that would take models or prompts off a directory's board.

    Raises:
        ConfigError: names them, and what keeps them or lets them go.
        InputError: what should be a file of results is none.
    """
    if lost := leaving(out, settings, prompt_ids):
        raise ConfigError(
            f"{out}: {'; '.join(lost)}: this battle would take that off its board (nothing stored is lost); keep it "
            "with --add or another --out, or let it go with --replace"
        )


def leaving(out: Path, settings: BattleSettings, prompt_ids: Collection[str]) -> list[str]:
    """What is on a directory's board and would not be after this battle, in words.

    Args:
        out: a run directory, or what is to become one.
        settings: of the battle that is to come.
        prompt_ids: its prompts.
    """
    board, battles = out / "leaderboard.json", out / "battles.jsonl"
    refuse_others([board, battles])
    try:
        on_board = [row["model"] for row in json.loads(board.read_bytes())["leaderboard"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # none yet, or a damaged one: it is written again
    names = {model.name for model in settings.models}
    lost = [model for model in on_board if model not in names]
    told = [f"{counted(len(lost), 'model')} ({_some(lost)})"] if lost else []
    wanted = set(prompt_ids)
    if gone := sum(1 for id_ in _decided_prompts(battles) if id_ not in wanted):
        told.append(f"battles on {counted(gone, 'prompt')}")
    return told


def changed(out: Path, settings: BattleSettings) -> list[str]:
    """Whom a battle's names mean otherwise than the directory's own settings do, in words.

    What is stored of the others stays, under keys of its own.
    """
    config = out / "config.yaml"
    if not config.is_file():
        return []
    try:
        before = validate(BattleSettings, read_yaml(config), str(config))
    except ArenaloopError:
        return []  # damaged, or of another version: they are written again
    specs = {model.name: model.spec for model in before.models}
    told = [
        f"{model.name} was {specs[model.name]} here, and is {model.spec} from now on"
        for model in settings.models
        if specs.get(model.name, model.spec) != model.spec
    ]
    if before.judge.spec and settings.judge.spec and before.judge.spec != settings.judge.spec:
        told.append(f"the judge was {before.judge.spec} here, and is {settings.judge.spec} from now on")
    return told


def _decided_prompts(battles: Path) -> set[str]:
    if not battles.exists():
        return set()
    try:
        return {row["prompt_id"] for _, row in read_rows(battles)}
    except (OSError, ArenaloopError, KeyError, TypeError):
        return set()  # a damaged file: it is written again


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
