"""AlpacaFarm before it runs: its parts, its stages and what each depends on, and how many calls all of it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.arena.plan import verdicts_per_battle
from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget
from arenaloop.config import METHODS
from arenaloop.config.recipes.alpaca_farm import REWARD_MODEL, AlpacaFarmSettings, FarmMethodSettings
from arenaloop.config.rl import RolloutSettings
from arenaloop.data.formats.training_rows import read_preference
from arenaloop.data.held_out import HeldOut, Turn, prompt_turns, row_turns
from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.jsonl import JsonRow
from arenaloop.judges.jury import Decider
from arenaloop.models.reward import Reward
from arenaloop.recipes.parts import Arena, Utility, vet
from arenaloop.recipes.stage import Outline
from arenaloop.store import Store
from arenaloop.terminal import counted
from arenaloop.types import Preference, Prompt, Response, Sampling, content_hash

__all__ = ["AlpacaFarm", "Labeller", "Labels", "Material", "check", "inputs_key", "outline", "stage_names"]


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


class Material(NamedTuple):
    """What is learned from, no evaluation prompt among it; `left_out`: how many rows of each asked or contained one."""

    demonstrations: Sequence[JsonRow]
    preference: Sequence[Prompt]
    unlabeled: Sequence[Prompt]
    given: Sequence[JsonRow] | None
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class AlpacaFarm:
    """Everything the recipe works on, as objects.

    Attributes:
        settings: methods and their training.
        start: the model that training starts from (a local path or hub id).
        target: makes a contestant of a checkpoint. `sampling`: of its samples.
        opponents, judge: who else meets the baseline, and who decides there.
        demonstrations, preference, unlabeled, evaluation: the splits; see `material`.
        label: labels pairs of answers.
        label_calls: (pairs) → judge calls that they take at most.
        given: labelled pairs of a file, in place of samples and labels.
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
    reward_of: Callable[[str, Store, Budget], Reward]
    given: Sequence[JsonRow] | None = None
    rewards: Mapping[str, str] = field(default_factory=dict)
    utility: Utility | None = None
    fingerprint: str = ""
    prepare: Callable[[], None] = lambda: None
    recorded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def material(self) -> Material:
        """The splits without what asks or contains an evaluation prompt (see `data.held_out`)."""
        held_out = HeldOut(self.evaluation)
        demonstrations = [row for row in self.demonstrations if held_out.leak(row_turns(row)) is None]
        preference, unlabeled = (
            [prompt for prompt in prompts if held_out.leak(prompt_turns(prompt)) is None]
            for prompts in (self.preference, self.unlabeled)
        )
        given = self.given
        if given is not None:
            given = [row for row in given if held_out.leak(_asked(row)) is None]
        left_out = {
            "demonstrations": len(self.demonstrations) - len(demonstrations),
            "preference prompts": len(self.preference) - len(preference),
            "unlabeled prompts": len(self.unlabeled) - len(unlabeled),
            "labelled pairs": len(self.given or ()) - len(given or ()),
        }
        return Material(demonstrations, preference, unlabeled, given, left_out)


def _asked(row: JsonRow) -> list[Turn]:
    """The turns of a labelled pair's prompt and of both its answers."""
    read = read_preference(row)
    return [Turn(turn["role"], turn["content"]) for turn in (*read.prompt, *read.chosen, *read.rejected)]


def stage_names(settings: AlpacaFarmSettings) -> list[str]:
    """The stages in order."""
    return ["SFT", *(["RM"] if settings.needs_reward_model else []), *settings.methods]


def check(recipe: AlpacaFarm) -> None:
    """Refuse what cannot run to its end, before anything is asked or written.

    Raises:
        ConfigError: as in `vet`; a baseline that is nobody's name; a method that another opponent is called by.
        InputError: a split that a method needs is empty once evaluation prompts are left out, or too small for it.
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
    needs: dict[str, tuple[Sequence[Any], str]] = {"data.sft": (material.demonstrations, "SFT")}
    needs["data.preference"] = (material.preference if material.given is None else material.given, "the pairs")
    if asking := [name for name, one in s.methods.items() if one.samples and one.learns]:
        needs["data.unlabeled"] = (material.unlabeled, asking[0])
    for key, (rows, what) in needs.items():
        if not rows:
            raise InputError(f"{key}: nothing is left for {what} (rows that ask evaluation prompts are left out)")
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
        parts += [[pairs, s.reward_model.method()] if method.reward == REWARD_MODEL else recipe.rewards[method.reward]]
    elif method.method != "sft":
        parts += [pairs]
    return content_hash(*parts)


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
        *(f"{n:,} left out of {what}: evaluation prompts" for what, n in material.left_out.items() if n),
        f"baseline {s.baseline}",
        *([f"opponents {', '.join(one.name for one in recipe.opponents)}"] if recipe.opponents else []),
        f"judge {recipe.judge.name}",
        *(_sampled(name, one, len(material.unlabeled)) for name, one in s.methods.items() if one.samples),
    ]
    pairs = 0 if recipe.given is not None else len(material.preference) * (s.samples // 2)
    players = len(stage_names(s)) - s.needs_reward_model + len(recipe.opponents)
    each = verdicts_per_battle(recipe.judge, s.seats)
    calls = [("labels", pairs, recipe.label_calls(pairs))] if pairs else []
    calls.append(("evaluation", len(recipe.evaluation), each * (players - 1) * len(recipe.evaluation)))
    return Outline(stage_names(s), facts, calls)


def _sampled(name: str, method: FarmMethodSettings, prompts: int) -> str:
    """How many answers of its own a method scores."""
    if not method.learns:
        return f"{name}: {counted(method.n, 'sample')} an evaluation prompt"
    told: Any = method.settings
    if "rollout_batch" not in METHODS[method.method].model_fields:
        return f"{name}: {prompts * told.samples * told.rounds:,} samples"
    batch = told.rollout_batch
    if "rollout_batch" not in told.model_fields_set:  # then it fits the prompts
        batch = min(batch, prompts * told.samples)
    iterations = told.iterations or max(1, 10 * prompts // max(1, batch // told.samples))
    return f"{name}: {counted(iterations * batch, 'sample')} in {counted(iterations, 'roll-out')}"
