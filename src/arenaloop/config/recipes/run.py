"""What every recipe's file may hold: which recipe, its target, and how battles are judged."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from arenaloop.config.base import Settings
from arenaloop.config.judging import (
    HumanSettings,
    JudgedSettings,
    ModelSettings,
    PriceSettings,
    SamplingSettings,
    from_text,
)
from arenaloop.config.launch import LaunchSettings
from arenaloop.config.recipes.machine import MachineSettings

__all__ = ["RecipeSettings", "TargetServerSettings", "TargetSettings"]


class TargetServerSettings(ModelSettings):
    """A server that answers with a recipe's checkpoints, and how it is talked to; what is trained is trained here."""

    spec: str
    """http://HOST:PORT/v1#MODEL, where {stage} stands for the stage's name (M2) and {checkpoint} for the directory of
    its weights: …/v1#{checkpoint} of a server that loads a model by its path, …/v1#{stage} of one that you tell"""
    load: str | None = None
    """a command that has the server serve {checkpoint} as {stage} and ends once it does; run when a stage's model is
    first asked; no shell"""
    unload: str | None = None
    """a command that frees what the server holds, run each time when a model is not asked any more; null = it stays"""
    price: PriceSettings | None = PriceSettings(input=0, output=0)
    """nothing, as it is your own"""

    @model_validator(mode="after")
    def _tells_checkpoints_apart(self) -> Self:
        if self.spec.partition(":")[0] not in ("http", "https"):
            raise ValueError(f"spec {self.spec!r}: expected http://HOST:PORT/v1#MODEL")
        if self.load is None and not any(name in self.spec for name in ("{stage}", "{checkpoint}")):
            raise ValueError(
                f"spec {self.spec!r} is the same for every stage: put {{stage}} or {{checkpoint}} in the model's "
                "place, or set load, the command that has the server serve a checkpoint"
            )
        if self.unload is not None and self.load is None:
            raise ValueError("unload: load is missing, the command that has the server serve a checkpoint again")
        idle = {"name", "sampling", "revision", "chunk_size", "dtype", "device", "threads", "options", "best_of_n"}
        for key in sorted(idle & self.model_fields_set):
            if getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True):
                raise ValueError(f"{key} does nothing to a target's server")
        return self


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
    server: Annotated[TargetServerSettings | None, BeforeValidator(from_text)] = None
    """a server that answers and judges with each stage's checkpoint in this process's place; null = none"""


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
    launch: LaunchSettings | None = None
    """starts every training as several processes, on one node or several; null = this process trains"""
    elsewhere: tuple[str, ...] = ()
    """stages that another trainer trains: the run stops before each until `arenaloop adopt` has brought its model"""

    @property
    def rated_on(self) -> str | None:
        """The prompts of the final leaderboard, on which all its models meet; None where it is made otherwise."""
        return None
