"""Self-Rewarding and Meta-Rewarding before they run: their parts, what is refused, and slices of prompts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from arenaloop.calls.answers import Contestant
from arenaloop.config import (
    JudgesItselfSettings,
    MetaGateSettings,
    MetaRewardingSettings,
    MetaSettings,
    SelfRewardingSettings,
)
from arenaloop.data.held_out import HeldOut, prompt_turns, row_turns
from arenaloop.data.labelled_answers import LabelledAnswers
from arenaloop.data.ranked_replies import RankedPrompt
from arenaloop.data.self_instruct.plan import SelfInstruct
from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import JsonRow
from arenaloop.judges.jury import Decider, Jury
from arenaloop.judges.meta import MetaJudge
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.models.reward import Reward
from arenaloop.models.size import Size
from arenaloop.recipes.kept import HOW_RUN
from arenaloop.recipes.parts import Utility, vet
from arenaloop.recipes.reused import Decides, start_identity
from arenaloop.terminal import counted
from arenaloop.types import Prompt, Response, content_hash, derive_seed

__all__ = [
    "SelfRewarding",
    "check",
    "cut_slices",
    "decides",
    "inputs_key",
    "learns_perfect",
    "measured_in",
    "meta_of",
    "of_iteration",
    "stage_names",
]

V = TypeVar("V")


class _Material(NamedTuple):
    """What is learned from and chosen by, no held-out prompt among it; `left_out`: how many rows of each were."""

    demonstrations: Sequence[JsonRow]
    judgements: Sequence[JsonRow]
    ranked: Sequence[RankedPrompt]
    pool: Sequence[Prompt]
    validation: Sequence[Prompt]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class SelfRewarding:
    """Everything the recipes work on, as objects.

    Attributes:
        settings: of either recipe.
        start: the model that training starts from (a local path or hub id). `size`: of it, where that is known.
        target: makes a contestant of a checkpoint. `rubric`: a judge of its answers. `meta`: a judge of judgements.
        scorer: another judge in the model's place. `reward`: a reward in its place.
        opponents, judge: who else is rated, and who decides held-out battles.
        demonstrations: IFT rows. `judgements`: EFT rows, as conversations, or still to be filled in by `filled`.
        ranked: prompts with replies that people have ranked, which M0 judges for M1 to learn from.
        pool: prompts that are cut into slices. `fresh`: has more of them written; until then others stand for these.
        test: held-out prompts. `validation`: others, by which an iteration's checkpoint is chosen; may be empty.
        length: of an answer, in the unit of the settings.
        filled: (EFT rows, what delimiters are made of) → conversations.
        utility, truth: the true utility of a response to a held-out prompt, and to one of the pool, where it is known.
        labelled: answers that people have labelled, on which gates are measured.
        fingerprint: content hash of `start`, so that a finished run is recognised.
        prepare: makes `start` where it is not there yet; called before the first stage.
        recorded: response keys of opponents whose answers are recorded (`match_recorded` over the test prompts).
    """

    settings: JudgesItselfSettings
    start: str
    target: Callable[[str, Path], Contestant]
    rubric: Callable[[str, Path], RubricJudge]
    meta: Callable[[str, Path], MetaJudge] | None
    opponents: Sequence[Contestant]
    judge: Decider
    pool: Sequence[Prompt]
    test: Sequence[Prompt]
    fresh: SelfInstruct | None = None
    validation: Sequence[Prompt] = ()
    demonstrations: Sequence[JsonRow] = ()
    judgements: Sequence[JsonRow] = ()
    ranked: Sequence[RankedPrompt] = ()
    scorer: RubricJudge | None = None
    reward: Reward | None = None
    length: Callable[[Response], int] = lambda response: sum(map(len, response.texts))
    filled: Callable[[Sequence[JsonRow], str], list[JsonRow]] = lambda rows, secret: list(rows)
    utility: Utility | None = None
    truth: Utility | None = None
    labelled: LabelledAnswers | None = None
    fingerprint: str = ""
    judged_by: str = ""
    """hash of the templates that the model judges with"""
    prepare: Callable[[], None] = lambda: None
    size: Size | None = None
    notes: Sequence[str] = ()
    """what the plan tells beside, of the parts"""
    unread: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """what is left out of the files of a setting, by reason"""
    recorded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def material(self) -> _Material:
        """Demonstrations, judgements and prompts without those that ask or contain a held-out prompt.

        A judgement's prompt contains what it judges an answer to.
        """
        tested = HeldOut(self.test)
        held_out = HeldOut((*self.test, *self.validation)) if self.validation else tested
        kept: dict[str, list[JsonRow]] = {"demonstrations": [], "judgements": []}
        left_out = dict.fromkeys((*kept, "ranked", "prompts", "validation"), 0)
        for what, rows in (("demonstrations", self.demonstrations), ("judgements", self.judgements)):
            for row in rows:
                if held_out.leak(row_turns(row)) is None:
                    kept[what].append(row)
                else:
                    left_out[what] += 1
        unique = {prompt.id: prompt for prompt in self.pool}
        pool = [prompt for prompt in unique.values() if held_out.leak(prompt_turns(prompt)) is None]
        left_out["prompts"] = len(unique) - len(pool)
        ranked = [one for one in self.ranked if held_out.leak(prompt_turns(one.prompt)) is None]
        left_out["ranked"] = len(self.ranked) - len(ranked)
        unseen = {prompt.id: prompt for prompt in self.validation if tested.leak(prompt_turns(prompt)) is None}
        left_out["validation"] = len({prompt.id for prompt in self.validation}) - len(unseen)
        return _Material(kept["demonstrations"], kept["judgements"], ranked, pool, list(unseen.values()), left_out)

    @property
    def fine_tuned(self) -> bool:
        """Whether M1 is trained, or the target as it is."""
        return bool(self.demonstrations or self.judgements or self.ranked)


def meta_of(settings: JudgesItselfSettings) -> MetaSettings | None:
    """What Meta-Rewarding adds."""
    return settings.meta if isinstance(settings, MetaRewardingSettings) else None


def of_iteration(values: Sequence[V], iteration: int) -> V:
    """An iteration's own value, from 1; the last one serves all later."""
    return values[min(iteration, len(values)) - 1]


