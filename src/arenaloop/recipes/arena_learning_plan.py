"""Arena Learning before it runs: its parts, its stages, the slices of prompts, and how many calls all of it takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from arenaloop.arena.matchmaking import Pair, all_pairs, target_pairs
from arenaloop.arena.plan import models_asked, verdicts_per_battle
from arenaloop.calls.answers import Contestant, samples_of
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.recorded import recorded_notes
from arenaloop.config import ArenaLearningSettings, JudgeSettings
from arenaloop.data.cleaning.pipeline import Account, Cleaner, clean
from arenaloop.data.cleaning.rows import BenchmarkItem, Drop, prompt_rows
from arenaloop.data.held_out import HeldOut, Leak, prompt_turns, row_turns
from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.jsonl import JsonRow
from arenaloop.judges.jury import Decider
from arenaloop.models.reward import Reward
from arenaloop.models.size import Size
from arenaloop.recipes.arena_learning_stages import Stage, own_pairs, plan_stages, slice_count, threshold
from arenaloop.recipes.held_out_judge import refuse_same_judge
from arenaloop.recipes.kept import HOW_RUN
from arenaloop.recipes.parts import Utility, vet
from arenaloop.recipes.reused import Decides, start_identity
from arenaloop.recipes.stage import Outline
from arenaloop.terminal import counted
from arenaloop.types import Prompt, content_hash, derive_seed

__all__ = [
    "ArenaLearning",
    "Fights",
    "Material",
    "check",
    "cut_slices",
    "decides",
    "fights",
    "inputs_key",
    "opponents_of",
    "outline",
    "plan_calls",
]


OF_HELD_OUT = "the held-out judge's prompts"


class Fights(NamedTuple):
    """Who battles on which prompts, in which pairs of names."""

    contestants: list[Contestant]
    prompt_ids: Sequence[str]
    pairs: list[Pair]


class Cleaned(NamedTuple):
    """The pool after cleaning, what that came to, and the rows that went, as they are written to a file."""

    pool: Sequence[Prompt]
    account: Account
    dropped: Sequence[JsonRow]


class Material(NamedTuple):
    """What is trained on and validated with, no held-out prompt among it.

    Attributes:
        left_out: how many rows of each were, because they ask or contain a held-out prompt.
        contained: those of them that contain one among other text.
        held_out: prompts of the held-out judge.
    """

    demonstrations: Sequence[JsonRow]
    pool: Sequence[Prompt]
    validation: Sequence[Prompt]
    left_out: Mapping[str, int]
    contained: Mapping[str, int]
    held_out: Sequence[Prompt] = ()


@dataclass(frozen=True)
class ArenaLearning:
    """Everything the recipe works on, as objects.

    Attributes:
        settings: thresholds, modes and training settings.
        start: the model that training starts from (a local path or hub id). `size`: of it, where that is known.
        target: makes a contestant of a checkpoint.
        reward_of: makes what scores answers of a reward model's checkpoint.
        opponents, judge: who else plays, and who decides.
        demonstrations: D0, rows with ``messages``.
        pool: prompts that are cut into slices. `test`: held-out prompts. `validation`: may be empty. What is trained on
            is `material`: these without what is held out.
        utility: the true utility of a response, where it is known.
        fingerprint: content hash of `start`, so that a finished run is recognised.
        prepare: makes `start` where it is not there yet; called before the first stage.
        duplicates: prompts that the pool's file repeats; each is there once.
        cleaner: how the pool is cleaned; None where it is taken as it is.
        benchmarks: test prompts of others, beside its own, that cleaning keeps out of the pool.
        recorded: response keys of opponents whose answers are recorded (`match_recorded` over all prompts).
        held_out_judge: who rates every stage beside the judge, on the prompts of `held_out`; None where nobody does.
    """

    settings: ArenaLearningSettings
    start: str
    target: Callable[[str, Path], Contestant]
    opponents: Sequence[Contestant]
    judge: Decider
    demonstrations: Sequence[JsonRow]
    pool: Sequence[Prompt]
    test: Sequence[Prompt]
    validation: Sequence[Prompt] = ()
    utility: Utility | None = None
    fingerprint: str = ""
    prepare: Callable[[], None] = lambda: None
    duplicates: int = 0
    size: Size | None = None
    recorded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reward_of: Callable[[Path], Reward] | None = None
    cleaner: Cleaner | None = None
    benchmarks: Sequence[BenchmarkItem] = ()
    held_out_judge: Decider | None = None
    held_out: Sequence[Prompt] = ()

    @cached_property
    def cleaned(self) -> Cleaned | None:
        """The pool as cleaning leaves it: nothing like a held-out prompt, or one of `benchmarks`."""
        if self.cleaner is None:
            return None
        own = (("test", self.test), ("validation", self.validation), ("held_out", self.held_out))
        items = [BenchmarkItem({"set": name, "id": p.id}, p) for name, prompts in own for p in prompts]
        dropped: list[JsonRow] = []

        def drop(one: Drop) -> None:
            dropped.append(one.to_json(lambda number: {"id": self.pool[number].id}))

        account, rows = clean(prompt_rows(self.pool), self.cleaner, [*items, *self.benchmarks], drop)
        kept = [self.pool[row.line] for row in rows]
        steps = [one.step for one in account.steps]
        return Cleaned(kept, account, sorted(dropped, key=lambda row: steps.index(row["dropped"]["step"])))

    @cached_property
    def material(self) -> Material:
        """Demonstrations, pool and validation prompts without those that ask or contain a held-out prompt.

        Demonstrations and pool keep away from test and validation prompts and from those of the held-out judge, these
        from test and validation prompts, validation from test prompts; how they are compared: `data.held_out`.
        """
        given = self.pool if self.cleaned is None else self.cleaned.pool
        tested, known = HeldOut(self.test), HeldOut((*self.test, *self.validation))
        held_out = HeldOut((*self.test, *self.validation, *self.held_out)) if self.held_out else known
        leaks = {
            "demonstrations": [held_out.leak(row_turns(row)) for row in self.demonstrations],
            "pool": [held_out.leak(prompt_turns(prompt)) for prompt in given],
            "validation": [tested.leak(prompt_turns(prompt)) for prompt in self.validation],
        }
        if self.held_out:
            leaks[OF_HELD_OUT] = [known.leak(prompt_turns(prompt)) for prompt in self.held_out]
        return Material(
            [row for row, leak in zip(self.demonstrations, leaks["demonstrations"], strict=True) if leak is None],
            [prompt for prompt, leak in zip(given, leaks["pool"], strict=True) if leak is None],
            [prompt for prompt, leak in zip(self.validation, leaks["validation"], strict=True) if leak is None],
            {what: sum(leak is not None for leak in found) for what, found in leaks.items()},
            {what: found.count(Leak.CONTAINED) for what, found in leaks.items()},
            [prompt for prompt, leak in zip(self.held_out, leaks.get(OF_HELD_OUT, ()), strict=True) if leak is None],
        )


def fights(recipe: ArenaLearning, stage: Stage, target: Contestant, prompt_ids: Sequence[str]) -> list[Fights]:
    """What a stage learns from: battles of the target with the opponents, or of the target's own answers in pairs."""
    s, opponents = recipe.settings, opponents_of(recipe, stage.round)
    if (
        s.battle_mode == "split"
    ):  # a slice stands in the seed's order, so each opponent is dealt an even share at random
        each = len(opponents)
        shares = [(one, prompt_ids[at::each]) for at, one in enumerate(opponents)]
        found = [Fights([target, one], share, [(target.name, one.name)]) for one, share in shares if share]
    else:
        contestants = [target, *opponents]
        names = [one.name for one in contestants]
        pairs = all_pairs(names) if s.battle_mode == "all_pairs" else target_pairs(names, target.name)
        found = [Fights(contestants, prompt_ids, pairs)]
    if stage.kind == "reward_model" and own_pairs(s):
        warm = replace(target, sampling=replace(target.sampling, temperature=s.rm_temperature))
        own = samples_of(warm, 2 * own_pairs(s))
        one_on_one = zip(own[::2], own[1::2], strict=True)
        own_fights = [Fights([one, two], prompt_ids, [(one.name, two.name)]) for one, two in one_on_one]
        return own_fights if s.rm_pairs == "own" else [*found, *own_fights]
    return found


