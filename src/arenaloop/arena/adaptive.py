"""Battles that are chosen while they are fought: ``--pairs optimal:N``.

Batches: choose, play, read back, fit, choose again. Batches are uniform (a round-robin over pairs, spread over prompts)
until the ratings are reliable; from then on most battles go where they lower the summed variance of the ratings most,
and a share goes on uniformly (`ratings.design` has the rules, ``docs/matchmaking.md`` what they gain and cost).

A batch is stored before its first battle is fought, under the hash of the contestants, prompts, judges and seed. So an
interrupted run goes on with the plan that it had, also where a verdict that had failed is decided later, and a larger N
goes on where a smaller one stopped. Not stored is N itself: the last batch is stored whole, and fought up to N.

An undecided battle is not replaced: it counts against N, and a quarter of a decided one where the next are chosen, so
that a model that fails does not draw the budget to itself. In the ratings it counts nothing, as everywhere. One that a
contestant lost by its own failure is decided here as in the ratings (`own_failure`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple

import numpy as np

from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.budget import Budget
from arenaloop.calls.progress import Tally
from arenaloop.models.recorded import RecordedModel
from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.design import EXPLORE, Design, Unit
from arenaloop.store import Store
from arenaloop.types import content_hash, derive_seed

__all__ = ["Played", "chosen_battles", "play_adaptively"]

_VERSION = 1  # of the rules by which battles are chosen
_PAIRS = "pairs"
"""Room of the notes that hold the chosen batches."""


class Played(NamedTuple):
    """What was chosen and fought.

    Attributes:
        plan: the plan with all its battles in the schedule.
        tally: counts over all batches.
        steered: how many of the battles were chosen by results, the uniform share among them included.
    """

    plan: BattlePlan
    tally: Tally
    steered: int

    @property
    def note(self) -> str:
        """What a leaderboard has to say of it."""
        if not self.steered:
            return "pairs are uniform throughout: the ratings did not become reliable enough to choose by them"
        return (
            f"{self.steered:,} of {self.plan.battles:,} battles were chosen by earlier results ({EXPLORE:.0%} of these "
            "uniform): win rates depend on whom a model met; intervals hold in simulations of such a choice"
        )


def play_adaptively(
    plan: BattlePlan,
    store: Store,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    budget: Budget | None = None,
) -> Played:
    """Choose and play battles until ``plan.schedule.wanted`` are fought; blocking.

    `on_progress` is called as `battles.play` does, with counts over all batches.

    Raises:
        ConfigError, StoppedError: as `battles.play`.
    """
    course = _Course(plan, store)
    total = Tally(verdicts_total=plan.verdicts)
    fought: list[Unit] = []
    budget = budget or Budget()
    for units in course.batches(plan.battles):
        before = total
        step = replace(plan, schedule=course.schedule(units))

        def say(part: Tally, before: Tally = before) -> None:
            if on_progress is not None:
                on_progress(_together(before, part))

        total = _together(before, play(step, store, say if on_progress else None, budget=budget))
        course.learn(step)
        fought += units
    left = course.design.size - len(fought)  # the end of the last batch, stored and not fought
    return Played(replace(plan, schedule=course.schedule(fought)), total, max(0, course.design.steered - left))


def chosen_battles(plan: BattlePlan, store: Store) -> Schedule:
    """The battles of an ``optimal:N`` plan that were chosen so far, for whoever reads an arena file back."""
    course = _Course(plan, store)
    stored = [unit for number in range(course.stored) for unit in course.load(number)]
    return course.schedule(stored[: plan.battles])


class _Course:
    """The batches of one plan: names and prompts as codes (both sorted), what was learnt, and what is stored."""

    def __init__(self, plan: BattlePlan, store: Store) -> None:
        self.plan, self.store = plan, store
        self.names = sorted(c.name for c in plan.contestants)
        self.ids = sorted(plan.prompt_ids)
        self.key = _key(plan)
        self.design = Design(len(self.names), len(self.ids), seed=derive_seed("pairs", plan.seed))
        size = len(self.names)
        self.wins: FloatArray = np.zeros((size, size))
        self.decided: FloatArray = np.zeros((size, size))
        stored = (store.note(_PAIRS, self._note(number)) for number in count())
        self.stored = next(number for number, found in enumerate(stored) if found is None)

    def batches(self, battles: int) -> Iterator[list[Unit]]:
        """What to fight next, until there are as many; the caller tells what came of it (`learn`) before the next."""
        if self.stored:  # of an earlier invocation: nothing needs to be learnt in between
            units = [unit for number in range(self.stored) for unit in self.load(number)]
            yield units[:battles]
        while self.design.size < battles and self.design.room:
            before = self.design.size
            yield self.choose()[: battles - before]

    def load(self, number: int) -> list[Unit]:
        """A stored batch."""
        found = self.store.note(_PAIRS, self._note(number))
        assert found is not None
        units = [Unit(*unit) for unit in found["battles"]]
        self.design.restore(units, turn=found["turn"], steered=found["steered"])
        return units

    def choose(self) -> list[Unit]:
        """Choose and store one batch."""
        design = self.design
        units = design.batch(self.wins, self.decided)
        result = {"battles": [list(unit) for unit in units], "turn": design.turn, "steered": design.steered}
        self.store.put_note(_PAIRS, self._note(self.stored), result)
        self.stored += 1
        return units

    def learn(self, step: BattlePlan) -> None:
        """Count what the battles of one step came to."""
        code = {name: index for index, name in enumerate(self.names)}
        for pairing in pairings(step, self.store):
            i, j = code[pairing.model_a], code[pairing.model_b]
            if pairing.winners:
                score = sum(winner.score for winner in pairing.winners) / len(pairing.winners)
                self.decided[[i, j], [j, i]] += 1.0
                self.wins[i, j] += score
                self.wins[j, i] += 1.0 - score

    def _note(self, number: int) -> str:
        return f"{self.key}/{number}"

    def schedule(self, units: Sequence[Unit]) -> Schedule:
        """Battles as a schedule, with the pairs as the plan has them."""
        battles = (((self.names[u.first], self.names[u.second]), self.ids[u.prompt]) for u in units)
        return Schedule.of(self.plan.schedule.pairs, battles)


def _key(plan: BattlePlan) -> str:
    """What the choice depends on besides the verdicts."""
    who: list[list[object]] = []
    for c in sorted(plan.contestants, key=lambda c: c.name):
        if isinstance(c.model, RecordedModel):
            who.append([c.name, content_hash(sorted(plan.recorded[c.name].items()))])
        else:
            who.append([c.name, c.model.fingerprint, c.sampling.key()])
    judges = [judge.fingerprint for judge in plan.judges]
    return content_hash("pairs", _VERSION, who, sorted(plan.prompt_ids), judges, plan.seed)


def _together(before: Tally, part: Tally) -> Tally:
    """Counts of several plays; the verdicts that are wanted in all stand in the first."""
    return replace(
        part,
        answers=before.answers + part.answers,
        answers_total=before.answers_total + part.answers_total,
        verdicts=before.verdicts + part.verdicts,
        verdicts_total=before.verdicts_total,
        calls=before.calls + part.calls,
        cached=before.cached + part.cached,
        failed=before.failed + part.failed,
        usd=None if before.usd is None or part.usd is None else before.usd + part.usd,
        usd_estimated=before.usd_estimated + part.usd_estimated,
    )
