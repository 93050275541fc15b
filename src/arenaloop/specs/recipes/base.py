"""A recipe as the command line knows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.config import RecipeSettings
from arenaloop.judges.jury import Decider
from arenaloop.recipes.costs import Costs
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.stage import Outline, Result
from arenaloop.store import Store

__all__ = ["Recipe", "Table"]


class Table(NamedTuple):
    """What a terminal shows as a table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Recipe:
    """What a recipe is made, planned and run by; ``sandbox/demos/NAME.yaml`` are its settings in the small world.

    Attributes:
        about: one line.
        settings: what its file holds.
        build: (settings, run directory, whether only the plan is wanted) → everything that it works on. Refuses what
            cannot run to its end, and writes nothing.
        outline: what was built → what it will do.
        stages: settings → the names of the stages that train a model, in order; others can be adopted into none.
        explain: settings → tables that say how they differ from what the recipe's paper or its code has.
        run: (what was built, arena file, run directory, observer) → the result; also resumes.
        judges: settings → who decides its battles, the leaderboard's first; so that what was fought can be read back
            before it is through.
        costs: (what was built, run directory, arena file if there is one, whether to load and time the start, names of
            the stages that are through) → what it will ask, compute and pay; None of a recipe that says no more than
            its outline.
    """

    about: str
    settings: type[RecipeSettings]
    build: Callable[[Any, Path, bool], Any]
    outline: Callable[[Any], Outline]
    run: Callable[[Any, Store, Path, Observer], Result]
    stages: Callable[[Any], Sequence[str]] = lambda settings: ()
    judges: Callable[[Any], Sequence[Decider]] = lambda settings: ()
    costs: Callable[[Any, Path, Store | None, bool, Collection[str]], Costs] | None = None
    explain: Callable[[Any], Sequence[Table]] | None = None