def opponents_of(recipe: ArenaLearning, round_: int) -> Sequence[Contestant]:
    """From whom a round learns."""
    named = recipe.settings.opponents_by_round
    if named is None:
        return recipe.opponents
    return [one for one in recipe.opponents if one.name in named[min(round_, len(named)) - 1]]


def check(recipe: ArenaLearning) -> None:
    """Refuse what cannot run to its end, before anything is asked or written.

    Raises:
        ConfigError: as in `vet`, a round's opponent that is none, a held-out judge that is the training judge, or a
            threshold that no gap of this judge's scores can reach.
        InputError: no test prompts, test prompts that are also the validation or the held-out judge's prompts, nothing
            left to train on once held-out prompts are left out, no prompt of the pool left by cleaning, fewer of them
            than slices, or too few in PPO's slice for a roll-out.
    """
    settings, stages = recipe.settings, plan_stages(recipe.settings)
    vet([stage.name for stage in stages], recipe.opponents, recipe.judge, settings)
    vet([one.name for one in stages if one.answers], recipe.opponents, recipe.judge, settings, settings.anchor)
    if not recipe.test:
        raise InputError("the test set holds no prompts")
    _check_rounds(recipe)
    _check_thresholds(recipe)
    if recipe.cleaned is not None:
        recipe.cleaned.account.require_rows(recipe.settings.data.prompts)
    material, shared = recipe.material, recipe.material.left_out["validation"]
    if 2 * shared > len(recipe.validation):
        raise InputError(
            f"{shared:,} of {len(recipe.validation):,} validation prompts are test prompts too: what picks the best "
            "stage must not be what it is rated on"
        )
    _check_held_out(recipe)
    if recipe.demonstrations and not material.demonstrations:
        raise InputError("every demonstration answers a test or validation prompt: nothing is left to train SFT-I0 on")
    slices, asked = cut_slices(recipe, slice_count(settings)), 0
    for stage in stages:
        if stage.kind == "ppo" and stage.slice is not None:
            asked = len(slices[stage.slice]) + (asked if settings.accumulates("ppo") else 0)
            if why := settings.ppo.sized(asked).lacking(asked):
                raise InputError(f"{stage.name}: {why}")


