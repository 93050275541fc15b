"""An audit read from the arena file: every judge beside people, beside the other judges, and beside itself.

Derived from stored verdicts alone (`audit_plan` asks for them); juries of the judges cost nothing besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from arenaloop.audit.findings import Audited, Findings, findings
from arenaloop.audit.plan import AuditPlan
from arenaloop.calls.judging import attempts
from arenaloop.judges.base import Judge, decided
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.jury import JuryRule, merge_members, score_alike
from arenaloop.judges.labels import looked_up, recorded
from arenaloop.judges.repeats import own_votes
from arenaloop.judges.seats import MergeRule, merge_seats
from arenaloop.judges.synthetic import holds_list
from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.evaluator import (
    Between,
    Evaluation,
    Humans,
    Labels,
    Panel,
    Votes,
    between,
    error,
    evaluate,
    evaluate_humans,
    modes,
    weights_from_agreement,
)
from arenaloop.ratings.rates import Rate, clustered_rate
from arenaloop.store import Store
from arenaloop.types import Status, Verdict

__all__ = ["Audit", "Cost", "JudgeAudit", "read"]


_SHOWN, _TURNED = "shown", "turned"
_ORDERS: Mapping[object, str] = {1: _SHOWN, 2: _TURNED}
"""How a recorded label's outputs were shown, where the file tells: in its order, or the other way round."""


