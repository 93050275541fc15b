"""AlpacaFarm before it runs: its parts, its stages and what each depends on, and how many calls all of it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from arenaloop.arena.plan import verdicts_per_battle
from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget
from arenaloop.calls.costs import HumanLabel
from arenaloop.calls.estimated import Estimate
from arenaloop.config import METHODS
from arenaloop.config.recipes.alpaca_farm import REWARD_MODEL, AlpacaFarmSettings, FarmMethodSettings
from arenaloop.config.recipes.alpaca_farm_parity import shown
from arenaloop.config.rl import RolloutSettings
from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.jsonl import JsonRow
from arenaloop.judges.jury import Decider
from arenaloop.judges.pooled import PooledLabels
from arenaloop.models.reward import Reward
from arenaloop.models.size import Size
from arenaloop.recipes.alpaca_farm_material import GivenPairs, Material, material
from arenaloop.recipes.kept import HOW_RUN
from arenaloop.recipes.parts import Arena, Utility, vet
from arenaloop.recipes.people import People
from arenaloop.recipes.reused import Decides, start_identity
from arenaloop.recipes.stage import Outline
from arenaloop.report.texts import one_line
from arenaloop.store import Store
from arenaloop.terminal import counted
from arenaloop.types import Preference, Prompt, Response, Sampling, content_hash

__all__ = ["AlpacaFarm", "LabelCosts", "Labeller", "Labels", "check", "decides", "inputs_key", "outline", "stage_names"]


@dataclass(frozen=True)
class Labels:
    """Pairs that were labelled.

    Attributes:
        preferences: one for each label that names a better answer.
        undecided: pairs without one, by reason.
        drawn: labels that label noise drew, for which nobody was asked.
        calls: judge calls that the others took, however often they were asked before.
    """

    preferences: Sequence[Preference]
    undecided: Mapping[str, int] = field(default_factory=Counter)
    drawn: int = 0
    calls: int = 0

    def told(self) -> str:
        """In one line."""
        rest = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.undecided.items()) if n)
        return f"{counted(len(self.preferences), 'pair')} labelled, {self.drawn:,} of them by noise without a call" + (
            f"; without a label: {rest}" if rest else ""
        )


Labeller = Callable[[Arena, Sequence[tuple[Prompt, Response, Response]]], Labels]
"""Labels pairs of answers, through the arena file and its budget."""
LabelCosts = Callable[
    [Sequence[tuple[Prompt, Response, Response]], Store | None, HumanLabel], tuple[Estimate, Mapping[str, Any]] | None
]
"""What labels of pairs will ask, and the models that are asked, by name; None where nobody is."""


@dataclass(frozen=True)
class AlpacaFarm:
    """Everything the recipe works on, as objects.

    Attributes:
        settings: methods and their training.
        start: the model that training starts from (a local path or hub id). `size`: of it, where that is known.
        target: makes a contestant of a checkpoint. `sampling`: of its samples.
        opponents, judge: who else meets the baseline, and who decides there.
        demonstrations, preference, unlabeled, validation, evaluation: the splits; see `material`.
        label: labels pairs of answers.
        label_calls: (pairs) → judge calls that they take at most. `label_costs`: see there.
        given, given_validation: labelled pairs of files, in place of samples and labels.
        people: what people say of evaluation pairs.
        reward_of: (SPEC, arena file, budget) → what scores by it; a judge's verdicts are kept and paid for there.
        rewards: what identifies those that methods name by a SPEC.
        utility: the true utility of a response, where it is known.
        fingerprint: content hash of `start`, so that a finished run is recognised.
        prepare: makes `start` where it is not there yet; called before the first stage.
        recorded: response keys of opponents whose answers are recorded.
    """

    settings: AlpacaFarmSettings
    start: str
    target: Callable[[str, Path], Contestant]
    sampling: Sampling
    opponents: Sequence[Contestant]
    judge: Decider
    demonstrations: Sequence[JsonRow]
    preference: Sequence[Prompt]
    unlabeled: Sequence[Prompt]
    evaluation: Sequence[Prompt]
    label: Labeller
    label_calls: Callable[[int], int]
    reward_of: Callable[[str, Store | None, Budget], Reward]
    label_costs: LabelCosts = lambda _, __, ___: None
    size: Size | None = None
    validation: Sequence[Prompt] = ()
    given: GivenPairs | None = None
    given_validation: GivenPairs | None = None
    people: People | None = None
    rewards: Mapping[str, str] = field(default_factory=dict)
    utility: Utility | None = None
    fingerprint: str = ""
    prepare: Callable[[], None] = lambda: None
    recorded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def material(self) -> Material:
        """The splits without what another one asks (see `data.splits`)."""
        given = self.given
        return material(
            self.settings.data.overlap,
            self.evaluation,
            self.demonstrations,
            given if given is not None else self.preference,
            self.unlabeled,
            self.given_validation if self.given_validation is not None else self.validation,
        )

    @property
    def verdicts_each(self) -> int:
        """How many verdicts an evaluation battle takes."""
        if isinstance(self.judge, PooledLabels):
            return self.judge.seats
        return verdicts_per_battle(self.judge, self.settings.seats)


def stage_names(settings: AlpacaFarmSettings) -> list[str]:
    """The stages in order."""
    return ["SFT", *(["RM"] if settings.needs_reward_model else []), *settings.methods]


def check(recipe: AlpacaFarm) -> None:
    """Refuse what cannot run to its end, before anything is asked or written.

    Raises:
        ConfigError: as in `vet`; a baseline that is nobody's name; a method that another opponent is called by; a split
            that a method needs and nobody named.
        InputError: splits overlap; or one that a method needs is empty once what overlaps is left out, or too small.
    """
    s, material = recipe.settings, recipe.material
    names = stage_names(s)
    vet(names, recipe.opponents, recipe.judge, s)
    players = [*(name for name in names if name != "RM"), *(one.name for one in recipe.opponents)]
    if s.baseline not in players:
        raise ConfigError(
            f"baseline {s.baseline!r} is no contestant{nearest(s.baseline, players)}; there are {', '.join(players)}"
        )
    if len(players) < 2:
        raise ConfigError("methods: nothing is compared: name at least one method or opponent")
    if not recipe.evaluation:
        raise InputError("the evaluation set holds no prompts")
    if silent := [name for name, keys in recipe.recorded.items() if not keys]:
        who = "baseline" if silent[0] == s.baseline else "opponent"
        count = counted(len(recipe.evaluation), "prompt")
        raise InputError(f"{who} {silent[0]}: no answer to any of the {count} of data.evaluation")
    needs: dict[str, tuple[Sequence[Any], str]] = {"data.sft": (material.demonstrations, "SFT")}
    needs["data.preference"] = (material.preference if material.given is None else material.given, "the pairs")
    if asking := [name for name, one in s.methods.items() if one.samples and one.learns]:
        if s.data.unlabeled is None:
            raise ConfigError(f"data.unlabeled: {asking[0]} learns from samples to prompts: name some")
        needs["data.unlabeled"] = (material.unlabeled, asking[0])
    if s.data.overlap == "refuse":
        for one in material.overlaps:
            raise InputError(
                f"{one.split} and {one.other} overlap: {counted(one.rows, 'row')} of {one.split} ask what is asked in "
                f"{one.other} (“{one_line(one.example)}”); data.overlap: leave_out leaves them out"
            )
    for key, (rows, what) in needs.items():
        if not rows:
            raise InputError(f"{key}: nothing is left for {what} (rows that ask what another split asks are left out)")
    most = len(material.given) if material.given is not None else len(material.preference) * (s.samples // 2)
    if not s.data.validation and s.eval_pairs >= most:
        raise ConfigError(f"eval_pairs: {s.eval_pairs:,} of at most {most:,} pairs leave none to learn from")
    for name, method in s.methods.items():
        training = method.settings if method.learns else None
        if isinstance(training, RolloutSettings) and (
            why := training.sized(len(material.unlabeled)).lacking(len(material.unlabeled))
        ):
            raise InputError(f"data.unlabeled: {name}: {why}")


def inputs_key(recipe: AlpacaFarm, stage: str, pairs: str = "") -> str:
    """Hash of everything that a stage's result depends on; how it is run (threads, concurrency, budgets) is not.

    `pairs` is the hash of the labelled pairs, which later asking may add to.
    """
    s, material = recipe.settings, recipe.material
    parts: list[object] = [
        ["alpaca_farm", s.seed, recipe.fingerprint, s.target.sampling.build().key(), s.sft.method()],
        content_hash([dict(row) for row in material.demonstrations]),
        [prompt.id for prompt in recipe.evaluation],
    ]
    if stage == "SFT":
        return content_hash(*parts)
    if stage == "RM":
        return content_hash(*parts, pairs, s.reward_model.method())
    method = s.methods[stage]
    parts += [method.method, method.settings.method() if method.learns else [method.n, recipe.sampling.key()]]
    if method.samples:
        parts += [[prompt.id for prompt in material.unlabeled] if method.learns else []]
        parts += [recipe.rewards[method.reward]] if method.reward != REWARD_MODEL else []
        parts += [[pairs, s.reward_model.method()]] if method.asks_reward_model else []
    elif method.method != "sft":
        parts += [pairs]
    return content_hash(*parts)


def decides(recipe: AlpacaFarm) -> Decides:
    """What decides a stage's weights, for plans: as in `inputs_key`, but for the evaluation, which decides none."""
    s, material = recipe.settings, recipe.material
    elsewhere = {"data", "methods", "sft", "reward_model", "target", "judge", "opponents", "baseline"}
    rest = s.model_dump(mode="json", exclude={*HOW_RUN, *elsewhere})  # who labels, with what, and how many answers
    given = [] if material.given is None else [dict(row) for row in (*material.given, *material.given_validation)]
    prompts = [[prompt.id for prompt in some] for some in (material.preference, material.validation)]
    pairs = content_hash(rest, given, prompts, s.target.sampling.build().key(), recipe.sampling.key())
    demonstrations = content_hash([dict(row) for row in material.demonstrations])
    sft = [s.seed, s.target.revision, demonstrations, s.sft.method()]
    unlabeled = [prompt.id for prompt in material.unlabeled]

    def decide(name: str, weights: Mapping[str, str | None]) -> object:
        first = [start_identity(recipe.start), *sft]  # which may be made only after this function
        if name == "SFT":
            return first
        after = [first, weights["SFT"], pairs]
        if name == "RM":
            return [*after, s.reward_model.method()]
        one = s.methods[name]
        own = [one.method, one.settings.method() if one.learns else one.n, unlabeled if one.samples else []]
        return [*after, *own, recipe.rewards.get(one.reward, ""), weights["RM"] if one.asks_reward_model else ""]

    return decide


