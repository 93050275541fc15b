"""Who labels pairs of answers in a recipe: simulated annotators, the truth of a small world, or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from arenaloop.calls.annotating import AnnotationPlan, annotate, estimate_annotations, planned_calls
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.costs import HumanLabel
from arenaloop.calls.estimated import Estimate
from arenaloop.config import AlpacaFarmSettings
from arenaloop.data.formats.training_rows import read_preference
from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import JsonRow, read_rows
from arenaloop.judges.annotators import Pair
from arenaloop.recipes.alpaca_farm_plan import LabelCosts, Labeller, Labels
from arenaloop.recipes.parts import Arena
from arenaloop.specs.annotators import pool, pool_settings
from arenaloop.store import Store
from arenaloop.types import Outcome, Preference, Prompt, Response

__all__ = ["Labelling", "file_pairs", "labeller"]


class Labelling(NamedTuple):
    """A labeller, how many calls so many pairs take at most, and what they will cost."""

    label: Labeller
    calls: Callable[[int], int]
    costs: LabelCosts = lambda _, __, ___: None


def labeller(settings: AlpacaFarmSettings) -> Labelling:
    """Who labels the pairs of a recipe.

    Raises:
        ConfigError: the truth is asked for where it is not known.
    """
    if settings.labels == "file":  # nobody is asked
        return Labelling(lambda _, __: Labels([]), lambda _: 0)
    if settings.labels == "simulated":
        return _simulated(settings)
    if not settings.data.preference.startswith("sandbox:"):
        raise ConfigError("labels: gold is what a small world knows: data.preference must be sandbox:prompts?n=…")
    return Labelling(_gold(settings.seed), lambda _: 0)


def _simulated(settings: AlpacaFarmSettings) -> Labelling:
    chosen = settings.annotators.model_dump(exclude={"pool", "model"}, exclude_none=True)
    model = settings.annotators.model
    given = None if model is None else model.model_dump(exclude_unset=True)
    if given is not None and set(given) == {"spec"}:  # which may be a file's
        given = given["spec"]
    found = pool(pool_settings(settings.annotators.pool, given, chosen), settings.concurrency)
    asked = [model for one in found.members if (model := getattr(one, "model", None)) is not None]
    require_prices(Budget(settings.budget_usd, settings.budget_calls), asked)

    def planned(pairs: Sequence[tuple[Prompt, Response, Response]]) -> AnnotationPlan:
        several = [Pair(prompt, one, other, prompt.last_user) for prompt, one, other in pairs]
        return AnnotationPlan(several, found, settings.seed, concurrency=settings.concurrency)

    def costs(
        pairs: Sequence[tuple[Prompt, Response, Response]], store: Store | None, human: HumanLabel
    ) -> tuple[Estimate, dict[str, Any]]:
        models = {one.name: getattr(one, "model", None) for one in found.members}
        return estimate_annotations(planned(pairs), store, human=human), models

    def label(arena: Arena, pairs: Sequence[tuple[Prompt, Response, Response]]) -> Labels:
        plan = planned(pairs)
        labels = annotate(plan, arena.store, arena.observer.tally, budget=arena.budget)
        preferences, undecided = [], Counter[str]()
        for pair, one in zip(plan.pairs, labels, strict=True):
            if one.preference is None or one.preference == 1.5:
                undecided["ties" if one.preference is not None else one.status.value] += 1
                continue
            chosen, rejected = (pair.one, pair.two) if one.preference < 1.5 else (pair.two, pair.one)
            preferences.append(
                Preference(pair.prompt, chosen.texts, rejected.texts, chosen.model, rejected.model, 1.0, one.verdicts)
            )
        return Labels(preferences, undecided, sum(one.noise for one in labels), planned_calls(plan))

    seats = 2 if found.seat_mode == "both_orders" else 1
    return Labelling(label, lambda pairs: seats * pairs, costs)


def _gold(seed: int) -> Labeller:
    from arenaloop.sandbox.judge import SimulatedHuman

    human = SimulatedHuman(seed, noise=0.0)

    def label(arena: Arena, pairs: Sequence[tuple[Prompt, Response, Response]]) -> Labels:
        preferences = []
        for prompt, one, other in pairs:
            chosen, rejected = (one, other)
            if human(prompt.last_user, one.texts[-1], other.texts[-1]) is Outcome.B:
                chosen, rejected = other, one
            preferences.append(Preference(prompt, chosen.texts, rejected.texts, chosen.model, rejected.model, 1.0, ()))
        return Labels(preferences, Counter())

    return label


def file_pairs(path: str) -> list[JsonRow]:
    """Labelled pairs of a file, in any form of `formats.training_rows`.

    Raises:
        InputError: the file cannot be read, or a row of it is no pair.
    """
    rows = []
    for line, row in read_rows(path):
        try:
            read_preference(row)
        except ValueError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: no rows in it")
    return rows
