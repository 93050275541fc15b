"""What stands on a directory's board already: a battle of others takes nothing off it without being told to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from arenaloop.arena.adaptive import chosen_battles
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.config import BattleSettings, read_yaml, validate
from arenaloop.errors import ArenaloopError, ConfigError
from arenaloop.jsonl import read_rows
from arenaloop.regular_files import refuse_others
from arenaloop.store import Store
from arenaloop.terminal import counted

__all__ = ["changed", "leaving", "refuse_leaving", "undecides"]

_NAMED = 5
_ROW = ("prompt_id", "model_a", "model_b")
_RULES = ("pairs", "seats", "merge", "one_seat_failed", "own_failure", "seed")
_DRAWN = ("sample", "calls", "optimal")
_JUDGED_BY = (
    "spec",
    "template",
    "criteria",
    "verdict",
    "deciding_label",
    "label_mass",
    "prefill",
    "reference",
    "sampling",
)
"""Settings of a judge that are part of its verdicts' keys: with another value all is asked again."""
_HOW_ASKED = {"budget_usd", "budget_calls", "concurrency", "engine", "workers", "batch", "human"}
"""Settings that no battle depends on."""


def refuse_leaving(out: Path, settings: BattleSettings, plan: BattlePlan) -> None:
    """Refuse a battle that would take models, prompts, battles or verdicts off a directory's board.

    Raises:
        ConfigError: names them, and what keeps them or lets them go.
        InputError: what should be a file of results is none.
    """
    lost, keeps = leaving(out, settings, plan)
    if lost:
        raise ConfigError(
            f"{out}: {'; '.join(lost)}: this battle would take that off its board (nothing stored is lost); keep it "
            f"with {keeps} or another --out, or let it go with --replace"
        )


def leaving(out: Path, settings: BattleSettings, plan: BattlePlan) -> tuple[list[str], str]:
    """What is on a directory's board and would not be after this battle.

    Args:
        out: a run directory, or what is to become one.
        settings: of the battle that is to come.
        plan: likewise.

    Returns:
        What would leave, in words, and which flags keep it.
    """
    board, battles = out / "leaderboard.json", out / "battles.jsonl"
    refuse_others([board, battles])
    try:
        on_board = [row["model"] for row in json.loads(board.read_bytes())["leaderboard"]]
    except (OSError, ValueError, KeyError, TypeError):
        return [], ""  # none yet, or a damaged one: it is written again
    names = {str(model.name) for model in settings.models}
    lost = [model for model in on_board if model not in names]
    told = [f"{counted(len(lost), 'model')} ({_some(lost)})"] if lost else []
    wanted, before = set(plan.prompt_ids), _before(out)
    if gone := len({row["prompt_id"] for row in _decided(battles)} - wanted):
        told.append(f"battles on {counted(gone, 'prompt')}")
    changes = [] if before is None else _differ(before, settings)
    as_before = not {"pairs", "seed"} & {*changes} and not ("calls" in settings.pairs and "seats" in changes)
    if as_before and (words := _redrawn(battles, names, before, settings, plan)):
        return [*told, words], f"--pairs all, or by --reuse {out} with another --out (what is there is not asked)"
    if before is None or not changes:
        return told, "--add or another --out"
    stay = [
        row
        for row in _decided(battles)
        if row["prompt_id"] in wanted and row["model_a"] in names and row["model_b"] in names
    ]
    by_rule = {name: words for name, words in _by_rules(stay, before, settings, plan).items() if words}
    told += [f"{words} ({_was(name, before, settings)})" for name, words in by_rule.items()]
    flags = " and ".join("--" + name.replace("_", "-") for name in by_rule)
    return told, f"--add{' without ' if flags else ''}{flags} or another --out"


def changed(out: Path, settings: BattleSettings) -> list[str]:
    """What a battle's names and rules mean otherwise than the directory's own settings do, in words.

    What is stored of the others stays, under keys of its own.
    """
    if (before := _before(out)) is None:
        return []
    specs = {model.name: model.spec for model in before.models}
    told = [
        f"{model.name} was {specs[model.name]} here, and is {model.spec} from now on"
        for model in settings.models
        if specs.get(model.name, model.spec) != model.spec
    ]
    if before.judge.spec and settings.judge.spec:
        for name in _differ(before.judge, settings.judge, _JUDGED_BY):
            what = "the judge" if name == "spec" else f"the judge's {name}"
            told.append(f"{_was(name, before.judge, settings.judge, what)} from now on")
    return told + [f"{_was(name, before, settings)} from now on" for name in _differ(before, settings)]


def undecides(out: Path, settings: BattleSettings, plan: BattlePlan, store: Store, *, replace_: bool) -> bool:
    """Whether a battle on a directory's board is not decided by other settings, as the arena file stands.

    Losses by own failure, which no judge saw, do not count.

    Args:
        replace_: whether battles may leave the board, which they do with the same settings where a file has changed.
    """
    before = _before(out)
    if before is not None and not replace_:
        old, new = (one.model_dump(exclude=_HOW_ASKED) for one in (before, settings))
        if old == new:
            return False
    rows = (row for row in _decided(out / "battles.jsonl") if row.get("own_failure") is None)
    left = {hash((row["prompt_id"], *sorted((row["model_a"], row["model_b"])))) for row in rows}
    if left and plan.schedule.wanted is not None:
        plan = replace(plan, schedule=chosen_battles(plan, store))
    for one in pairings(plan, store) if left else ():
        if one.winners:
            left.discard(hash((one.prompt_id, *sorted((one.model_a, one.model_b)))))
    return bool(left)