def measured_in(settings: JudgesItselfSettings, iteration: int) -> frozenset[str]:
    """The gates that are measured in an iteration, from 1: ``order`` and, where judgements are compared, ``meta``."""
    gates, meta = settings.gates, meta_of(settings)
    found = {"order"} if gates.order is not None else set()
    if isinstance(gates, MetaGateSettings) and gates.meta is not None and meta is not None:
        found |= {"meta"} if meta.learns_in(iteration) else set()
    return frozenset(found)


def stage_names(settings: JudgesItselfSettings) -> list[str]:
    """M0 where it judges ranked replies, M1, and the model of each iteration."""
    return [f"M{number}" for number in range(settings.data.ranked is None, settings.iterations + 2)]


def check(recipe: SelfRewarding) -> None:
    """Refuse what cannot run to its end, before anything is asked or written.

    Raises:
        ConfigError: as in `parts.vet`.
        InputError: no test prompts, fewer prompts than the iterations need, or nothing left to train M1 on.
    """
    vet(stage_names(recipe.settings), recipe.opponents, recipe.judge, recipe.settings)
    if not recipe.test:
        raise InputError("the test set holds no prompts")
    if recipe.validation and not recipe.material.validation:
        raise InputError("every prompt of data.validation is a test prompt: no checkpoint can be chosen by them")
    if recipe.fine_tuned and not any(recipe.material[:3]):
        raise InputError("every demonstration and judgement is about a test prompt: nothing is left to train M1 on")
    if (meta := meta_of(recipe.settings)) is not None:
        there, last_one = counted(recipe.settings.iterations, "iteration"), recipe.settings.iterations
        there = f"there {'is' if last_one == 1 else 'are'} {there}"
        if meta.iterations > last_one:
            raise ConfigError(f"meta.iterations {meta.iterations}: {there}; set meta.iterations={last_one}")
        if (last := meta.begin + meta.iterations - 1) > recipe.settings.iterations:
            raise ConfigError(
                f"meta.begin {meta.begin}: judgements are learned from until iteration {last}, and {there}"
            )
    cut_slices(recipe)


