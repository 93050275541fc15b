"""Pairs labelled by a pool of annotators: calls about one pair or several, and what came of them.

What could not be read of a call about several pairs is asked again in halves, down to single pairs, which are asked
again as every judge is. Labels are derived from stored verdicts, so that resuming, or adding votes, costs what is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from arenaloop.calls.budget import Budget
from arenaloop.calls.costs import CROWD_WORKER, HumanLabel
from arenaloop.calls.estimate import estimate
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, Statuses, decide, unit_seed
from arenaloop.calls.progress import Tally
from arenaloop.calls.reask import final
from arenaloop.calls.recorded import ingest_pairs
from arenaloop.calls.shards import Shard
from arenaloop.calls.units import Earlier, Planned, Several, Unit, Who
from arenaloop.judges.annotators import Draw, Pair, PairsJudge, Pool, asked_together
from arenaloop.judges.base import Judge
from arenaloop.judges.repeats import repeated
from arenaloop.judges.seats import merge_seats
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Response, Status, Verdict, content_hash

__all__ = [
    "Annotation",
    "AnnotationPlan",
    "PairsUnit",
    "Questions",
    "annotate",
    "annotation_parts",
    "estimate_annotations",
    "planned_calls",
    "silent",
]


@dataclass(frozen=True)
class Annotation:
    """One label.

    Attributes:
        pair, vote: by number.
        annotator: who gave it; None of noise and of equal outputs.
        noise: whether it was drawn, and nobody asked.
        first: which answer sat first, 1 or 2; None of both, or of none.
        preference: 1 to 2, as in label files; None where there is none.
        status, error: how asking ended; ``OK`` exactly where there is a preference.
        verdicts: keys of the calls behind it.
    """

    pair: int
    vote: int
    annotator: str | None
    noise: bool
    first: int | None
    preference: float | None
    status: Status = Status.OK
    error: str | None = None
    verdicts: tuple[str, ...] = ()


class PairsUnit:
    """One call about several pairs, each of which is a unit by itself.

    Args:
        asked: the judge, which is not to be asked again about all of them.
        units: of the single pairs.
    """

    __slots__ = ("asked", "units")

    def __init__(self, asked: AskedJudge, units: Sequence[JudgeUnit]) -> None:
        self.asked, self.units = asked, units

    @property
    def who(self) -> Who:
        """The judge."""
        return self.units[0].who

    def key(self, sample: int = 0) -> str:
        """Of the call: the keys of all its pairs."""
        return content_hash("pairs", [unit.key(sample) for unit in self.units])

    def stored(self, sample: int) -> Status | None:
        """`OK` where all pairs are decided, by whichever sample; else how the first other one ended, None if never."""
        return next((unit.stored(sample) for unit in self.units if _is_open(unit)), Status.OK)

    def request(self, sample: int = 0) -> Request:
        """What the judge asks of its model."""
        key = self.key(sample)
        seated: Any = [unit.material for unit in self.units]
        seed, secret = unit_seed(self.asked.seed, key), self.asked.secret
        request: Request = self.asked.judge.request_all(seated, key, secret=secret, seed=seed, sample=sample)
        return request

    def read(self, completion: Completion, sample: int = 0) -> Several:
        """The verdicts of all pairs."""
        seated: Any = [unit.material for unit in self.units]
        verdicts = self.asked.judge.read_all(seated, completion, sample=sample)
        return Several(verdicts=tuple(verdicts), status=verdicts[0].status, **completion.cost())

    def ask(self, sample: int) -> Awaitable[Several]:
        """Ask the model."""
        return self._ask(sample)

    async def _ask(self, sample: int) -> Several:
        assert self.asked.model is not None
        return self.read(await self.asked.model.complete(self.request(sample)), sample)

    def earlier(self, store: Store, most: int) -> Iterator[Earlier]:
        """None: stored verdicts do not tell which pairs were in one call."""
        return iter(())

    def keep(self, store: Store, records: Sequence[tuple[PairsUnit, Several]]) -> None:
        """Append the verdicts of all pairs, in one commit."""
        units = [
            (unit, verdict)
            for call, several in records
            for unit, verdict in zip(call.units, several.verdicts, strict=True)
        ]
        units[0][0].keep(store, units)

    def halves(self, alone: AskedJudge) -> list[Unit]:
        """The pairs that are not decided, in two calls; the last ones alone, to be asked again as `alone` is."""
        left = [unit for unit in self.units if _is_open(unit)]
        cut = (len(left) + 1) // 2
        return [unit for some in (left[:cut], left[cut:]) for unit in _called(self.asked, alone, some)]


def _is_open(unit: JudgeUnit) -> bool:
    """Whether none of the samples that were asked of a unit is decided."""
    for sample in range(unit.asked.reask + 1):
        if (status := unit.stored(sample)) is None or status is Status.OK:
            return status is None
    return True


def _called(whole: AskedJudge, alone: AskedJudge, units: Sequence[JudgeUnit]) -> list[Unit]:
    """One call about some pairs, or none; about a single pair it may be asked again."""
    if not units:
        return []
    return [PairsUnit(whole, units)] if len(units) > 1 else [JudgeUnit(alone, units[0].material, units[0].statuses)]


@dataclass(frozen=True)
class AnnotationPlan:
    """What is to be labelled, by whom.

    Attributes:
        pairs: each once.
        pool: who labels.
        seed: of all draws.
        votes: labels of each pair.
        concurrency: calls in progress at once; None for what the models bear.
        alone: every pair is a call by itself, whatever its annotator takes at a time: so it is in batch files.
        shard: whose calls are asked: those whose first pair's prompt it holds. The calls are those of the whole plan.
    """

    pairs: Sequence[Pair]
    pool: Pool
    seed: int = 0
    votes: int = 1
    concurrency: int | None = None
    alone: bool = False
    shard: Shard | None = None

    @property
    def judges(self) -> list[Judge]:
        """The members, once for each vote."""
        return [repeated(member, vote) for vote in range(self.votes) for member in self.pool.members]

    def draws(self) -> list[Draw]:
        """What becomes of each pair, vote by vote."""
        return list(self.pool.draws(self.pairs, seed=self.seed, votes=self.votes))

    def patience(self, member: int) -> int:
        """How often a member is asked again."""
        return self.pool.patience[member] if self.pool.patience else 2


class Questions:
    """The units of a plan: for each draw its seatings, and the calls that they go into."""

    def __init__(self, plan: AnnotationPlan, store: Store | None) -> None:
        self.plan, self.draws = plan, plan.draws()
        self._statuses: Statuses = {} if store is None else InStore(store.verdict)
        self._secret = "0" * 32 if store is None else store.secret
        self._asked: dict[tuple[int, int], tuple[AskedJudge, AskedJudge]] = {}
        self._own: Counter[int] | None = None  # by draw, how many of its questions this shard asks

    def asked(self, member: int, vote: int) -> tuple[AskedJudge, AskedJudge]:
        """A member as it is asked about several pairs, and about one."""
        if (member, vote) not in self._asked:
            judge, seed = repeated(self.plan.pool.members[member], vote), self.plan.seed
            patience = self.plan.patience(member) if getattr(judge, "model", None) is not None else 0
            alone = AskedJudge(judge, self._secret, seed=seed, reask=patience)
            whole = AskedJudge(judge, self._secret, seed=seed, reask=0)
            whole.limit = alone.limit  # the same calls in flight
            self._asked[member, vote] = whole, alone
        return self._asked[member, vote]

    def units(self, draw: Draw) -> list[JudgeUnit]:
        """The questions of a draw, one for each seat that is asked."""
        if not draw.firsts:
            return []
        pair, asked = self.plan.pairs[draw.pair], self.asked(draw.member, draw.vote)[1]
        orders = [(pair.one, pair.two) if first else (pair.two, pair.one) for first in draw.firsts]
        return [JudgeUnit(asked, (pair.prompt, *order), self._statuses) for order in orders]

    def calls(self) -> list[Unit]:
        """All calls that are planned; pairs go together by a shuffle that the seed fixes."""
        groups: dict[tuple[int, int, int], list[tuple[int, JudgeUnit]]] = {}
        for number, draw in enumerate(self.draws):
            for seat, unit in enumerate(self.units(draw)):
                groups.setdefault((draw.member, draw.vote, seat), []).append((number, unit))
        calls: list[Unit] = []
        self._own = Counter()
        for (member, vote, seat), units in groups.items():
            whole, alone = self.asked(member, vote)
            judge = self.plan.pool.members[member]
            most = judge.batch if isinstance(judge, PairsJudge) and not self.plan.alone else 1
            name = f"{judge.name}{seat or ''}"
            for together in asked_together(units, most, name, self.plan.seed + vote):
                if not self._is_ours(together[0][1].material[0]):
                    continue
                self._own.update(number for number, _ in together)
                some = [unit for _, unit in together]
                if most == 1:
                    calls += some
                else:
                    # a call all of whose pairs are there keeps its place: local models' chunks are cut of all calls
                    calls += _called(whole, alone, [unit for unit in some if _is_open(unit)] or some)
        return calls

    def _is_ours(self, prompt: Prompt) -> bool:
        return self.plan.shard is None or self.plan.shard.holds(prompt.id)

    def own(self) -> list[Draw]:
        """The draws that this shard knows all about; those of which it asks one seat of two are nobody's alone."""
        if self._own is None:
            self.calls()
        assert self._own is not None
        return [draw for number, draw in enumerate(self.draws) if self._knows(draw, self._own[number])]

    def _knows(self, draw: Draw, asked: int) -> bool:
        return asked == len(draw.firsts) if draw.firsts else self._is_ours(self.plan.pairs[draw.pair].prompt)

    def pairs(self) -> Iterator[tuple[Prompt, Response, Response]]:
        """The pairs about which this shard asks or knows anything."""
        numbers = {draw.pair for draw in self.own()} | {self.draws[n].pair for n in self._own or ()}
        return (self.plan.pairs[number][:3] for number in sorted(numbers))

    def labels(self, store: Store) -> list[Annotation]:
        """All labels, as far as the arena file has what is behind them; noise of annotators that gave none is none."""
        drawn = self.own()
        return _with_their_noise(drawn, [self.label(draw, store) for draw in drawn], self.plan.pool)

    def label(self, draw: Draw, store: Store) -> Annotation:
        """What became of a draw, as far as the arena file has what is behind it."""
        return _label(self, draw, store)


