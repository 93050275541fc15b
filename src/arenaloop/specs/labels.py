"""Who labels pairs of answers in a recipe: simulated annotators, the truth of a small world, or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from arenaloop.config import AlpacaFarmSettings
from arenaloop.data.formats.training_rows import read_preference
from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import JsonRow, read_rows
from arenaloop.recipes.alpaca_farm_plan import Labeller, Labels
from arenaloop.recipes.parts import Arena
from arenaloop.types import Outcome, Preference, Prompt, Response, content_hash

__all__ = ["Labelling", "file_pairs", "labeller"]


class Labelling(NamedTuple):
    """A labeller, the hash of what decides its labels, and how many calls so many pairs take at most."""

    label: Labeller
    fingerprint: str
    calls: Callable[[int], int]


def labeller(settings: AlpacaFarmSettings) -> Labelling:
    """Who labels the pairs of a recipe.

    Raises:
        ConfigError: the truth is asked for where it is not known.
    """
    if settings.labels == "file":  # nobody is asked
        return Labelling(lambda _, __: Labels([]), "file", lambda _: 0)
    if not settings.data.preference.startswith("sandbox:"):
        raise ConfigError("labels: gold is what a small world knows: data.preference must be sandbox:prompts?n=…")
    return Labelling(_gold(settings.seed), content_hash("gold labels", settings.seed), lambda _: 0)


def _gold(seed: int) -> Labeller:
    from arenaloop.sandbox.judge import SimulatedHuman

    human = SimulatedHuman(seed, noise=0.0)

    def label(arena: Arena, pairs: Sequence[tuple[Prompt, Response, Response]]) -> Labels:
        preferences = []
        for prompt, one, other in pairs:
            chosen, rejected = (one, other)
            if human(prompt.last_user, one.texts[-1], other.texts[-1]) is Outcome.B:
                chosen, rejected = other, one
            preferences.append(
                Preference(prompt, chosen.texts, rejected.texts, chosen.model, rejected.model, 1.0, ())
            )
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
