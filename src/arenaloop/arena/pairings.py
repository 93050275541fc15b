"""Battles read back from the arena file, one prompt at a time, and counts over them.

The order is that of the prompts and of their pairs, whatever the concurrency was in which the verdicts came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Answers
from arenaloop.calls.reask import final
from arenaloop.judges.base import Judge
from arenaloop.judges.jury import Jury
from arenaloop.judges.seats import merge_pair
from arenaloop.store import Store
from arenaloop.types import Battle, Outcome, Prompt, Response, Ruling, Status, Verdict

__all__ = ["Pairing", "PromptBattles", "Summary", "battles_by_prompt", "pairings"]


class Pairing(NamedTuple):
    """One wanted battle: the battle if both seats were decided, and each seat's final verdict (None: not asked).

    With ``two_battles`` there may be two battles; the verdicts of a jury are those that its members' come to.
    """

    prompt_id: str
    model_a: str
    model_b: str
    battles: tuple[Battle, ...]
    a_first: Verdict | Ruling | None
    b_first: Verdict | Ruling | None


class PromptBattles(NamedTuple):
    """All wanted battles on one prompt, and what was read for them.

    Attributes:
        responses: of the contestants that battle here, those that have one, failed ones too.
        pairings: in the order of the plan's pairs.
    """

    prompt: Prompt
    responses: Mapping[str, Response]
    pairings: Sequence[Pairing]


def pairings(plan: BattlePlan, store: Store) -> Iterator[Pairing]:
    """The wanted battles as they stand in the arena file, in the order of the prompts and of their pairs."""
    for _, _, found in battles_by_prompt(plan, store):
        yield from found


def battles_by_prompt(plan: BattlePlan, store: Store) -> Iterator[PromptBattles]:
    """The wanted battles as they stand in the arena file, prompt by prompt; prompts without a pair are left out."""
    answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed)
    jury = Jury.of(plan.judge)
    store.flush()  # what is on its way is not yet in the table
    for prompt_id in plan.prompt_ids:
        players = plan.players(prompt_id)
        prompt = store.prompt(prompt_id) if players else None
        if prompt is None:
            continue
        stored = store.responses_of(prompt)
        said = {name: stored.get(answers.key(name, prompt_id) or "") for name in players}
        responses = {name: response for name, response in said.items() if response is not None}
        wanted = _pairings(plan, jury, prompt, responses, store.rulings_of(prompt_id))
        yield PromptBattles(prompt, responses, list(wanted))


def _pairings(
    plan: BattlePlan, jury: Jury, prompt: Prompt, responses: Mapping[str, Response], found: Mapping[str, Ruling]
) -> Iterator[Pairing]:
    members, reask, merge, both = jury.members, plan.reask, plan.merge, plan.seats == "both"
    battling = {name: response for name, response in responses.items() if response.battles}
    stored: dict[str, tuple[str, ...]] = {}  # of a jury's verdict, the keys of its members'

    def decided(first: Response, second: Response) -> Verdict | Ruling | None:
        if len(members) == 1:
            return _final(members[0], reask, prompt, first, second, found)
        told = [_final(judge, reask, prompt, first, second, found) for judge in members]
        if (verdict := jury.verdict(told)) is not None:
            stored[verdict.key] = tuple(one.key for one in told if one is not None)
        return verdict

    for a, b in plan.schedule.on(prompt.id):
        one, two = battling.get(a), battling.get(b)
        if one is None or two is None:
            yield Pairing(prompt.id, a, b, (), None, None)
            continue
        a_sits, b_sits = (True, True) if both else plan.sits_first(prompt.id, (a, b))
        a_first = decided(one, two) if a_sits else None
        b_first = decided(two, one) if b_sits else None
        battles = merge_pair(a, b, a_first, b_first, merge, plan.one_seat_failed if both else "use_one")
        if stored:  # battles name the verdicts that are stored
            battles = tuple(
                replace(battle, verdicts=tuple(key for seat in battle.verdicts for key in stored[seat]))
                for battle in battles
            )
        yield Pairing(prompt.id, a, b, battles, a_first, b_first)


def _final(
    judge: Judge, reask: int, prompt: Prompt, first: Response, second: Response, found: Mapping[str, Ruling]
) -> Ruling | None:
    last = found.get(judge.key(prompt, first, second))
    if last is None or last.outcome is not None:  # nearly all verdicts: no further keys are made
        return last
    return final(lambda sample: found.get(judge.key(prompt, first, second, sample)), reask)


@dataclass(slots=True)
class Summary:
    """Counts over the wanted battles of one plan (the first half of ``summary.json``, ``docs/run_directory.md``).

    Attributes:
        wanted, decided: pairs on prompts (with ``two_battles``, a pair with one decided seat counts).
        ok, failed: final verdicts, one per seat; failures by status.
        both: pairs of which both seats were decided. `flips`: those of them whose seats named different winners.
        first_wins: verdicts that the first seat won. `decisive`: verdicts with a winner.
    """

    wanted: int = 0
    decided: int = 0
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    both: int = 0
    flips: int = 0
    first_wins: int = 0
    decisive: int = 0

    def add(self, pairing: Pairing) -> None:
        """Count one wanted battle."""
        self.wanted += 1
        if pairing.battles:
            self.decided += 1
            self.flips += pairing.battles[0].flipped
        seats = [verdict for verdict in (pairing.a_first, pairing.b_first) if verdict is not None]
        self.both += len([verdict for verdict in seats if verdict.outcome is not None]) == 2
        for verdict in seats:
            outcome = verdict.outcome
            if outcome is None:
                self.failed[verdict.status.value] += 1
                continue
            self.ok += 1
            self.decisive += outcome is not Outcome.TIE
            self.first_wins += outcome is Outcome.A

    def counts(self) -> dict[str, Any]:
        """The bare counts, as JSON; `Summary.of` reads them back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"failed": dict(self.failed)}

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> Summary:
        """A summary from its stored counts; earlier versions did not tell decided pairs from those of both seats."""
        both = counts["decided"] if counts["ok"] > counts["decided"] else 0
        return cls(**{"both": both, **counts, "failed": Counter(counts["failed"])})

    def merge(self, other: Summary) -> None:
        """Add the counts of another plan."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    @property
    def flip_rate(self) -> float | None:
        """Flips of the pairs that were decided from both seats; None where none was, and none can flip."""
        return self.flips / self.both if self.both else None

    def to_json(self) -> dict[str, object]:
        """Counts, and shares as fractions; a share of nothing is null."""
        failed = {s.value: self.failed[s.value] for s in Status if s is not Status.OK}
        return {
            "battles_wanted": self.wanted,
            "battles_decided": self.decided,
            "verdicts_ok": self.ok,
            "verdicts_failed": failed,
            "flip_rate": self.flip_rate,
            "first_seat_win_rate": self.first_wins / self.decisive if self.decisive else None,
        }