def _before(out: Path) -> BattleSettings | None:
    """A directory's own settings; None where there are none, or none that can be read: they are written again."""
    config = out / "config.yaml"
    if not config.is_file():
        return None
    try:
        return validate(BattleSettings, read_yaml(config), str(config))
    except ArenaloopError:
        return None  # damaged, or of another version


def _differ(before: Any, now: Any, names: tuple[str, ...] = _RULES) -> list[str]:
    return [name for name in names if getattr(before, name) != getattr(now, name)]


def _was(name: str, before: Any, now: Any, what: str = "") -> str:
    old, new = (_told(getattr(settings, name)) for settings in (before, now))
    return f"{what or name} was {old} here, and is {new}"


def _told(value: Any) -> str:
    if hasattr(value, "model_dump"):
        return ", ".join(f"{key} {one}" for key, one in value.model_dump().items() if one not in (None, ()))
    return (", ".join(value) or "none") if isinstance(value, tuple) else f"{value}"


def _by_rules(
    stay: list[Mapping[str, Any]], before: BattleSettings, now: BattleSettings, plan: BattlePlan
) -> dict[str, str]:
    """What other rules take off the board of battles whose models and prompts stay: by the rule's name, in words.

    A loss by own failure has no verdict that could leave: `changed` tells of its rule.
    """
    told: dict[str, str] = {}
    changes, members = _differ(before, now), max(1, len(before.judge.jury))
    keys: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in stay:
        keys[row["prompt_id"], row["model_a"], row["model_b"]] += row["verdicts"]
    judged = {battle: some for battle, some in keys.items() if some}
    drawn = now.pairs.startswith(_DRAWN)
    if "pairs" in changes or (drawn and ("seed" in changes or ("calls" in now.pairs and "seats" in changes))):
        told["pairs" if "pairs" in changes else "seed" if "seed" in changes else "seats"] = _unpaired(
            keys, before, now, plan
        )
    if "seats" in changes and now.seats == "seeded":
        both = sum(len(set(some)) > members for some in judged.values())
        told["seats"] = f"the verdicts from one seat of {counted(both, 'battle')}" if both else ""
    elif "seed" in changes and now.seats == "seeded":
        drawn_before = replace(plan, seed=before.seed)
        other = sum(drawn_before.sits_first(id_, (a, b)) != plan.sits_first(id_, (a, b)) for id_, a, b in judged)
        told["seed"] = told.get("seed") or (f"the verdicts of {counted(other, 'battle')}" if other else "")
    elif (
        before.seats == now.seats == "both"
        and now.merge != "two_battles"
        and now.one_seat_failed == "drop_battle"
        and {"merge", "one_seat_failed"} & {*changes}
    ):
        alone = sum(len(some) <= members for some in judged.values())
        rule = "one_seat_failed" if "one_seat_failed" in changes else "merge"
        told[rule] = f"{counted(alone, 'battle')} that one seat decided" if alone else ""
    return told


def _redrawn(
    battles: Path, names: set[str], before: BattleSettings | None, now: BattleSettings, plan: BattlePlan
) -> str:
    """The battles that leave because the same rule draws other pairs from other models or prompts, in words."""
    if not now.pairs.startswith(_DRAWN):
        return ""
    gone = 0
    if plan.schedule.wanted is None:
        wanted = set(plan.prompt_ids)
        for prompt_id, a, b in {tuple(row[key] for key in _ROW) for row in _decided(battles)}:
            stays = prompt_id in wanted and {a, b} <= names
            gone += stays and {a, b} not in [{*pair} for pair in plan.schedule.on(prompt_id)]
    elif before is not None and (names, now.prompts, now.limit) != (
        {model.name for model in before.models},
        before.prompts,
        before.limit,
    ):
        gone = sum({row["model_a"], row["model_b"]} <= names for row in _decided(battles))
    most = "up to " if plan.schedule.wanted is not None else ""
    return f"{most}{counted(gone, 'battle')} (pairs {now.pairs} are drawn anew from all models)" if gone else ""


def _unpaired(
    battles: Mapping[tuple[str, str, str], Any], before: BattleSettings, now: BattleSettings, plan: BattlePlan
) -> str:
    """The battles on the board that are not among a plan's, in words."""
    if (wanted := plan.schedule.wanted) is not None:  # chosen as verdicts come in
        goes_on = before.pairs.startswith("optimal") and before.seed == now.seed
        most = max(0, len(battles) - wanted) if goes_on else len(battles)
        return f"up to {counted(most, 'battle')}" if most else ""
    gone = sum({a, b} not in [{*pair} for pair in plan.schedule.on(prompt_id)] for prompt_id, a, b in battles)
    return counted(gone, "battle") if gone else ""


def _decided(battles: Path) -> Iterator[Mapping[str, Any]]:
    """A board's rows, as far as they can be read; a damaged file is written again."""
    if not battles.exists():
        return
    try:
        for _, row in read_rows(battles):
            if not isinstance(row["verdicts"], list) or not all(isinstance(row[key], str) for key in _ROW):
                return
            yield row
    except (OSError, ArenaloopError, KeyError, TypeError):
        return


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
