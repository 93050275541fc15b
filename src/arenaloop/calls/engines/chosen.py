"""The engine that a user names: ``local``, ``ray`` or ``ray:ADDRESS``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from arenaloop.calls.engines.base import ENGINE
from arenaloop.errors import ConfigError

__all__ = ["using"]


@contextmanager
def using(engine: str = "local", workers: int = 1) -> Iterator[None]:
    """While the block runs, models behind servers are asked by this engine.

    Args:
        engine: ``local``, ``ray`` (a cluster that is started on this machine), ``ray:auto`` or ``ray:HOST:PORT``.
        workers: how many there are.

    Raises:
        ConfigError: no such engine.
        MissingExtraError: Ray is not installed.
        StoppedError: nobody answers at the address.
    """
    kind, colon, address = engine.partition(":")
    if engine == "local":
        yield
        return
    if kind != "ray" or (colon and not address):
        raise ConfigError(f"engine {engine!r}: expected local, ray, ray:auto or ray:HOST:PORT")
    from arenaloop.calls.engines.ray_cluster import look_for_ray, place
    from arenaloop.calls.engines.ray_engine import RayEngine

    look_for_ray()
    ray = RayEngine(place(address) if address else None, workers)
    token = ENGINE.set(ray)
    try:
        yield
    finally:
        ENGINE.reset(token)
        ray.close()
