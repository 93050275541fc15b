"""A recipe that is not through: what it writes when it stops, and what others read of it while it goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from arenaloop.arena.standing import so_far
from arenaloop.calls.costs import cost_line
from arenaloop.cli.directory import write_settings
from arenaloop.cli.earlier import drop_returned, set_aside
from arenaloop.cli.written_report import written_report
from arenaloop.config import RecipeSettings
from arenaloop.errors import StorageError
from arenaloop.judges.jury import Decider
from arenaloop.models.secrets import without_secrets
from arenaloop.recipes.kept import HOW_RUN
from arenaloop.recipes.reused import weights_of
from arenaloop.recipes.stage import Outline
from arenaloop.recipes.standing import Standing, write_standing
from arenaloop.recipes.under_way import LEADERBOARD, Begun, begin, begun
from arenaloop.regular_files import read_regular
from arenaloop.store import Store
from arenaloop.terminal import counted, say
from arenaloop.types import content_hash

__all__ = ["Before", "begin_recipe", "done_before", "stop_recipe", "write_recipe_standing"]

_HOW_RUN = set(HOW_RUN - {"rating"})
"""settings that decide how a recipe is run, and not what comes of it: who trains a stage changes no board"""
_PROMPTS = ("pool", "test", "validation", "held_out", "preference", "unlabeled", "evaluation")


def begin_recipe(plan: Outline, built: object, settings: RecipeSettings, store: Store, out: Path) -> str | None:
    """Note in the arena file what is to be done, and set a board of other settings aside; where that is, in words."""
    at = begun(store)
    earlier = set_aside(out, "run") if at is not None and at.settings != _decided_by(built, settings) else None
    write_settings(out, settings)
    begin(store, plan.stages, plan.battles, _decided_by(built, settings))
    return earlier


def _decided_by(built: object, settings: RecipeSettings) -> str:
    """Hash of what decides a recipe's results, as far as it is known before a server or a hub is asked."""
    prompts = {name: [one.id for one in getattr(built, name, None) or ()] for name in _PROMPTS}
    return content_hash(settings.model_dump(mode="json", exclude=_HOW_RUN), prompts)


class Before(NamedTuple):
    """What earlier invocations have done with the same settings.

    Attributes:
        through: names of what is.
        told: the same in words.
        finished: all is through and every battle decided.
    """

    through: Collection[str] = ()
    told: str = ""
    finished: bool = False


def done_before(plan: Outline, built: object, settings: RecipeSettings, store: Store | None, out: Path) -> Before:
    """How far a directory's recipe is already."""
    at = None if store is None else begun(store)
    if store is None or at is None or at.settings != _decided_by(built, settings):
        return Before()
    done = _with_weights(plan, at, store, out)
    if not done:
        return Before()
    if LEADERBOARD not in at.through or at.through.intersection(plan.stages) - {*done}:
        told = f"{len(done)} of {counted(len(plan.stages), 'stage')} are through"
        return Before(done, told)
    battles = "all battles"
    with suppress(OSError, ValueError, LookupError, TypeError):
        summary = json.loads(read_regular(out / "summary.json"))
        decided, wanted = int(summary["battles_decided"]), int(summary["battles_wanted"])
        if decided < wanted:
            return Before(
                at.through, f"all stages are through, {so_far(decided, wanted)}: what is undecided is asked again"
            )
        battles = f"all {counted(wanted, 'battle')}"
    stages = f"all {counted(len(plan.stages), 'stage')} through"
    return Before(at.through, f"{stages} · {battles} decided · nothing to ask", finished=True)


def _with_weights(plan: Outline, at: Begun, store: Store, out: Path) -> list[str]:
    """The stages that are through and whose weights are still those, up to the first that is to be worked again."""
    keys = {part.name: part.key for part in at.parts if part.finished}
    done: list[str] = []
    for name in (one for one in plan.stages if one in keys):  # a guard may have ended the training before the others
        stored = store.stage(name, keys[name])
        if stored is None or stored.get("checkpoint") != weights_of(out / "checkpoints" / name):
            break
        done.append(name)
    return done


def _judges(built: object) -> list[Decider]:
    """The judges of a recipe, who decides the leaderboard first."""
    return [one for name in ("judge", "held_out_judge") if (one := getattr(built, name, None)) is not None]


def write_recipe_standing(
    settings: RecipeSettings, judges: Sequence[Decider], store: Store, out: Path, why: str
) -> Standing | None:
    """Write the result files of a recipe as it stands; None where nothing was noted of it."""
    rating = getattr(settings, "rating", None)
    return write_standing(
        store,
        out,
        judges,
        why,
        anchor=getattr(settings, "anchor", None),
        rating=None if rating is None else rating.options(settings.seed),
    )


def stop_recipe(
    built: object, settings: RecipeSettings, store: Store, out: Path, stop: BaseException, *, as_json: bool
) -> None:
    """Write all result files of a recipe that stops, the report too, and print how it stands.

    The stop itself is said by others; a disk that is full takes nothing more.
    """
    if isinstance(stop, StorageError):
        return
    why = without_secrets(" ".join(str(stop).split())) or "interrupted"
    judges = _judges(built)
    with suppress(StorageError, OSError):
        store.flush()
        found = write_recipe_standing(settings, judges, store, out, why.partition("; ")[0])
        if found is None:
            return
        report = written_report(out, found.leaderboard.battles)
        drop_returned(out)
        if as_json:
            sys.stdout.write(json.dumps(found.summary, indent=2) + "\n")
            return
        console = Console()
        if found.leaderboard.battles:
            found.leaderboard.show(console)
            for note in found.leaderboard.notes:
                say(console, f"note: {note}", fold=True)
        else:
            say(console, found.told, fold=True)
        used = store.usage()
        cost = cost_line(used.calls, used.tokens_in + used.tokens_out, used.usd, used.usd_estimated)
        say(console, f"so far {cost}", style="dim", fold=True)
        say(console, report, style="dim")
