"""What recipes are made of: vet, ask, battle, score, train, test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Pair, Schedule, target_pairs
from arenaloop.arena.pairings import Summary, battles_by_prompt, pairings
from arenaloop.arena.plan import BattlePlan, models_asked
from arenaloop.calls.answers import Answers, Contestant, samples_of
from arenaloop.calls.answers import answer as ask
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, decide
from arenaloop.calls.reask import final
from arenaloop.calls.recorded import ingest_recorded
from arenaloop.config import JudgedSettings, OptimSettings, RecipeSettings
from arenaloop.data.selection import PromptScores, response_scores
from arenaloop.errors import ConfigError, StoppedError, nearest
from arenaloop.jsonl import write_jsonl
from arenaloop.judges.jury import Decider
from arenaloop.judges.meta import MetaJudge
from arenaloop.judges.pointwise import MeanScore, RubricJudge, mean_score
from arenaloop.models.reward import Reward
from arenaloop.normal_form import is_blank
from arenaloop.recipes.adopted import adopted, adopted_line
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.stage import StageResult
from arenaloop.recipes.under_way import begin_battles
from arenaloop.store import Store
from arenaloop.terminal import counted
from arenaloop.types import Judgement, Prompt, Response, Verdict, Winner

__all__ = [
    "Arena",
    "Utility",
    "answer",
    "battle",
    "compared",
    "judged",
    "prompt_scores",
    "record",
    "score",
    "test",
    "train",
    "validate",
    "vet",
]

_BLANK = 0.1
"""share of blank answers from which on they are told"""

Utility = Callable[[Prompt, Response], float | None]
"""The true worth of a response, in [0, 1]; known in a simulated world only."""


@dataclass
class Arena:
    """What all answers and battles of a recipe share.

    Attributes:
        settings: seed, concurrency, and how two seats become a battle.
        recorded: response keys of contestants whose answers are recorded (`calls.recorded.match_recorded`).
        cached: verdicts so far that were found in the arena file.
    """

    store: Store
    judge: Decider
    settings: JudgedSettings
    recorded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    observer: Observer = field(default_factory=Observer)
    cached: int = 0

    def admit(self, prompts: Sequence[Prompt], opponents: Sequence[Contestant]) -> None:
        """Put all of a recipe's prompts, and its opponents' recorded answers, into the arena file."""
        self.store.add_prompts(prompts)
        ingest_recorded(self.store, opponents, prompts, self.recorded)

    def plan(self, contestants: Sequence[Contestant], prompt_ids: Sequence[str], pairs: Sequence[Pair]) -> BattlePlan:
        """Battles of these pairs on these prompts."""
        s = self.settings
        return BattlePlan(
            contestants=contestants,
            judge=self.judge,
            prompt_ids=prompt_ids,
            schedule=Schedule(tuple(pairs)),
            recorded=self.recorded,
            seed=s.seed,
            merge=s.merge,
            one_seat_failed=s.one_seat_failed,
            reask=s.judge.reask,
            concurrency=s.concurrency,
            seats=s.seats,
            own_failure=s.own_failure,
        )


def vet(
    stages: Sequence[str],
    opponents: Sequence[Contestant],
    judge: Decider,
    settings: JudgedSettings,
    anchor: tuple[str, float] | None = None,
) -> None:
    """Refuse stages (their names) and opponents that could not be told apart, rated or paid for.

    Raises:
        ConfigError: names that clash, an anchor that is no contestant, or a budget in dollars without prices.
    """
    names = [c.name for c in opponents]
    if clash := {*names} & {*stages}:
        raise ConfigError(f"an opponent may not be called {min(clash)}: that is a stage's name")
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(f"two opponents are called {name!r}: give one of them another name")
    players = [*stages, *names]
    if anchor and anchor[0] not in players:
        raise ConfigError(
            f"anchor {anchor[0]!r} is no contestant{nearest(anchor[0], players)}; there are {', '.join(players)}"
        )
    require_prices(Budget(settings.budget_usd, settings.budget_calls), models_asked(opponents, judge))


def answer(
    arena: Arena, contestant: Contestant, prompts: Sequence[Prompt], *, samples: int = 1
) -> list[Response | None]:
    """A contestant's answers to prompts of the arena file, asked where they are not there; None where there is none.

    Of several samples, those of one prompt stand side by side; the first is the answer that battles.
    """
    s = arena.settings
    each = [contestant] if samples == 1 else samples_of(contestant, samples)
    ask(
        each,
        [p.id for p in prompts],
        arena.store,
        arena.observer.tally,
        seed=s.seed,
        recorded=arena.recorded,
        concurrency=s.concurrency,
        budget=arena.budget,
    )
    answers = Answers(arena.store, each, arena.recorded, seed=s.seed)
    return [answers.stored(one.name, prompt) for prompt in prompts for one in each]


def judged(
    arena: Arena,
    judge: RubricJudge,
    answers: Sequence[tuple[Prompt, Response]],
    votes: int = 1,
    reask: int | None = None,
    *,
    together: bool = False,
) -> Iterator[list[Judgement]]:
    """What a judge of single answers says of each answer, a judgement for each vote; asked where it is not stored.

    All are asked for when the first is taken. One that could not be read has no score.

    Args:
        arena: whose file they are kept in.
        judge: who is asked.
        answers: with their prompts.
        votes: on each answer.
        reask: how often a vote that cannot be read is asked again; None as the arena's own judge is.
        together: whether a local judge reads an answer once for votes that stand side by side in its chunks.

    Raises:
        ConfigError: the budget is in dollars, and the judge's price is not known.
        StoppedError: the budget is spent, a server is down, or the arena file cannot be written. What was stored stays.
    """
    s, store = arena.settings, arena.store
    again = s.judge.reask if reask is None else reask
    require_prices(arena.budget, [judge.model])
    asked = [AskedJudge(judge.repeated(n), store.secret, seed=s.seed, reask=again) for n in range(votes)]
    for vote in asked[1:] if together else ():
        vote.lane = asked[0]
    statuses = InStore(store.judgement)

    def units(answer: tuple[Prompt, Response]) -> list[JudgeUnit]:
        return [JudgeUnit(vote, answer, statuses) for vote in asked]

    arena.cached += decide(
        lambda: (unit for answer in answers for unit in units(answer)),
        store,
        arena.observer.tally,
        concurrency=s.concurrency,
        budget=arena.budget,
        closing=[judge],
    ).cached

    def final_of(unit: JudgeUnit) -> Judgement | None:
        return final(lambda sample: store.judgement(unit.key(sample)), again)

    for answer in answers:
        yield [one for one in map(final_of, units(answer)) if one is not None]


def score(
    arena: Arena, judge: RubricJudge, answers: Sequence[tuple[Prompt, Response]], votes: int = 1
) -> list[MeanScore]:
    """What a judge of single answers gives each answer: the mean of its votes; what cannot be read is no vote, never 0.

    Raises:
        ConfigError, StoppedError: as of `judged`.
    """
    return [mean_score(found) for found in judged(arena, judge, answers, votes)]


Question = tuple[Prompt, Response, Response, Response]
"""A prompt, an answer, and two judgements of it as they are seated (`judges.meta.seated`)."""


def compared(arena: Arena, judge: MetaJudge, questions: Sequence[Question], reask: int) -> list[Verdict | None]:
    """Which of two judgements of an answer is the better one, in the order of the questions; asked where not stored.

    Raises:
        ConfigError, StoppedError: as of `judged`.
    """
    store = arena.store
    require_prices(arena.budget, [judge.model])
    asked, statuses = AskedJudge(judge, store.secret, seed=arena.settings.seed, reask=reask), InStore(store.verdict)
    arena.cached += decide(
        lambda: (JudgeUnit(asked, question, statuses) for question in questions),
        store,
        arena.observer.tally,
        concurrency=arena.settings.concurrency,
        budget=arena.budget,
        closing=[judge],
    ).cached

    def found(question: Question) -> Verdict | None:
        return final(lambda sample: store.verdict(judge.key(*question, sample)), reask)

    return [found(question) for question in questions]


def battle(
    arena: Arena, contestants: Sequence[Contestant], prompt_ids: Sequence[str], pairs: Sequence[Pair]
) -> BattlePlan:
    """Let pairs of contestants battle on prompts; the plan, by which the battles are read back."""
    plan = arena.plan(contestants, prompt_ids, pairs)
    begin_battles(arena.store, plan)
    arena.cached += play(plan, arena.store, arena.observer.tally, budget=arena.budget).cached
    return plan


def prompt_scores(plan: BattlePlan, store: Store, judged: Summary | None = None) -> Iterator[PromptScores]:
    """Each contestant's mean score on every prompt of a plan that was decided; `judged` counts all that was fought.

    A contestant that lost by its own failure throughout has the least score that there is: its failures do not decide
    from which prompts is learned.
    """
    names = [c.name for c in plan.contestants]
    for prompt, responses, found in battles_by_prompt(plan, store):
        if judged is not None:
            for pairing in found:
                judged.add(pairing)
        battles = [battle for pairing in found for battle in pairing.battles]
        scored = {name for battle in battles for name in (battle.model_a, battle.model_b)}
        failed = frozenset(loser for pairing in found if (loser := pairing.loser) is not None) - scored
        judged_pairs = [(p.model_a, p.model_b) for p in found if p.loser is None]
        scores = response_scores(battles, [name for name in names if name not in failed], pairs=judged_pairs)
        if scores is not None and scores:
            keys = tuple(dict.fromkeys(key for battle in battles for key in battle.verdicts))
            scores |= dict.fromkeys(failed, plan.judge.scale[0])
            yield PromptScores(prompt, responses, scores, keys, failed)


def train(
    method: str,
    start: str,
    rows: Sequence[Mapping[str, Any]],
    out: Path,
    settings: OptimSettings,
    *,
    seed: int,
    observer: Observer,
    by: RecipeSettings | None = None,
    revision: str | None = None,
    reward: Reward | None = None,
) -> StageResult:
    """Train a checkpoint by a method's name, or continue; the result lacks what is measured of the new model.

    `by` says who trains: this process (None), several that it starts, or another trainer, whose model is taken as it
    is. What was trained there with other settings is kept beside it (`models.kept_checkpoint`).

    Raises:
        InputError, StoppedError: as the method's training raises them; another trainer's model is not there yet.
    """
    run, name = out.parents[1], out.name
    if (told := adopted(out)) is not None:
        observer.note(f"{name}: {adopted_line(told)}: the settings of its training ({method}) change nothing of it")
        return StageResult(start=Path(start).name, rows=0, steps=0, adopted=told)
    if by is not None and name in by.elsewhere:
        write_jsonl(given := run / "elsewhere" / f"{name}.jsonl", rows)
        raise StoppedError(
            f"{name} is trained elsewhere (elsewhere): {counted(len(rows), 'row')} for {method} from {start} are in "
            f"{given}; bring the model with `arenaloop adopt {run} CHECKPOINT --stage {name}`, and run this again"
        )
    if by is None or by.launch is None:
        from arenaloop.train.methods import training  # needs torch
    else:
        from arenaloop.train.launch import launched

        training = partial(launched, by.launch, run / "launch" / name)
    from arenaloop.train.preparing import told_to

    with told_to(observer.preparing):
        done = training(
            method,
            start,
            rows,
            out,
            settings,
            seed=seed,
            on_step=observer.step,
            on_note=observer.note,
            revision=revision,
            reward=reward,
            keep_other=True,
        )
    if remarks := done.remarks():
        observer.note(f"{out.name}: {counted(len(rows), 'row')}; {'; '.join(remarks)}")
    return StageResult(
        start=Path(start).name,
        rows=len(rows),
        steps=done.steps,
        rows_dropped=done.dropped,
        metrics=done.metrics,
    )


def test(
    arena: Arena, contestant: Contestant, prompts: Sequence[Prompt], utility: Utility | None
) -> dict[str, float | None]:
    """Answer held-out prompts: mean length in characters and, where the truth is known, gold accuracy and utility."""
    responses = zip(prompts, answer(arena, contestant, prompts), strict=True)
    answered = [(p, a) for p, a in responses if a is not None and a.battles]
    if (blank := sum(all(map(is_blank, a.texts)) for _, a in answered)) >= max(1, _BLANK * len(answered)):
        told = f"{blank:,} of {counted(len(answered), 'answer')} to test prompts are blank"
        arena.observer.note(f"{contestant.name}: {told}: battles that they lose show that, and little else")
    lengths = [sum(map(len, a.texts)) for _, a in answered]
    figures: dict[str, float | None] = {"mean_length": sum(lengths) / len(lengths) if lengths else None}
    if utility is not None:
        worth = [utility(p, a) for p, a in answered]
        utilities = [u for u in worth if u is not None]
        # an answer that failed is worth nothing; of one whose worth is unknown nothing is told
        known = len(prompts) - (len(worth) - len(utilities))
        figures["gold_accuracy"] = sum(u >= 1 - 1e-9 for u in utilities) / known if known else None
        figures["gold_utility"] = sum(utilities) / known if known else None
    return figures


def record(plan: BattlePlan, store: Store, one: str, other: str) -> tuple[int, int, int]:
    """Battles with each other that the first of two contestants of a plan won, tied and lost."""
    meeting = replace(plan, schedule=Schedule(((one, other),)))
    won = Counter(winner for pairing in pairings(meeting, store) for winner in pairing.winners)
    return won[Winner.MODEL_A], won[Winner.TIE], won[Winner.MODEL_B]


def validate(
    arena: Arena,
    contestant: Contestant,
    opponents: Sequence[Contestant],
    prompts: Sequence[Prompt],
    judged: Summary,
) -> float | None:
    """Share of battles that a contestant wins against others, a tie as half; None where none was decided.

    Battles lost by own failure count as the settings have it.
    """
    fighters = [contestant, *opponents]
    pairs = target_pairs([c.name for c in fighters], contestant.name)
    won = []
    for pairing in pairings(battle(arena, fighters, [p.id for p in prompts], pairs), arena.store):
        judged.add(pairing)
        won += [winner.score for winner in pairing.winners]
    return sum(won) / len(won) if won else None
