"""The engine that a user names: ``local``, ``ray`` or ``ray:ADDRESS``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from arenaloop.calls.engines.base import ENGINE
from arenaloop.config import EngineSettings

__all__ = ["using"]


@contextmanager
def using(settings: EngineSettings | None) -> Iterator[None]:
    """While the block runs, models behind servers are asked by this engine; None: by this process.

    Raises:
        ConfigError: no such address.
        MissingExtraError: Ray is not installed.
        StoppedError: nobody answers at the address.
    """
    address = None if settings is None else settings.engine.partition(":")[2]
    if settings is None or settings.engine == "local":
        yield
        return
    from arenaloop.calls.engines.ray_cluster import look_for_ray, place
    from arenaloop.calls.engines.ray_engine import RayEngine

    look_for_ray()
    engine = RayEngine(place(address) if address else None, settings.workers)
    token = ENGINE.set(engine)
    try:
        yield
    finally:
        ENGINE.reset(token)
        engine.close()
