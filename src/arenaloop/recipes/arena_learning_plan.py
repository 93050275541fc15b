"""Arena Learning before it runs: its parts, its stages, the slices of prompts, and how many calls all of it takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from arenaloop.arena.plan import verdicts_per_battle
from arenaloop.calls.answers import Contestant
from arenaloop.config import ArenaLearningSettings
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow
from arenaloop.judges.jury import Decider
from arenaloop.recipes.parts import Utility, vet
from arenaloop.recipes.stage import Outline
from arenaloop.types import Prompt, content_hash, derive_seed

__all__ = ["ArenaLearning", "Stage", "check", "cut_slices", "inputs_key", "outline", "plan_calls", "plan_stages"]


class Stage(NamedTuple):
    """One training stage. `slice` is the index of its slice of prompts, None for SFT-I0."""

    name: str
    kind: str
    round: int
    slice: int | None


@dataclass(frozen=True)
class ArenaLearning:
    """Everything the recipe works on, as objects.

    Attributes:
        settings: thresholds, modes and training settings.
        start: the model that training starts from (a local path or hub id).
        target: makes a contestant of a checkpoint.
        opponents, judge: who else plays, and who decides.
        demonstrations: D0, rows with ``messages``.
        pool: prompts that are cut into slices. `test`: held-out prompts. `validation`: may be empty.
        utility: the true utility of a response, where it is known.
        fingerprint: content hash of `start`, so that a finished run is recognised.
        prepare: makes `start` where it is not there yet; called before the first stage.
        duplicates: prompts that the pool's file repeats; each is there once.
        recorded: response keys of opponents whose answers are recorded (`match_recorded` over all prompts).
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
    recorded: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def plan_stages(settings: ArenaLearningSettings) -> list[Stage]:
    """The stages in order: SFT-I0, then those of each round."""
    stages = [Stage("SFT-I0", "sft", 0, None)]
    for round_ in range(1, settings.rounds + 1):
        for kind in settings.stages:
            stages.append(Stage(f"{kind.upper()}-I{round_}", kind, round_, len(stages) - 1))
    return stages


def check(recipe: ArenaLearning) -> None:
    """Refuse what cannot run to its end, before anything is asked or written.

    Raises:
        ConfigError: as in `vet`.
        InputError: no test prompts, or fewer prompts in the pool than slices.
    """
    names = [stage.name for stage in plan_stages(recipe.settings)]
    vet(names, recipe.opponents, recipe.judge, recipe.settings, recipe.settings.anchor)
    if not recipe.test:
        raise InputError("the test set holds no prompts")
    cut_slices(recipe, len(names) - 1)


def outline(recipe: ArenaLearning) -> Outline:
    """What the recipe will do, in words and numbers."""
    repeated = f" ({recipe.duplicates:,} more repeat one of them)" if recipe.duplicates else ""
    facts = [
        f"{len(recipe.demonstrations):,} demonstrations",
        f"{len(recipe.pool):,} prompts in the pool{repeated}",
        f"{len(recipe.test):,} test prompts",
        f"opponents {', '.join(c.name for c in recipe.opponents)}",
        f"judge {recipe.judge.name}",
    ]
    return Outline([stage.name for stage in plan_stages(recipe.settings)], facts, plan_calls(recipe))


def plan_calls(recipe: ArenaLearning) -> list[tuple[str, int, int]]:
    """(what, prompts, judge calls) of every battle stage and of the final leaderboard, cache not counted."""
    stages, opponents = plan_stages(recipe.settings), len(recipe.opponents)
    slices = cut_slices(recipe, len(stages) - 1)
    pairs = opponents * (opponents + 1) // 2 if recipe.settings.battle_mode == "all_pairs" else opponents
    parts = [(stage.name, len(slices[stage.slice]), pairs) for stage in stages if stage.slice is not None]
    if recipe.validation:
        parts.append(("validation", len(recipe.validation), opponents * len(stages)))
    players = len(stages) + opponents
    parts.append(("leaderboard", len(recipe.test), players * (players - 1) // 2))
    each = verdicts_per_battle(recipe.judge, recipe.settings.seats)
    return [(what, prompts, each * met * prompts) for what, prompts, met in parts]


def cut_slices(recipe: ArenaLearning, n: int) -> list[list[str]]:
    """Cut the pool, shuffled by the seed, into `n` slices; the first get one more where it does not divide.

    Prompts that are in the test or validation set are left out first.

    Raises:
        InputError: fewer prompts than slices.
    """
    held_out = {p.id for p in (*recipe.test, *recipe.validation)}
    ids = list(dict.fromkeys(p.id for p in recipe.pool if p.id not in held_out))
    if len(ids) < n:
        raise InputError(f"the pool has {len(ids)} prompts (held-out ones left out) for {n} slices")
    random.Random(derive_seed("slices", recipe.settings.seed)).shuffle(ids)
    size, extra = divmod(len(ids), n) if n else (0, 0)
    ends = [size * i + min(i, extra) for i in range(n + 1)]
    return [ids[at:end][: recipe.settings.data.max_prompts_per_slice] for at, end in pairwise(ends)]


def inputs_key(recipe: ArenaLearning) -> str:
    """Hash of everything that a stage's result depends on; how it is run (threads, concurrency, budgets) is not."""
    s = recipe.settings
    # which recorded answers an opponent gives; None for one that is asked
    recorded = {name: dict(keys) for name, keys in recipe.recorded.items()}
    plain = s.model_dump(
        mode="json",
        exclude={
            *("name", "concurrency", "budget_usd", "budget_calls"),
            *("opponents", "judge", "target", "sft_init_training", "sft", "dpo"),
            *(["seats"] if s.seats == "both" else []),  # as the setting came later: keys of both seats stay
        },
    )
    return content_hash(
        plain,
        [s.sft_init_training.method(), s.sft.method(), s.dpo.method()],
        [s.target.sampling.build().key(), recipe.fingerprint],
        [[c.name, c.model.fingerprint, c.sampling.key(), recorded.get(c.name)] for c in recipe.opponents],
        [recipe.judge.fingerprint, s.judge.reask],
        content_hash([dict(row) for row in recipe.demonstrations]),
        [p.id for p in recipe.pool],
        [p.id for p in recipe.test],
        [p.id for p in recipe.validation],
    )