def annotate(
    plan: AnnotationPlan,
    store: Store,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    budget: Budget | None = None,
) -> list[Annotation]:
    """Ask for everything that is not stored yet, and give all labels, vote by vote. Blocking.

    Raises:
        StoppedError: the budget is spent, a server is down, or the arena file cannot be written. What was stored stays.
    """
    questions = Questions(plan, store)
    calls = questions.calls()
    ingest_pairs(store, questions.pairs())
    while calls:
        decide(
            lambda calls=calls: iter(calls),  # type: ignore[misc]
            store,
            on_progress,
            concurrency=plan.concurrency,
            budget=budget,
            closing=plan.pool.members,
        )
        unread = [call for call in calls if isinstance(call, PairsUnit) and call.stored(0) is not Status.OK]
        alone = {id(whole): one for whole, one in questions._asked.values()}
        calls = [half for call in unread for half in call.halves(alone[id(call.asked)])]
    return questions.labels(store)


def _label(questions: Questions, draw: Draw, store: Store) -> Annotation:
    if draw.label is not None:
        return Annotation(draw.pair, draw.vote, None, draw.noise, None, draw.label)
    plan = questions.plan
    name, first = plan.pool.members[draw.member].name, None
    if len(draw.firsts) == 1:
        first = 1 if draw.firsts[0] else 2
    verdicts = [_last(unit, store) for unit in questions.units(draw)]
    keys = tuple(verdict.key for verdict in verdicts if verdict is not None)
    failed = next((v for v in verdicts if v is None or v.outcome is None), ...)
    if failed is not ...:
        status, error = (Status.ERROR, "not asked") if failed is None else (failed.status, failed.error)
        return Annotation(draw.pair, draw.vote, name, False, first, None, status, error, keys)
    told = [verdict for verdict in verdicts if verdict is not None]
    if len(told) == 2:
        battle = merge_seats("one", "two", told[0], told[1])
        preference = 1.5 if battle is None else battle.winner.preference
    else:
        assert told[0].outcome is not None
        score = told[0].outcome.score_a
        preference = 2.0 - score if first == 1 else 1.0 + score
    return Annotation(draw.pair, draw.vote, name, False, first, preference, verdicts=keys)