def _check_rounds(recipe: ArenaLearning) -> None:
    known = [one.name for one in recipe.opponents]
    for round_, names in enumerate(recipe.settings.opponents_by_round or (), start=1):
        if unknown := next((name for name in names if name not in known), None):
            raise ConfigError(
                f"opponents_by_round: round {round_} names {unknown!r}, which is no opponent{nearest(unknown, known)}; "
                f"there are {', '.join(known)}"
            )


def _check_held_out(recipe: ArenaLearning) -> None:
    if recipe.held_out_judge is None:
        return
    refuse_same_judge(recipe.judge, recipe.held_out_judge)
    if recipe.settings.held_out is not None:
        own, second = (_what_decides(one) for one in (recipe.settings.judge, recipe.settings.held_out.judge))
        if own == second:
            raise ConfigError(
                f"held_out.judge: {recipe.held_out_judge.name} is the training judge under another name; take one of "
                "another family"
            )
    budget = Budget(recipe.settings.budget_usd, recipe.settings.budget_calls)
    require_prices(budget, models_asked((), recipe.held_out_judge))
    if not recipe.held_out:
        raise InputError("held_out.prompts: there are none")
    shared = recipe.material.left_out[OF_HELD_OUT]
    if 2 * shared > len(recipe.held_out):
        raise InputError(
            f"{shared:,} of {len(recipe.held_out):,} prompts of held_out.prompts are test or validation prompts: what "
            "guards the training must not be what picks its stages or what they are rated on"
        )


def _what_decides(settings: JudgeSettings) -> dict[str, object]:
    """A judge's settings without what it is called, and how fast and at what price it is asked."""
    return settings.model_dump(mode="json", exclude={"name", "price", "concurrency", "reask"})


def _check_thresholds(recipe: ArenaLearning) -> None:
    settings, (least, most) = recipe.settings, recipe.judge.scale
    all_values = (("sft", "k_sft", settings.k_sft), ("dpo", "k_dpo", settings.k_dpo), ("ppo", "k_rm", settings.k_rm))
    for kind, name, values in all_values:
        reached = values[: settings.rounds] if kind in settings.stages else ()
        if reached and max(reached) > most - least:
            fitting = ", ".join(f"{(most - least) * k / 9:.2g}" for k in values)  # as far on this scale as on 1 to 10
            far = f"; as far there as these are on 1 to 10: {name}: [{fitting}]" if most - least != 9 else ""
            raise ConfigError(
                f"{name}: {max(reached):g} can never be reached: judge {recipe.judge.name} scores from {least:g} to "
                f"{most:g}, and {name} is a gap in that unit, {most - least:g} at most{far}"
            )


