"""Who labels pairs of answers in a recipe: simulated annotators, the truth of a small world, or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.calls.annotating import AnnotationPlan, annotate, estimate_annotations, planned_calls
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.costs import HumanLabel
from arenaloop.calls.estimated import Estimate
from arenaloop.config import AlpacaFarmSettings
from arenaloop.config.recipes.alpaca_farm import FarmAnnotatorSettings
from arenaloop.data.formats.labels import read_labels, split_filter
from arenaloop.data.formats.pairs import seed_key
from arenaloop.data.formats.training_rows import read_preference
from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import JsonRow
from arenaloop.judges.annotators import Pair, Pool
from arenaloop.judges.jury import Decider
from arenaloop.judges.pooled import PooledLabels
from arenaloop.ratings.cells import LeftOut
from arenaloop.recipes.alpaca_farm_material import GivenPairs
from arenaloop.recipes.alpaca_farm_plan import LabelCosts, Labeller, Labels
from arenaloop.recipes.parts import Arena
from arenaloop.specs.annotators import pool, pool_settings
from arenaloop.specs.judges import judge
from arenaloop.store import Store
from arenaloop.tables import file_error, table_rows
from arenaloop.types import Outcome, Preference, Prompt, Response

__all__ = ["Labelling", "evaluator", "file_pairs", "labeller"]


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


def evaluator(settings: AlpacaFarmSettings) -> Decider:
    """Who decides a recipe's evaluation battles: its judge, or a pool of annotators in its place.

    Raises:
        ConfigError: as in `judge` and `pool`; the budget is in dollars, and the price of an annotator is not known.
    """
    if settings.evaluators is None:
        return judge(settings.judge.with_concurrency(settings.concurrency))
    found = _pool(settings, settings.evaluators)
    if found.noise_model == "difficulty" and found.p_label_flip:
        raise ConfigError(
            "judge annotators: noise_model difficulty ranks pairs among each other, so what is said of one policy "
            "would depend on its other answers: uniform_flip or length"
        )
    return PooledLabels(found, settings.seed)


def _pool(settings: AlpacaFarmSettings, asked: FarmAnnotatorSettings) -> Pool:
    model = None if asked.model is None else asked.model.model_dump(exclude_unset=True)
    if model is not None and set(model) == {"spec"}:  # which may be a file's
        model = model["spec"]
    found = pool(pool_settings(asked.pool, model, asked.changes()), settings.concurrency)
    models = [model for one in found.members if (model := getattr(one, "model", None)) is not None]
    require_prices(Budget(settings.budget_usd, settings.budget_calls), models)
    return found


def _simulated(settings: AlpacaFarmSettings) -> Labelling:
    found = _pool(settings, settings.annotators)

    def planned(pairs: Sequence[tuple[Prompt, Response, Response]]) -> AnnotationPlan:
        several = [Pair(prompt, one, other, seed_key(prompt, {})) for prompt, one, other in pairs]
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
        return Labels(
            preferences, undecided, sum(one.noise and one.preference is not None for one in labels), planned_calls(plan)
        )

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


def file_pairs(text: str) -> GivenPairs:
    """Labelled pairs of ``FILE`` or ``FILE#column=value``: training rows with ``chosen`` and ``rejected``, or labels.

    Training rows are those of `formats.training_rows` (UltraFeedback's, HH's), label files those of `formats.labels`
    (AlpacaFarm's, Chatbot Arena's); of a soft label its probability stands in ``preference``.

    Raises:
        ConfigError: the sandbox has no such file.
        InputError: the file cannot be read, too many rows of it are no pairs, or none names a better answer.
    """
    if text.startswith("sandbox:"):
        raise ConfigError(f"labels: file reads labelled pairs: data.preference must be a file, not {text}")
    path, where = split_filter(text)
    if where or "chosen" not in next(table_rows(Path(path)), (0, {}))[1]:
        return _of_labels(path, where)
    rows: list[JsonRow] = []
    bad, read = LeftOut("a labelled pair"), 0
    for line, row in table_rows(Path(path)):
        read += 1
        try:
            read_preference(row)
        except ValueError as error:
            bad.add(str(error), f"line {line}")
        else:
            rows.append(row)
    try:
        notes = bad.notes(read)
    except ValueError as error:
        raise file_error(Path(path), error) from None
    if not rows:
        raise InputError(f"{path}: no labelled pairs in it")
    return GivenPairs(rows, notes)


def _of_labels(path: str, where: Mapping[str, str]) -> GivenPairs:
    labels = read_labels(path, where)
    rows: list[JsonRow] = []
    undecided = Counter[str]()
    for label in labels:
        if label.preference is None or label.preference == 1.5:
            undecided["failed" if label.preference is None else "ties"] += 1
            continue
        one, two = label.outputs if label.preference < 1.5 else label.outputs[::-1]
        sure, given = abs(label.preference - 1.5) + 0.5, len(label.prompt.messages)
        rows.append(
            {
                "prompt": [dict(turn) for turn in label.prompt.messages],
                "chosen": label.prompt.conversation(one)[given:],
                "rejected": label.prompt.conversation(two)[given:],
                **({} if sure == 1.0 else {"preference": sure}),
            }
        )
    told = ", ".join(f"{n:,} {what}" for what, n in undecided.items())
    if not rows:
        raise InputError(f"{path}: no label names a better answer" + (f" ({told})" if told else ""))
    return GivenPairs(rows, [*labels.notes, *([f"{path}: {told} left out"] if told else [])])