def silent(labels: Sequence[Annotation]) -> dict[str, int]:
    """Annotators that were asked and gave no label, with how many they were asked for."""
    asked = Counter(one.annotator for one in labels if one.annotator is not None)
    gave = {one.annotator for one in labels if one.preference is not None}
    return {name: count for name, count in asked.items() if name not in gave}


def _with_their_noise(draws: Sequence[Draw], labels: Sequence[Annotation], pool: Pool) -> list[Annotation]:
    """Labels without the noise of annotators that gave none: a turned label stands in for one that would be given.

    Rows would else be coins alone where nobody can answer.
    """
    nothing = silent(labels)
    if not nothing:
        return list(labels)
    kept = []
    for draw, label in zip(draws, labels, strict=True):
        name = pool.members[draw.member].name
        if label.noise and name in nothing:
            error = f"noise in place of annotator {name}, which gave no label"
            label = replace(label, preference=None, status=Status.ERROR, error=error)
        kept.append(label)
    return kept


def _last(unit: JudgeUnit, store: Store) -> Verdict | None:
    return final(lambda sample: store.verdict(unit.key(sample)), unit.asked.reask)


def annotation_parts(plan: AnnotationPlan) -> dict[str, object]:
    """What makes the labels, by what it is called (`calls.shards.claim`)."""
    pool = plan.pool
    pairs = [[pair.prompt.id, pair.one.text_hash, pair.two.text_hash] for pair in plan.pairs]
    drawn = {name: getattr(pool, name) for name in ("p_label_flip", "noise_model", "seat_mode")}
    who = {f"annotator {one.name}": [one.fingerprint, plan.patience(at)] for at, one in enumerate(pool.members)}
    asked = {"votes": plan.votes, "seed": plan.seed, "alone": plan.alone}
    return {"list of pairs": pairs, **who, **drawn, **asked}


def planned_calls(plan: AnnotationPlan) -> int:
    """How many calls all of a plan takes if nothing is asked twice."""
    return sum(1 for call in Questions(plan, None).calls() if call.asked.model is not None)


def estimate_annotations(
    plan: AnnotationPlan,
    store: Store | None,
    *,
    human: HumanLabel = CROWD_WORKER,
    batch: bool = False,
    measure: bool = False,
) -> Estimate:
    """What labelling will ask and cost, with `batch` at the price of batches; the pairs need not be stored yet."""
    questions = Questions(plan, store)
    calls = questions.calls()

    def planned(numbers: Sequence[str]) -> Iterator[Planned]:
        return (Planned(calls[int(number)]) for number in numbers)

    members = [questions.asked(at, 0)[1] for at in range(len(plan.pool.members))]
    numbers = [str(number) for number in range(len(calls))]
    labels = len(plan.pairs) * plan.votes
    return estimate(
        planned, numbers, members, store, seed=plan.seed, labels=labels, human=human, batch=batch, measure=measure
    )