def outline(recipe: ArenaLearning) -> Outline:
    """What the recipe will do, in words and numbers."""
    material, named = recipe.material, (recipe.settings.opponents_by_round or ())[: recipe.settings.rounds]
    repeated = f" ({recipe.duplicates:,} more repeat one of them)" if recipe.duplicates else ""
    account = None if recipe.cleaned is None else recipe.cleaned.account
    cleaned = (
        [] if account is None else [f"cleaning leaves {account.kept:,} of {account.read:,}: {account.told()} gone"]
    )
    validation = [counted(len(material.validation), "validation prompt")] if recipe.validation else []
    facts = [
        counted(len(material.demonstrations), "demonstration"),
        f"{counted(len(material.pool), 'prompt')} in the pool{repeated}",
        *cleaned,
        *([] if account is None else account.notes),
        counted(len(recipe.test), "test prompt"),
        *validation,
        *(
            f"{n:,} left out of {what}: held-out prompts"
            + (f" ({within:,} of them within other text)" if (within := material.contained[what]) else "")
            for what, n in material.left_out.items()
            if n
        ),
        *recorded_notes(recipe.opponents),
        f"opponents {', '.join(c.name for c in recipe.opponents)}",
        *(
            f"learns from {', '.join(names)} {'from' if round_ == len(named) else 'in'} round {round_}"
            f"{' on' if round_ == len(named) else ''}"
            for round_, names in enumerate(named, start=1)
        ),
        f"judge {recipe.judge.name}",
        _watching(recipe),
    ]
    stages = [stage.name for stage in plan_stages(recipe.settings)]
    return Outline(stages, facts, plan_calls(recipe), plan_battles(recipe))


def _watching(recipe: ArenaLearning) -> str:
    held_out, validation = recipe.material.held_out, recipe.material.validation
    if recipe.held_out_judge is not None:
        return f"held-out judge {recipe.held_out_judge.name} on {counted(len(held_out), 'prompt')}"
    if validation:
        return "guards watch the validation answers; no held-out judge"
    return "no guard watches the training: no held_out, no data.validation"


def plan_calls(recipe: ArenaLearning) -> list[tuple[str, int, int]]:
    """(what, prompts, judge calls) of every battle stage and of the final leaderboard, cache not counted."""
    each = verdicts_per_battle(recipe.judge, recipe.settings.seats)
    planned = [(what, prompts, each * met * prompts) for what, prompts, met in _planned(recipe)]
    if recipe.held_out_judge is not None:  # both judges decide the same battles
        both = each + verdicts_per_battle(recipe.held_out_judge, recipe.settings.seats)
        prompts, met = _watched(recipe)
        planned.insert(-1, ("held out", prompts, both * met * prompts))
    return planned


def plan_battles(recipe: ArenaLearning) -> int:
    """How many battles all of them come to, those of the held-out judge with it."""
    watched, met = _watched(recipe) if recipe.held_out_judge is not None else (0, 0)
    return sum(met * prompts for _, prompts, met in _planned(recipe)) + 2 * watched * met


