"""The actor that holds an engine. It imports no Ray: the driver makes an actor of it."""

from __future__ import annotations

import importlib
import socket
from typing import Any, NamedTuple

from arenaloop.calls.engines.ray_cluster import Versions
from arenaloop.calls.open_weights.base import Adapter, Engine, EngineSettings, Loaded
from arenaloop.errors import ConfigError
from arenaloop.types import Completion, Request

__all__ = ["Holder", "Told"]

_DEAD = "EngineDeadError"


class Told(NamedTuple):
    """What came of a request to a holder.

    Attributes:
        value: what was asked for; None where it failed.
        why: the reason then.
        dead: whether nothing further can be asked of this engine.
        refused: whether no engine could do it in this environment.
    """

    value: Any = None
    why: str = ""
    dead: bool = False
    refused: bool = False


class Holder:
    """Holds one engine; what goes wrong is told, not raised.

    Args:
        engine: its class, as MODULE:CLASS.
        settings: what it loads.
    """

    def __init__(self, engine: str, settings: EngineSettings) -> None:
        self._named, self._settings = engine, settings
        self._engine: Engine | None = None

    async def hello(self) -> tuple[Versions, str]:
        """Versions here, and the name of this machine."""
        return Versions.here(), socket.gethostname()

    async def load(self) -> Told:
        """Load the engine: `Loaded`."""
        module, _, name = self._named.partition(":")
        where = f"in the workers' environment on {socket.gethostname()}"
        try:
            made: type[Engine] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            return Told(why=f"no engine {self._named} {where} ({error})", refused=True)
        try:
            self._engine = made(self._settings)
            loaded: Loaded = await self._engine.load()
        except ConfigError as error:
            return Told(why=f"{error} {where}", refused=True)
        except Exception as error:  # of whatever kind the engine's libraries raise
            return Told(why=_reason(error), dead=True)
        return Told(loaded)

    async def answer(self, request: Request, adapter: Adapter | None) -> Told:
        """Answer a request: `Completion`."""
        assert self._engine is not None
        try:
            completion: Completion = await self._engine.answer(request, adapter)
        except Exception as error:
            return Told(why=_reason(error), dead=any(kind.__name__ == _DEAD for kind in type(error).__mro__))
        return Told(completion)

    async def close(self) -> None:
        """Free what the engine holds."""
        if self._engine is not None:
            await self._engine.close()


def _reason(error: BaseException) -> str:
    """The first line of an error, and of what it came from where it says nothing itself."""
    lines = str(error).strip().splitlines()
    if not lines and error.__cause__ is not None:
        return _reason(error.__cause__)
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
