"""A recipe that is not through: what it writes when it stops, and what others read of it while it goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from arenaloop.config import RecipeSettings
from arenaloop.errors import StorageError
from arenaloop.judges.jury import Decider
from arenaloop.models.secrets import without_secrets
from arenaloop.recipes.standing import Standing, write_standing
from arenaloop.recipes.under_way import begin
from arenaloop.report import write_report
from arenaloop.specs.recipes.base import Recipe
from arenaloop.store import Store
from arenaloop.terminal import say
from arenaloop.types import content_hash

__all__ = ["begin_recipe", "stop_recipe", "write_recipe_standing"]

_HOW_RUN = {"name", "concurrency", "budget_usd", "budget_calls", "human", "machine"}
"""settings that decide how a recipe is run, and not what comes of it"""


def begin_recipe(recipe: Recipe, built: object, settings: RecipeSettings, store: Store) -> None:
    """Note in the arena file what is to be done."""
    plan = recipe.outline(built)
    begin(store, plan.stages, plan.battles, content_hash(settings.model_dump(mode="json", exclude=_HOW_RUN)))


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
    judges = [one for name in ("judge", "held_out_judge") if (one := getattr(built, name, None)) is not None]
    with suppress(StorageError, OSError):
        store.flush()
        found = write_recipe_standing(settings, judges, store, out, why.partition("; ")[0])
        if found is None:
            return
        report = write_report(out)
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
        say(console, f"report: {report}", style="dim")