@dataclass(frozen=True)
class Cost:
    """What 1,000 verdicts (one seat each, re-asking included) cost; None where it is not known."""

    usd: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class JudgeAudit:
    """One judge, or a jury of them.

    Attributes:
        name: of the judge; ``jury:RULE`` for a jury.
        evaluation: its votes beside people's.
        cost: of 1,000 verdicts.
        wanted, undecided: votes that are wanted, and those that were asked for and have no outcome from both seats.
        unasked: votes of which a seat was not asked about yet, as long as the audit is not through.
        failed: final verdicts without an outcome, by status.
        unparsed: share of first answers that could not be read (before re-asking).
        shared: agreement on the pairs that every audited judge decided and people labelled.
        members: of a jury.
    """

    name: str
    evaluation: Evaluation
    cost: Cost = Cost()
    wanted: int = 0
    undecided: int = 0
    unasked: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    unparsed: Rate = field(default_factory=lambda: Rate(None))
    shared: Rate = field(default_factory=lambda: Rate(None))
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """Judges side by side, the best agreement first.

    Attributes:
        rows: judges and juries.
        humans: people beside themselves.
        pairs, prompts: labelled pairs, and different prompts among them.
        between: of every two judges (and, with itself, of a judge with several votes) how far their votes agree.
        weights: what each judge's vote should weigh in a jury, measured on all pairs.
        findings: which figures stand, and what these labels could have shown; of the judges, and of baselines only
            where there is nobody else.
        notes: what a reader should know.
    """

    rows: tuple[JudgeAudit, ...]
    humans: Humans
    pairs: int
    prompts: int
    between: tuple[tuple[str, str, Between], ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    findings: Findings = field(default_factory=Findings)

    @property
    def undecided(self) -> int:
        """Votes of judges (not of juries) that were asked for, and have no outcome."""
        return sum(row.undecided for row in self.rows if not row.members)

    @property
    def wanted(self) -> int:
        """Votes of judges (not of juries) that are wanted."""
        return sum(row.wanted for row in self.rows if not row.members)

    @property
    def decided(self) -> int:
        """Votes of judges (not of juries) that have an outcome."""
        return self.wanted - sum(row.undecided + row.unasked for row in self.rows if not row.members)


class _Ballot:
    """One judge's verdicts, by vote and pair: with the first output in the first seat, and in the second."""

    def __init__(self, votes: int, pairs: int) -> None:
        self.votes = votes
        self.seats: list[list[list[Verdict | None]]] = [[[None, None] for _ in range(pairs)] for _ in range(votes)]
        self.wanted: Counter[int] = Counter()  # seatings of each pair
        self.unasked: set[tuple[int, int]] = set()  # votes of which a seat was not asked about
        self.failed: Counter[str] = Counter()
        self.first_unparsed, self.asked = np.zeros(pairs), np.zeros(pairs)
        self.usd: float | None = 0.0
        self.seconds: float | None = 0.0

    def add(self, vote: int, pair: int, one_first: bool, found: Sequence[Verdict]) -> None:
        self.wanted[pair] += 1
        if not found:
            self.unasked.add((vote, pair))
            return
        last = found[-1]
        record = recorded(last)
        mirrored = record is not None and bool(record["mirrored"])
        if not looked_up(last):
            usd = None if any(v.usd is None for v in found) else sum(v.usd or 0.0 for v in found)
            self._count(pair, found[0], usd, sum(v.seconds for v in found))
        elif record is not None and not mirrored:
            self._count(pair, last, record["usd"], record["seconds"])
        if last.outcome is None:
            self.failed[last.status.value] += 1
        order = "mirrored" if mirrored else _ORDERS.get(record.get("seat"), "") if record else ""
        slim = replace(last, raw=order, reasoning=None)  # texts would fill the memory
        self.seats[vote][pair][0 if one_first else 1] = slim

    def _count(self, pair: int, first: Verdict, usd: float | None, seconds: float | None) -> None:
        """Take in what one verdict took, and whether its first answer could be read."""
        self.asked[pair] += 1
        self.first_unparsed[pair] += first.status is Status.UNPARSED
        self.usd = None if self.usd is None or usd is None else self.usd + usd
        self.seconds = None if self.seconds is None or seconds is None else self.seconds + seconds

    def cost(self) -> Cost:
        if not self.asked.any():
            return Cost()
        scale = 1000.0 / float(self.asked.sum())
        return Cost(*(None if x is None else x * scale for x in (self.usd, self.seconds)))


def read(
    plan: AuditPlan, store: Store, *, level: float = 0.95, samples: int = 1000, planted: float | None = None
) -> Audit:
    """The audit as it stands in the arena file.

    Args:
        plan: what was asked.
        store: where the verdicts are.
        level: of all intervals.
        samples: of the bootstraps over prompts.
        planted: size of the biases that the self-test plants; None without it.
    """
    size = len(plan.pairs)
    ballots = [_Ballot(plan.votes_of(judge), size) for judge in plan.judges]
    for j, vote, pair, one_first, question in plan.questions(store):
        ballots[j].add(vote, pair, one_first, attempts(question, store))
    panel = _panel(plan)
    truth = [modes(labels) for labels in panel.humans]
    cast = [_votes(b.seats, plan.merge, own_votes(judge) == 1) for b, judge in zip(ballots, plan.judges, strict=True)]
    everyone = [bool(truth[i]) and all(votes.merged[i] for votes in cast) for i in range(size)]

    def row(name: str, votes: Votes) -> JudgeAudit:
        found = evaluate(panel, votes, level=level, samples=samples, seed=plan.seed)
        part, whole = _agreement(votes, truth)
        keep = np.array(everyone, dtype=np.float64)
        return JudgeAudit(
            name, found, shared=clustered_rate(part * keep, whole * keep, panel.cluster, level=level).scaled(100.0)
        )

    rows = []
    for judge, ballot, votes in zip(plan.judges, ballots, cast, strict=True):
        wanted = sum(ballot.wanted.values()) // 2
        rows.append(
            replace(
                row(judge.name, votes),
                cost=ballot.cost(),
                wanted=wanted,
                undecided=wanted - sum(len(v) for v in votes.merged) - len(ballot.unasked),
                unasked=len(ballot.unasked),
                failed=dict(ballot.failed),
                unparsed=clustered_rate(ballot.first_unparsed, ballot.asked, panel.cluster, level=level),
            )
        )
    tested = [
        Audited(plan.judges[j].name, cast[j], rows[j].evaluation, rows[j].unparsed) for j in _sitting(plan.judges)
    ]
    told = findings(panel, tested, level=level, planted=planted, seed=plan.seed)
    shares = {j.name: _agreement(votes, truth) for j, votes in zip(plan.judges, cast, strict=True)}
    weights = weights_from_agreement({name: (float(a.sum()), float(b.sum())) for name, (a, b) in shares.items()})
    notes = _notes(plan, panel)
    sitting = _sitting(plan.judges)
    for rule in ("majority", "mean", "weighted") if len(sitting) > 1 else ():
        members = [plan.judges[j] for j in sitting]
        if rule == "mean" and not score_alike(members):
            notes.append("no jury by mean scores: its members use different scales, or only name a winner")
            continue
        votes = _jury(plan, [ballots[j] for j in sitting], [cast[j] for j in sitting], panel, truth, rule)
        costs = [ballots[j].cost() for j in sitting]
        usd = None if any(c.usd is None for c in costs) else sum(c.usd or 0.0 for c in costs)
        seconds = None if any(c.seconds is None for c in costs) else max(c.seconds or 0.0 for c in costs)
        cost = Cost(usd, seconds)
        rows.append(replace(row(f"jury:{rule}", votes), cost=cost, members=tuple(m.name for m in members)))
    rows.sort(key=lambda r: (-(-1.0 if (value := r.evaluation.agreement.value) is None else value), r.name))
    met = [
        (plan.judges[i].name, plan.judges[j].name, between(
            cast[i].merged, cast[j].merged, panel.cluster, same=i == j, level=level, samples=samples, seed=plan.seed
        ))
        for i in range(len(cast))
        for j in range(i, len(cast))
        if i != j or ballots[i].votes > 1
    ]  # fmt: skip
    return Audit(
        tuple(rows),
        evaluate_humans(panel, level=level),
        size,
        len({pair.prompt.id for pair in plan.pairs}),
        tuple(met),
        weights,
        tuple(notes),
        told,
    )


def _sitting(judges: Sequence[Judge]) -> list[int]:
    """Who sits on the juries: all judges but the baselines; the baselines where there is nobody else."""
    real = [j for j, judge in enumerate(judges) if not isinstance(judge, BuiltinJudge)]
    return real or list(range(len(judges)))


def _panel(plan: AuditPlan) -> Panel:
    prompts: dict[str, int] = {}
    names: dict[str, int] = {}
    cluster = np.array([prompts.setdefault(pair.prompt.id, len(prompts)) for pair in plan.pairs], dtype=np.int64)
    generators = np.array(
        [[-1 if g is None else names.setdefault(g, len(names)) for g in pair.generators] for pair in plan.pairs],
        dtype=np.int64,
    ).reshape(-1, 2)
    return Panel(
        cluster,
        [tuple(pair.votes) for pair in plan.pairs],
        np.array([[sum(map(len, texts)) for texts in pair.outputs] for pair in plan.pairs], dtype=np.float64),
        np.array([[any(map(holds_list, texts)) for texts in pair.outputs] for pair in plan.pairs], dtype=np.bool_),
        generators,
        tuple(names),
    )


def _votes(seats: Sequence[Sequence[Sequence[Verdict | None]]], merge: MergeRule, deterministic: bool) -> Votes:
    """One judge's verdicts as the evaluator's numbers."""
    size = len(seats[0]) if seats else 0
    merged: list[list[float]] = [[] for _ in range(size)]
    first_seat: list[list[float]] = [[] for _ in range(size)]
    one_seat: list[list[float]] = [[] for _ in range(size)]
    flips: list[list[bool]] = [[] for _ in range(size)]
    for votes in seats:
        for pair, (one_first, two_first) in enumerate(votes):
            mirrored = any(v is not None and v.raw == "mirrored" for v in (one_first, two_first))
            for verdict, turned in ((one_first, False), (two_first, True)):
                if verdict is None or verdict.outcome is None or verdict.raw == "mirrored":
                    continue
                score = verdict.outcome.score_a
                one_seat[pair].append(1.0 + score if turned else 2.0 - score)
                if verdict.raw or not mirrored:
                    first_seat[pair].append(1.0 - score if verdict.raw == _TURNED else score)
            if one_first is None or two_first is None:
                continue
            battle = merge_seats("one", "two", one_first, two_first, merge)
            if battle is not None:
                merged[pair].append(battle.winner.preference)
                if not mirrored:
                    flips[pair].append(battle.flipped)
    return Votes(
        [tuple(v) for v in merged], [tuple(v) for v in first_seat], [tuple(v) for v in one_seat], flips, deterministic
    )


def _agreement(votes: Votes, truth: Sequence[Labels]) -> tuple[FloatArray, FloatArray]:
    """Of each pair, the share of the votes that agrees with people's mode, and whether there is one to speak of."""
    part, whole = np.zeros(len(truth)), np.zeros(len(truth))
    for i, (mine, human) in enumerate(zip(votes.merged, truth, strict=True)):
        if human and mine:
            part[i] = 1.0 - error(mine, human)
            whole[i] = 1.0
    return part, whole


def _jury(
    plan: AuditPlan,
    ballots: Sequence[_Ballot],
    cast: Sequence[Votes],
    panel: Panel,
    truth: Sequence[Labels],
    rule: JuryRule,
) -> Votes:
    """The votes of a jury of these judges; what a member's vote weighs on a pair is measured on other prompts."""
    weights = _cross_fitted(cast, panel, truth) if rule == "weighted" else None
    seats: list[list[list[Verdict | None]]] = []
    for vote in range(min((b.votes for b in ballots if b.votes > 1), default=1)):
        members = [b.seats[vote if b.votes > 1 else 0] for b in ballots]
        row: list[list[Verdict | None]] = []
        for pair, prompt in enumerate(panel.cluster):
            own = None if weights is None else weights[prompt]
            row.append([_merged([m[pair][seat] for m in members], rule, own) for seat in (0, 1)])
        seats.append(row)
    return _votes(seats, plan.merge, all(v.deterministic for v in cast))


def _merged(verdicts: Sequence[Verdict | None], rule: JuryRule, weights: Sequence[float] | None) -> Verdict | None:
    scores = merge_members(verdicts, rule, weights)
    told = next((v for v in verdicts if v is not None), None)
    if scores is None or told is None:
        return None
    mirrored = any(v is not None and v.raw == "mirrored" for v in verdicts)
    return Verdict(
        told.key, told.prompt_id, told.first_hash, told.second_hash, "jury", Status.OK,
        raw="mirrored" if mirrored else "", **decided(scores),
    )  # fmt: skip


def _cross_fitted(cast: Sequence[Votes], panel: Panel, truth: Sequence[Labels]) -> list[list[float]]:
    """Weights of the members for each prompt, from their agreement on all other prompts; shape (prompts, members)."""
    prompts = int(panel.cluster.max()) + 1 if len(panel.cluster) else 0
    counts = []
    for votes in cast:
        part, whole = (np.bincount(panel.cluster, x, minlength=prompts) for x in _agreement(votes, truth))
        counts.append((part.sum() - part, whole.sum() - whole))
    return [
        list(weights_from_agreement({str(m): (part[p], whole[p]) for m, (part, whole) in enumerate(counts)}).values())
        for p in range(prompts)
    ]


def _notes(plan: AuditPlan, panel: Panel) -> list[str]:
    notes = list(plan.notes)
    if any(own_votes(judge) is None and plan.votes_of(judge) < 2 for judge in plan.judges):
        notes.append("one vote a pair: variance and bias need --seeds 4")
    if not any(len(labels) > 1 for labels in panel.humans):
        notes.append("one human label a pair: no human ceiling, and part of what a judge disagrees with is their noise")
    failed = sum(pair.failed for pair in plan.pairs)
    if failed:
        notes.append(f"{failed:,} labels of the file are null and were left out")
    return notes
