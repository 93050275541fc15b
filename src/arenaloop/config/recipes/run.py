"""What every recipe's file may hold: which recipe, its target, and how battles are judged."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from arenaloop.config.base import Settings
from arenaloop.config.judging import HumanSettings, JudgedSettings, SamplingSettings
from arenaloop.config.recipes.machine import MachineSettings

__all__ = ["RecipeSettings", "TargetSettings"]


class TargetSettings(Settings):
    """The model being improved."""

    model: str
    """where training starts: hf:ID_OR_PATH, or sandbox:target for a fresh tiny model"""
    revision: str | None = None
    """commit or branch of a hub model"""
    sampling: SamplingSettings = SamplingSettings(max_tokens=1024)
    """decoding in battles"""
    chunk_size: int = Field(32, ge=1)
    """prompts per batch"""
    votes_together: bool = True
    """whether a batch holds the votes on an answer side by side, so that it is read once for them; like `chunk_size`
    this changes what is said through rounding alone"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """of the weights while answering"""
    device: str | None = None
    """a torch device; null = the first GPU, or the CPU"""
    options: dict[str, Any] = Field(default_factory=dict)
    """width, layers, … of a sandbox target"""


class _Named(Settings):
    """The head of a recipe's file."""

    recipe: str
    """which recipe this file is for"""
    name: str
    """names the default run directory"""


class RecipeSettings(JudgedSettings, _Named):
    """Base of the recipes' settings."""

    target: TargetSettings
    """the model being improved"""
    human: HumanSettings = HumanSettings()
    """what people's labels cost"""
    machine: MachineSettings = MachineSettings()
    """what it runs on, for the hours and the memory of `--dry-run`"""

    @property
    def rated_on(self) -> str | None:
        """The prompts of the final leaderboard, on which all its models meet; None where it is made otherwise."""
        return None
