"""Settings of models, judges and battles."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from arenaloop.config.base import Settings
from arenaloop.types import Sampling

__all__ = [
    "BattleSettings",
    "JudgeSettings",
    "JudgeSpec",
    "ModelSettings",
    "ModelSpec",
    "PriceSettings",
    "SamplingSettings",
]


class SamplingSettings(Settings):
    """How a model decodes."""

    temperature: float = Field(0.0, ge=0)
    """0 = greedy"""
    top_p: float = Field(1.0, gt=0, le=1)
    """nucleus"""
    max_tokens: int = Field(512, ge=1)
    """new tokens per answer"""
    stop: tuple[str, ...] = ()
    """texts that end an answer"""

    def build(self) -> Sampling:
        """The same as the record that travels with requests."""
        return Sampling(self.temperature, self.top_p, self.max_tokens, self.stop)


class PriceSettings(Settings):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    """prompt tokens"""
    output: float = Field(ge=0)
    """completion tokens, reasoning included"""
    cached: float | None = Field(None, ge=0)
    """prompt tokens that the server took from its cache; null = as `input`"""
    batch: float = Field(0.5, gt=0, le=1)
    """share of these prices that a call through the Batch API costs"""


class ModelSettings(Settings):
    """A model by its SPEC, and how to talk to it. A bare SPEC text stands for ``{spec: TEXT}``."""

    spec: str
    """openai:MODEL, http://HOST:PORT/v1#MODEL, hf:ID_OR_PATH, file:ANSWERS or sandbox:NAME"""
    name: str | None = None
    """what leaderboards call it; null = the last part of the SPEC"""
    sampling: SamplingSettings = SamplingSettings()
    """decoding"""
    system: str | None = None
    """system prompt put before conversations that have none (servers only)"""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """further fields of the request body (servers only)"""
    drop_params: tuple[str, ...] = ()
    """fields left out of the request body, for servers that refuse them, e.g. [temperature] (servers only)"""
    send_seed: bool = False
    """send each request's own seed; needed where sampling is to differ between samples on a seeded server"""
    key_env: str | None = None
    """name of the environment variable that holds the key (servers only)"""
    price: PriceSettings | None = None
    """null = unknown, and so is the cost of the run"""
    concurrency: int | None = Field(None, ge=1)
    """calls in flight at once; null = the kind's default"""
    timeout: float = Field(120.0, gt=0)
    """seconds per request (servers only)"""
    retries: int = Field(6, ge=0)
    """further tries after a passing fault (servers only)"""
    revision: str | None = None
    """commit or branch (hub models only)"""
    chunk_size: int = Field(32, ge=1)
    """prompts per batch (local models only)"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """of the weights (local models only)"""
    device: str | None = None
    """a torch device (local models only); null = the first GPU, or the CPU"""
    options: dict[str, Any] = Field(default_factory=dict)
    """settings of the sandbox's players and judge (noise, seat_bias, …)"""


def _from_text(value: object) -> object:
    return {"spec": value} if isinstance(value, str) else value


class JudgeSettings(ModelSettings):
    """A judging model, its template and its patience."""

    sampling: SamplingSettings = SamplingSettings(temperature=0.0, max_tokens=512)
    """decoding of the judge; METHODS: temperature 0, 512 tokens"""
    template: str = "pairwise"
    """a shipped template"""
    reask: int = Field(2, ge=0)
    """how often a verdict without an outcome is asked again, warmer, as a new sample"""


ModelSpec = Annotated[ModelSettings, BeforeValidator(_from_text)]
JudgeSpec = Annotated[JudgeSettings, BeforeValidator(_from_text)]


class BattleSettings(Settings):
    """One battle run: who, on what, judged by whom."""

    models: tuple[ModelSpec, ...]
    """the contestants"""
    prompts: str
    """a prompt file, or sandbox:prompts?n=…"""
    judge: JudgeSpec
    """who decides"""
    pairs: str = "all"
    """all, target:NAME or sample:N"""
    merge: Literal["mean", "agree_or_tie", "two_battles"] = "mean"
    """how two seats become a battle"""
    one_seat_failed: Literal["drop_battle", "use_one"] = "drop_battle"
    """what becomes of a pair of which one seat alone was decided"""
    allow_missing: bool = False
    """go on where a recorded model lacks answers"""
    concurrency: int | None = Field(None, ge=1)
    """seatings in progress at once; null = what the endpoints allow"""
    seed: int = 0
    """seed of everything that is drawn"""
