"""Battles read back from the arena file, one prompt at a time, and counts over them.

The order is that of the prompts and of their pairs, whatever the concurrency was in which the verdicts came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from arenaloop.arena.answers import Answers
from arenaloop.arena.matchmaking import Pair
from arenaloop.arena.plan import BattlePlan
from arenaloop.judges.base import merge_pair
from arenaloop.judges.jury import Jury
from arenaloop.store import Store
from arenaloop.types import Battle, Status, Verdict

__all__ = ["Pairing", "Summary", "pairings", "summarise"]


class Pairing(NamedTuple):
    """One wanted battle: the battle if both seats were decided, and each seat's final verdict (None: not asked).

    With ``two_battles`` there may be two battles; the verdicts of a jury are those that its members' come to.
    """

    prompt_id: str
    model_a: str
    model_b: str
    battles: tuple[Battle, ...]
    a_first: Verdict | None
    b_first: Verdict | None


def pairings(plan: BattlePlan, store: Store) -> Iterator[Pairing]:
    """The wanted battles as they stand in the arena file, in the order of the prompts and of their pairs."""
    answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed)
    samples = range(plan.reask + 1)
    for prompt_id in plan.prompt_ids:
        pairs = plan.schedule.on(prompt_id)
        prompt = store.prompt(prompt_id) if pairs else None
        if prompt is None:
            continue
        names = {name for pair in pairs for name in pair}
        responses = {name: answers.stored(name, prompt) for name in names}
        seatings: dict[Pair, list[list[str]]] = {}  # of each judge, the keys of its samples
        for a, b in pairs:
            for first, second in ((a, b), (b, a)):
                one, two = responses[first], responses[second]
                if one is not None and two is not None and one.battles and two.battles:
                    seatings[first, second] = [[j.key(prompt, one, two, n) for n in samples] for j in plan.judges]
        # nearly all verdicts are first samples: the others are looked up only where the first has failed
        found = store.verdicts([keys[0] for each in seatings.values() for keys in each])
        final = {seating: [_final(keys, found, store) for keys in each] for seating, each in seatings.items()}
        for a, b in pairs:
            yield _pairing(plan, prompt_id, a, b, final.get((a, b), ()), final.get((b, a), ()))


def _pairing(
    plan: BattlePlan,
    prompt_id: str,
    a: str,
    b: str,
    a_first: Sequence[Verdict | None],
    b_first: Sequence[Verdict | None],
) -> Pairing:
    if not isinstance(plan.judge, Jury):
        one, two = (next(iter(seat), None) for seat in (a_first, b_first))
        return Pairing(prompt_id, a, b, merge_pair(a, b, one, two, plan.merge, plan.one_seat_failed), one, two)
    one, two = plan.judge.verdict(a_first), plan.judge.verdict(b_first)
    keys = {v.key: tuple(m.key for m in seat if m) for v, seat in ((one, a_first), (two, b_first)) if v}
    battles = (
        replace(battle, verdicts=tuple(key for seat in battle.verdicts for key in keys[seat]))
        for battle in merge_pair(a, b, one, two, plan.merge, plan.one_seat_failed)
    )
    return Pairing(prompt_id, a, b, tuple(battles), one, two)


def _final(keys: Sequence[str], found: Mapping[str, Verdict], store: Store) -> Verdict | None:
    """The first sample with an outcome, or else the last one that was asked."""
    last = found.get(keys[0])
    if last is None or last.status is Status.OK:
        return last
    for key in keys[1:]:
        verdict = store.verdict(key)
        if verdict is None:
            break
        last = verdict
        if verdict.status is Status.OK:
            break
    return last


@dataclass(slots=True)
class Summary:
    """Counts over the wanted battles of one plan (DESIGN: the first half of ``summary.json``).

    Attributes:
        wanted, decided: pairs on prompts (with ``two_battles``, a pair with one decided seat counts).
        ok, failed: final verdicts, one per seat; failures by status.
        flips: decided battles whose seats named different winners. `first_wins`: verdicts that the first seat won.
        decisive: verdicts with a winner.
    """

    wanted: int = 0
    decided: int = 0
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    flips: int = 0
    first_wins: int = 0
    decisive: int = 0

    def add(self, pairing: Pairing) -> None:
        """Count one wanted battle."""
        self.wanted += 1
        if pairing.battles:
            self.decided += 1
            self.flips += pairing.battles[0].flipped
        for verdict in (pairing.a_first, pairing.b_first):
            if verdict is None:
                continue
            if verdict.outcome is None:
                self.failed[verdict.status.value] += 1
                continue
            self.ok += 1
            self.decisive += verdict.outcome.value != "TIE"
            self.first_wins += verdict.outcome.value == "A"

    def counts(self) -> dict[str, Any]:
        """The bare counts, as JSON; `Summary.of` reads them back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"failed": dict(self.failed)}

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> Summary:
        """A summary from its stored counts."""
        return cls(**{**counts, "failed": Counter(counts["failed"])})

    def merge(self, other: Summary) -> None:
        """Add the counts of another plan."""
        self.wanted += other.wanted
        self.decided += other.decided
        self.ok += other.ok
        self.failed += other.failed
        self.flips += other.flips
        self.first_wins += other.first_wins
        self.decisive += other.decisive

    def to_json(self) -> dict[str, object]:
        """Counts, and shares as fractions; a share of nothing is null."""
        failed = {s.value: self.failed[s.value] for s in Status if s is not Status.OK}
        return {
            "battles_wanted": self.wanted,
            "battles_decided": self.decided,
            "verdicts_ok": self.ok,
            "verdicts_failed": failed,
            "flip_rate": self.flips / self.decided if self.decided else None,
            "first_seat_win_rate": self.first_wins / self.decisive if self.decisive else None,
        }


def summarise(found: Sequence[Pairing]) -> Summary:
    """Count a list of pairings."""
    summary = Summary()
    for pairing in found:
        summary.add(pairing)
    return summary
