"""Actors that hold engines: how one is wanted, started, waited for and ended."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from arenaloop.calls.engines.ray_cluster import connected
from arenaloop.calls.engines.ray_slots import why_lost
from arenaloop.calls.open_weights.base import VLLM, Adapter, EngineSettings
from arenaloop.calls.open_weights.holder import Holder
from arenaloop.errors import ConfigError
from arenaloop.models.adapters import rank_of

__all__ = ["Wanted", "died", "end", "kill", "of", "start"]

_CLOSE = 5.0  # seconds that an engine has to end its own processes
_EXIT = re.compile(r"Worker exit type: (\w+) Worker exit detail: (.+?)\. Some common")


@dataclass(frozen=True)
class Wanted:
    """Engines that a SPEC asks for.

    Attributes:
        settings: what each loads.
        engine: its class, as MODULE:CLASS.
        engines: how many.
        gpus: GPUs of each.
        address: HOST:PORT of the cluster; None = one that is started on this machine.
        environment: Ray's ``runtime_env`` of the actors.
        load_seconds: that an engine may take to load.
        silent_seconds: that it may bring no answer while it has requests.
    """

    settings: EngineSettings
    engine: str = VLLM
    engines: int = 1
    gpus: float = 1
    address: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    load_seconds: float = 1800.0
    silent_seconds: float = 900.0

    @property
    def who(self) -> str:
        """In words, for messages."""
        return f"ray-vllm:{self.settings.model}"


def start(wanted: Wanted, adapters: Collection[Adapter]) -> Any:
    """An actor with an engine that is not loaded yet; blocking.

    Raises:
        ConfigError: more GPUs are wanted than this machine has.
        StoppedError: nobody answers at the address.
    """
    import ray

    connected(wanted.address)
    if wanted.address is None:
        there, needed = ray.cluster_resources().get("GPU", 0.0), wanted.gpus * wanted.engines
        if needed > there:
            raise ConfigError(
                f"{wanted.who}: {wanted.engines} engines of {wanted.gpus:g} GPUs need {needed:g}, and Ray on this "
                f"machine has {there:g}; name a cluster by address=HOST:PORT"
            )
    ranks = [rank_of(adapter.path) for adapter in adapters]
    settings = replace(wanted.settings, loras=len(ranks), lora_rank=max(ranks, default=0))
    options: dict[str, Any] = {
        "num_cpus": 0.001,
        "num_gpus": wanted.gpus,
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": 100_000,  # how many are sent is decided here
    }
    if wanted.environment:
        options["runtime_env"] = dict(wanted.environment)
    actor_class: Any = ray.remote(Holder)
    return actor_class.options(**options).remote(wanted.engine, settings)


def died(error: Exception) -> str:
    """Why an actor ended, by what Ray knows of its process where it says that."""
    told = " ".join(str(error).split())
    if "OUT_OF_MEMORY" in told or "running low on memory" in told:
        return "it was killed, since its node ran out of memory"
    if (found := _EXIT.search(told)) is not None:
        return f"its process ended ({found[1]}: {found[2]})"
    return why_lost(error)


async def end(actor: Any) -> None:
    """Let an engine end its own processes, if it does in time, and then its actor."""
    with suppress(Exception):  # it is gone
        async with asyncio.timeout(_CLOSE):
            await of(actor.close.remote())
    kill(actor)


async def of(reference: Any) -> Any:
    """What a reference of Ray stands for."""
    return await asyncio.wrap_future(reference.future())


def kill(actor: Any) -> None:
    """End an actor at once."""
    if actor is None:
        return
    import ray

    with suppress(Exception):  # it is gone, or the cluster is
        ray.kill(actor)
