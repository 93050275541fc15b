"""Judges on labelled pairs: what is to be asked, and asking it.

`ask` makes sure that every vote is in the arena file; `audit.read` derives everything else from what is stored, so that
an audit can be repeated, extended by a judge, or read again without paying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arenaloop.calls.batched import decide_batched
from arenaloop.calls.budget import Budget
from arenaloop.calls.estimate import estimate
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, Statuses, decide
from arenaloop.calls.progress import Tally
from arenaloop.calls.recorded import ingest_pairs
from arenaloop.calls.units import Planned
from arenaloop.config import BatchSettings
from arenaloop.data.formats.labels import LabelledPair
from arenaloop.judges.base import Judge
from arenaloop.judges.labels import LabelsJudge
from arenaloop.judges.repeats import own_votes, repeated
from arenaloop.judges.seats import MergeRule
from arenaloop.normal_form import is_blank
from arenaloop.store import Store
from arenaloop.types import Prompt, Response, Status

__all__ = ["AuditPlan", "ask", "ask_batches", "estimate_audit", "ingest"]


@dataclass(frozen=True)
class AuditPlan:
    """What is to be asked.

    Attributes:
        pairs: the labelled pairs.
        judges: who is audited, with unique names.
        votes: how often each judge votes on each pair, from both seats; None for once, and for all that is recorded
            with judges of recorded labels. Fixed rules vote once in any case.
        merge: how two seats become a vote.
        reask: how often a verdict without an outcome is asked again; one number, or one for each judge.
        seed: of the run.
        concurrency: seatings in progress at once; None for what the judges allow.
        notes: what the readers of the labels have to say.
    """

    pairs: Sequence[LabelledPair]
    judges: Sequence[Judge]
    votes: int | None = None
    merge: MergeRule = "mean"
    reask: int | Sequence[int] = 2
    seed: int = 0
    concurrency: int | None = None
    notes: Sequence[str] = ()

    def votes_of(self, judge: Judge) -> int:
        """How many votes a judge has on each pair (at most, with recorded labels)."""
        most = own_votes(judge)
        return (self.votes or most or 1) if most is None else min(most, self.votes or most)

    def responses(self) -> Iterator[tuple[int, Prompt, Response, Response]]:
        """The pairs as the judges see them, with their numbers."""
        for number, pair in enumerate(self.pairs):
            yield number, pair.prompt, _response(pair, 0), _response(pair, 1)

    @property
    def patience(self) -> Sequence[int]:
        """How often each judge is asked again."""
        return [self.reask] * len(self.judges) if isinstance(self.reask, int) else self.reask

    def questions(self, store: Store | None) -> Iterator[tuple[int, int, int, bool, JudgeUnit]]:
        """Everything that is asked: judge, vote and pair by number, whether the first output sits first, the question.

        Of recorded labels only what is there, but at least one vote on every pair, so that a missing label is seen.
        Without a store, nothing of it is there yet.
        """
        statuses: Statuses = {} if store is None else InStore(store.verdict)
        secret = "0" * 32 if store is None else store.secret
        asked: list[list[AskedJudge]] = []
        for judge, reask in zip(self.judges, self.patience, strict=True):
            patience, votes = reask if own_votes(judge) is None else 0, range(self.votes_of(judge))
            asked.append([AskedJudge(repeated(judge, n), secret, seed=self.seed, reask=patience) for n in votes])
        for number, prompt, one, two in self.responses():
            for j, judge in enumerate(self.judges):
                there = len(asked[j])
                if isinstance(judge, LabelsJudge):
                    there = min(there, max(1, judge.count(prompt, one, two)))
                for vote in range(there):
                    yield j, vote, number, True, JudgeUnit(asked[j][vote], (prompt, one, two), statuses)
                    yield j, vote, number, False, JudgeUnit(asked[j][vote], (prompt, two, one), statuses)


def estimate_audit(plan: AuditPlan, store: Store | None, *, measure: bool = False, batch: bool = False) -> Estimate:
    """What an audit will ask and cost; the pairs need not be in the arena file yet.

    Args:
        plan: what is to be asked.
        store: the arena file as far as there is one; may be open for reading only.
        measure, batch: as of `calls.estimate.estimate`.
    """

    def planned(numbers: Sequence[str]) -> Iterator[Planned]:
        some = replace(plan, pairs=[plan.pairs[int(number)] for number in numbers])
        return (Planned(question) for *_, question in some.questions(store))

    asked = [AskedJudge(judge, "", reask=patience) for judge, patience in zip(plan.judges, plan.patience, strict=True)]
    votes = sum(2 * plan.votes_of(judge) for judge in plan.judges)
    numbers = [str(number) for number in range(len(plan.pairs))]
    return estimate(
        planned,
        numbers,
        asked,
        store,
        each=max(1, votes),
        seed=plan.seed,
        labels=len(plan.pairs),
        measure=measure,
        batch=batch,
    )


def _response(pair: LabelledPair, side: int) -> Response:
    texts = pair.outputs[side]
    status = Status.EMPTY if all(map(is_blank, texts)) else Status.OK
    return Response(pair.prompt.id, pair.generators[side] or f"output_{side + 1}", texts, status)


def ingest(plan: AuditPlan, store: Store) -> None:
    """Put prompts and both texts of every pair into the arena file, so that verdicts can be read without the labels."""
    ingest_pairs(store, (shown[1:] for shown in plan.responses()))


def ask(
    plan: AuditPlan, store: Store, on_progress: Callable[[Tally], None] | None = None, *, budget: Budget | None = None
) -> Tally:
    """Ask for every vote that is not stored yet. Blocking.

    Raises:
        StoppedError: the budget is spent, a server is down, or the arena file cannot be written. What was stored stays.
    """
    return decide(
        lambda: (question for *_, question in plan.questions(store)),
        store,
        on_progress,
        concurrency=plan.concurrency,
        budget=budget,
        closing=plan.judges,
    )


def ask_batches(
    plan: AuditPlan,
    store: Store,
    folder: Path,
    settings: BatchSettings,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    budget: Budget | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Tally:
    """The same through batches; arguments and errors as of `calls.batched.decide_batched`."""
    return decide_batched(
        [question for *_, question in plan.questions(store)],
        store,
        folder,
        settings,
        on_progress,
        concurrency=plan.concurrency,
        budget=budget,
        closing=plan.judges,
        say=say,
    )