def cut_slices(recipe: SelfRewarding) -> list[list[Prompt]]:
    """Each iteration's own prompts, of the pool shuffled by the seed; no prompt is in two.

    Raises:
        InputError: there are too few; says how many are missing.
    """
    s, pool = recipe.settings, list(recipe.material.pool)
    each = s.prompts_per_iteration or len(pool) // s.iterations
    wanted = s.iterations * max(each, 1)
    if len(pool) < wanted:
        left_out = recipe.material.left_out["prompts"]
        why = f" ({left_out:,} more are test prompts)" if left_out else ""
        raise InputError(
            f"{counted(s.iterations, 'iteration')} of {counted(max(each, 1), 'prompt')} need {wanted:,}, and there are "
            f"{len(pool):,}{why}: {wanted - len(pool):,} are missing"
        )
    random.Random(derive_seed("slices", s.seed)).shuffle(pool)
    return [pool[at * each : (at + 1) * each] for at in range(s.iterations)]


def inputs_key(recipe: SelfRewarding) -> str:
    """Hash of everything that a stage's result depends on; how it is run (threads, concurrency, budgets) is not."""
    s = recipe.settings
    plain = s.model_dump(
        mode="json",
        exclude={
            *("name", "concurrency", "budget_usd", "budget_calls", "human", "machine", "launch", "elsewhere"),
            *("opponents", "judge", "target", "sft", "dpo", "scorer", "reward", "limits"),
        },
    )
    plain["data"].pop("self_instruct")  # the prompts themselves are below
    return content_hash(
        plain,
        [s.sft.method(), s.dpo.method()],
        [s.target.sampling.build().key(), recipe.fingerprint, recipe.judged_by],
        None if recipe.scorer is None else recipe.scorer.fingerprint,
        None if recipe.reward is None else recipe.reward.identity,
        [dict(row) for row in (*recipe.material.demonstrations, *recipe.material.judgements)],
        [[one.prompt.id, list(one.replies)] for one in recipe.material.ranked],
        [prompt.id for prompt in recipe.material.pool],
        [prompt.id for prompt in recipe.test],
        _chosen_by(recipe),
        None if recipe.labelled is None else recipe.labelled.identity,
    )


def _chosen_by(recipe: SelfRewarding) -> list[str]:
    """By which prompts and whom an iteration's checkpoint is chosen."""
    prompts = [prompt.id for prompt in recipe.material.validation]
    if not prompts or recipe.settings.checkpoints.by == "self":
        return prompts
    return [*prompts, *(one.fingerprint for one in Jury.of(recipe.judge).members)]


def learns_perfect(settings: JudgesItselfSettings) -> bool:
    """Whether models are fine-tuned on perfect answers, not on pairs."""
    return isinstance(settings, SelfRewardingSettings) and settings.learn == "perfect"


def decides(recipe: SelfRewarding) -> Decides:
    """What decides a stage's weights, for plans: less than `inputs_key`, as later stages and the test set do not."""
    s, material, slices = recipe.settings, recipe.material, cut_slices(recipe)
    elsewhere = {"iterations", "data", "opponents", "judge", "target", "sft", "dpo", "scorer", "reward", "limits"}
    rest = s.model_dump(mode="json", exclude={*HOW_RUN, *elsewhere})
    first = content_hash(
        [s.seed, s.target.revision, s.sft.method()],
        [dict(row) for row in (*material.demonstrations, *material.judgements)],
        [[one.prompt.id, list(one.replies)] for one in material.ranked],
        [s.data.most_of_score, s.self_judge.model_dump(mode="json"), recipe.judged_by] if material.ranked else [],
    )
    judged = [
        content_hash(rest, s.dpo.method(), s.target.sampling.build().key(), recipe.judged_by),
        None if recipe.scorer is None else recipe.scorer.fingerprint,
        None if recipe.reward is None else recipe.reward.identity,
        _chosen_by(recipe),
        None if recipe.labelled is None else recipe.labelled.identity,
    ]

    def decide(name: str, weights: Mapping[str, str | None]) -> object:
        number = int(name[1:]) - 1
        asked = [[prompt.id for prompt in prompts] for prompts in slices[: max(number, 0)]]
        start = start_identity(recipe.start)  # which may be made only after this function
        return [start, first, dict(weights), *([judged, asked] if number > 0 else [])]

    return decide
