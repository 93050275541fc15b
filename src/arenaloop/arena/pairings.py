"""Battles read back from the arena file, one prompt at a time, and counts over them.

The order is that of the prompts and of their pairs, whatever the concurrency was in which the verdicts came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from arenaloop.arena.attribution import Attribution, Cause
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.undecided import Facts
from arenaloop.calls.answers import Answers
from arenaloop.calls.reask import final
from arenaloop.judges.base import Judge
from arenaloop.judges.jury import Jury
from arenaloop.judges.seats import merge_pair
from arenaloop.store import Store
from arenaloop.types import Battle, Outcome, Prompt, Response, Ruling, Status, Verdict, Winner

__all__ = ["Pairing", "PromptBattles", "Summary", "battles_by_prompt", "pairings"]


class Pairing(NamedTuple):
    """One wanted battle: the battle if both seats were decided, and each seat's final verdict (None: not asked).

    With ``two_battles`` there may be two battles; the verdicts of a jury are those that its members' come to.

    Attributes:
        attribution: whose doing it is that there is no battle; None where there is one.
        lost: who won for that reason, once for each battle that there would have been; empty where it is nobody's
            loss. A loss by own failure has no scores, and no training row is made of it.
        open: keys of the stored verdicts without an outcome, where there is no battle.
        question_id: the prompt's own id (`Prompt.question_id`).
    """

    prompt_id: str
    model_a: str
    model_b: str
    battles: tuple[Battle, ...]
    a_first: Verdict | Ruling | None
    b_first: Verdict | Ruling | None
    attribution: Attribution | None = None
    lost: tuple[Winner, ...] = ()
    open: tuple[str, ...] = ()
    question_id: str | int | None = None

    @property
    def winners(self) -> tuple[Winner, ...]:
        """Who won each battle that counts: those that were judged, or those that were lost by own failure."""
        return self.lost or tuple([battle.winner for battle in self.battles])

    @property
    def loser(self) -> str | None:
        """Who lost by own failure."""
        if not self.lost:
            return None
        return self.model_b if self.lost[0] is Winner.MODEL_A else self.model_a

    def whose(self, model: str) -> str:
        """Whose doing it is for one of the two: ``own``, ``other``, ``both``, ``judge`` or ``server``."""
        assert self.attribution is not None
        cause = self.attribution.cause
        if cause not in (Cause.MODEL_A, Cause.MODEL_B):
            return cause.value
        return "own" if model == (self.model_a if cause is Cause.MODEL_A else self.model_b) else "other"


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
        keys = {name: _key(plan, answers, name, prompt_id) for name in players}
        responses = {name: response for name, key in keys.items() if (response := stored.get(key)) is not None}
        facts = Facts(store, prompt, keys, responses)
        wanted = _pairings(plan, jury, prompt, responses, store.rulings_of(prompt_id), facts)
        yield PromptBattles(prompt, responses, list(wanted))


def _key(plan: BattlePlan, answers: Answers, name: str, prompt_id: str) -> str:
    return answers.key(name, prompt_id) or plan.failed.get(name, {}).get(prompt_id, "")


def _pairings(
    plan: BattlePlan,
    jury: Jury,
    prompt: Prompt,
    responses: Mapping[str, Response],
    found: Mapping[str, Ruling],
    facts: Facts,
) -> Iterator[Pairing]:
    members, reask, merge, both = jury.members, plan.reask, plan.merge, plan.seats == "both"
    question = prompt.question_id
    battling = {name: response for name, response in responses.items() if response.battles}
    stored: dict[str, tuple[str, ...]] = {}  # of a jury's verdict, the keys of its members'
    silent: list[Ruling | None] = []  # verdicts on the pair at hand that have no outcome, each member's own

    def decided(first: Response, second: Response) -> Verdict | Ruling | None:
        if len(members) == 1:  # nearly always: no list is made for it
            ruling = _final(members[0], reask, prompt, first, second, found)
            if ruling is None or ruling.outcome is None:
                silent.append(ruling)
            return ruling
        told = [_final(judge, reask, prompt, first, second, found) for judge in members]
        silent.extend(one for one in told if one is None or one.outcome is None)
        if (verdict := jury.verdict(told)) is not None:
            stored[verdict.key] = tuple(one.key for one in told if one is not None)
        return verdict

    def without_battle(
        a: str, b: str, a_first: Verdict | Ruling | None = None, b_first: Verdict | Ruling | None = None
    ) -> Pairing:
        attribution = facts.attribute(a, b, silent, len(members) * (2 if both else 1))
        games = 2 if merge == "two_battles" and both else 1
        lost = (winner,) * games if plan.own_failure == "loss" and (winner := attribution.winner) is not None else ()
        keys = tuple(ruling.key for ruling in silent if ruling is not None)
        return Pairing(prompt.id, a, b, (), a_first, b_first, attribution, lost, keys, question)

    for a, b in plan.schedule.on(prompt.id):
        one, two = battling.get(a), battling.get(b)
        if one is None or two is None:
            silent.clear()
            yield without_battle(a, b)
            continue
        silent.clear()
        a_sits, b_sits = (True, True) if both else plan.sits_first(prompt.id, (a, b))
        a_first = decided(one, two) if a_sits else None
        b_first = decided(two, one) if b_sits else None
        battles = merge_pair(a, b, a_first, b_first, merge, plan.one_seat_failed if both else "use_one")
        if stored:  # battles name the verdicts that are stored
            battles = tuple(
                replace(battle, verdicts=tuple(key for seat in battle.verdicts for key in stored[seat]))
                for battle in battles
            )
        if battles:
            yield Pairing(prompt.id, a, b, battles, a_first, b_first, question_id=question)
        else:
            yield without_battle(a, b, a_first, b_first)


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
        lost: battles that count as lost without a verdict, by (model, what it failed by).
        open: battles without an outcome, by (model, whose doing): ``own``, ``other``, ``both``, ``judge``, ``server``.
    """

    wanted: int = 0
    decided: int = 0
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    both: int = 0
    flips: int = 0
    first_wins: int = 0
    decisive: int = 0
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    open: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, pairing: Pairing) -> None:
        """Count one wanted battle."""
        self.wanted += 1
        if pairing.battles:
            self.decided += 1
            self.flips += pairing.battles[0].flipped
        elif pairing.loser is not None:
            self.lost[pairing.loser, pairing.attribution.kind] += 1  # type: ignore[union-attr]
        elif pairing.attribution is not None:
            self.open.update((model, pairing.whose(model)) for model in (pairing.model_a, pairing.model_b))
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
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("lost", "open")}
        open_ = {name: _nested(counts) for name in ("lost", "open") if (counts := getattr(self, name))}
        return plain | {"failed": dict(self.failed)} | open_

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> Summary:
        """A summary from its stored counts; earlier versions did not tell decided pairs from those of both seats."""
        both = counts["decided"] if counts["ok"] > counts["decided"] else 0
        told = {name: _flat(counts.get(name) or {}) for name in ("lost", "open")}
        return cls(**{"both": both, **counts, "failed": Counter(counts["failed"]), **told})

    def merge(self, other: Summary) -> None:
        """Add the counts of another plan."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    @property
    def flip_rate(self) -> float | None:
        """Flips of the pairs that were decided from both seats; None where none was, and none can flip."""
        return self.flips / self.both if self.both else None

    def to_json(self) -> dict[str, object]:
        """Counts, and shares as fractions; a share of nothing is null. What is undecided is told where anything is."""
        failed = {s.value: self.failed[s.value] for s in Status if s is not Status.OK}
        return {
            "battles_wanted": self.wanted,
            "battles_decided": self.decided,
            "verdicts_ok": self.ok,
            "verdicts_failed": failed,
            "flip_rate": self.flip_rate,
            "first_seat_win_rate": self.first_wins / self.decisive if self.decisive else None,
            **({"losses_by_own_failure": _nested(self.lost)} if self.lost else {}),
            **({"undecided": _nested(self.open)} if self.open else {}),
        }


def _nested(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Counts by model and kind, as JSON holds them."""
    out: dict[str, dict[str, int]] = {}
    for model, kind in sorted(counts):
        out.setdefault(model, {})[kind] = counts[model, kind]
    return out


def _flat(counts: Mapping[str, Mapping[str, int]]) -> Counter[tuple[str, str]]:
    return Counter({(model, kind): n for model, kinds in counts.items() for kind, n in kinds.items()})
