"""The stages of Arena Learning: what they are called, in which order they come, and whose slice of prompts is whose."""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

from arenaloop.config import ArenaLearningSettings

__all__ = ["Stage", "own_pairs", "plan_stages", "slice_count", "threshold"]


class Stage(NamedTuple):
    """One training stage. `slice` is the index of its slice of prompts, None for SFT-I0.

    A reward model and the PPO that follows it share a slice.
    """

    name: str
    kind: str
    round: int
    slice: int | None

    @property
    def answers(self) -> bool:
        """Whether its model answers and battles; a reward model does neither."""
        return self.kind != "reward_model"


def plan_stages(settings: ArenaLearningSettings) -> list[Stage]:
    """The stages in order: SFT-I0, then those of each round."""
    stages, slices = [Stage("SFT-I0", "sft", 0, None)], count()
    for round_ in range(1, settings.rounds + 1):
        for kind in settings.stages:
            slice_ = next(slices)
            if kind == "ppo":
                stages.append(Stage(f"RM-I{round_}", "reward_model", round_, slice_))
            stages.append(Stage(f"{kind.upper()}-I{round_}", kind, round_, slice_))
    return stages


def slice_count(settings: ArenaLearningSettings) -> int:
    """Into how many slices the pool is cut."""
    return settings.rounds * len(settings.stages)


def own_pairs(settings: ArenaLearningSettings) -> int:
    """Battles between the target's own answers to a prompt, for a reward model."""
    return settings.rm_samples // 2 if settings.rm_pairs != "battles" else 0


def threshold(settings: ArenaLearningSettings, stage: Stage) -> tuple[str, float]:
    """Name and value of the K that a stage's rows reach; the last value serves all later rounds."""
    name = {"sft": "k_sft", "dpo": "k_dpo"}.get(stage.kind, "k_rm")
    values: tuple[float, ...] = getattr(settings, name)
    return name, values[min(stage.round, len(values)) - 1]
