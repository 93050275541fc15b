"""One invocation of Self-Rewarding or Meta-Rewarding: what its stages share, and where their models stand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from arenaloop.calls.answers import Contestant
from arenaloop.errors import StoppedError
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.ratings.judge_drift import Limits
from arenaloop.recipes.parts import Arena
from arenaloop.recipes.self_rewarding_plan import SelfRewarding
from arenaloop.recipes.stage import StageResult, Stages
from arenaloop.types import Prompt

__all__ = ["NoPairsError", "Run"]


class NoPairsError(StoppedError):
    """An iteration gave nothing to learn from, or a rule or gate ended it; the message names it, or the reasons."""


@dataclass
class Run:
    """The recipe, where its models answer, and what its stages came to so far.

    Attributes:
        slices: of prompts, one for each iteration. `inputs`: hash of what the results depend on.
        done: results by stage. `chosen`: of stages whose model is not their last checkpoint, where it stands below the
            run directory.
    """

    recipe: SelfRewarding
    arena: Arena
    stages: Stages
    slices: list[list[Prompt]]
    inputs: str
    done: dict[str, StageResult] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """The weights of a model by its stage's name."""
        if name in self.chosen:
            return self.stages.out / self.chosen[name]
        learned = {"M0": bool(self.recipe.material.demonstrations), "M1": self.recipe.fine_tuned}
        return self.stages.checkpoint(name) if learned.get(name, True) else Path(self.recipe.start)

    def model(self, name: str) -> Contestant:
        """A stage's model as it answers in battles."""
        return self.recipe.target(name, self.path(name))

    @property
    def limits(self) -> Limits:
        """Of the stop rules and warnings."""
        return Limits(**self.recipe.settings.limits.model_dump())

    def scorer(self, name: str) -> RubricJudge:
        """Who scores answers where the model of this stage would: itself, or another judge in its place."""
        return self.recipe.scorer or self.recipe.rubric(name, self.path(name))

    def scale(self, name: str) -> tuple[float, float]:
        """The least and the most that an answer can be given in the iteration from this model; a reward has no end."""
        return (-math.inf, math.inf) if self.recipe.reward is not None else self.scorer(name).scale

    def note(self, name: str, lines: Iterable[str]) -> None:
        """Tell what there is to tell of a stage."""
        for line in lines:
            self.arena.observer.note(f"{name}: {line}")

    @property
    def shown(self) -> str:
        """What delimiters of judge prompts that are learned from are made of: the seed, so that runs learn the same.

        Those that judges are asked with hold the arena file's own secret. It is to be learned by nobody.
        """
        return f"rows of seed {self.recipe.settings.seed}"
