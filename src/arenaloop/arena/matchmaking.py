"""Which pairs battle on which prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from arenaloop.errors import ConfigError, nearest
from arenaloop.types import derive_seed

__all__ = ["Pair", "Schedule", "all_pairs", "schedule", "target_pairs"]

Pair = tuple[str, str]


def all_pairs(names: Sequence[str]) -> list[Pair]:
    """Every unordered pair once, in the order of `names`."""
    return list(combinations(names, 2))


def target_pairs(names: Sequence[str], target: str) -> list[Pair]:
    """The target against each of the others."""
    return [(target, name) for name in names if name != target]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which pairs battle on each prompt.

    Attributes:
        pairs: the pairs in play.
        chosen: for a sampled schedule, the indices into `pairs` by prompt id; None when every pair meets on every
            prompt.
    """

    pairs: tuple[Pair, ...]
    chosen: dict[str, tuple[int, ...]] | None = None

    def on(self, prompt_id: str) -> Sequence[Pair]:
        """The pairs that battle on one prompt."""
        if self.chosen is None:
            return self.pairs
        return [self.pairs[i] for i in self.chosen.get(prompt_id, ())]

    def battles(self, prompts: int) -> int:
        """How many battles there are on `prompts` prompts."""
        if self.chosen is None:
            return len(self.pairs) * prompts
        return sum(len(some) for some in self.chosen.values())


def schedule(mode: str, names: Sequence[str], prompt_ids: Sequence[str], seed: int) -> Schedule:
    """Read ``all``, ``target:NAME`` or ``sample:N`` into a schedule.

    Args:
        mode: ``all`` pairs on all prompts, one ``target`` against each other model, or ``sample``: N battles drawn
            uniformly, without repetition, from all pairs on all prompts.
        names: the contestants.
        prompt_ids: the prompts; sampling depends on their set, not on their order.
        seed: the run's seed.

    Raises:
        ConfigError: an unknown mode or target, or a number of battles that is not positive.
    """
    kind, _, value = mode.partition(":")
    if kind == "all" and not value:
        return Schedule(tuple(all_pairs(names)))
    if kind == "target":
        if value not in names:
            raise ConfigError(f"--pairs {mode}: no model named {value!r}{nearest(value, list(names))}")
        return Schedule(tuple(target_pairs(names, value)))
    if kind == "sample":
        if not (value.isascii() and value.isdigit()) or int(value) < 1:
            raise ConfigError(f"--pairs {mode}: sample needs a number of battles, as in sample:1000")
        pairs = tuple(all_pairs(names))
        ids = sorted(prompt_ids)
        total = len(pairs) * len(ids)
        drawn = random.Random(derive_seed("sample", seed)).sample(range(total), min(int(value), total))
        chosen: dict[str, list[int]] = {}
        for unit in sorted(drawn):
            chosen.setdefault(ids[unit // len(pairs)], []).append(unit % len(pairs))
        return Schedule(pairs, {key: tuple(some) for key, some in chosen.items()})
    raise ConfigError(f"--pairs {mode}: expected all, target:NAME or sample:N")