def outline(recipe: AlpacaFarm) -> Outline:
    """What the recipe will do, in words and numbers."""
    s, material = recipe.settings, recipe.material
    facts = [
        counted(len(material.demonstrations), "demonstration"),
        counted(len(material.given), "labelled pair")
        if material.given is not None
        else f"{counted(len(material.preference), 'preference prompt')}, {s.samples} answers each, labels: {s.labels}",
        counted(len(material.unlabeled), "unlabeled prompt"),
        counted(len(recipe.evaluation), "evaluation prompt"),
        *(f"{one.rows:,} left out of {one.split}: asked in {one.other}" for one in material.overlaps),
        *_measured(recipe),
        f"baseline {s.baseline}",
        *([f"opponents {', '.join(one.name for one in recipe.opponents)}"] if recipe.opponents else []),
        f"judge {recipe.judge.name}",
        *(_sampled(name, one, len(material.unlabeled)) for name, one in s.methods.items() if one.samples),
    ]
    prompts = len(material.preference) + len(material.validation)
    pairs = 0 if recipe.given is not None else prompts * (s.samples // 2)
    players = len(stage_names(s)) - s.needs_reward_model + len(recipe.opponents)
    each = recipe.verdicts_each
    calls = [("labels", pairs, recipe.label_calls(pairs))] if pairs else []
    battles = (players - 1) * len(recipe.evaluation)
    calls.append(("evaluation", len(recipe.evaluation), each * battles))
    return Outline(stage_names(s), facts, calls, battles)


def _measured(recipe: AlpacaFarm) -> Iterator[str]:
    """What is measured on, beside the evaluation prompts, what files lacked, and what the preset has otherwise."""
    s, material, people = recipe.settings, recipe.material, recipe.people
    if s.parity is not None:
        other = [choice.path for choice, here in s.beside_parity() if here not in ("–", shown(choice.value))]
        yield f"parity {s.parity}" + (f" but for {', '.join(other)}" if other else "")
    if material.given_validation:
        yield f"{len(material.given_validation):,} validation pairs"
    elif s.data.validation:
        yield f"{len(material.validation):,} validation prompts"
    elif s.eval_pairs:
        yield f"{s.eval_pairs:,} pairs not learned from"
    for given in (recipe.given, recipe.given_validation):
        yield from given.notes if given is not None else ()
    if people is not None:
        yield people.told()


def _sampled(name: str, method: FarmMethodSettings, prompts: int) -> str:
    """How many answers of its own a method scores."""
    if not method.learns:
        return f"{name}: {counted(method.n, 'sample')} an evaluation prompt"
    told: Any = method.settings
    if "rollout_batch" not in METHODS[method.method].model_fields:
        return f"{name}: {prompts * told.samples * told.rounds:,} samples"
    told = told.sized(prompts)
    iterations = told.roll_outs(prompts)
    return f"{name}: {counted(iterations * told.rollout_batch, 'sample')} in {counted(iterations, 'roll-out')}"
