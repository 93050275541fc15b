"""Which pairs battle on which prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from arenaloop.errors import ConfigError, nearest
from arenaloop.ratings.design import balanced
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
        wanted: for a schedule that is chosen while battles are fought (`adaptive.play_adaptively`), how many there
            shall be; `chosen` is what there is so far.
    """

    pairs: tuple[Pair, ...]
    chosen: dict[str, tuple[int, ...]] | None = None
    wanted: int | None = None

    @classmethod
    def of(cls, pairs: Sequence[Pair], battles: Iterable[tuple[Pair, str]]) -> Schedule:
        """A schedule of single battles: a pair (its models in either order) and a prompt id each."""
        index = {frozenset(pair): n for n, pair in enumerate(pairs)}
        chosen: dict[str, list[int]] = {}
        for pair, prompt_id in battles:
            chosen.setdefault(prompt_id, []).append(index[frozenset(pair)])
        return cls(tuple(pairs), {key: tuple(sorted(some)) for key, some in chosen.items()})

    def on(self, prompt_id: str) -> Sequence[Pair]:
        """The pairs that battle on one prompt."""
        if self.chosen is None:
            return self.pairs
        return [self.pairs[i] for i in self.chosen.get(prompt_id, ())]

    def battles(self, prompts: int) -> int:
        """How many battles there are on `prompts` prompts (or shall be)."""
        if self.wanted is not None:
            return min(self.wanted, len(self.pairs) * prompts)
        if self.chosen is None:
            return len(self.pairs) * prompts
        return sum(len(some) for some in self.chosen.values())


def schedule(
    mode: str, names: Sequence[str], prompt_ids: Sequence[str], seed: int, *, calls_per_battle: int = 2
) -> Schedule:
    """Read ``all``, ``target:NAME``, ``sample:N`` or ``optimal:N`` into a schedule.

    N is a number of battles, or ``calls:N``: as many battles as N judge calls pay for, as in ``sample:calls:2000``.

    Args:
        mode: ``all`` pairs on all prompts; one ``target`` against each other model; ``sample``: N battles in which
            every pair and every prompt is used equally often, within one (`ratings.design.balanced`); or ``optimal``: N
            battles that are chosen while they are fought. ``calls:N`` alone is ``sample:calls:N``.
        names, prompt_ids: the contestants and prompts; sampling depends on their sets, not on their order.
        calls_per_battle: judge calls of one battle: two for each judge.

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
    if kind == "calls":
        kind, value = "sample", mode
    if kind in ("sample", "optimal"):
        wanted = _battles(mode, kind, value, calls_per_battle)
        if kind == "optimal":
            return Schedule(tuple(all_pairs(names)), {}, wanted)
        return _sample(names, prompt_ids, wanted, seed)
    raise ConfigError(f"--pairs {mode}: expected all, target:NAME, sample:N or optimal:N")


def _battles(mode: str, kind: str, value: str, calls_per_battle: int) -> int:
    """The number of battles that a budget comes to."""
    number = value.removeprefix("calls:")
    if not (number.isascii() and number.isdigit()) or int(number) < 1:
        what = "judge calls, as in calls:2000" if value.startswith("calls") else f"battles, as in {kind}:1000"
        raise ConfigError(f"--pairs {mode}: {kind} needs a number of {what}")
    if number is value:
        return int(number)
    if int(number) < calls_per_battle:
        raise ConfigError(f"--pairs {mode}: a battle takes {calls_per_battle} judge calls")
    return int(number) // calls_per_battle


def _sample(names: Sequence[str], prompt_ids: Sequence[str], battles: int, seed: int) -> Schedule:
    who, ids = sorted(names), sorted(prompt_ids)
    units = balanced(len(who), len(ids), battles, derive_seed("sample", seed))
    return Schedule.of(all_pairs(names), (((who[u.first], who[u.second]), ids[u.prompt]) for u in units))
