"""A run directory as it can be read now: its result files, or what they would be if it stopped at this moment.

A run that is going on, or whose process was killed, has no results, or those of an earlier stop. Its settings and its
arena file say everything that results are made of; the arena file is only read, and its writer goes on.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from arenaloop.cli.directory import ARENA, PROGRESS
from arenaloop.errors import InputError, StorageError, UserError
from arenaloop.store.lock import being_written
from arenaloop.terminal import say

if TYPE_CHECKING:
    from arenaloop.arena.plan import BattlePlan
    from arenaloop.store import Store

__all__ = ["GOING_ON", "complete", "is_under_way", "readable", "write_as_it_stands", "write_stopped"]

GOING_ON, CUT_OFF = "it is going on", "its process was cut off"

_RESULTS = ("battles.jsonl", "leaderboard.json", "summary.json")


def is_under_way(directory: Path) -> bool:
    """Whether a directory holds a battle or a recipe that is going on, or that ended without results.

    A run that was killed leaves what it said of its progress: results beside that are those of an earlier stop.
    """
    arena, config = directory / ARENA, directory / "config.yaml"
    if not (directory.is_dir() and arena.is_file() and config.is_file()):
        return False
    whole = all((directory / name).is_file() for name in _RESULTS) and not (directory / PROGRESS).is_file()
    if whole and not being_written(arena):
        return False
    from arenaloop.config import read_yaml

    values = read_yaml(config)
    return "models" in values if "recipe" not in values else _noted(arena)


def _noted(arena: Path) -> bool:
    """Whether a recipe has noted in its arena file how far it is; those of earlier versions did not."""
    from arenaloop.recipes.under_way import begun
    from arenaloop.store import Store

    with Store(arena, readonly=True) as store:
        return begun(store) is not None


def write_as_it_stands(directory: Path, out: Path) -> str:
    """Write the results of a run that is not through into `out`; how far it is, in words.

    Raises:
        InputError: its settings do not tell any more what was to battle: a file of it is not found from here, say.
    """
    from arenaloop.config import read_yaml
    from arenaloop.specs.models import planned_only

    config = directory / "config.yaml"
    values = read_yaml(config)
    try:
        with planned_only():  # nobody is asked: no key need be set
            return (_recipe if "recipe" in values else _battle)(directory, out, values)
    except UserError as error:
        raise InputError(
            f"{directory}: the run is not through, and what was to battle cannot be told from here ({error}): look at "
            "it from the directory in which it was begun"
        ) from None


def _battle(directory: Path, out: Path, values: dict[str, Any]) -> str:
    from arenaloop.arena.standing import so_far, write_standing
    from arenaloop.cli.battle_run import plan_of
    from arenaloop.config import BattleSettings, validate
    from arenaloop.store import Store

    plan = plan_of(validate(BattleSettings, values, str(directory / "config.yaml")))
    with Store(directory / ARENA, readonly=True) as store:
        found, _ = write_standing(plan, store, out, _why(directory))
    return so_far(found.summary.decided, found.summary.wanted)


def _recipe(directory: Path, out: Path, values: dict[str, Any]) -> str:
    from arenaloop.cli.recipe_standing import write_recipe_standing
    from arenaloop.config import validate
    from arenaloop.specs.recipes import recipe_named
    from arenaloop.store import Store

    source = str(directory / "config.yaml")
    recipe = recipe_named(values["recipe"], source)
    settings = validate(recipe.settings, values, source)
    with Store(directory / ARENA, readonly=True) as store:
        found = write_recipe_standing(settings, recipe.judges(settings), store, out, _why(directory))
    assert found is not None, "only what has noted how far it is is read so"
    return found.told


def write_stopped(
    plan: BattlePlan,
    store: Store,
    out: Path,
    stop: BaseException,
    messages: Console,
    anchor: tuple[str, float] | None = None,
    **more: Any,
) -> None:
    """Write what a rejudging that stops has so far, and say how far it is; a disk that is full takes nothing more.

    Args:
        more: further fields of the summary.
    """
    from arenaloop.arena.standing import so_far, write_standing
    from arenaloop.models.secrets import without_secrets
    from arenaloop.store.counts import judge_usage

    if isinstance(stop, StorageError):
        return
    why = without_secrets(" ".join(str(stop).split())) or "interrupted"
    with suppress(StorageError, OSError):
        store.flush()
        paid = judge_usage(store, [judge.fingerprint for judge in plan.judges])._asdict()
        found, _ = write_standing(plan, store, out, why.partition("; ")[0], anchor=anchor, **paid, **more)
        say(messages, f"{out}: {so_far(found.summary.decided, found.summary.wanted)}", fold=True)


def _why(directory: Path) -> str:
    return GOING_ON if being_written(directory / ARENA) else CUT_OFF


@contextmanager
def readable(directory: Path, messages: Console | None = None) -> Iterator[Path]:
    """A directory that holds a run's results: itself, or a passing one, of a run that is not through.

    Args:
        directory: anything; what is no run under way is given back as it is.
        messages: where a line says how far the run is.

    Raises:
        InputError: as of `write_as_it_stands`.
    """
    if not is_under_way(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="arenaloop-") as folder:
        there = Path(folder) / (directory.resolve().name or "run")
        there.mkdir()
        (there / ARENA).symlink_to((directory / ARENA).resolve())
        shutil.copyfile(directory / "config.yaml", there / "config.yaml")
        if (directory / "data").is_dir():
            (there / "data").symlink_to((directory / "data").resolve())
        told = write_as_it_stands(directory, there)
        if messages is not None:
            say(messages, f"note: {directory} is not through: {told}", fold=True)
        try:
            yield there
        except UserError as error:  # it names the passing directory, which nobody knows
            error.args = tuple(str(told).replace(str(there), str(directory)) for told in error.args)
            raise


def complete(directory: Path) -> None:
    """Give a run that was cut off the results that it would have written; what is whole stays as it is.

    Raises:
        InputError: it is going on, or as of `write_as_it_stands`.
    """
    if not is_under_way(directory):
        return
    if being_written(directory / ARENA):
        raise InputError(
            f"{directory}: the run is going on, and one process writes at a time: stop it (Ctrl-C; its command goes on "
            "later), or wait"
        )
    write_as_it_stands(directory, directory)
    (directory / PROGRESS).unlink(missing_ok=True)
