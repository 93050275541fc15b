"""What is to be fought: a plan of battles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from arenaloop.arena.matchmaking import Pair, Schedule
from arenaloop.calls.answers import Contestant
from arenaloop.judges.base import Judge
from arenaloop.judges.jury import Decider, Jury
from arenaloop.judges.seats import MergeRule, OneSeatFailed
from arenaloop.models.base import Model
from arenaloop.types import derive_seed

__all__ = ["BattlePlan", "OwnFailure", "Seats", "models_asked", "verdicts_per_battle"]

Seats = Literal["both", "seeded"]
OwnFailure = Literal["loss", "drop"]
"""What becomes of a battle that one contestant left without an outcome by its own failure."""


def models_asked(contestants: Iterable[Contestant], judge: Decider) -> list[Model]:
    """The models that may have to be asked: contestants that are not recorded, and judges that are models."""
    fighters = [m for c in contestants if (m := c.asked)]
    judges = [m for one in Jury.of(judge).members if (m := getattr(one, "model", None)) is not None]
    return list({id(m): m for m in (*fighters, *judges)}.values())


def verdicts_per_battle(judge: Decider, seats: Seats) -> int:
    """How many verdicts a battle is made of: one of each judge, from each seat."""
    return (2 if seats == "both" else 1) * len(Jury.of(judge).members)


@dataclass(frozen=True)
class BattlePlan:
    """What is to be fought: everything that `play` and `pairings` need besides the arena file.

    Attributes:
        contestants: who answers, with unique names.
        judge: who decides; of a jury, each member is asked.
        prompt_ids: prompts in the arena file, without repetition.
        recorded: response keys of recorded contestants (`answers.match_recorded`).
        merge: how two seats become a battle.
        one_seat_failed: what becomes of a pair of which one seat was decided.
        reask: how often a verdict without an outcome is asked again, as a new sample.
        concurrency: seatings in progress at once; None for the sum of what the endpoints allow.
        seats: ask each pair from both seats, or from one that the seed draws (a simulated annotator is asked once).
        own_failure: whether a battle that one contestant left undecided by its own failure is its loss.
        failed: by recorded contestant and prompt, response keys of answers that had failed when they were asked.
    """

    contestants: Sequence[Contestant]
    judge: Decider
    prompt_ids: Sequence[str]
    schedule: Schedule
    recorded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seed: int = 0
    merge: MergeRule = "mean"
    one_seat_failed: OneSeatFailed = "drop_battle"
    reask: int = 2
    concurrency: int | None = None
    seats: Seats = "both"
    own_failure: OwnFailure = "loss"
    failed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def battles(self) -> int:
        """How many battles are wanted."""
        return self.schedule.battles(len(self.prompt_ids))

    @property
    def verdicts(self) -> int:
        """How many verdicts that is, re-asked ones not counted."""
        return self.battles * verdicts_per_battle(self.judge, self.seats)

    def players(self, prompt_id: str) -> list[str]:
        """Whose answers to a prompt battle."""
        return list(dict.fromkeys(name for pair in self.schedule.on(prompt_id) for name in pair))

    def seatings(self, prompt_id: str, pairs: Sequence[Pair]) -> list[Pair]:
        """Who sits first and second, of a prompt's pairs: each way, or the one way that the seed draws."""
        if self.seats == "both":
            return [seating for a, b in pairs for seating in ((a, b), (b, a))]
        return [pair if self.sits_first(prompt_id, pair)[0] else pair[::-1] for pair in pairs]

    def sits_first(self, prompt_id: str, pair: Pair) -> tuple[bool, bool]:
        """Whether a pair's first and its second model is asked about in the first seat, whatever the pair's order."""
        if self.seats == "both":
            return True, True
        low = derive_seed("seat", self.seed, prompt_id, *sorted(pair)) & 1 == 0
        first = low == (pair[0] == min(pair))
        return first, not first

    @property
    def judges(self) -> tuple[Judge, ...]:
        """Who is asked about each seating."""
        return Jury.of(self.judge).members

    @property
    def models(self) -> list[Model]:
        """The models that may have to be asked: contestants that are not recorded, and judges that are models."""
        return models_asked(self.contestants, self.judge)

    @property
    def workers(self) -> int:
        """How many seatings are in progress at once."""
        if self.concurrency is not None:
            return self.concurrency
        return min(512, self.judge.concurrency + sum(m.concurrency for c in self.contestants if (m := c.asked)))
