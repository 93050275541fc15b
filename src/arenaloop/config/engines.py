"""Settings of who makes the calls."""

from __future__ import annotations

from pydantic import Field

from arenaloop.config.base import Settings

__all__ = ["EngineSettings"]


class EngineSettings(Settings):
    """Where calls of models behind servers are made; what comes of them does not depend on it."""

    engine: str = "local"
    """who asks models behind servers: local, ray (started here), ray:auto or ray:HOST:PORT"""
    workers: int = Field(1, ge=1)
    """workers of engine ray, which share the servers' limits"""