def _planned(recipe: ArenaLearning) -> list[tuple[str, int, int]]:
    """(what, prompts, battles on each) of every battle stage, of validation and of the leaderboard."""
    stages, opponents = plan_stages(recipe.settings), len(recipe.opponents)
    settings = recipe.settings
    slices = cut_slices(recipe, slice_count(settings))
    parts = [
        (stage.name, len(slices[stage.slice]), _battles_a_prompt(recipe, stage))
        for stage in stages
        if stage.slice is not None and stage.kind != "ppo"
    ]
    answering = sum(stage.answers for stage in stages)
    if validation := recipe.material.validation:
        parts.append(("validation", len(validation), opponents * answering))
    players = answering + opponents
    parts.append(("leaderboard", len(recipe.test), players * (players - 1) // 2))
    return parts


def _watched(recipe: ArenaLearning) -> tuple[int, int]:
    """Prompts of the held-out judge, and battles on each that it decides."""
    answering = sum(stage.answers for stage in plan_stages(recipe.settings))
    return len(recipe.material.held_out), len(recipe.opponents) * answering


def _battles_a_prompt(recipe: ArenaLearning, stage: Stage) -> int:
    """How many battles a stage learns from, on each prompt of its slice."""
    s, n = recipe.settings, len(opponents_of(recipe, stage.round))
    met = {"all_pairs": n * (n + 1) // 2, "target_vs_each": n, "split": 1}[s.battle_mode]
    if stage.answers:
        return met
    return own_pairs(s) + (met if s.rm_pairs != "own" else 0)


def cut_slices(recipe: ArenaLearning, n: int) -> list[list[str]]:
    """Cut the pool, shuffled by the seed, into `n` slices; the first get one more where it does not divide.

    Prompts that ask what a test or validation prompt asks are not among them.

    Raises:
        InputError: fewer prompts than slices.
    """
    ids = list(dict.fromkeys(p.id for p in recipe.material.pool))
    if len(ids) < n:
        account = None if recipe.cleaned is None else recipe.cleaned.account
        cleaned = (
            "" if account is None else f"; cleaning left {account.kept:,} of {account.read:,}: {account.told()} gone"
        )
        raise InputError(f"the pool has {len(ids)} prompts (held-out ones left out{cleaned}) for {n} slices")
    random.Random(derive_seed("slices", recipe.settings.seed)).shuffle(ids)
    size, extra = divmod(len(ids), n) if n else (0, 0)
    ends = [size * i + min(i, extra) for i in range(n + 1)]
    return [ids[at:end][: recipe.settings.data.max_prompts_per_slice] for at, end in pairwise(ends)]


def inputs_key(recipe: ArenaLearning) -> str:
    """Hash of everything that a stage's result depends on; how it is run (threads, concurrency, budgets) is not."""
    s = recipe.settings
    # which recorded answers an opponent gives; None for one that is asked
    recorded = {name: dict(keys) for name, keys in recipe.recorded.items()}
    # prompts that were left out before too; others that are held out are part of the key, so that where there are none
    # keys stay what they were
    same_id = {p.id for p in (*recipe.test, *recipe.validation)}
    trained_on = {p.id for p in recipe.material.pool}
    left_out = [p.id for p in recipe.pool if p.id not in same_id and p.id not in trained_on]
    plain = s.model_dump(
        mode="json",
        exclude={
            *("name", "concurrency", "budget_usd", "budget_calls", "human", "machine", "rating", "launch", "elsewhere"),
            *("opponents", "judge", "target", "sft_init_training", "sft", "dpo", "reward_model", "ppo"),
            *("held_out", "guards"),  # what stages come to does not depend on who watches
            # as these settings came later: keys of what was there before stay
            *(["seats"] if s.seats == "both" else []),
            *(["own_failure"] if s.own_failure == "loss" else []),
            *(["opponents_by_round"] if s.opponents_by_round is None else []),
            *(["ppo_prompts"] if s.ppo_prompts is None else []),
            *(["rm_init"] if s.rm_init == "target" else []),
            *(("k_rm", "rm_pairs", "rm_samples", "rm_temperature") if "ppo" not in s.stages else ()),
        },
    )
    if s.data.cleaning is None:  # came later, too
        del plain["data"]["cleaning"]
    return content_hash(
        plain,
        [s.sft_init_training.method(), s.sft.method(), s.dpo.method()],
        *([[s.reward_model.method(), s.ppo.method()]] if "ppo" in s.stages else []),
        [s.target.sampling.build().key(), recipe.fingerprint],
        [[c.name, c.model.fingerprint, c.sampling.key(), recorded.get(c.name)] for c in recipe.opponents],
        [recipe.judge.fingerprint, s.judge.reask],
        content_hash([dict(row) for row in recipe.material.demonstrations]),
        [p.id for p in recipe.pool],
        [p.id for p in recipe.test],
        [p.id for p in recipe.material.validation],
        *([left_out] if left_out else []),
    )


def decides(recipe: ArenaLearning) -> Decides:
    """What decides a stage's weights, for plans: less than `inputs_key`, as later stages and the test set do not."""
    s, slices, stages = recipe.settings, cut_slices(recipe, slice_count(recipe.settings)), plan_stages(recipe.settings)
    elsewhere = {"rounds", "stages", "data", "opponents", "opponents_by_round", "judge", "target"}  # below, or nowhere
    later = {"sft_init_training", "sft", "dpo", "reward_model", "ppo", "k_sft", "k_dpo", "k_rm"}
    rest = s.model_dump(mode="json", exclude={*HOW_RUN, *elsewhere, *later, "held_out", "guards", "anchor"})
    material = content_hash([dict(row) for row in recipe.material.demonstrations])
    fought = [
        content_hash(rest, recipe.judge.fingerprint, s.judge.reask, s.target.sampling.build().key()),
        [prompt.id for prompt in recipe.material.validation],
    ]

    @cache  # and not before: the start may be made only after this function
    def of(stage: Stage) -> object:
        if stage.slice is None:
            return [s.seed, start_identity(recipe.start), s.target.revision, material, s.sft_init_training.method()]
        given = [
            [one.name, one.model.fingerprint, one.sampling.key(), dict(recipe.recorded.get(one.name, {}))]
            for one in opponents_of(recipe, stage.round)
        ]
        training = {"sft": s.sft, "dpo": s.dpo, "reward_model": s.reward_model, "ppo": s.ppo}[stage.kind].method()
        return content_hash(fought, given, training, threshold(s, stage), slices[stage.slice])

    def decide(name: str, weights: Mapping[str, str | None]) -> object:
        at = [one.name for one in stages].index(name)
        return [dict(weights), *map(of, stages[: at + 1])]

    return decide
