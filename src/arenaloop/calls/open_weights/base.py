"""What an engine is, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from arenaloop.types import Completion, Request

__all__ = ["VLLM", "Adapter", "Engine", "EngineSettings", "Loaded"]

VLLM = "arenaloop.calls.open_weights.vllm_engine:VllmEngine"
"""The engine where none is named, as MODULE:CLASS."""


class Adapter(NamedTuple):
    """A LoRA adapter: its name, and its folder as the workers see it."""

    name: str
    path: str


@dataclass(frozen=True)
class EngineSettings:
    """What an engine loads.

    Attributes:
        model: a folder, which workers see under the same path, or a hub id.
        revision: of a hub id.
        tp: GPUs that share the weights (tensor parallelism), all on one node.
        dtype: of the weights; ``auto`` as they are saved.
        max_model_len: context window in tokens; None as the model states it.
        lora_rank: the largest rank of the adapters that will be asked for; 0 = there are none.
        loras: how many adapters there are.
        reasoning_tags: what opens and closes reasoning; None = the known families' tags.
        more: further arguments of the engine.
    """

    model: str
    revision: str | None = None
    tp: int = 1
    dtype: str = "auto"
    max_model_len: int | None = None
    lora_rank: int = 0
    loras: int = 0
    reasoning_tags: tuple[tuple[str, str], ...] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


class Loaded(NamedTuple):
    """What an engine says of itself once it is loaded.

    Attributes:
        engine: name and version of what answers.
        weights: fingerprint of the weights (`models.checkpoint.checkpoint_fingerprint`); None where it cannot tell.
    """

    engine: str
    weights: str | None = None


class Engine(Protocol):
    """Holds weights and answers, inside an actor's process.

    An error whose class, or a class above it, is called ``EngineDeadError`` says that no further request can be
    answered; any other is about the one request.
    """

    def __init__(self, settings: EngineSettings) -> None: ...

    async def load(self) -> Loaded:
        """Load the weights.

        Raises:
            ConfigError: what is needed is not in this environment.
        """

    async def answer(self, request: Request, adapter: Adapter | None) -> Completion:
        """Answer one request, by the weights alone or with an adapter."""

    async def close(self) -> None:
        """Free what it holds."""
